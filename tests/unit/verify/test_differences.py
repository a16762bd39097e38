from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from moorage.spec.types import Snapshot, Volume
from moorage.verify.differences import difference

TIME = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
VOLUME = Volume("v", 5, {"a": "b"})


@pytest.mark.parametrize(
    ("other", "said"),
    [
        pytest.param(Volume("v", 5, {"a": "b"}), "", id="equal"),
        pytest.param(Volume("w", 5, {"a": "b"}), "volume_id 'v' and then 'w'", id="id"),
        pytest.param(Volume("v", 6, {"a": "b"}), "capacity_bytes 5 and then 6", id="size"),
        pytest.param(Volume("v", 5), "volume_context {'a': 'b'} and then {}", id="context"),
        pytest.param(Volume("w", 6, {"a": "b"}), "volume_id 'v' and then 'w', capacity_bytes 5 and then 6", id="two"),
    ],
)
def test_each_field_that_differs_is_named_with_both_values(other: Volume, said: str) -> None:
    assert difference(VOLUME, other) == said


def test_of_times_it_is_said_which_they_are() -> None:
    first, second = Snapshot("s", "v", TIME), Snapshot("s", "v", TIME + timedelta(seconds=1))
    assert difference(first, second) == "creation_time 2026-01-02 03:04:05+00:00 and then 2026-01-02 03:04:06+00:00"


def test_fields_that_do_not_matter_are_left_out() -> None:
    first, second = Snapshot("s", "v", TIME, ready_to_use=False), Snapshot("s", "v", TIME)
    assert difference(first, second, fields=("snapshot_id", "creation_time")) == ""


def test_a_long_value_is_cut_off() -> None:
    said = difference(VOLUME, Volume("v", 5, {"a": "b" * 4000}))
    assert said.endswith("...")
    assert len(said) < 500
