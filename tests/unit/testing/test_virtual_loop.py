"""Time on a virtual loop: it costs nothing, keeps its order, and a hang is an error."""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from moorage.testing.clock import LoopClock, Stuck, VirtualLoop, run_virtual


def test_a_day_passes_at_once() -> None:
    async def work() -> float:
        loop = asyncio.get_running_loop()
        await asyncio.sleep(86_400)
        return loop.time()

    started_s = time.monotonic()
    assert run_virtual(work()) == 86_400
    assert time.monotonic() - started_s < 5


@settings(max_examples=30, deadline=None)
@given(delays_s=st.lists(st.floats(0, 1e6), min_size=1, max_size=20))
def test_sleepers_wake_in_the_order_of_their_deadlines(delays_s: list[float]) -> None:
    woken: list[tuple[float, int]] = []

    async def sleeper(number: int, delay_s: float) -> None:
        await asyncio.sleep(delay_s)
        woken.append((delay_s, number))

    async def work() -> None:
        async with asyncio.TaskGroup() as group:
            for number, delay_s in enumerate(delays_s):
                group.create_task(sleeper(number, delay_s))

    run_virtual(work())
    assert [delay_s for delay_s, _ in woken] == sorted(delays_s)


def test_a_timeout_strikes_at_its_time() -> None:
    async def work() -> float:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(30):
                await asyncio.Event().wait()
        return asyncio.get_running_loop().time()

    assert run_virtual(work()) == 30


def test_waiting_for_nothing_is_an_error() -> None:
    async def work() -> None:
        await asyncio.Event().wait()

    with pytest.raises(Stuck, match="every task waits"):
        run_virtual(work())


def test_what_repeats_itself_for_ever_is_an_error() -> None:
    async def work() -> None:
        while True:
            await asyncio.sleep(10)

    with pytest.raises(Stuck, match="3600 s"):
        run_virtual(work(), limit_s=3600)


def test_the_clock_of_the_loop_follows_it() -> None:
    start = datetime(2030, 5, 1, tzinfo=UTC)
    clock = LoopClock(start=start)
    assert clock.wall_time() == start

    async def work() -> None:
        await clock.sleep(90)
        assert clock.monotonic() == 90
        assert clock.wall_time() == start + timedelta(seconds=90)
        await clock.sleep(-1)
        assert clock.monotonic() == 90

    run_virtual(work())


def test_errors_of_the_work_come_out() -> None:
    async def work() -> None:
        await asyncio.sleep(1)
        raise LookupError("mine")

    with pytest.raises(LookupError, match="mine"):
        run_virtual(work())


def test_a_loop_can_be_driven_by_hand() -> None:
    loop = VirtualLoop()
    try:
        assert loop.run_until_complete(asyncio.wait_for(asyncio.sleep(5, "done"), 6)) == "done"
        assert loop.time() == 5
    finally:
        loop.close()
