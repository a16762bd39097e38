"""Watches of the fake server under virtual time: the past that is gone, bookmarks, lag, ends."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest
from tests.support.api_table.site import Site

from moorage.kube.api import Api
from moorage.kube.errors import Unreachable
from moorage.kube.resource import CONFIG_MAPS, LEASES, Resource
from moorage.kube.transport import Request
from moorage.kube.watch import Bookmark
from moorage.testing.clock import LoopClock, run_virtual
from moorage.testing.kube import FakeApiServer, FakeTransport


def with_server(work: Callable[[FakeApiServer, Site], Awaitable[None]]) -> None:
    async def run() -> None:
        server = FakeApiServer(clock=LoopClock())
        await work(server, Site(FakeTransport(server), "default"))

    run_virtual(run())


def now_s() -> float:
    return asyncio.get_running_loop().time()


def test_a_watch_from_before_the_compaction_is_gone() -> None:
    async def work(server: FakeApiServer, site: Site) -> None:
        first = await site.lease("a")
        last = await site.lease("b")
        server.compact()
        async with site.watching(LEASES, resourceVersion=first.revision) as events:
            event = await events.next()
            assert (event["type"], event["object"]["code"]) == ("ERROR", 410)
            assert event["object"]["message"] == f"too old resource version: {first.revision} ({last.revision})"
        async with site.watching(LEASES, resourceVersion=last.revision) as events:
            await site.lease("c")
            assert await events.take(1) == [("ADDED", "c")]

    with_server(work)


def test_compaction_is_of_one_resource_or_of_all_even_those_not_used_yet() -> None:
    async def work(server: FakeApiServer, site: Site) -> None:
        first = await site.lease("a")
        await site.lease("b")
        server.compact(CONFIG_MAPS)
        async with site.watching(LEASES, resourceVersion=first.revision) as events:
            assert await events.take(1) == [("ADDED", "b")]
        server.compact()
        unused = Resource("apps", "v1", "daemonsets", "DaemonSet", namespaced=True)
        async with site.watching(unused, resourceVersion=first.revision) as events:
            assert (await events.next())["type"] == "ERROR"

    with_server(work)


def test_a_page_from_before_the_compaction_is_gone_but_can_be_gone_on_from() -> None:
    async def work(server: FakeApiServer, site: Site) -> None:
        for name in ("a", "b", "c"):
            await site.lease(name)
        page = await site.ask("GET", LEASES, limit="1")
        await site.lease("d")
        server.compact()
        gone = await site.ask("GET", LEASES, **{"continue": page.metadata["continue"]})
        assert gone.refusal == (410, "Expired")
        rest = await site.ask("GET", LEASES, **{"continue": gone.metadata["continue"]})
        assert [item["metadata"]["name"] for item in rest.tree["items"]] == ["b", "c", "d"]

    with_server(work)


def test_an_exact_list_from_before_the_compaction_is_gone() -> None:
    async def work(server: FakeApiServer, site: Site) -> None:
        then = (await site.lease("a")).revision
        await site.lease("b")
        server.compact()
        answer = await site.ask("GET", LEASES, resourceVersion=then, resourceVersionMatch="Exact")
        assert answer.refusal == (410, "Expired")

    with_server(work)


def test_bookmarks_come_every_minute_and_before_the_end() -> None:
    async def work(server: FakeApiServer, site: Site) -> None:
        since = (await site.lease("a")).revision
        last = (await site.config_map("elsewhere")).revision
        started_s = now_s()
        watch = Api(site.transport).watch(LEASES, bytes, namespace="default", resource_version=since, timeout_s=150)
        async with watch as events:
            seen = [(now_s() - started_s, event) async for event in events]
        assert [event for _, event in seen] == [Bookmark(last)] * 3
        assert [at_s for at_s, _ in seen] == pytest.approx([60, 120, 148])
        assert now_s() - started_s == pytest.approx(150)

    with_server(work)


def test_no_bookmarks_for_those_who_did_not_ask() -> None:
    async def work(server: FakeApiServer, site: Site) -> None:
        since = (await site.lease("a")).revision
        async with site.watching(LEASES, resourceVersion=since) as events:
            server.bookmark()
            await site.lease("b")
            assert await events.take(1) == [("ADDED", "b")]

    with_server(work)


def test_initial_events_end_with_a_bookmark_that_says_so() -> None:
    async def work(server: FakeApiServer, site: Site) -> None:
        await site.lease("a")
        last = (await site.lease("b")).revision
        query = {"sendInitialEvents": "true", "resourceVersionMatch": "NotOlderThan", "allowWatchBookmarks": "true"}
        async with site.watching(LEASES, **query) as events:
            assert await events.take(2) == [("ADDED", "a"), ("ADDED", "b")]
            event = await events.next()
            assert event["type"] == "BOOKMARK"
            metadata = event["object"]["metadata"]
            assert metadata == {"resourceVersion": last, "annotations": {"k8s.io/initial-events-end": "true"}}
            await site.lease("c")
            assert await events.take(1) == [("ADDED", "c")]

    with_server(work)


def test_a_lagging_server_tells_each_change_late_and_in_order() -> None:
    async def work(server: FakeApiServer, site: Site) -> None:
        server.watch_lag_s = 5
        since = (await site.lease("zero")).revision
        started_s = now_s()
        async with site.watching(LEASES, resourceVersion=since) as events:
            await site.lease("a")
            await asyncio.sleep(2)
            await site.lease("b")
            assert await events.take(1) == [("ADDED", "a")]
            assert now_s() - started_s == pytest.approx(5)
            assert (await site.get(LEASES, "b")).status == 200
            assert await events.take(1) == [("ADDED", "b")]
            assert now_s() - started_s == pytest.approx(7)

    with_server(work)


def test_all_watches_of_a_resource_can_be_expired() -> None:
    async def work(server: FakeApiServer, site: Site) -> None:
        async with site.watching(LEASES) as leases, site.watching(CONFIG_MAPS) as maps:
            assert server.expire_watches(LEASES) == 1
            assert (await leases.next())["object"]["reason"] == "Expired"
            await site.config_map("one")
            assert await maps.take(1) == [("ADDED", "one")]

    with_server(work)


def test_many_watchers_see_the_same() -> None:
    async def work(server: FakeApiServer, site: Site) -> None:
        async def watcher() -> list[tuple[str, str]]:
            async with site.watching(LEASES) as events:
                return await events.take(20)

        tasks = [asyncio.create_task(watcher()) for _ in range(10)]
        await asyncio.sleep(0.1)
        for number in range(20):
            await site.lease(f"l-{number:02}")
        seen = await asyncio.gather(*tasks)
        assert seen[0] == [("ADDED", f"l-{number:02}") for number in range(20)]
        assert all(one == seen[0] for one in seen)
        assert not server.watches

    with_server(work)


def test_the_clients_own_deadline_ends_a_watch() -> None:
    async def work(server: FakeApiServer, site: Site) -> None:
        path = LEASES.path("default")
        request = Request(
            method="GET", path=path, query=(("watch", "true"),), timeout_s=10, verb="watch", resource="leases"
        )
        async with site.transport.stream(request) as chunks:
            with pytest.raises(Unreachable) as caught:
                await anext(chunks)
        assert caught.value.kind == "timeout"
        assert now_s() == pytest.approx(10)

    with_server(work)


@pytest.mark.parametrize("query", [{}, {"sendInitialEvents": "true", "resourceVersionMatch": "NotOlderThan"}])
def test_a_server_with_an_old_etcd_streams_no_lists(query: dict[str, str]) -> None:
    async def work(server: FakeApiServer, site: Site) -> None:
        server.streaming_lists = False
        made = await site.lease("a")
        async with site.watching(LEASES, allowWatchBookmarks="true", **query) as events:
            event = await events.next()
            assert (event["type"], event["object"]["code"]) == ("ERROR", 500)
        async with site.watching(LEASES, allowWatchBookmarks="true", resourceVersion=made.revision) as events:
            await site.lease("b")
            assert await events.take(1) == [("ADDED", "b")]

    with_server(work)
