"""What goes wrong on demand, as the client of the fake server meets it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest
from tests.support.api_table.site import Site

from moorage.kube.errors import Unreachable
from moorage.kube.resource import CONFIG_MAPS, LEASES
from moorage.testing.clock import LoopClock, run_virtual
from moorage.testing.kube import (
    Delay,
    DropWatch,
    ExpireWatch,
    FakeApiServer,
    FakeTransport,
    LoseReply,
    LoseRequest,
    Refuse,
)


def with_server(work: Callable[[FakeApiServer, Site], Awaitable[None]]) -> None:
    async def run() -> None:
        server = FakeApiServer(clock=LoopClock())
        await work(server, Site(FakeTransport(server), "default"))

    run_virtual(run())


def test_refuse_comes_before_the_effect_and_as_often_as_asked() -> None:
    async def work(server: FakeApiServer, site: Site) -> None:
        fault = server.faults.add(Refuse(503, retry_after_s=2), verb="create", resource="leases", times=2, skip=1)
        await site.lease("zero")
        body = {"metadata": {"name": "one"}, "spec": {}}
        for _ in range(2):
            assert (await site.ask("POST", LEASES, body=body)).refusal == (503, "ServiceUnavailable")
        assert server.find(LEASES, "one") is None
        assert (await site.ask("POST", LEASES, body=body)).status == 201
        assert fault.hits == 2

    with_server(work)


def test_refuse_can_hide_an_effect() -> None:
    async def work(server: FakeApiServer, site: Site) -> None:
        server.faults.add(Refuse(504, carried_out=True), verb="create")
        assert (await site.ask("POST", LEASES, body={"metadata": {"name": "one"}})).refusal == (504, "Timeout")
        assert server.find(LEASES, "one") is not None

    with_server(work)


@pytest.mark.parametrize(
    ("effect", "kind", "sent", "there"),
    [
        pytest.param(LoseRequest(), "refused", False, False, id="request-refused"),
        pytest.param(LoseRequest("timeout"), "timeout", True, False, id="request-swallowed"),
        pytest.param(LoseReply(), "reset", True, True, id="reply-lost"),
        pytest.param(LoseReply("timeout"), "timeout", True, True, id="reply-never-comes"),
        pytest.param(Delay(before_s=1000), "timeout", True, False, id="too-slow-to-begin"),
        pytest.param(Delay(after_s=1000), "timeout", True, True, id="too-slow-to-answer"),
    ],
)
def test_what_is_lost_is_unreachable(
    effect: LoseRequest | LoseReply | Delay, kind: str, sent: bool, there: bool
) -> None:
    async def work(server: FakeApiServer, site: Site) -> None:
        server.faults.add(effect, verb="create")
        with pytest.raises(Unreachable) as caught:
            await site.lease("one")
        assert (caught.value.kind, caught.value.sent) == (kind, sent)
        assert (server.find(LEASES, "one") is not None) == there

    with_server(work)


def test_a_delay_takes_its_time() -> None:
    async def work(server: FakeApiServer, site: Site) -> None:
        server.faults.add(Delay(before_s=3, after_s=4), verb="create")
        started_s = asyncio.get_running_loop().time()
        await site.lease("one")
        assert asyncio.get_running_loop().time() - started_s == pytest.approx(7)

    with_server(work)


def test_a_fault_strikes_only_what_it_names() -> None:
    async def work(server: FakeApiServer, site: Site) -> None:
        server.faults.add(Refuse(500), resource="leases", name="one", verb="patch", times=None)
        await site.lease("one")
        await site.lease("two")
        assert (await site.patch(LEASES, "two", {})).status == 200
        assert (await site.get(LEASES, "one")).status == 200
        assert [(await site.patch(LEASES, "one", {})).status for _ in range(3)] == [500] * 3
        server.faults.clear()
        assert (await site.patch(LEASES, "one", {})).status == 200

    with_server(work)


def test_a_fault_can_strike_a_subresource_alone() -> None:
    async def work(server: FakeApiServer, site: Site) -> None:
        server.faults.add(Refuse(500), resource="persistentvolumes/status", times=None)
        assert (
            await site.ask("PATCH", LEASES, "none", body={}, content_type="application/merge-patch+json")
        ).status == 404
        path = "/api/v1/persistentvolumes/none"
        merge = "application/merge-patch+json"
        assert (await site.send("PATCH", path, body={}, content_type=merge)).status == 404
        assert (await site.send("PATCH", f"{path}/status", body={}, content_type=merge)).status == 500

    with_server(work)


@pytest.mark.parametrize("cleanly", [True, False], ids=["ended", "broken"])
def test_a_watch_is_dropped_after_so_many_events(cleanly: bool) -> None:
    async def work(server: FakeApiServer, site: Site) -> None:
        server.faults.add(DropWatch(after_events=2, cleanly=cleanly), resource="leases")
        async with site.watching(LEASES) as events:
            for name in ("a", "b", "c"):
                await site.lease(name)
            assert await events.take(2) == [("ADDED", "a"), ("ADDED", "b")]
            with pytest.raises(StopAsyncIteration if cleanly else Unreachable):
                await events.next()
        assert not server.watches

    with_server(work)


def test_a_watch_expires_after_so_many_events() -> None:
    async def work(server: FakeApiServer, site: Site) -> None:
        server.faults.add(ExpireWatch(after_events=1), resource="leases")
        async with site.watching(LEASES) as events:
            await site.lease("a")
            assert await events.take(1) == [("ADDED", "a")]
            event = await events.next()
            assert (event["type"], event["object"]["code"], event["object"]["reason"]) == ("ERROR", 410, "Expired")
            with pytest.raises(StopAsyncIteration):
                await events.next()

    with_server(work)


def test_opening_a_watch_can_fail() -> None:
    async def work(server: FakeApiServer, site: Site) -> None:
        server.faults.add(Refuse(429, retry_after_s=1), verb="watch")
        error = await site.watch_refusal(LEASES)
        assert (error.code, error.retry_after_s) == (429, 1)
        async with site.watching(LEASES):
            assert len(server.watches) == 1

    with_server(work)


def test_a_server_that_is_down_cannot_be_reached_and_comes_back() -> None:
    async def work(server: FakeApiServer, site: Site) -> None:
        async with site.watching(LEASES) as events:
            server.go_down()
            with pytest.raises(Unreachable):
                await events.next()
        with pytest.raises(Unreachable) as caught:
            await site.get(LEASES, "one")
        assert (caught.value.kind, caught.value.sent) == ("refused", False)
        server.come_back()
        assert (await site.get(LEASES, "one")).status == 404

    with_server(work)


def test_a_partition_parts_one_client_only() -> None:
    async def work(server: FakeApiServer, site: Site) -> None:
        parted = FakeTransport(server, user="parted")
        other = Site(parted, "default")
        async with other.watching(LEASES) as events:
            parted.cut()
            with pytest.raises(Unreachable):
                await events.next()
        with pytest.raises(Unreachable):
            await other.get(LEASES, "one")
        await site.lease("one")
        parted.mend()
        assert (await other.get(LEASES, "one")).status == 200

    with_server(work)


def test_a_partition_during_a_request_loses_the_reply() -> None:
    async def work(server: FakeApiServer, site: Site) -> None:
        transport = FakeTransport(server)
        server.faults.add(Delay(after_s=5), verb="create")
        request = asyncio.create_task(Site(transport, "default").config_map("one"))
        await asyncio.sleep(1)
        transport.cut()
        with pytest.raises(Unreachable) as caught:
            await request
        assert caught.value.sent
        assert server.find(CONFIG_MAPS, "one") is not None

    with_server(work)


def test_a_closed_client_ends_its_watches_and_sends_no_more() -> None:
    async def work(server: FakeApiServer, site: Site) -> None:
        async with site.watching(LEASES) as events:
            await site.transport.close()
            with pytest.raises(StopAsyncIteration):
                await events.next()
        with pytest.raises(Unreachable):
            await site.get(LEASES, "one")

    with_server(work)
