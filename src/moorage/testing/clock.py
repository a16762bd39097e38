"""Time that passes only in tests: a clock that stands still until it is moved, and an event loop that never waits.

With `VirtualClock` a test moves time by hand, for code that takes a Clock. Sleepers wake in the order of their
deadlines and, for equal deadlines, in the order in which they fell asleep. Between two deadlines every woken task
runs until it waits again, so a task that sleeps in a loop sees each tick.

With `VirtualLoop`, or `run_virtual`, time moves by itself: when every task waits, the loop jumps to the next
timer. That is for code that uses timers of asyncio itself. Real I/O and threads have no place there.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
import selectors
from collections.abc import Coroutine
from datetime import UTC, datetime, timedelta
from typing import Any, Final, TypeVar

__all__ = ["LoopClock", "Stuck", "VirtualClock", "VirtualLoop", "run_virtual"]

T = TypeVar("T")

START: Final = datetime(2026, 1, 1, tzinfo=UTC)
_DAY_S: Final = 86_400.0


class VirtualClock:
    """A `Clock` whose time passes only through `advance` and `shift`; for use inside one event loop."""

    def __init__(self, *, start: datetime = START, settle_rounds: int = 50) -> None:
        """`settle_rounds` is how many turns of the event loop woken tasks get before time moves on."""
        self._start = start
        self._elapsed_s = 0.0
        self._settle_rounds = settle_rounds
        self._order = itertools.count()
        self._timers: list[tuple[float, int, asyncio.Future[None]]] = []

    def monotonic(self) -> float:
        return self._elapsed_s

    def wall_time(self) -> datetime:
        return self._start + timedelta(seconds=self._elapsed_s)

    async def sleep(self, duration_s: float) -> None:
        if duration_s <= 0:
            await asyncio.sleep(0)
            return
        wakeup: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        heapq.heappush(self._timers, (self._elapsed_s + duration_s, next(self._order), wakeup))
        await wakeup

    @property
    def sleepers(self) -> int:
        """How many tasks sleep on this clock now."""
        return sum(1 for _, _, wakeup in self._timers if not wakeup.done())

    def next_wakeup_s(self) -> float | None:
        """Seconds from now to the next deadline, or None when nobody sleeps."""
        self._drop_finished()
        return self._timers[0][0] - self._elapsed_s if self._timers else None

    async def settle(self) -> None:
        """Let every runnable task run until it waits for something."""
        for _ in range(self._settle_rounds):
            await asyncio.sleep(0)

    async def advance(self, duration_s: float) -> None:
        """Move time forward, waking sleepers at their deadlines and letting them run in between."""
        _require_forward(duration_s)
        await self.settle()
        target_s = self._elapsed_s + duration_s
        while (deadline_s := self._next_deadline_s()) is not None and deadline_s <= target_s:
            self._elapsed_s = deadline_s
            self._wake_due()
            await self.settle()
        self._elapsed_s = target_s

    async def advance_to_next(self) -> float:
        """Move time to the next deadline; returns the seconds passed, RuntimeError if nobody sleeps."""
        await self.settle()
        step_s = self.next_wakeup_s()
        if step_s is None:
            raise RuntimeError("no task sleeps on this clock, so there is no next deadline to advance to")
        await self.advance(step_s)
        return step_s

    def shift(self, duration_s: float) -> None:
        """Move time forward at once, from code that is not a task; due sleepers run later."""
        _require_forward(duration_s)
        self._elapsed_s += duration_s
        self._wake_due()

    def _next_deadline_s(self) -> float | None:
        self._drop_finished()
        return self._timers[0][0] if self._timers else None

    def _drop_finished(self) -> None:
        while self._timers and self._timers[0][2].done():
            heapq.heappop(self._timers)

    def _wake_due(self) -> None:
        while self._timers and self._timers[0][0] <= self._elapsed_s:
            wakeup = heapq.heappop(self._timers)[2]
            if not wakeup.done():
                wakeup.set_result(None)


def _require_forward(duration_s: float) -> None:
    if duration_s < 0:
        raise ValueError(f"time cannot go back by {-duration_s:g} s")


class Stuck(RuntimeError):
    """No task can ever go on, or virtual time ran past its limit; the message says which."""


class _JumpingSelector(selectors.SelectSelector):
    """Instead of waiting for the time that it is given, it says that this time has passed."""

    def __init__(self, limit_s: float) -> None:
        super().__init__()
        self.elapsed_s = 0.0
        self._limit_s = limit_s

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready = super().select(0)
        if ready or timeout == 0:
            return ready
        if timeout is None:
            raise Stuck("every task waits for something that no timer and no other task will bring about")
        self.elapsed_s += max(timeout, 0.0)
        if self.elapsed_s > self._limit_s:
            raise Stuck(f"virtual time has passed {self._limit_s:g} s; something repeats itself for ever")
        return ready


class VirtualLoop(asyncio.SelectorEventLoop):
    """An event loop whose sleeps cost nothing: with nothing to run it jumps to the next timer.

    Time begins at zero. When no task could ever go on, or after `limit_s` of virtual time, whoever runs the loop
    gets `Stuck` instead of hanging.
    """

    def __init__(self, *, limit_s: float = 30 * _DAY_S) -> None:
        self._jumping = _JumpingSelector(limit_s)
        super().__init__(self._jumping)
        self._clock_resolution = 1e-9

    def time(self) -> float:
        """Seconds of virtual time."""
        return self._jumping.elapsed_s


class LoopClock:
    """A `Clock` that is bound to the time of the running event loop; with a `VirtualLoop` all of it is virtual."""

    def __init__(self, *, start: datetime = START) -> None:
        """`start` is the wall time when the loop's time is zero."""
        self._start = start

    def monotonic(self) -> float:
        return asyncio.get_running_loop().time()

    def wall_time(self) -> datetime:
        try:
            elapsed_s = asyncio.get_running_loop().time()
        except RuntimeError:
            return self._start
        return self._start + timedelta(seconds=elapsed_s)

    async def sleep(self, duration_s: float) -> None:
        await asyncio.sleep(max(duration_s, 0))


def run_virtual(work: Coroutine[Any, Any, T], *, limit_s: float = 30 * _DAY_S) -> T:
    """Run `work` to its end on a new `VirtualLoop`, as `asyncio.run` does on a real one."""
    with asyncio.Runner(loop_factory=lambda: VirtualLoop(limit_s=limit_s)) as runner:
        return runner.run(work)
