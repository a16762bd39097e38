"""The virtual clock wakes sleepers in order and lets no real time pass."""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime, timedelta

import pytest

from moorage.base.clock import Clock, SystemClock
from moorage.testing.clock import VirtualClock


async def test_system_clock_goes_forward_in_utc() -> None:
    clock: Clock = SystemClock()
    before = clock.monotonic()
    await clock.sleep(0.01)
    await clock.sleep(-1)
    assert clock.monotonic() - before >= 0.01
    assert abs(clock.wall_time() - datetime.now(UTC)) < timedelta(seconds=5)


async def test_sleepers_wake_in_order_of_deadline_then_of_arrival() -> None:
    clock = VirtualClock()
    woken: list[tuple[str, float]] = []

    async def sleeper(name: str, duration_s: float) -> None:
        await clock.sleep(duration_s)
        woken.append((name, clock.monotonic()))

    tasks = [asyncio.create_task(sleeper(*args)) for args in (("c", 3), ("a", 1), ("b1", 2), ("b2", 2))]
    began = time.monotonic()
    await clock.advance(3600)
    assert woken == [("a", 1), ("b1", 2), ("b2", 2), ("c", 3)]
    assert time.monotonic() - began < 5
    assert clock.monotonic() == 3600
    await asyncio.gather(*tasks)


async def test_loop_of_sleeps_sees_every_tick() -> None:
    clock = VirtualClock(start=datetime(2026, 5, 1, tzinfo=UTC))
    ticks: list[datetime] = []

    async def ticker() -> None:
        while True:
            await clock.sleep(10)
            ticks.append(clock.wall_time())

    task = asyncio.create_task(ticker())
    await clock.advance(35)
    assert [moment.second for moment in ticks] == [10, 20, 30]
    assert (clock.sleepers, clock.next_wakeup_s()) == (1, 5)
    task.cancel()
    await asyncio.wait([task])
    assert (clock.sleepers, clock.next_wakeup_s()) == (0, None)


async def test_time_stands_still_until_moved() -> None:
    clock = VirtualClock()
    task = asyncio.create_task(clock.sleep(0.001))
    await clock.settle()
    assert not task.done()
    clock.shift(0.0005)
    await clock.settle()
    assert not task.done()
    assert await clock.advance_to_next() == pytest.approx(0.0005)
    await task


async def test_impossible_moves_are_refused() -> None:
    clock = VirtualClock()
    with pytest.raises(ValueError, match="cannot go back by 1 s"):
        clock.shift(-1)
    with pytest.raises(RuntimeError, match="no task sleeps"):
        await clock.advance_to_next()
