"""Of several candidates at most one leads at any moment, however clocks and connections behave."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.support.kube_client import in_no_time

from moorage.kube.api import Api
from moorage.kube.leader import Candidate, Elector
from moorage.kube.lease_record import LeaseTimes
from moorage.kube.limiter import Limiter
from moorage.kube.resource import LEASES
from moorage.testing.kube.faults import Delay, LoseReply, Refuse
from moorage.testing.kube.server import FakeApiServer
from moorage.testing.kube.transport import FakeTransport

TIMES = LeaseTimes()


class WrongClock:
    """The time of the event loop, as somebody has it whose clock is off."""

    def __init__(self, off_s: float) -> None:
        self.start = datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=off_s)

    def monotonic(self) -> float:
        return now()

    def wall_time(self) -> datetime:
        return self.start + timedelta(seconds=now())

    async def sleep(self, duration_s: float) -> None:
        await asyncio.sleep(duration_s)


class Contender:
    """A candidate that campaigns for ever, and notes when it may have worked."""

    def __init__(self, world: World, name: str, *, clock_off_s: float = 0.0) -> None:
        self.name = name
        self.transport = FakeTransport(world.server, user=name)
        self.elector = Elector(
            Api(self.transport, limiter=Limiter(-1)),
            Candidate("default", "d-example-com", name, labels=world.labels),
            clock=WrongClock(clock_off_s),
            observer=world,
            chance=lambda: 0.5,
        )
        self.world = world
        self.leads = False
        self.spells: list[tuple[float, float]] = []
        self.running: asyncio.Task[None] | None = None

    def start(self) -> None:
        self.running = asyncio.get_running_loop().create_task(self.run())

    async def run(self) -> None:
        """Work whenever leading, for as long as one may: to the very end of the lease when it is lost."""
        while True:
            await self.elector.acquire()
            self.world.begin(self)
            try:
                await self.elector.hold()
                end_s = now()
                if self.elector.holder == self.name:
                    end_s = self.elector.expires_s
                    assert end_s - now() > TIMES.stop_margin_s - 0.01, "there is no time left to stop"
                await asyncio.sleep(max(0.0, end_s - now() - 0.001))
            finally:
                self.world.end(self)

    async def stop(self, *, release: bool = True) -> None:
        if self.running is not None:
            self.running.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self.running
            self.running = None
            if release:
                await self.elector.release()


class World:
    """A server, its contenders, and the rule that they must not work together."""

    def __init__(self) -> None:
        self.server = FakeApiServer()
        self.labels: dict[str, str] = {}
        self.working: set[str] = set()
        self.contenders: dict[str, Contender] = {}
        self.status: dict[str, bool] = {}
        self.slow = 0

    def add(self, name: str, *, clock_off_s: float = 0.0) -> Contender:
        self.contenders[name] = Contender(self, name, clock_off_s=clock_off_s)
        self.contenders[name].start()
        return self.contenders[name]

    def begin(self, who: Contender) -> None:
        assert not self.working, f"{who.name} began while {self.working} worked"
        self.working.add(who.name)
        who.spells.append((now(), float("inf")))

    def end(self, who: Contender) -> None:
        self.working.discard(who.name)
        who.spells[-1] = (who.spells[-1][0], now())

    def leading(self, lease: str, leads: bool) -> None:
        self.status[lease] = leads

    def slow_path(self, lease: str) -> None:
        self.slow += 1

    @property
    def lease(self) -> dict[str, Any]:
        found = self.server.find(LEASES, "d-example-com", "default")
        assert found is not None
        return dict(found)

    async def until(self, condition: Callable[[], bool], *, within_s: float = 200) -> float:
        start_s = now()
        while not condition():
            assert now() - start_s < within_s, "it did not come about"
            await asyncio.sleep(0.05)
        return now() - start_s


def now() -> float:
    return asyncio.get_running_loop().time()


def play(work: Callable[[World], Awaitable[None]]) -> None:
    async def run() -> None:
        world = World()
        try:
            await work(world)
        finally:
            for contender in world.contenders.values():
                await contender.stop(release=False)

    in_no_time(run())


def test_the_first_creates_the_lease_as_client_go_does() -> None:
    async def work(world: World) -> None:
        world.labels = {"app": "x"}
        world.add("me")
        await world.until(lambda: world.working == {"me"})
        text = "2026-01-01T00:00:00.000000Z"
        assert world.lease["spec"] == {
            "holderIdentity": "me",
            "leaseDurationSeconds": 15,
            "acquireTime": text,
            "renewTime": text,
            "leaseTransitions": 0,
        }
        assert world.lease["metadata"]["labels"] == {"app": "x"}
        assert world.status == {"d-example-com": True}

    play(work)


def test_the_leader_renews_with_one_put_in_five_seconds_and_nothing_else() -> None:
    async def work(world: World) -> None:
        world.add("me")
        await world.until(lambda: bool(world.working))
        world.server.log.clear()
        await asyncio.sleep(600)
        assert world.server.log.counts() == {("update", "leases"): 120}
        assert world.lease["spec"]["leaseTransitions"] == 0

    play(work)


def test_who_is_second_waits_and_takes_over_when_the_first_falls_silent() -> None:
    async def work(world: World) -> None:
        first = world.add("first")
        await world.until(lambda: world.working == {"first"})
        world.add("second", clock_off_s=-86400)
        await asyncio.sleep(120)
        assert world.working == {"first"}
        await first.stop(release=False)
        taken_s = await world.until(lambda: world.working == {"second"})
        assert 10 <= taken_s <= 15 + 5 * 2.2
        assert world.lease["spec"]["leaseTransitions"] == 1

    play(work)


def test_a_release_hands_over_at_once() -> None:
    async def work(world: World) -> None:
        first = world.add("first")
        await world.until(lambda: world.working == {"first"})
        world.add("second")
        await asyncio.sleep(60)
        await first.stop()
        assert world.lease["spec"]["holderIdentity"] == ""
        assert world.lease["spec"]["leaseDurationSeconds"] == 1
        assert await world.until(lambda: world.working == {"second"}) <= 5 * 2.2
        assert world.lease["spec"]["leaseTransitions"] == 1

    play(work)


def test_a_lease_of_somebody_else_is_not_released() -> None:
    async def work(world: World) -> None:
        first = world.add("first")
        await world.until(lambda: world.working == {"first"})
        await first.stop(release=False)
        world.add("second")
        await world.until(lambda: world.working == {"second"})
        await first.elector.release()
        assert world.lease["spec"]["holderIdentity"] == "second"

    play(work)


def test_a_leader_that_is_cut_off_stops_before_its_lease_ends_and_comes_back() -> None:
    async def work(world: World) -> None:
        first = world.add("first")
        await world.until(lambda: world.working == {"first"})
        await asyncio.sleep(12)
        world.add("second")
        first.transport.cut()
        assert await world.until(lambda: not world.working) <= 15
        await world.until(lambda: world.working == {"second"})
        first.transport.mend()
        await asyncio.sleep(60)
        assert world.working == {"second"}

    play(work)


@pytest.mark.parametrize("outage_s", [pytest.param(7, id="shorter-than-the-lease")])
def test_a_blip_costs_no_leadership(outage_s: float) -> None:
    async def work(world: World) -> None:
        first = world.add("first")
        await world.until(lambda: world.working == {"first"})
        world.server.go_down()
        await asyncio.sleep(outage_s)
        world.server.come_back()
        await asyncio.sleep(60)
        assert len(first.spells) == 1
        assert world.working == {"first"}

    play(work)


@pytest.mark.parametrize(
    "fault",
    [
        pytest.param(LoseReply(), id="reply-lost"),
        pytest.param(Refuse(409), id="conflict"),
        pytest.param(Refuse(500), id="server-error"),
        pytest.param(Delay(after_s=4.0), id="slow"),
    ],
)
def test_one_failed_renewal_costs_no_leadership(fault: Any) -> None:
    async def work(world: World) -> None:
        first = world.add("first")
        await world.until(lambda: world.working == {"first"})
        world.server.faults.add(fault, verb="update", resource="leases")
        await asyncio.sleep(60)
        assert len(first.spells) == 1
        assert world.lease["spec"]["leaseTransitions"] == 0
        assert world.slow == (0 if isinstance(fault, Delay) else 1)

    play(work)


def test_a_lease_that_was_deleted_is_made_again() -> None:
    async def work(world: World) -> None:
        first = world.add("first")
        await world.until(lambda: world.working == {"first"})
        world.server.remove(LEASES, "d-example-com", "default")
        await asyncio.sleep(20)
        assert world.lease["spec"]["holderIdentity"] == "first"
        assert len(first.spells) == 1

    play(work)


@pytest.mark.parametrize("duration_s", [pytest.param(60, id="valid"), pytest.param(0, id="expired-already")])
def test_a_leader_that_finds_another_holder_gives_up_at_once(duration_s: int) -> None:
    async def work(world: World) -> None:
        first = world.add("first")
        await world.until(lambda: world.working == {"first"})
        lease = world.lease
        lease["spec"] = {**lease["spec"], "holderIdentity": "intruder", "leaseDurationSeconds": duration_s}
        world.server.put(LEASES, lease)
        await asyncio.sleep(5.1)
        assert first.spells[0][1] <= 5.1

    play(work)


def test_our_time_counts_from_before_the_request_was_sent() -> None:
    async def work(world: World) -> None:
        world.server.faults.add(Delay(after_s=4.0), verb="create", resource="leases")
        world.server.faults.add(Delay(after_s=3.0), verb="update", resource="leases")
        first = world.add("first")
        await world.until(lambda: world.working == {"first"})
        assert now() == pytest.approx(4, abs=0.1)
        assert first.elector.expires_s == pytest.approx(15)
        await asyncio.sleep(8.5)
        assert first.elector.expires_s == pytest.approx(9 + 15)

    play(work)


def test_a_release_succeeds_although_the_lease_was_edited() -> None:
    async def work(world: World) -> None:
        first = world.add("first")
        await world.until(lambda: world.working == {"first"})
        lease = world.lease
        lease["metadata"] = {**lease["metadata"], "labels": {"touched": "by-an-admin"}}
        world.server.put(LEASES, lease)
        await first.stop()
        assert world.lease["spec"]["holderIdentity"] == ""
        assert world.lease["metadata"]["labels"] == {"touched": "by-an-admin"}

    play(work)


def test_health_turns_bad_only_when_a_lease_that_we_hold_is_over() -> None:
    async def work(world: World) -> None:
        first = world.add("first")
        await world.until(lambda: world.working == {"first"})
        await asyncio.sleep(60)
        assert first.elector.unhealthy_for_s() == 0
        await first.stop(release=False)
        await asyncio.sleep(60)
        assert 40 < first.elector.unhealthy_for_s() < 46

    play(work)


NAMES = st.sampled_from(["a", "b", "c"])
STEPS = st.lists(
    st.tuples(
        st.sampled_from(["cut", "mend", "kill", "stop", "start", "down", "up", "lose", "slow", "refuse", "delete"]),
        NAMES,
        st.integers(0, 20),
    ),
    max_size=30,
)


@settings(max_examples=80, deadline=None)
@given(STEPS)
def test_never_two_and_in_the_end_one(steps: list[tuple[str, str, int]]) -> None:
    async def work(world: World) -> None:
        for number, name in enumerate("abc"):
            world.add(name, clock_off_s=1000.0 * number - 1000.0)
        for step, name, pause_s in steps:
            await disturb(world, step, world.contenders[name])
            await asyncio.sleep(pause_s)
        world.server.come_back()
        world.server.faults.clear()
        for contender in world.contenders.values():
            contender.transport.mend()
            if contender.running is None:
                contender.start()
        await world.until(lambda: len(world.working) == 1)
        await asyncio.sleep(30)
        assert world.lease["spec"]["holderIdentity"] in world.working

    play(work)


async def disturb(world: World, step: str, contender: Contender) -> None:
    faults = world.server.faults
    match step:
        case "cut":
            contender.transport.cut()
        case "mend":
            contender.transport.mend()
        case "kill":
            await contender.stop(release=False)
        case "stop":
            await contender.stop()
        case "start" if contender.running is None:
            contender.start()
        case "down":
            world.server.go_down()
        case "up":
            world.server.come_back()
        case "lose":
            faults.add(LoseReply(), resource="leases", user=contender.name)
        case "slow":
            faults.add(Delay(before_s=3.0, after_s=3.0), resource="leases", user=contender.name)
        case "refuse":
            faults.add(Refuse(500), resource="leases", user=contender.name, times=3)
        case _:
            pass
