"""Running operations that outlive the call which started them.

A caller has a deadline; the work behind it often cannot be stopped half way. An operation is therefore a
task of its own: when the caller goes away it runs on, and a repeated call with the same key and the same
request joins it instead of starting the work a second time. Results are not kept: once an operation has
ended, the next call starts anew and must find out by itself what is already there.

What can wait until the callers have their answer (a line in the log) is put off with `afterwards`.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
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


class _Operation:
    """One running operation; `seen` once a caller has learnt how it ended, `error` set unless it ended well."""

    __slots__ = (
        "closed",
        "describe",
        "error",
        "fingerprint",
        "key",
        "put_off",
        "result",
        "seen",
        "started_s",
        "surroundings",
        "task",
        "waiters",
    )

    def __init__(self, key: str, fingerprint: object, *, describe: str, started_s: float) -> None:
        self.key = key
        self.fingerprint = fingerprint
        self.describe = describe
        self.started_s = started_s
        self.waiters: list[asyncio.Future[None]] = []
        self.seen = False
        self.closed = False
        self.put_off: list[Callable[[], object]] = []
        self.surroundings: contextlib.AbstractContextManager[object] | None = None
        self.result: Any = None
        self.error: BaseException | None = None
        self.task: asyncio.Task[None]

    def close(self) -> None:
        """Do what was put off, and log a failure whose callers have all left, so that it is not lost."""
        self.closed = True
        try:
            for action in self.put_off:
                action()
            if self.error is not None and not self.seen:
                self._report()
        finally:
            if self.surroundings is not None:
                self.surroundings.__exit__(None, None, None)

    def _report(self) -> None:
        values = {"key": self.key, "operation": self.describe}
        if isinstance(self.error, OperationInterrupted):
            _log.warning("operation.interrupted", **values)
        else:
            _log.error("operation.failed_unattended", error=str(self.error), exc_info=self.error, **values)


_current: contextvars.ContextVar[_Operation | None] = contextvars.ContextVar("moorage_operation", default=None)


def afterwards(action: Callable[[], object]) -> None:
    """Run `action` when the callers of the operation that this code belongs to have their answer.

    It runs in the loop, with the context variables and the surroundings of the operation, also when all callers
    have left. Outside of operations it runs at once.
    """
    operation = _current.get()
    if operation is None or operation.closed:
        action()
    else:
        operation.put_off.append(action)


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
        fingerprint: object,
        *,
        describe: str,
        factory: Callable[[], Awaitable[T]],
        within: contextlib.AbstractContextManager[object] | None = None,
    ) -> T:
        """The result of `factory()`, run as a task under `key`, or of the same operation already running.

        The request is the same when the `fingerprint` is equal. `within` is entered when the task is made and left
        when what was put off is done and its failure, if need be, has been logged. Cancelling the caller leaves
        the operation running. Raises what the operation raises, Busy when `key` runs with another `fingerprint`,
        Overloaded at the limit, OperationInterrupted when the task was cancelled.
        """
        operation = self._running.get(key)
        if operation is None:
            operation = self._start(key, fingerprint, describe=describe, factory=factory, within=within)
        elif operation.fingerprint != fingerprint:
            raise Busy(operation.describe, self._clock.monotonic() - operation.started_s)
        waiter = asyncio.get_running_loop().create_future()
        operation.waiters.append(waiter)
        try:
            await waiter
        finally:
            operation.waiters.remove(waiter)
        operation.seen = True
        if operation.error is not None:
            raise operation.error
        result: T = operation.result
        return result

    def snapshot(self) -> list[RunningOperation]:
        """The running operations, oldest first."""
        now = self._clock.monotonic()
        oldest_first = sorted(self._running.values(), key=lambda operation: operation.started_s)
        return [RunningOperation(op.key, op.describe, now - op.started_s, len(op.waiters)) for op in oldest_first]

    async def drain(self, timeout_s: float) -> list[RunningOperation]:
        """Wait until nothing runs, at most `timeout_s`; returns what still runs then and is left to run."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                while self._running:
                    await asyncio.wait([operation.task for operation in self._running.values()])
                    await asyncio.sleep(0)  # what was put off is done now
        return self.snapshot()

    def _start(
        self,
        key: str,
        fingerprint: object,
        *,
        describe: str,
        factory: Callable[[], Awaitable[Any]],
        within: contextlib.AbstractContextManager[object] | None,
    ) -> _Operation:
        if len(self._running) >= self._limit:
            raise Overloaded(self._limit)

        async def body() -> None:
            try:
                operation.result = await factory()
            except Exception as error:
                operation.error = error
            self._ended(operation)

        loop = asyncio.get_running_loop()
        operation = _Operation(key, fingerprint, describe=describe, started_s=self._clock.monotonic())
        if within is not None:
            within.__enter__()
            operation.surroundings = within
        context = contextvars.copy_context()
        context.run(_current.set, operation)
        operation.task = loop.create_task(body(), name=f"operation {key}", context=context)
        operation.task.add_done_callback(lambda task: self._torn_down(operation, task), context=context)
        self._running[key] = operation
        return operation

    def _torn_down(self, operation: _Operation, task: asyncio.Task[None]) -> None:
        """The task is over; if it was cancelled, or left by more than an error, nobody knows yet."""
        cause = None if task.cancelled() else task.exception()
        if self._running.get(operation.key) is operation:
            operation.error = cause or OperationInterrupted(operation.describe)
            self._ended(operation)

    def _ended(self, operation: _Operation) -> None:
        """Wake the callers; they run, in this order, before what was put off."""
        del self._running[operation.key]
        for waiter in operation.waiters:
            if not waiter.done():
                waiter.set_result(None)
        asyncio.get_running_loop().call_soon(operation.close)
