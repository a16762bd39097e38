"""Groups fail and recover apart from each other, and everything starts and stops in order."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable

import pytest
from tests.support.kube_client import in_no_time

from moorage.kube.api import Api
from moorage.kube.leader import Candidate
from moorage.kube.lease_keeper import LeaseKeeper
from moorage.kube.lease_record import LeaseTimes
from moorage.kube.limiter import Limiter
from moorage.kube.manager import Budget, Group, GroupFailed, Service, Standing, Supervisor
from moorage.kube.server import routes
from moorage.testing.kube.server import FakeApiServer
from moorage.testing.kube.transport import FakeTransport


class Diary:
    """What happened, in order."""

    def __init__(self) -> None:
        self.entries: list[str] = []

    def service(self, name: str) -> Service:
        async def flush() -> None:
            self.entries.append(f"{name} flushes")

        return Service(name, lambda: self.live(name), before_stop=flush)

    def group(self, name: str, *, fails_after_s: list[float] | None = None) -> Group:
        lives = list(fails_after_s or [])

        async def run(standing: Standing) -> None:
            if lives:
                await asyncio.sleep(lives.pop(0))
                raise ZeroDivisionError(f"{name} broke")
            standing.ready()
            await self.live(name)

        return Group(name, run)

    async def live(self, name: str) -> None:
        self.entries.append(f"{name} starts")
        try:
            await asyncio.Event().wait()
        finally:
            self.entries.append(f"{name} stops")


def play(supervisor: Supervisor, work: Callable[[], Awaitable[None]]) -> float:
    """Run `work` beside the supervisor, then stop it; the seconds that passed."""

    async def run() -> None:
        running = asyncio.ensure_future(supervisor.run())
        worker = asyncio.ensure_future(work())
        await asyncio.wait({running, worker}, return_when=asyncio.FIRST_COMPLETED)
        worker.cancel()
        if running.done():
            await running
        running.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await running
        if not worker.cancelled():
            await worker

    return in_no_time(run())[1]


async def problems(supervisor: Supervisor) -> dict[str, str]:
    return {name: await check() for name, check in supervisor.ready_checks().items()}


def test_services_start_before_groups_and_stop_after_them() -> None:
    diary = Diary()
    supervisor = Supervisor([diary.group("g")], services=[diary.service("one"), diary.service("two")])

    async def work() -> None:
        await asyncio.sleep(1)

    play(supervisor, work)
    assert diary.entries == [
        "one starts", "two starts", "g starts",
        "g stops", "two flushes", "two stops", "one flushes", "one stops",
    ]  # fmt: skip


def test_a_group_that_fails_is_started_again_and_the_others_notice_nothing() -> None:
    diary = Diary()
    supervisor = Supervisor([diary.group("calm"), diary.group("bad", fails_after_s=[1, 1])])

    async def work() -> None:
        await asyncio.sleep(1.5)
        assert (await problems(supervisor))["bad"] == "it failed and will be started again: bad broke"
        assert (await problems(supervisor))["calm"] == ""
        await asyncio.sleep(60)
        assert await problems(supervisor) == {"calm": "", "bad": ""}
        assert supervisor.standing["bad"].restarts == 2

    play(supervisor, work)
    assert diary.entries.count("calm starts") == 1


def test_too_many_failures_end_the_process() -> None:
    diary = Diary()
    supervisor = Supervisor([diary.group("calm"), diary.group("bad", fails_after_s=[1.0] * 100)])

    async def work() -> None:
        await asyncio.sleep(10_000)

    with pytest.raises(GroupFailed, match=r"group bad failed 6 times within 600 s, last with: bad broke"):
        play(supervisor, work)
    assert diary.entries == ["calm starts", "calm stops"]


def test_failures_far_apart_are_borne_for_ever() -> None:
    diary = Diary()
    supervisor = Supervisor([diary.group("g", fails_after_s=[130.0] * 40)])

    async def work() -> None:
        await asyncio.sleep(40 * 170)
        assert supervisor.standing["g"].restarts == 40

    play(supervisor, work)


def test_a_group_that_just_ends_has_failed() -> None:
    async def run(standing: Standing) -> None:
        standing.ready()

    supervisor = Supervisor([Group("g", run, budget=Budget(restarts=0))])

    async def work() -> None:
        await asyncio.sleep(10)

    with pytest.raises(GroupFailed, match="group g ended without being told to"):
        play(supervisor, work)


def test_a_service_that_fails_ends_the_process() -> None:
    diary = Diary()

    async def fail() -> None:
        await asyncio.sleep(1)
        raise OSError("no port")

    supervisor = Supervisor([diary.group("g")], services=[diary.service("s"), Service("http", fail)])

    async def work() -> None:
        await asyncio.sleep(100)

    with pytest.raises(OSError, match="no port"):
        play(supervisor, work)
    assert diary.entries == ["s starts", "g starts", "g stops", "s flushes", "s stops"]


async def test_readiness_has_a_path_for_each_group() -> None:
    supervisor = Supervisor([Diary().group("provisioner"), Diary().group("attacher")])
    supervisor.standing["attacher"].ready()
    paths = routes(live=supervisor.live_checks(), ready=supervisor.ready_checks())
    assert (await paths["/readyz/attacher"]())[0] == 200
    status, _, body = await paths["/readyz/provisioner"]()
    assert (status, b"it has not been started yet" in body) == (500, True)
    assert (await paths["/healthz"]())[0] == 200


async def test_only_the_leader_works_and_the_standby_counts_as_ready() -> None:
    server = FakeApiServer()
    diary = Diary()
    times = LeaseTimes(lease_s=3.0, renew_s=2.0, retry_s=0.1, stop_margin_s=1.0)
    begun = asyncio.Event()
    entries: list[str] = []

    def supervisor(name: str, keeper: LeaseKeeper) -> Supervisor:
        async def run(standing: Standing) -> None:
            entries.append(name)
            standing.ready()
            begun.set()
            await diary.live(name)

        return Supervisor([Group("g", run, Candidate("default", "lease", name, times))], keeper=keeper)

    def connect() -> Api:
        return Api(FakeTransport(server), limiter=Limiter(-1))

    async with LeaseKeeper(connect, overrun=print) as one, LeaseKeeper(connect, overrun=print) as two:
        leader = supervisor("leader", one)
        standby = supervisor("standby", two)
        leading = asyncio.ensure_future(leader.run())
        await asyncio.wait_for(begun.wait(), 10)
        begun.clear()
        waiting = asyncio.ensure_future(standby.run())
        for _ in range(10):
            await asyncio.sleep(0)
        assert await problems(standby) == {"g": ""}
        assert set(standby.live_checks()) == {"leader-election"}
        leading.cancel()
        await asyncio.wait({leading})
        await asyncio.wait_for(begun.wait(), 10)
        waiting.cancel()
        await asyncio.wait({waiting})
    assert entries == ["leader", "standby"]
    assert diary.entries == ["leader starts", "leader stops", "standby starts", "standby stops"]


@pytest.mark.parametrize(
    ("names", "candidate", "said"),
    [
        pytest.param(["a", "a"], None, "same name among a, a", id="names"),
        pytest.param(["a"], Candidate("n", "l", "me"), "needs a LeaseKeeper", id="no-keeper"),
    ],
)
def test_what_cannot_be_supervised(names: list[str], candidate: Candidate | None, said: str) -> None:
    async def run(_: Standing) -> None:
        raise AssertionError

    with pytest.raises(ValueError, match=said):
        Supervisor([Group(name, run, candidate) for name in names])
