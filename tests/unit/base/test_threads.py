"""Blocking calls run bounded and in order, and never keep the process or the loop."""

from __future__ import annotations

import asyncio
import contextvars
import subprocess
import sys
import threading
import time
import weakref
from collections.abc import AsyncIterator, Callable

import pytest

from moorage.base.threads import DaemonPool, PoolClosed, PoolFull

request_id = contextvars.ContextVar("request_id", default="none")


class Gate:
    """A blocking call that a test holds open."""

    def __init__(self) -> None:
        self.entered = threading.Event()
        self.opened = threading.Event()

    def pass_through(self, result: str = "through") -> str:
        self.entered.set()
        assert self.opened.wait(20)
        return result

    async def reached(self) -> None:
        await until(self.entered.is_set)


@pytest.fixture
async def pool() -> AsyncIterator[DaemonPool]:
    pool = DaemonPool("test", 1)
    yield pool
    assert await pool.close(5) == []


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0.001)


async def test_result_and_exception_come_back(pool: DaemonPool) -> None:
    assert await pool.call(divmod, 7, 2) == (3, 1)
    with pytest.raises(ZeroDivisionError):
        await pool.call(divmod, 7, 0)
    with pytest.raises(RuntimeError, match="raised StopIteration"):
        await pool.call(next, iter(()))


async def test_context_variables_reach_the_thread(pool: DaemonPool) -> None:
    request_id.set("r7")
    assert await pool.call(request_id.get) == "r7"


async def test_callers_are_served_in_order(pool: DaemonPool) -> None:
    gate, order = Gate(), list[int]()
    first = asyncio.create_task(pool.call(gate.pass_through))
    await gate.reached()
    others = [asyncio.create_task(pool.call(order.append, number)) for number in range(10)]
    await until(lambda: pool.queued == 10)
    assert pool.running == 1
    gate.opened.set()
    await asyncio.gather(first, *others)
    assert order == list(range(10))
    assert (pool.running, pool.queued) == (0, 0)


async def test_no_more_threads_than_its_size() -> None:
    pool, now, most, lock = DaemonPool("bounded", 3), 0, 0, threading.Lock()

    def work() -> None:
        nonlocal now, most
        with lock:
            now += 1
            most = max(most, now)
        time.sleep(0.002)
        with lock:
            now -= 1

    await asyncio.gather(*(pool.call(work) for _ in range(50)))
    assert most == 3
    assert await pool.close(5) == []


async def test_caller_cancelled_while_waiting_never_runs(pool: DaemonPool) -> None:
    gate, ran = Gate(), list[str]()
    first = asyncio.create_task(pool.call(gate.pass_through))
    await gate.reached()
    second = asyncio.create_task(pool.call(ran.append, "second"))
    await until(lambda: pool.queued == 1)
    second.cancel()
    await asyncio.wait([second])
    assert pool.queued == 0
    gate.opened.set()
    await first
    await pool.call(ran.append, "third")
    assert ran == ["third"]


async def test_cancelled_call_runs_on_and_its_late_result_is_handed_over(pool: DaemonPool) -> None:
    gate, late = Gate(), list[str]()
    task = asyncio.create_task(pool.call_or_keep(gate.pass_through, late.append, "device"))
    await gate.reached()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert pool.running == 1
    gate.opened.set()
    await until(lambda: late == ["device"])


async def test_the_text_of_a_late_failure_is_not_logged(pool: DaemonPool, capsys: pytest.CaptureFixture[str]) -> None:
    gate, told = Gate(), list[str]()

    def refused() -> None:
        gate.pass_through()
        raise LookupError("login with hunter2 failed")

    task = asyncio.create_task(pool.call(refused))
    await gate.reached()
    task.cancel()
    await asyncio.wait([task])
    gate.opened.set()
    await until(lambda: pool.running == 0)
    await pool.close(5)

    def is_told() -> bool:
        told.append(capsys.readouterr().err)
        return "pool.late_failure" in "".join(told)

    await until(is_told)
    assert "LookupError" in "".join(told)
    assert "hunter2" not in "".join(told)


async def test_a_call_without_a_thread_never_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    pool, ran = DaemonPool("poor", 1), list[str]()

    def refuse(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", refuse)
        with pytest.raises(RuntimeError, match="new thread"):
            await pool.call(ran.append, "refused")
    await pool.call(ran.append, "later")
    assert ran == ["later"]
    await pool.close(5)


async def test_stuck_calls_are_counted_and_named() -> None:
    pool, gate = DaemonPool("slow", 2, stuck_after_s=0.0), Gate()
    task = asyncio.create_task(pool.call(gate.pass_through))
    await gate.reached()
    await until(lambda: pool.stuck == 1)
    assert [label for label, _ in pool.snapshot()] == ["Gate.pass_through"]
    assert await pool.close(0.01) == ["Gate.pass_through"]
    gate.opened.set()
    assert await task == "through"
    assert await pool.close(5) == []


async def test_full_queue_refuses() -> None:
    pool, gate = DaemonPool("full", 1, max_queued=1), Gate()
    tasks = [asyncio.create_task(pool.call(gate.pass_through))]
    await gate.reached()
    tasks.append(asyncio.create_task(pool.call(gate.pass_through)))
    await until(lambda: pool.queued == 1)
    with pytest.raises(PoolFull, match="all 1 threads of pool full are busy and 1 calls wait"):
        await pool.call(gate.pass_through)
    gate.opened.set()
    await asyncio.gather(*tasks)
    await pool.close(5)


async def test_hung_pool_does_not_stop_another() -> None:
    hung, healthy, gate = DaemonPool("hung", 1), DaemonPool("healthy", 1), Gate()
    task = asyncio.create_task(hung.call(gate.pass_through))
    await gate.reached()
    assert await healthy.call(str, 5) == "5"
    gate.opened.set()
    await task
    await asyncio.gather(hung.close(5), healthy.close(5))


async def test_close_fails_the_waiting_and_refuses_the_new() -> None:
    pool, gate = DaemonPool("closing", 1), Gate()
    first = asyncio.create_task(pool.call(gate.pass_through))
    await gate.reached()
    second = asyncio.create_task(pool.call(gate.pass_through))
    await until(lambda: pool.queued == 1)
    assert await pool.close(0.01) == ["Gate.pass_through"]
    with pytest.raises(PoolClosed):
        await second
    with pytest.raises(PoolClosed):
        await pool.call(str)
    gate.opened.set()
    await first


async def test_resize_up_serves_the_queue_and_down_ends_threads(pool: DaemonPool) -> None:
    gate = Gate()
    tasks = [asyncio.create_task(pool.call(gate.pass_through)) for _ in range(3)]
    await until(lambda: pool.queued == 2)
    pool.resize(3)
    await until(lambda: pool.running == 3)
    pool.resize(1)
    gate.opened.set()
    await asyncio.gather(*tasks)
    await until(lambda: sum(thread.name.startswith("test-") for thread in threading.enumerate()) == 1)
    with pytest.raises(ValueError, match="at least one thread"):
        pool.resize(0)


def test_process_ends_while_a_call_hangs() -> None:
    code = """
import asyncio, threading
from moorage.base.threads import DaemonPool
async def main():
    pool, entered = DaemonPool("p", 1), threading.Event()
    task = asyncio.create_task(pool.call(lambda: (entered.set(), threading.Event().wait())))
    while not entered.is_set():
        await asyncio.sleep(0.001)
    task.cancel()
    await asyncio.wait([task])
asyncio.run(main())
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=20, check=False)
    assert (done.returncode, done.stderr) == (0, "")


async def test_an_idle_thread_keeps_nothing_alive(pool: DaemonPool) -> None:
    class Argument:
        """Something that can be told to be gone."""

    argument = Argument()
    gone = weakref.ref(argument)
    await pool.call(lambda given: None, argument)
    del argument
    await until(lambda: gone() is None)


async def test_an_idle_thread_is_used_before_a_new_one() -> None:
    pool = DaemonPool("warm", 8)
    used = {await pool.call(threading.get_ident) for _ in range(20)}
    assert len(used) == 1
    assert await pool.close(5) == []


async def test_many_calls_on_few_threads_all_come_back() -> None:
    pool = DaemonPool("few", 3)

    async def caller(number: int) -> list[int]:
        return [await pool.call(pow, number, 2) for _ in range(20)]

    assert await asyncio.gather(*map(caller, range(40))) == [[number**2] * 20 for number in range(40)]
    assert (pool.running, pool.queued) == (0, 0)
    assert await pool.close(5) == []


async def test_a_cancellation_raised_by_a_call_is_its_outcome(pool: DaemonPool) -> None:
    def refuse() -> None:
        raise asyncio.CancelledError("by the call itself")

    with pytest.raises(asyncio.CancelledError, match="by the call itself"):
        await pool.call(refuse)
    assert await pool.call(str, 1) == "1"
