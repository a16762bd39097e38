"""Blocking calls off the event loop, in bounded pools of daemon threads.

`concurrent.futures` joins its threads when the process exits, so one vendor call that hangs would keep the
process from ending. These threads are daemons. A function that was started is never interrupted: if its
caller is cancelled it runs on and still occupies its thread, because the work behind it is still going on.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import queue
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Any, ParamSpec, TypeAlias, TypeVar

from moorage.base.log import get_logger

P = ParamSpec("P")
T = TypeVar("T")

_log = get_logger(__name__)


class PoolClosed(RuntimeError):
    """The pool takes no more calls because it has been closed."""


class PoolFull(RuntimeError):
    """All threads are busy and as many calls wait as may wait."""


# How an idle thread gets its next call; None ends the thread.
_Doorbell: TypeAlias = "queue.SimpleQueue[_Job | None]"


class DaemonPool:
    """At most `size` daemon threads that serve calls in the order in which they came.

    `stuck_after_s` is the running time from which a call counts as stuck. `max_queued` bounds the waiting
    calls (None: no bound). Threads start when they are needed. Calls may come from several event loops.
    """

    def __init__(self, name: str, size: int, *, stuck_after_s: float = 60.0, max_queued: int | None = None) -> None:
        _require_size(size)
        self.name = name
        self.stuck_after_s = stuck_after_s
        self._size = size
        self._max_queued = max_queued
        self._lock = threading.Lock()
        self._waiting: deque[_Job] = deque()
        self._active: set[_Job] = set()
        self._threads = 0
        self._idle: list[_Doorbell] = []
        self._started = 0
        self._closed = False
        self._on_idle: list[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = []

    @property
    def size(self) -> int:
        return self._size

    @property
    def running(self) -> int:
        """How many calls run now."""
        return len(self._active)

    @property
    def queued(self) -> int:
        """How many calls wait for a thread."""
        return len(self._waiting)

    @property
    def stuck(self) -> int:
        """How many calls have been running for longer than `stuck_after_s`."""
        return sum(1 for _, age_s in self.snapshot() if age_s > self.stuck_after_s)

    def snapshot(self) -> list[tuple[str, float]]:
        """The running calls, oldest first: name of the function and its running time in seconds."""
        now = time.monotonic()
        with self._lock:
            return sorted(((job.label, now - job.started_s) for job in self._active), key=lambda row: -row[1])

    async def call(self, fn: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run `fn` in a thread of the pool, with the caller's context variables; returns what it returns.

        If the caller is cancelled while the call waits, `fn` never runs; if `fn` already runs, its result is
        dropped. Raises PoolClosed and PoolFull.
        """
        return await self.call_or_keep(fn, None, *args, **kwargs)

    async def call_or_keep(
        self,
        fn: Callable[P, T],
        on_late_result: Callable[[T], None] | None,
        /,
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> T:
        """Like `call`; a result that comes after the caller was cancelled goes to `on_late_result`.

        `on_late_result` runs in the thread of the pool, so it may block. Of late exceptions the type is logged.
        """
        job = _Job(lambda: fn(*args, **kwargs), fn, on_late_result)
        self._submit(job)
        try:
            result, error = await job.outcome
        except asyncio.CancelledError:
            with self._lock:
                job.unwanted = True
                with contextlib.suppress(ValueError):
                    self._waiting.remove(job)
            if job.outcome.done() and not job.outcome.cancelled():  # it ended in the very moment of the cancellation
                job.hand_over_aside(*job.outcome.result())
            raise
        if error is not None:
            raise error
        kept: T = result
        return kept

    def resize(self, size: int) -> None:
        """Change how many threads may run; surplus threads end when their call does."""
        _require_size(size)
        with self._lock:
            self._size = size
            while self._waiting and self._threads < size and self._start_thread(self._waiting[0]):
                self._waiting.popleft()
            surplus = max(0, self._threads - size)
            ending = [self._idle.pop() for _ in range(min(surplus, len(self._idle)))]
            self._threads -= len(ending)
        for doorbell in ending:
            doorbell.put(None)

    async def close(self, timeout_s: float) -> list[str]:
        """Refuse new calls, fail the waiting ones with PoolClosed, wait for the running ones.

        Returns the names of the functions that still run after `timeout_s`; they are left to themselves.
        """
        with self._lock:
            self._closed = True
            dropped, ending = list(self._waiting), list(self._idle)
            self._waiting.clear()
            self._idle.clear()
            self._threads -= len(ending)
        for doorbell in ending:
            doorbell.put(None)
        for job in dropped:
            job.deliver(None, self._refusal())
        idle = asyncio.Event()
        with self._lock:
            self._on_idle.append((asyncio.get_running_loop(), idle))
            if not self._active:
                idle.set()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                await idle.wait()
        return [label for label, _ in self.snapshot()]

    def _refusal(self) -> PoolClosed:
        return PoolClosed(f"thread pool {self.name} is closed; the process is shutting down")

    def _submit(self, job: _Job) -> None:
        with self._lock:
            if self._closed:
                raise self._refusal()
            if self._idle:
                doorbell = self._idle.pop()  # the one that ran last: its stack and caches are warm
                self._begin(job, doorbell)
            elif self._threads < self._size and self._start_thread(job):
                pass
            elif self._max_queued is not None and len(self._waiting) >= self._max_queued:
                raise PoolFull(
                    f"all {self._size} threads of pool {self.name} are busy and {len(self._waiting)} calls "
                    "wait already; try again later"
                )
            else:
                self._waiting.append(job)

    def _begin(self, job: _Job, doorbell: _Doorbell) -> None:
        job.started_s = time.monotonic()
        self._active.add(job)
        doorbell.put(job)

    def _start_thread(self, job: _Job) -> bool:
        """One more thread, and the call for it; False when the system has none and others can do the work."""
        doorbell: _Doorbell = queue.SimpleQueue()
        number = self._started + 1
        thread = threading.Thread(target=self._work, args=(doorbell,), name=f"{self.name}-{number}", daemon=True)
        try:
            thread.start()
        except BaseException:
            if not self._threads:
                raise
            return False
        self._started = number
        self._threads += 1
        self._begin(job, doorbell)
        return True

    def _work(self, doorbell: _Doorbell) -> None:
        """A thread: the calls that it is rung for, and after each what waits meanwhile."""
        while (job := doorbell.get()) is not None:
            while job is not None:
                job = self._serve(job, doorbell)

    def _serve(self, job: _Job, doorbell: _Doorbell) -> _Job | None:
        """Run a call; the next one, or None when it is rung for it.

        The outcome is delivered last: whoever waits for it should not find this thread in the way.
        """
        result, error = job.execute()
        with self._lock:
            self._active.discard(job)
            late = job.unwanted
            idle_waiters = [] if self._active else list(self._on_idle)
            following = None if late else self._next_job(doorbell)
        for loop, event in idle_waiters:
            with contextlib.suppress(RuntimeError):  # that loop is closed
                loop.call_soon_threadsafe(event.set)
        if not late:
            job.deliver(result, error)
            return following
        job.hand_over_late(result, error)
        with self._lock:
            return self._next_job(doorbell)

    def _next_job(self, doorbell: _Doorbell) -> _Job | None:
        if self._threads > self._size or (self._closed and not self._waiting):
            self._threads -= 1
            doorbell.put(None)
        elif self._waiting:
            job = self._waiting.popleft()
            job.started_s = time.monotonic()
            self._active.add(job)
            return job
        else:
            self._idle.append(doorbell)
        return None


class _Job:
    """One call on its way through the pool."""

    def __init__(
        self, body: Callable[[], Any], fn: Callable[..., Any], on_late_result: Callable[[Any], None] | None
    ) -> None:
        self.body = body
        self.label: str = getattr(fn, "__qualname__", None) or repr(fn)
        self.on_late_result = on_late_result
        self.context = contextvars.copy_context()
        self.loop = asyncio.get_running_loop()
        self.outcome: asyncio.Future[tuple[Any, BaseException | None]] = self.loop.create_future()
        self.unwanted = False
        self.started_s = 0.0

    def execute(self) -> tuple[Any, BaseException | None]:
        try:
            return self.context.run(self.body), None
        except StopIteration as error:  # a future cannot carry it
            wrapped = RuntimeError(f"{self.label} raised StopIteration")
            wrapped.__cause__ = error
            return None, wrapped
        except BaseException as error:
            return None, error

    def deliver(self, result: Any, error: BaseException | None) -> None:
        with contextlib.suppress(RuntimeError):  # the loop is closed, nobody waits
            self.loop.call_soon_threadsafe(self._settle, result, error)

    def _settle(self, result: Any, error: BaseException | None) -> None:
        if self.outcome.done():  # cancelled while the result was on its way
            self.hand_over_aside(result, error)
        else:
            self.outcome.set_result((result, error))

    def hand_over_aside(self, result: Any, error: BaseException | None) -> None:
        """`hand_over_late` in a thread of its own."""
        threading.Thread(target=self.hand_over_late, args=(result, error), daemon=True).start()

    def hand_over_late(self, result: Any, error: BaseException | None) -> None:
        if error is not None:
            # Its text may quote a secret, and whoever hid that from the log has gone with the caller.
            _log.warning("pool.late_failure", function=self.label, error=type(error).__name__)
        elif self.on_late_result is not None:
            try:
                self.context.run(self.on_late_result, result)
            except Exception as failure:
                _log.exception("pool.late_result_refused", function=self.label, exc_info=failure)


def _require_size(size: int) -> None:
    if size < 1:
        raise ValueError(f"a thread pool needs at least one thread, not {size}")
