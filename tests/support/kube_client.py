"""What tests of the Kubernetes client need: a transport that says what a test told it, and time that flies."""

from __future__ import annotations

import asyncio
import contextlib
import json
import selectors
from collections.abc import AsyncIterator, Coroutine, Sequence
from typing import Any, TypeVar

from moorage.kube.errors import KubeError
from moorage.kube.transport import Request, Response

T = TypeVar("T")
Outcome = Response | KubeError


def answer(status: int = 200, body: object = None, **headers: str) -> Response:
    """A response with `body` as JSON; underscores in header names become dashes."""
    names = {name.replace("_", "-"): value for name, value in headers.items()}
    return Response(status, names, body if isinstance(body, bytes) else json.dumps(body or {}).encode())


def refusal(status: int, reason: str, message: str = "no", **headers: str) -> Response:
    """A metav1.Status as a response."""
    return answer(status, {"kind": "Status", "reason": reason, "message": message, "code": status}, **headers)


class ScriptedTransport:
    """Answers requests with `outcomes` in order and keeps the requests; streams give `chunks`."""

    def __init__(self, *outcomes: Outcome, chunks: Sequence[bytes] = (), takes_s: float = 0.0) -> None:
        self.requests: list[Request] = []
        self.times_s: list[float] = []
        self.closed = False
        self._outcomes = list(outcomes)
        self._chunks = chunks
        self._takes_s = takes_s

    async def request(self, request: Request) -> Response:
        self.requests.append(request)
        self.times_s.append(asyncio.get_running_loop().time())
        await asyncio.sleep(self._takes_s)
        outcome = self._outcomes.pop(0)
        if isinstance(outcome, KubeError):
            raise outcome
        return outcome

    @contextlib.asynccontextmanager
    async def stream(self, request: Request) -> AsyncIterator[AsyncIterator[bytes]]:
        self.requests.append(request)
        if self._outcomes and isinstance(error := self._outcomes.pop(0), KubeError):
            raise error
        yield self._give()

    async def close(self) -> None:
        self.closed = True

    async def _give(self) -> AsyncIterator[bytes]:
        for chunk in self._chunks:
            yield chunk


class _Leap(selectors.SelectSelector):
    """Instead of waiting it says how long it would have waited."""

    def __init__(self) -> None:
        super().__init__()
        self.now_s = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready = super().select(0)
        if not ready and timeout is None:
            raise RuntimeError("every task waits for something that will never come")
        if not ready and timeout:
            self.now_s += timeout
        return ready


class _LeapingLoop(asyncio.SelectorEventLoop):
    def __init__(self) -> None:
        self._leap = _Leap()
        super().__init__(self._leap)

    def time(self) -> float:
        return self._leap.now_s


def in_no_time(work: Coroutine[Any, Any, T]) -> tuple[T, float]:
    """Run `work` on a loop whose sleeps cost nothing; its result and the seconds it believes to have taken."""
    with asyncio.Runner(loop_factory=_LeapingLoop) as runner:
        result = runner.run(work)
        return result, runner.get_loop().time()
