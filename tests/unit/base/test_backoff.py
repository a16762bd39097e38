"""Delays grow to their maximum and never beyond, with or without chance."""

from __future__ import annotations

import math
from itertools import islice

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moorage.base.backoff import Backoff


def test_exact_schedule() -> None:
    assert list(islice(Backoff(1, 10).delays_s(), 6)) == [1, 2, 4, 8, 10, 10]


def test_jitter_only_shortens() -> None:
    backoff = Backoff(8, 100, jitter=0.5)
    assert backoff.delay_s(0, lambda: 0.0) == 8
    assert backoff.delay_s(0, lambda: 0.5) == 6
    assert backoff.delay_s(0) == 8


@given(
    st.floats(0.001, 10),
    st.floats(1, 1000),
    st.floats(1, 100),
    st.floats(0, 1),
    st.integers(0, 10**6),
    st.floats(0, 1, exclude_max=True),
)
def test_delay_is_always_usable(
    initial_s: float, stretch: float, factor: float, jitter: float, attempt: int, chance: float
) -> None:
    backoff = Backoff(initial_s, initial_s * stretch, factor, jitter)
    delay_s = backoff.delay_s(attempt, lambda: chance)
    assert math.isfinite(delay_s)
    assert 0 <= delay_s <= backoff.maximum_s
    assert delay_s <= backoff.delay_s(attempt + 1)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        pytest.param({"initial_s": 0, "maximum_s": 1}, "positive", id="zero"),
        pytest.param({"initial_s": 2, "maximum_s": 1}, "rising", id="falling"),
        pytest.param({"initial_s": 1, "maximum_s": math.inf}, "must be", id="endless"),
        pytest.param({"initial_s": 1, "maximum_s": 2, "factor": 0.5}, "factor 0.5", id="factor"),
        pytest.param({"initial_s": 1, "maximum_s": 2, "jitter": 1.5}, "jitter 1.5", id="jitter"),
    ],
)
def test_schedule_that_cannot_be_is_refused(arguments: dict[str, float], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        Backoff(**arguments)


def test_negative_attempt_is_refused() -> None:
    with pytest.raises(ValueError, match="attempt -1"):
        Backoff(1, 2).delay_s(-1)
