"""Workers deal with every key, whatever happens to one of them, and finish what they have begun."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable

import pytest
from tests.support.kube_client import in_no_time

from moorage.base.metrics import SIDECAR_OPERATIONS, Metrics
from moorage.kube.controller import Controller, Result, Retry, Terminal
from moorage.kube.errors import Conflict, Unreachable
from moorage.kube.queue import Queue, Retries
from moorage.kube.runtime_metrics import RuntimeMetrics


class Bench:
    """A controller whose reconcile does what a script says for each key, then nothing more."""

    def __init__(self, *, workers: int = 1, drain_s: float = 20.0) -> None:
        self.queue: Queue[str] = Queue("q", retries=Retries(initial_s=1, maximum_s=64, qps=None))
        self.script: dict[str, list[BaseException | Result | float]] = {}
        self.seen: list[tuple[str, float]] = []
        self.ended: list[str] = []
        self.outcomes: list[str] = []
        self.at_work = 0
        self.most_at_work = 0
        self.controller = Controller("c", self.queue, self.reconcile, workers=workers, drain_s=drain_s, observer=self)

    def reconciled(self, controller: str, outcome: str) -> None:
        assert controller == "c"
        self.outcomes.append(outcome)

    async def reconcile(self, key: str) -> Result | None:
        self.seen.append((key, asyncio.get_running_loop().time()))
        self.at_work += 1
        self.most_at_work = max(self.most_at_work, self.at_work)
        try:
            return await self._follow(key)
        finally:
            self.at_work -= 1

    async def _follow(self, key: str) -> Result | None:
        steps = self.script.get(key, [])
        step = steps.pop(0) if steps else None
        if isinstance(step, BaseException):
            raise step
        if isinstance(step, float):
            await asyncio.sleep(step)
        self.ended.append(key)
        return step if isinstance(step, Result) else None

    def times_of(self, key: str) -> list[float]:
        return [round(at_s, 1) for seen, at_s in self.seen if seen == key]


def play(work: Callable[[Bench], Awaitable[None]], *, workers: int = 1, drain_s: float = 20.0) -> float:
    async def run() -> None:
        bench = Bench(workers=workers, drain_s=drain_s)
        running = asyncio.ensure_future(bench.controller.run())
        await asyncio.sleep(0)
        await work(bench)
        running.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await running

    return in_no_time(run())[1]


FAILURES = [
    pytest.param(Retry("not yet"), id="expected"),
    pytest.param(Conflict(409, "Conflict", "changed"), id="conflict"),
    pytest.param(Unreachable("no route"), id="unreachable"),
    pytest.param(ZeroDivisionError(), id="defect"),
    pytest.param(asyncio.CancelledError(), id="cancelled-inside"),
]


@pytest.mark.parametrize("failure", FAILURES)
def test_a_failure_comes_again_later_and_the_other_keys_go_on(failure: BaseException) -> None:
    async def work(bench: Bench) -> None:
        bench.script["bad"] = [failure, failure, failure]
        bench.queue.add("bad")
        bench.queue.add("good")
        await asyncio.sleep(100)
        assert bench.times_of("bad") == [0, 1, 3, 7]
        assert bench.ended == ["good", "bad"]
        assert bench.queue.failures("bad") == 0
        assert sorted(bench.outcomes) == ["error", "error", "error", "success", "success"]

    play(work)


def test_a_terminal_error_rests_until_somebody_adds_the_key() -> None:
    async def work(bench: Bench) -> None:
        bench.script["a"] = [Retry("x"), Terminal("never")]
        bench.queue.add("a")
        await asyncio.sleep(1000)
        assert bench.times_of("a") == [0, 1]
        bench.queue.add("a")
        await asyncio.sleep(0.1)
        assert bench.ended == ["a"]
        assert bench.outcomes == ["error", "terminal", "success"]

    play(work)


def test_waiting_is_no_failure() -> None:
    async def work(bench: Bench) -> None:
        bench.script["a"] = [Retry("x"), Result(requeue_after_s=30), Retry("x"), Result()]
        bench.queue.add("a")
        await asyncio.sleep(1000)
        assert bench.times_of("a") == [0, 1, 31, 32]
        assert bench.outcomes == ["error", "requeue_after", "error", "success"]

    play(work)


def test_keys_run_beside_each_other_but_never_beside_themselves() -> None:
    async def work(bench: Bench) -> None:
        for key in "abc":
            bench.script[key] = [10.0, 10.0]
            bench.queue.add(key)
        await asyncio.sleep(1)
        assert bench.at_work == 2
        bench.queue.add("a")
        await asyncio.sleep(100)
        assert bench.most_at_work == 2
        assert bench.times_of("a")[0] == 0
        assert len(bench.times_of("a")) == 2
        assert bench.times_of("a")[1] >= 10

    play(work, workers=2)


def test_a_stop_lets_the_work_under_way_end_and_begins_nothing() -> None:
    async def work(bench: Bench) -> None:
        bench.script["slow"] = [10.0]
        bench.queue.add("slow")
        bench.queue.add("next")
        await asyncio.sleep(1)

    seen: list[str] = []

    async def run() -> None:
        bench = Bench()
        running = asyncio.ensure_future(bench.controller.run())
        await work(bench)
        running.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await running
        seen.extend(bench.ended)
        assert [key for key, _ in bench.seen] == ["slow"]

    assert in_no_time(run())[1] == pytest.approx(10)
    assert seen == ["slow"]


def test_a_stop_does_not_wait_for_ever() -> None:
    async def work(bench: Bench) -> None:
        bench.script["stuck"] = [1e6]
        bench.queue.add("stuck")
        await asyncio.sleep(1)

    assert play(work, drain_s=20.0) == pytest.approx(21)


def test_a_closed_queue_ends_the_controller() -> None:
    async def run() -> None:
        bench = Bench(workers=3)
        bench.queue.add("a")
        running = asyncio.ensure_future(bench.controller.run())
        await asyncio.sleep(1)
        bench.queue.close()
        await running
        assert bench.ended == ["a"]

    in_no_time(run())


def test_no_workers_is_refused() -> None:
    with pytest.raises(ValueError, match="cannot work with 0 workers"):
        Bench(workers=0)


def test_queues_and_reconciliations_are_measured_under_upstreams_names() -> None:
    metrics = Metrics(SIDECAR_OPERATIONS)
    runtime = RuntimeMetrics(metrics)

    async def run() -> str:
        queue = runtime.queue("claims", retries=Retries(initial_s=1, maximum_s=1, qps=None))
        for key in ("a", "b", "b", "c"):
            queue.add(key)
        await asyncio.sleep(5)
        first = await queue.get()
        await asyncio.sleep(3)
        second = await queue.get()
        await asyncio.sleep(2)
        text = metrics.render().decode()
        queue.retry(first)
        for key in (first, second):
            queue.done(key)
        runtime.reconciled("provisioner", "error")
        runtime.leading("external-attacher-leader-d", True)
        return text + "\n--- later ---\n" + metrics.render().decode()

    before, _, after = in_no_time(run())[0].partition("--- later ---")
    for line in (
        'workqueue_depth{name="claims"} 1.0',
        'workqueue_adds_total{name="claims"} 3.0',
        'workqueue_unfinished_work_seconds{name="claims"} 7.0',
        'workqueue_longest_running_processor_seconds{name="claims"} 5.0',
        'workqueue_queue_duration_seconds_sum{name="claims"} 13.0',
        'workqueue_queue_duration_seconds_bucket{le="1e-08",name="claims"} 0.0',
    ):
        assert line in before
    for line in (
        'workqueue_retries_total{name="claims"} 1.0',
        'workqueue_work_duration_seconds_sum{name="claims"} 7.0',
        'moorage_kube_reconcile_total{controller="provisioner",result="error"} 1.0',
        'leader_election_master_status{name="external-attacher-leader-d"} 1.0',
    ):
        assert line in after
