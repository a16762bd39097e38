"""Only what is safe is sent again, after the pause that the server asked for."""

from __future__ import annotations

import pytest
from tests.support.kube_client import answer

from moorage.kube.errors import Unreachable, UnreachableKind
from moorage.kube.retry import MAX_ATTEMPTS, MAX_ATTEMPTS_UNREACHABLE, pause_before_retry_s

VERBS = ("GET", "PUT", "DELETE", "PATCH", "POST")


def verbs_repeated(outcome: object, *, attempts: int = 1) -> set[str]:
    assert isinstance(outcome, Unreachable) or hasattr(outcome, "status")
    return {
        verb
        for verb in VERBS
        if pause_before_retry_s(verb, outcome, attempts=attempts, random=lambda: 0.5) is not None  # type: ignore[arg-type] # checked above
    }


@pytest.mark.parametrize(
    ("status", "pause", "expected"),
    [
        pytest.param(429, "2", set(VERBS), id="429"),
        pytest.param(503, "2", set(VERBS), id="503"),
        pytest.param(429, None, set(), id="429-without-pause"),
        pytest.param(429, "soon", set(), id="429-with-nonsense"),
        pytest.param(500, "2", {"GET"}, id="500-may-have-been-done"),
        pytest.param(504, "2", {"GET"}, id="504-may-have-been-done"),
        pytest.param(409, "2", set(), id="409-is-an-answer"),
        pytest.param(200, "2", set(), id="200"),
    ],
)
def test_by_status(status: int, pause: str | None, expected: set[str]) -> None:
    headers = {} if pause is None else {"retry_after": pause}
    assert verbs_repeated(answer(status, **headers)) == expected


@pytest.mark.parametrize(
    ("kind", "sent", "expected"),
    [
        pytest.param("refused", False, {"GET", "PUT", "DELETE"}, id="refused"),
        pytest.param("reset", False, {"GET", "PUT", "DELETE"}, id="reset-before-sending"),
        pytest.param("reset", True, {"GET"}, id="reset-after-sending"),
        pytest.param("timeout", False, set(), id="timeout"),
        pytest.param("name", False, set(), id="name"),
        pytest.param("tls", False, set(), id="tls"),
        pytest.param("credentials", False, set(), id="credentials"),
        pytest.param("throttled", False, set(), id="throttled"),
    ],
)
def test_by_failure(kind: UnreachableKind, sent: bool, expected: set[str]) -> None:
    assert verbs_repeated(Unreachable("x", kind=kind, sent=sent)) == expected


def test_attempts_are_bounded() -> None:
    assert verbs_repeated(answer(429, retry_after="1"), attempts=MAX_ATTEMPTS - 1)
    assert not verbs_repeated(answer(429, retry_after="1"), attempts=MAX_ATTEMPTS)
    refused = Unreachable("x", kind="refused", sent=False)
    assert verbs_repeated(refused, attempts=MAX_ATTEMPTS_UNREACHABLE - 1)
    assert not verbs_repeated(refused, attempts=MAX_ATTEMPTS_UNREACHABLE)


@pytest.mark.parametrize("chance", [0.0, 0.5, 0.999])
def test_the_pause_is_never_shorter_than_asked_for_and_is_spread(chance: float) -> None:
    pause_s = pause_before_retry_s("GET", answer(429, retry_after="4"), attempts=1, random=lambda: chance)
    assert pause_s == pytest.approx(4 * (1 + chance / 4))


def test_a_pause_of_zero_is_no_busy_loop() -> None:
    pause_s = pause_before_retry_s("GET", answer(429, retry_after="0"), attempts=1, random=lambda: 0.0)
    assert pause_s == pytest.approx(0.1)


def test_reconnecting_backs_off() -> None:
    refused = Unreachable("x", kind="refused", sent=False)
    pauses_s = [pause_before_retry_s("GET", refused, attempts=n, random=lambda: 0.0) for n in range(1, 5)]
    assert pauses_s == pytest.approx([0.1, 0.2, 0.4, 0.8])
