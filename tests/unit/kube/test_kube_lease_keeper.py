"""Work is done only under its lease, also while the main event loop has no time; with real threads and time."""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time

import pytest

from moorage.kube.api import Api
from moorage.kube.leader import Candidate
from moorage.kube.lease_keeper import LeaseKeeper
from moorage.kube.lease_record import LeaseTimes
from moorage.kube.limiter import Limiter
from moorage.kube.objects.meta import PartialObject
from moorage.kube.resource import LEASES
from moorage.testing.kube.server import FakeApiServer
from moorage.testing.kube.transport import FakeTransport

TIMES = LeaseTimes(lease_s=2.0, renew_s=1.5, retry_s=0.2, stop_margin_s=0.8)


class Place:
    """A server, a keeper with its own connection, and what it said when work overran."""

    def __init__(self) -> None:
        self.server = FakeApiServer()
        self.transport = FakeTransport(self.server)
        self.overruns: list[str] = []
        self.overrun = threading.Event()
        self.connected_in = ""
        self.told: list[tuple[str, str]] = []
        self.keeper = LeaseKeeper(self.connect, overrun=self.note, announce=self.hear)

    def connect(self) -> Api:
        self.connected_in = threading.current_thread().name
        return Api(self.transport, limiter=Limiter(-1))

    def note(self, text: str) -> None:
        self.overruns.append(text)
        self.overrun.set()

    def hear(self, candidate: Candidate, lease: PartialObject, what: str) -> None:
        assert lease.metadata.uid
        self.told.append((candidate.identity, what))

    def candidate(self, identity: str = "me", name: str = "lease") -> Candidate:
        return Candidate("default", name, identity, TIMES)

    @property
    def holder(self) -> str:
        lease = self.server.find(LEASES, "lease", "default")
        return str(lease["spec"]["holderIdentity"]) if lease else "nobody"


async def for_ever(begun: asyncio.Event, ended: list[str]) -> None:
    begun.set()
    try:
        await asyncio.Event().wait()
    finally:
        ended.append("ended")


async def test_work_is_done_under_the_lease_which_is_given_up_afterwards() -> None:
    place = Place()
    held: list[str] = []

    async def work() -> int:
        held.append(place.holder)
        return 7

    async with place.keeper as keeper:
        assert await keeper.lead(place.candidate(), work) == 7
    assert held == ["me"]
    assert place.holder == ""
    assert place.connected_in == "leases"
    assert place.told == [("me", "became leader"), ("me", "stopped leading")]


async def test_a_lease_that_was_given_up_is_left_alone() -> None:
    place = Place()

    async def nothing() -> None:
        pass

    async def longer_than_some_renewals() -> str:
        await asyncio.sleep(3 * TIMES.retry_s)
        return place.holder

    async with place.keeper as keeper:
        await keeper.lead(place.candidate(), nothing)
        assert await keeper.lead(place.candidate(name="other"), longer_than_some_renewals) == ""


async def test_leases_are_renewed_while_the_main_loop_is_busy() -> None:
    place = Place()

    async def work() -> str:
        time.sleep(3.0)
        return place.holder

    async with place.keeper as keeper:
        assert await keeper.lead(place.candidate(), work) == "me"
    assert place.overruns == []
    assert place.server.log.count(verb="update") >= 6


async def test_losing_the_lease_stops_the_work() -> None:
    place = Place()
    begun, ended = asyncio.Event(), list[str]()
    async with place.keeper as keeper:
        leading = asyncio.ensure_future(keeper.lead(place.candidate(), lambda: for_ever(begun, ended)))
        await begun.wait()
        place.transport.cut()
        await leading
        assert ended == ["ended"]
        place.transport.mend()
    assert place.overruns == []


async def test_work_that_does_not_stop_ends_the_process() -> None:
    place = Place()
    begun = asyncio.Event()

    async def stubborn() -> None:
        begun.set()
        while not place.overrun.is_set():
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.sleep(0.02)

    async with place.keeper as keeper:
        leading = asyncio.ensure_future(keeper.lead(place.candidate(), stubborn))
        await begun.wait()
        place.transport.cut()
        await leading
    assert len(place.overruns) == 1
    assert "work under lease lease has not stopped in time" in place.overruns[0]


async def test_a_main_loop_that_hangs_ends_the_process_too() -> None:
    place = Place()

    async def hang() -> None:
        place.transport.cut()
        assert place.overrun.wait(10)

    async with place.keeper as keeper:
        await keeper.lead(place.candidate(), hang)
    assert len(place.overruns) == 1


async def test_cancelling_stops_the_work_first_and_then_gives_up_the_lease() -> None:
    place = Place()
    begun = asyncio.Event()
    held: list[str] = []

    async def work() -> None:
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)
            held.append(place.holder)

    async with place.keeper as keeper:
        leading = asyncio.ensure_future(keeper.lead(place.candidate(), work))
        await begun.wait()
        leading.cancel()
        with pytest.raises(asyncio.CancelledError):
            await leading
    assert held == ["me"]
    assert place.holder == ""


async def test_a_candidate_can_be_stopped_while_it_waits() -> None:
    place = Place()
    begun, ended = asyncio.Event(), list[str]()
    async with place.keeper as keeper:
        first = asyncio.ensure_future(keeper.lead(place.candidate(), lambda: for_ever(begun, ended)))
        await begun.wait()
        second = asyncio.ensure_future(keeper.lead(place.candidate("other", "lease"), lambda: for_ever(begun, ended)))
        await asyncio.sleep(0)
        second.cancel()
        with pytest.raises(asyncio.CancelledError):
            await second
        assert place.holder == "me"
        first.cancel()
        await asyncio.wait({first})
    assert place.holder == ""


async def test_a_failure_of_the_work_comes_through_and_frees_the_lease() -> None:
    place = Place()

    async def work() -> None:
        raise ZeroDivisionError

    async with place.keeper as keeper:
        with pytest.raises(ZeroDivisionError):
            await keeper.lead(place.candidate(), work)
        assert place.holder == ""
        assert await keeper.check() == ""


async def test_a_connection_that_cannot_be_made_is_told_at_once() -> None:
    def refuse() -> Api:
        raise OSError("no such kubeconfig")

    keeper = LeaseKeeper(refuse, overrun=print)
    with pytest.raises(OSError, match="no such kubeconfig"):
        await keeper.__aenter__()
    with pytest.raises(RuntimeError, match="context manager"):
        await keeper.lead(Candidate("default", "x", "me"), refuse_work)


async def refuse_work() -> None:
    raise AssertionError
