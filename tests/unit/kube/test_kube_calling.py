"""A call ends within its deadline, tries again where that is right, and says what it did."""

from __future__ import annotations

from typing import Any

import pytest
from tests.support.kube_client import ScriptedTransport, answer, in_no_time, refusal

from moorage.kube.calling import Caller
from moorage.kube.errors import Conflict, Forbidden, ServiceUnavailable, TooManyRequests, Unreachable
from moorage.kube.limiter import Limiter
from moorage.kube.observation import Unobserved
from moorage.kube.transport import Request

REFUSED = Unreachable("refused", kind="refused", sent=False)


class Notes(Unobserved):
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.codes: list[str] = []
        self.retries: list[str] = []
        self.waits_s: list[float] = []

    def attempted(self, *, verb: str, resource: str, method: str, code: str, duration_s: float) -> None:
        self.codes.append(code)

    def retried(self, *, verb: str, code: str) -> None:
        self.retries.append(code)

    def throttled(self, *, verb: str, wait_s: float) -> None:
        self.waits_s.append(wait_s)


def caller(transport: ScriptedTransport, *, notes: Notes | None = None, limiter: Limiter | None = None) -> Caller:
    return Caller(transport, limiter or Limiter(-1), observer=notes or Unobserved(), timeout_s=60, chance=lambda: 0.0)


def request(method: str = "GET", *, timeout_s: float = 30) -> Request:
    return Request(method=method, path="/x", timeout_s=timeout_s, verb="get", resource="pods")


def test_a_shedding_server_is_asked_again_after_its_pause() -> None:
    notes = Notes()
    transport = ScriptedTransport(
        refusal(429, "TooManyRequests", retry_after="2"), refusal(503, "x", retry_after="3"), answer(200, {"a": 1})
    )
    response, took_s = in_no_time(caller(transport, notes=notes).call(request("POST")))
    assert response.body == b'{"a": 1}'
    assert took_s == pytest.approx(5)
    assert notes.codes == ["429", "503", "200"]
    assert notes.retries == ["429", "503"]


def test_a_pause_beyond_the_deadline_is_not_waited_for() -> None:
    transport = ScriptedTransport(refusal(429, "TooManyRequests", retry_after="40"))

    async def work() -> None:
        with pytest.raises(TooManyRequests) as caught:
            await caller(transport).call(request())
        assert caught.value.retry_after_s == 40

    _, took_s = in_no_time(work())
    assert took_s == 0


def test_each_attempt_gets_only_the_time_that_is_left() -> None:
    transport = ScriptedTransport(refusal(503, "x", retry_after="4"), answer(), takes_s=3)
    in_no_time(caller(transport).call(request(timeout_s=10)))
    assert [found.timeout_s for found in transport.requests] == pytest.approx([10, 3])


def test_the_deadline_ends_an_endless_row_of_refusals() -> None:
    transport = ScriptedTransport(*[refusal(503, "ServiceUnavailable", retry_after="1")] * 50)

    async def work() -> None:
        with pytest.raises(ServiceUnavailable):
            await caller(transport).call(request(timeout_s=5))

    _, took_s = in_no_time(work())
    assert took_s <= 5
    assert len(transport.requests) == 5


def test_a_refused_connection_is_tried_again_a_few_times() -> None:
    notes = Notes()
    transport = ScriptedTransport(REFUSED, REFUSED, answer())
    _, took_s = in_no_time(caller(transport, notes=notes).call(request("PUT")))
    assert took_s == pytest.approx(0.3)
    assert notes.codes == ["<error>", "<error>", "200"]


@pytest.mark.parametrize(
    ("outcome", "expected"),
    [
        pytest.param(refusal(409, "Conflict"), Conflict, id="conflict"),
        pytest.param(refusal(403, "Forbidden"), Forbidden, id="forbidden"),
        pytest.param(Unreachable("lost", kind="reset", sent=True), Unreachable, id="reply-lost"),
    ],
)
def test_everything_else_is_the_callers_to_judge(outcome: Any, expected: type[Exception]) -> None:
    transport = ScriptedTransport(outcome)

    async def work() -> None:
        with pytest.raises(expected):
            await caller(transport).call(request("PATCH"))

    in_no_time(work())
    assert len(transport.requests) == 1


def test_a_redirect_is_no_answer() -> None:
    async def work() -> None:
        with pytest.raises(Exception, match="302"):
            await caller(ScriptedTransport(answer(302))).call(request())

    in_no_time(work())


def test_retries_take_their_turn_as_well() -> None:
    notes = Notes()
    transport = ScriptedTransport(refusal(429, "x", retry_after="1"), answer())
    in_no_time(caller(transport, notes=notes, limiter=Limiter(0.25, 1)).call(request()))
    assert transport.times_s == pytest.approx([0, 4])
    assert notes.waits_s == pytest.approx([3])


def test_a_warning_of_the_server_is_logged_once(capsys: pytest.CaptureFixture[str]) -> None:
    warning = '299 - "v1beta1 is deprecated"'
    transport = ScriptedTransport(answer(warning=warning), answer(warning=warning))

    async def work() -> None:
        for _ in range(2):
            await sender.call(request())

    sender = caller(transport)
    in_no_time(work())
    assert capsys.readouterr().err.count("v1beta1 is deprecated") == 1


def test_a_stream_is_opened_once_and_counted() -> None:
    notes = Notes()
    transport = ScriptedTransport(chunks=[b"a", b"b"])

    async def work(sender: Caller) -> list[bytes]:
        async with sender.stream(request()) as chunks:
            return [chunk async for chunk in chunks]

    chunks, _ = in_no_time(work(caller(transport, notes=notes)))
    assert chunks == [b"a", b"b"]
    assert notes.codes == ["200"]
    refusing = ScriptedTransport(REFUSED)
    with pytest.raises(Unreachable):
        in_no_time(work(caller(refusing, notes=notes)))
    assert notes.codes == ["200", "<error>"]
    assert len(refusing.requests) == 1
