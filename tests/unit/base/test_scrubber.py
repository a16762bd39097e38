"""A secret is hidden while it is live, in every spelling, and not a moment longer."""

from __future__ import annotations

import base64
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moorage.base.scrubber import STRIPPED, SecretScrubber

KEY = "-----BEGIN KEY-----\nMIIEvAIBADANBg\nkqhkiG9w0BAQ\n-----END KEY-----"


@pytest.mark.parametrize(
    ("secret", "text"),
    [
        pytest.param("hunter2", "password=hunter2,rw", id="plain"),
        pytest.param('pa"ss\\x', json.dumps({"p": 'pa"ss\\x'}), id="json"),
        pytest.param("line\none", repr({"p": "line\none"}), id="repr"),
        pytest.param("hunter2", base64.b64encode(b"hunter2").decode(), id="base64"),
        pytest.param(KEY, "error near kqhkiG9w0BAQ", id="one-line-of-a-key"),
    ],
)
def test_every_spelling_is_hidden(secret: str, text: str) -> None:
    scrubber = SecretScrubber()
    with scrubber.hiding([secret]):
        assert STRIPPED in scrubber(text)
        assert secret not in scrubber(text)
    assert scrubber(text) == text


def test_overlapping_blocks_count() -> None:
    scrubber = SecretScrubber()
    with scrubber.hiding(["hunter2"]):
        with scrubber.hiding(["hunter2", "other-one"]):
            pass
        assert scrubber("hunter2 other-one") == f"{STRIPPED} other-one"


def test_longer_secret_wins() -> None:
    scrubber = SecretScrubber()
    with scrubber.hiding(["pass", "password1"]):
        assert scrubber("password1") == STRIPPED


def test_short_values_are_left_readable() -> None:
    scrubber = SecretScrubber()
    with scrubber.hiding(["a", "", "abc"]):
        assert scrubber("abc a") == "abc a"


@given(st.lists(st.text(min_size=4), min_size=1, max_size=4), st.text())
def test_no_registered_value_survives(secrets: list[str], around: str) -> None:
    scrubber = SecretScrubber()
    with scrubber.hiding(secrets):
        clean = scrubber(around + around.join(secrets))
        left = clean.replace(STRIPPED, "\0")
        assert not [secret for secret in secrets if secret in left and "\0" not in secret]
