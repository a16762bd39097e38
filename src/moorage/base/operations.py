"""Running operations that outlive the call which started them.

A caller has a deadline; the work behind it often cannot be stopped half way. An operation is therefore a
task of its own: when the caller goes away it runs on, and a repeated call with the same key and the same
request joins it instead of starting the work a second time. Results are not kept: once an operation has
ended, the next call starts anew and must find out by itself what is already there.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, TypeVar

from moorage.base.clock import Clock, SystemClock
from moorage.base.log import get_logger

T = TypeVar("T")

_log = get_logger(__name__)


class Busy(Exception):
    """The key is in use by an operation for a different request."""

    def __init__(self, describe: str, age_s: float) -> None:
        super().__init__(describe, age_s)
        self.describe = describe
        self.age_s = age_s

    def __str__(self) -> str:
        return f"{self.describe} has been running for {self.age_s:.1f} s; try again when it has finished"


class Overloaded(Exception):
    """As many operations run as may run at once."""

    def __init__(self, limit: int) -> None:
        super().__init__(limit)
        self.limit = limit

    def __str__(self) -> str:
        return f"{self.limit} operations are running, which is the limit; try again later"


class OperationInterrupted(Exception):
    """The operation itself was cancelled while a caller waited for it; its outcome is unknown."""

    def __init__(self, describe: str) -> None:
        super().__init__(describe)
        self.describe = describe

    def __str__(self) -> str:
        return f"{self.describe} was interrupted before it ended; repeat the call to learn its outcome"


@dataclass(frozen=True, slots=True)
class RunningOperation:
    """One row of the registry; `waiters` is how many callers wait for the result, 0 when all have left."""

    key: str
    describe: str
    age_s: float
    waiters: int


@dataclass(slots=True, eq=False)
class _Operation:
    key: str
    fingerprint: bytes | str
    describe: str
    started_s: float
    waiters: int = 0
    surroundings: contextlib.ExitStack = field(default_factory=contextlib.ExitStack)
    task: asyncio.Task[Any] = field(init=False)


class Operations:
    """The registry of running operations of one event loop; `limit` bounds how many run at once."""

    def __init__(self, *, limit: int = 1000, clock: Clock | None = None) -> None:
        self._limit = limit
        self._clock = clock or SystemClock()
        self._running: dict[str, _Operation] = {}

    def __len__(self) -> int:
        return len(self._running)

    async def run(
        self,
        key: str,
        fingerprint: bytes | str,
        *,
        describe: str,
        factory: Callable[[], Awaitable[T]],
        within: contextlib.AbstractContextManager[object] | None = None,
    ) -> T:
        """The result of `factory()`, run as a task under `key`, or of the same operation already running.

        `within` is entered when the task is made and left when its failure, if need be, has been logged.
        Cancelling the caller leaves the operation running. Raises what the operation raises, Busy when
        `key` runs with another `fingerprint`, Overloaded at the limit, OperationInterrupted when the task
        was cancelled.
        """
        operation = self._running.get(key)
        if operation is None:
            operation = self._start(key, fingerprint, describe=describe, factory=factory, within=within)
        elif operation.fingerprint != fingerprint:
            raise Busy(operation.describe, self._clock.monotonic() - operation.started_s)
        operation.waiters += 1
        try:
            await asyncio.wait([operation.task])
        except asyncio.CancelledError:
            operation.waiters -= 1
            if operation.task.done():  # it ended in the very moment of the cancellation
                _report_unattended(operation)
            raise
        operation.waiters -= 1
        if operation.task.cancelled():
            raise OperationInterrupted(operation.describe)
        result: T = operation.task.result()
        return result

    def snapshot(self) -> list[RunningOperation]:
        """The running operations, oldest first."""
        now = self._clock.monotonic()
        oldest_first = sorted(self._running.values(), key=lambda operation: operation.started_s)
        return [RunningOperation(op.key, op.describe, now - op.started_s, op.waiters) for op in oldest_first]

    async def drain(self, timeout_s: float) -> list[RunningOperation]:
        """Wait until nothing runs, at most `timeout_s`; returns what still runs then and is left to run."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                while self._running:
                    await asyncio.wait([operation.task for operation in self._running.values()])
                    await asyncio.sleep(0)  # the callbacks that empty the registry run now
        return self.snapshot()

    def _start(
        self,
        key: str,
        fingerprint: bytes | str,
        *,
        describe: str,
        factory: Callable[[], Awaitable[Any]],
        within: contextlib.AbstractContextManager[object] | None,
    ) -> _Operation:
        if len(self._running) >= self._limit:
            raise Overloaded(self._limit)

        async def body() -> Any:
            return await factory()

        operation = _Operation(key, fingerprint, describe, self._clock.monotonic())
        if within is not None:
            operation.surroundings.enter_context(within)
        operation.task = asyncio.create_task(body(), name=f"operation {key}")
        self._running[key] = operation
        operation.task.add_done_callback(lambda _: self._ended(operation))
        return operation

    def _ended(self, operation: _Operation) -> None:
        del self._running[operation.key]
        with operation.surroundings:
            _report_unattended(operation)


def _report_unattended(operation: _Operation) -> None:
    """Log the failure of an operation whose callers have all left, so that it is not lost."""
    error = None if operation.task.cancelled() else operation.task.exception()  # reading it also marks it seen
    if operation.waiters:
        return
    values = {"key": operation.key, "operation": operation.describe}
    if operation.task.cancelled():
        _log.warning("operation.interrupted", **values)
    elif error is not None:
        _log.error("operation.failed_unattended", error=str(error), exc_info=error, **values)
