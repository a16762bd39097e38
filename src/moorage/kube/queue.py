"""Which keys are to be worked on: each at most once in the queue and at most once at work.

A key that is added while it is being worked on comes again afterwards. Failures of a key delay it
exponentially, and all retries together pass a bucket, as in client-go. Keys of higher priority come first, in
the order of their arrival within one priority. There is one timer, and none while nothing is delayed.
"""

from __future__ import annotations

import asyncio
import contextlib
import heapq
import itertools
from collections import deque
from collections.abc import Hashable
from dataclasses import dataclass
from typing import Final, Generic, Protocol, TypeVar

from moorage.base.backoff import Backoff
from moorage.kube.limiter import TokenBucket

__all__ = ["LOW", "NORMAL", "Queue", "QueueClosed", "QueueObserver", "Retries"]

K = TypeVar("K", bound=Hashable)

NORMAL: Final = 0
LOW: Final = -100
"""The priority of objects seen for the first time after a start, and of resyncs."""


class QueueClosed(Exception):
    """The queue gives no more keys."""


@dataclass(frozen=True, slots=True)
class Retries:
    """When failed keys come again: the later of what the key's own failures and the bucket of all keys say.

    The defaults are client-go's: 5 ms doubled up to 1000 s, and 10 a second after a burst of 100. A `qps` of
    None means no bucket.
    """

    initial_s: float = 0.005
    maximum_s: float = 1000.0
    qps: float | None = 10.0
    burst: int = 100


class QueueObserver(Protocol):
    """Is told what happens in a queue; times are seconds."""

    def added(self) -> None: ...
    def retried(self) -> None: ...
    def started(self, waited_s: float) -> None: ...
    def finished(self, worked_s: float) -> None: ...


class _Unobserved:
    __slots__ = ()

    def added(self) -> None:
        pass

    def retried(self) -> None:
        pass

    def started(self, waited_s: float) -> None:
        pass

    def finished(self, worked_s: float) -> None:
        pass


@dataclass(slots=True)
class _Entry:
    priority: int
    order: int
    since_s: float


class Queue(Generic[K]):
    """Keys for workers of one event loop."""

    def __init__(self, name: str, *, retries: Retries = Retries(), observer: QueueObserver | None = None) -> None:
        """`name` is that of the metrics."""
        self.name = name
        self._backoff = Backoff(retries.initial_s, retries.maximum_s)
        self._retries = retries
        self._bucket: TokenBucket | None = None
        self._observer: QueueObserver = observer or _Unobserved()
        self._order = itertools.count()
        self._queued: dict[K, _Entry] = {}
        self._heap: list[tuple[int, int, K]] = []
        self._again: dict[K, _Entry] = {}
        self._running: dict[K, float] = {}
        self._delayed: dict[K, tuple[float, int]] = {}
        self._timers: list[tuple[float, int, K]] = []
        self._timer: asyncio.TimerHandle | None = None
        self._failures: dict[K, int] = {}
        self._waiters: deque[asyncio.Future[None]] = deque()
        self._closed = False

    def __len__(self) -> int:
        """How many keys are ready to be worked on."""
        return len(self._queued)

    @property
    def delayed(self) -> int:
        """How many keys wait for their time."""
        return len(self._delayed)

    @property
    def running_since_s(self) -> list[float]:
        """When the work on each key that is at work began, in the time of the event loop."""
        return list(self._running.values())

    def add(self, key: K, *, priority: int = NORMAL) -> None:
        """Have `key` worked on; when it is in the queue, it only gains the higher priority."""
        if self._closed:
            return
        if (held := self._queued.get(key) or self._again.get(key)) is not None:
            if priority > held.priority:
                held.priority = priority
                if key in self._queued:
                    heapq.heappush(self._heap, (-priority, held.order, key))
            return
        entry = _Entry(priority, next(self._order), self._now_s())
        self._observer.added()
        if key in self._running:
            self._again[key] = entry
        else:
            self._enqueue(key, entry)

    def add_after(self, key: K, delay_s: float, *, priority: int = NORMAL) -> None:
        """Add `key` in `delay_s` seconds; of several times the earliest holds."""
        if self._closed:
            return
        self._observer.retried()
        if delay_s <= 0:
            self.add(key, priority=priority)
            return
        due_s = self._now_s() + delay_s
        if (held := self._delayed.get(key)) is not None:
            priority = max(priority, held[1])
            if held[0] <= due_s:
                self._delayed[key] = (held[0], priority)
                return
        self._delayed[key] = (due_s, priority)
        heapq.heappush(self._timers, (due_s, next(self._order), key))
        self._set_timer()

    def retry(self, key: K, *, priority: int = NORMAL) -> float:
        """Add `key` after the delay of one more failure; returns the delay in seconds."""
        failures = self._failures.get(key, 0)
        self._failures[key] = failures + 1
        delay_s = self._backoff.delay_s(failures)
        if self._retries.qps is not None:
            now_s = self._now_s()
            if self._bucket is None:
                self._bucket = TokenBucket(self._retries.qps, self._retries.burst, now_s=now_s)
            delay_s = max(delay_s, self._bucket.take(now_s))
        self.add_after(key, delay_s, priority=priority)
        return delay_s

    def forget(self, key: K) -> None:
        """The failures of `key` no longer count."""
        self._failures.pop(key, None)

    def failures(self, key: K) -> int:
        """How often `key` was retried since it was forgotten."""
        return self._failures.get(key, 0)

    def due_in_s(self, key: K) -> float | None:
        """Seconds until a delayed `key` comes, None when it is not delayed."""
        held = self._delayed.get(key)
        return None if held is None else max(0.0, held[0] - self._now_s())

    async def get(self) -> K:
        """The next key; `done` must be called when the work on it has ended. Raises QueueClosed."""
        while not self._queued:
            if self._closed:
                raise QueueClosed(f"queue {self.name} is closed")
            waiter = asyncio.get_running_loop().create_future()
            self._waiters.append(waiter)
            try:
                await waiter
            except asyncio.CancelledError:
                with contextlib.suppress(ValueError):
                    self._waiters.remove(waiter)
                if not waiter.cancelled() and self._queued:
                    self._wake()
                raise
        key, entry = self._pop()
        now_s = self._now_s()
        self._running[key] = now_s
        self._observer.started(now_s - entry.since_s)
        return key

    def done(self, key: K) -> None:
        """The work on `key` has ended; if it was added meanwhile, it is in the queue again."""
        self._observer.finished(self._now_s() - self._running.pop(key))
        if (entry := self._again.pop(key, None)) is not None and not self._closed:
            self._enqueue(key, entry)

    def close(self) -> None:
        """Give no more keys; work that has begun may go on. What waits is dropped: the next start finds it."""
        self._closed = True
        self._queued.clear()
        self._heap.clear()
        self._again.clear()
        self._delayed.clear()
        self._timers.clear()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        while self._waiters:
            self._wake()

    def _enqueue(self, key: K, entry: _Entry) -> None:
        self._queued[key] = entry
        heapq.heappush(self._heap, (-entry.priority, entry.order, key))
        self._wake()

    def _pop(self) -> tuple[K, _Entry]:
        while True:
            priority, order, key = heapq.heappop(self._heap)
            entry = self._queued.get(key)
            if entry is not None and (-entry.priority, entry.order) == (priority, order):
                del self._queued[key]
                return key, entry

    def _wake(self) -> None:
        while self._waiters:
            waiter = self._waiters.popleft()
            if not waiter.done():
                waiter.set_result(None)
                return

    def _set_timer(self) -> None:
        due_s = self._timers[0][0]
        if self._timer is None or self._timer.when() > due_s:
            if self._timer is not None:
                self._timer.cancel()
            self._timer = asyncio.get_running_loop().call_at(due_s, self._ring)

    def _ring(self) -> None:
        self._timer = None
        now_s = self._now_s()
        while self._timers and self._timers[0][0] <= now_s:
            due_s, _, key = heapq.heappop(self._timers)
            held = self._delayed.get(key)
            if held is not None and held[0] == due_s:
                del self._delayed[key]
                self.add(key, priority=held[1])
        while self._timers and self._delayed.get(self._timers[0][2], (None,))[0] != self._timers[0][0]:
            heapq.heappop(self._timers)
        if self._timers:
            self._set_timer()

    @staticmethod
    def _now_s() -> float:
        return asyncio.get_running_loop().time()
