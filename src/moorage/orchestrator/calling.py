"""One RPC and its repetition: which errors are worth another call, how long to pause, and when to give up.

A call is repeated while its error is not final (specification: ABORTED, CANCELLED, DEADLINE_EXCEEDED,
UNAVAILABLE), with growing pauses and up to a total time; a final error stops. Knows nothing of plans or records.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol, TypeVar

from msgspec import Struct

from moorage.base.backoff import Backoff
from moorage.base.clock import Clock, SystemClock
from moorage.orchestrator.model import OrchestratorError
from moorage.spec.errors import CsiError
from moorage.spec.rules import RPCS

ResponseT = TypeVar("ResponseT", bound=Struct)


class Unary(Protocol):
    """The one thing that is asked of a client here; `moorage.rpc.Client` is the real one."""

    async def unary(
        self, rpc_name: str, request: Struct, response_type: type[ResponseT], *, timeout_s: float | None
    ) -> ResponseT:
        """Make a call with one answer; raises CsiError."""
        ...


class Progress(Protocol):
    """Who is told how the work goes; durations in seconds."""

    def started(self, rpc: str, subject: str) -> None:
        """A call begins."""
        ...

    def retrying(self, rpc: str, error: CsiError, *, delay_s: float) -> None:
        """A call failed in a way that is worth repeating, and will be after `delay_s`."""
        ...

    def finished(self, rpc: str, subject: str, *, elapsed_s: float) -> None:
        """A call succeeded."""
        ...

    def note(self, text: str) -> None:
        """Something the user should know."""
        ...


class Silent:
    """Progress for nobody."""

    def started(self, rpc: str, subject: str) -> None:
        """Ignored."""

    def retrying(self, rpc: str, error: CsiError, *, delay_s: float) -> None:
        """Ignored."""

    def finished(self, rpc: str, subject: str, *, elapsed_s: float) -> None:
        """Ignored."""

    def note(self, text: str) -> None:
        """Ignored."""


class CallFailed(OrchestratorError):
    """A call ended with a final error; `error` is what the driver answered."""

    def __init__(self, message: str, *, rpc: str, error: CsiError) -> None:
        super().__init__(message)
        self.rpc = rpc
        self.error = error


class CallUnfinished(CallFailed):
    """The time was up before a call had a final answer; it may still be running in the driver."""


@dataclass(frozen=True, slots=True)
class Patience:
    """How long to go on: `limit_s` for one command, `call_s` for one call, `ready_s` for a driver to be up."""

    limit_s: float = 300.0
    call_s: float = 60.0
    ready_s: float = 10.0
    backoff: Backoff = field(default_factory=lambda: Backoff(initial_s=1.0, maximum_s=30.0, jitter=0.1))


@dataclass(frozen=True, slots=True)
class Caller:
    """Calls one driver and repeats what may be repeated, until `deadline_s` on the clock."""

    calls: Unary
    patience: Patience
    deadline_s: float
    clock: Clock = field(default_factory=SystemClock)
    progress: Progress = field(default_factory=Silent)

    async def call(self, rpc: str, request: Struct, subject: str) -> Struct:
        """The answer to one RPC about `subject`, such as "volume 'data'".

        Raises CallFailed for a final error and CallUnfinished when the time is up.
        """
        self.progress.started(rpc, subject)
        for delay_s in self.patience.backoff.delays_s():
            begun_s = self.clock.monotonic()
            call_s = max(min(self.patience.call_s, self.deadline_s - begun_s), 0.001)
            try:
                answer = await self.calls.unary(rpc, request, RPCS[rpc].response, timeout_s=call_s)
            except CsiError as error:
                await self._pause(rpc, subject, error, delay_s)
            else:
                self.progress.finished(rpc, subject, elapsed_s=self.clock.monotonic() - begun_s)
                return answer
        raise AssertionError("the backoff schedule has no end")

    async def wait(self, subject: str, delay_s: float) -> None:
        """Pause before asking again about something that is not ready. Raises OrchestratorError at the deadline."""
        if self.clock.monotonic() + delay_s >= self.deadline_s:
            raise OrchestratorError(
                f"{subject} is not ready after {self.patience.limit_s:g} s; run the same command again to go on waiting"
            )
        self.progress.note(f"{subject} is not ready yet")
        await self.clock.sleep(delay_s)

    async def _pause(self, rpc: str, subject: str, error: CsiError, delay_s: float) -> None:
        if error.final:
            text = f"{rpc} of {subject} failed with {error.code.name}: {error.message}"
            raise CallFailed(text, rpc=rpc, error=error) from error
        if self.clock.monotonic() + delay_s >= self.deadline_s:
            text = (
                f"{rpc} of {subject} has no final answer after {self.patience.limit_s:g} s and may still be "
                f"running; run the same command again to go on ({error.code.name}: {error.message})"
            )
            raise CallUnfinished(text, rpc=rpc, error=error) from error
        self.progress.retrying(rpc, error, delay_s=delay_s)
        await self.clock.sleep(delay_s)
