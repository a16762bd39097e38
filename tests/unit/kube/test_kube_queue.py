"""A queue gives each key once, in order, at its time, and never to two workers."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from tests.support.kube_client import in_no_time

from moorage.kube.queue import LOW, Queue, QueueClosed, Retries

CALM = Retries(qps=None)


def play(work: Callable[[Queue[str]], Awaitable[None]], *, retries: Retries = CALM) -> float:
    """Run `work` with a queue; the seconds that it believes to have taken."""

    async def run() -> None:
        await work(Queue("q", retries=retries))

    return in_no_time(run())[1]


async def drain(queue: Queue[str]) -> list[str]:
    found = []
    while len(queue):
        found.append(await queue.get())
        queue.done(found[-1])
    return found


def test_a_key_is_queued_once() -> None:
    async def work(queue: Queue[str]) -> None:
        for key in ("a", "b", "a", "a"):
            queue.add(key)
        assert await drain(queue) == ["a", "b"]

    play(work)


def test_a_key_added_at_work_comes_again_afterwards_and_not_at_once() -> None:
    async def work(queue: Queue[str]) -> None:
        queue.add("a")
        key = await queue.get()
        queue.add("a")
        queue.add("a")
        assert len(queue) == 0
        queue.done(key)
        assert await drain(queue) == ["a"]

    play(work)


def test_higher_priority_first_then_age() -> None:
    async def work(queue: Queue[str]) -> None:
        queue.add("old", priority=LOW)
        queue.add("older", priority=LOW)
        queue.add("user")
        queue.add("urgent", priority=5)
        assert await drain(queue) == ["urgent", "user", "old", "older"]

    play(work)


def test_a_queued_key_can_gain_priority_but_not_lose_it() -> None:
    async def work(queue: Queue[str]) -> None:
        queue.add("a", priority=LOW)
        queue.add("b", priority=LOW)
        queue.add("b")
        queue.add("b", priority=LOW)
        queue.add("c")
        assert await drain(queue) == ["b", "c", "a"]

    play(work)


def test_a_key_at_work_gains_the_priority_for_its_return() -> None:
    async def work(queue: Queue[str]) -> None:
        queue.add("a")
        await queue.get()
        queue.add("b")
        queue.add("a", priority=LOW)
        queue.add("a", priority=9)
        queue.done("a")
        assert await drain(queue) == ["a", "b"]

    play(work)


def test_a_delayed_key_comes_at_its_time() -> None:
    async def work(queue: Queue[str]) -> None:
        queue.add_after("late", 30)
        queue.add_after("early", 10)
        assert queue.due_in_s("late") == 30
        assert await queue.get() == "early"
        assert asyncio.get_running_loop().time() == pytest.approx(10)
        assert await queue.get() == "late"
        assert queue.due_in_s("late") is None

    assert play(work) == pytest.approx(30)


@pytest.mark.parametrize("delays_s", [(10, 40), (40, 10)], ids=["earlier-first", "later-first"])
def test_of_two_times_the_earlier_holds_and_the_key_comes_once(delays_s: tuple[int, int]) -> None:
    async def work(queue: Queue[str]) -> None:
        for delay_s in delays_s:
            queue.add_after("a", delay_s)
        queue.done(await queue.get())
        assert asyncio.get_running_loop().time() == pytest.approx(10)
        queue.add_after("end", 100)
        assert await queue.get() == "end"

    play(work)


def test_an_event_does_not_wait_for_the_timer_and_leaves_it_in_place() -> None:
    async def work(queue: Queue[str]) -> None:
        queue.add_after("a", 60)
        queue.add("a")
        queue.done(await queue.get())
        assert asyncio.get_running_loop().time() == 0
        await queue.get()

    assert play(work) == pytest.approx(60)


def test_failures_delay_a_key_exponentially_until_it_is_forgotten() -> None:
    async def work(queue: Queue[str]) -> None:
        delays_s = [queue.retry("a") for _ in range(20)]
        assert delays_s[:4] == pytest.approx([0.005, 0.01, 0.02, 0.04])
        assert delays_s[-1] == 1000
        assert queue.failures("a") == 20
        assert queue.retry("b") == pytest.approx(0.005)
        queue.forget("a")
        assert queue.failures("a") == 0
        assert queue.retry("a") == pytest.approx(0.005)

    play(work)


def test_all_retries_together_pass_the_bucket() -> None:
    async def work(queue: Queue[str]) -> None:
        delays_s = [queue.retry(str(number)) for number in range(120)]
        assert max(delays_s[:100]) < 0.01
        assert delays_s[100:110] == pytest.approx([0.1 * number for number in range(1, 11)])

    play(work, retries=Retries())


def test_workers_wait_without_a_timer() -> None:
    async def work(queue: Queue[str]) -> None:
        getters = [asyncio.ensure_future(queue.get()) for _ in range(3)]
        await asyncio.sleep(0)
        queue.add("a")
        queue.add("b")
        done, waiting = await asyncio.wait(getters, timeout=1)
        assert {task.result() for task in done} == {"a", "b"}
        for task in waiting:
            task.cancel()

    play(work)


def test_a_worker_that_is_cancelled_when_it_was_woken_passes_the_key_on() -> None:
    async def work(queue: Queue[str]) -> None:
        first, second = (asyncio.ensure_future(queue.get()) for _ in range(2))
        await asyncio.sleep(0)
        queue.add("a")
        first.cancel()
        assert await second == "a"
        assert first.cancelled()

    play(work)


def test_a_closed_queue_ends_its_workers_and_takes_nothing() -> None:
    async def work(queue: Queue[str]) -> None:
        queue.add("running")
        await queue.get()
        waiting = asyncio.ensure_future(queue.get())
        await asyncio.sleep(0)
        queue.add_after("b", 5)
        queue.close()
        queue.add("a")
        queue.add_after("c", 1)
        with pytest.raises(QueueClosed):
            await waiting
        queue.done("running")
        with pytest.raises(QueueClosed):
            await queue.get()
        assert len(queue) == queue.delayed == 0

    assert play(work) == 0


class QueueMachine(RuleBasedStateMachine):
    """Adds, delays, failures and work in any order, against what each key is owed."""

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner(loop_factory=_Still)
        self.loop = self.runner.get_loop()
        assert isinstance(self.loop, _Still)
        self.clock = self.loop
        self.queue: Queue[str] = Queue("q", retries=CALM)
        self.owed: set[str] = set()
        self.due_s: dict[str, float] = {}
        self.at_work: set[str] = set()

    def teardown(self) -> None:
        self.runner.close()

    def act(self, call: Callable[[], object]) -> None:
        async def run() -> None:
            call()

        self.runner.run(run())

    keys = st.sampled_from("abcd")

    @rule(key=keys, priority=st.sampled_from([LOW, 0, 7]))
    def add(self, key: str, priority: int) -> None:
        self.act(lambda: self.queue.add(key, priority=priority))
        self.owed.add(key)

    @rule(key=keys, delay_s=st.integers(1, 20))
    def add_after(self, key: str, delay_s: int) -> None:
        self.act(lambda: self.queue.add_after(key, delay_s))
        self.due_s[key] = min(self.due_s.get(key, 1e9), self.clock.now_s + delay_s)

    @rule(seconds=st.integers(1, 15))
    def wait(self, seconds: int) -> None:
        self.clock.now_s += seconds

        async def settle() -> None:
            await asyncio.sleep(0)
            await asyncio.sleep(0)

        self.runner.run(settle())
        for key, due_s in list(self.due_s.items()):
            if due_s <= self.clock.now_s:
                self.owed.add(key)
                del self.due_s[key]

    @precondition(lambda self: len(self.queue) > 0)
    @rule()
    def take(self) -> None:
        key = self.runner.run(self.queue.get())
        assert key not in self.at_work
        assert key in self.owed
        self.owed.remove(key)
        self.at_work.add(key)

    @precondition(lambda self: self.at_work)
    @rule(data=st.data())
    def finish(self, data: st.DataObject) -> None:
        key = data.draw(st.sampled_from(sorted(self.at_work)))
        self.at_work.remove(key)
        self.act(lambda: self.queue.done(key))

    @invariant()
    def nothing_is_lost_or_doubled(self) -> None:
        assert len(self.queue) == len(self.owed - self.at_work)
        assert self.queue.delayed == len(self.due_s)


class _Still(asyncio.SelectorEventLoop):
    now_s = 0.0

    def time(self) -> float:
        return self.now_s


TestQueueMachine = QueueMachine.TestCase
TestQueueMachine.settings = settings(max_examples=40, stateful_step_count=40, deadline=None)
