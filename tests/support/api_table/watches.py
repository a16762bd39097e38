"""Watches: order, selection, beginnings and ends."""

from __future__ import annotations

from tests.support.api_table.case import case
from tests.support.api_table.site import THINGS, Site

from moorage.kube.resource import CONFIG_MAPS, LEASES


@case
async def a_watch_tells_all_changes_in_order(site: Site) -> None:
    since = (await site.ask("GET", LEASES)).revision
    async with site.watching(LEASES, resourceVersion=since) as events:
        await site.lease("a", finalizers=["a/b"])
        await site.patch(LEASES, "a", {"metadata": {"labels": {"l": "x"}}})
        await site.delete(LEASES, "a")
        await site.patch(LEASES, "a", {"metadata": {"finalizers": None}})
        seen = [await events.next() for _ in range(4)]
    assert [event["type"] for event in seen] == ["ADDED", "MODIFIED", "MODIFIED", "DELETED"]
    assert all(
        (event["object"]["kind"], event["object"]["apiVersion"]) == ("Lease", LEASES.api_version) for event in seen
    )
    revisions = [int(event["object"]["metadata"]["resourceVersion"]) for event in seen]
    assert revisions == sorted(set(revisions))
    assert seen[-1]["object"]["metadata"]["finalizers"] == ["a/b"]


@case
async def a_watch_goes_on_from_where_it_is_told(site: Site) -> None:
    await site.lease("a")
    since = (await site.lease("b")).revision
    await site.lease("c")
    async with site.watching(LEASES, resourceVersion=since) as events:
        assert await events.take(1) == [("ADDED", "c")]


@case
async def a_watch_from_nowhere_begins_with_what_there_is(site: Site) -> None:
    await site.lease("a")
    await site.lease("b")
    async with site.watching(LEASES) as events:
        assert sorted(await events.take(2)) == [("ADDED", "a"), ("ADDED", "b")]
        await site.lease("c")
        assert await events.take(1) == [("ADDED", "c")]


@case
async def a_change_that_changes_nothing_is_not_told(site: Site) -> None:
    since = (await site.config_map("a", labels={"l": "x"})).revision
    async with site.watching(CONFIG_MAPS, resourceVersion=since, labelSelector="l") as events:
        await site.patch(CONFIG_MAPS, "a", {"data": {"a": "1"}})
        await site.patch(CONFIG_MAPS, "a", {"data": {"a": "2"}})
        event = await events.next()
    assert event["object"]["data"] == {"a": "2"}


@case
async def coming_into_a_selection_is_added_and_leaving_it_deleted(site: Site) -> None:
    since = (await site.lease("a", labels={"l": "no"})).revision
    async with site.watching(LEASES, resourceVersion=since, labelSelector="l=yes") as events:
        await site.patch(LEASES, "a", {"metadata": {"labels": {"l": "yes"}}})
        await site.patch(LEASES, "a", {"metadata": {"annotations": {"a": "b"}}})
        out = await site.patch(LEASES, "a", {"metadata": {"labels": {"l": "no"}}})
        seen = [await events.next() for _ in range(3)]
    assert [event["type"] for event in seen] == ["ADDED", "MODIFIED", "DELETED"]
    last = seen[-1]["object"]["metadata"]
    assert last["labels"] == {"l": "yes"}
    assert last["resourceVersion"] == out.revision


@case
async def a_watch_of_one_name_sees_no_other(site: Site) -> None:
    since = (await site.lease("a")).revision
    async with site.watching(LEASES, resourceVersion=since, fieldSelector="metadata.name=b") as events:
        await site.lease("c")
        await site.lease("b")
        assert await events.take(1) == [("ADDED", "b")]


@case
async def a_custom_kind_can_be_watched(site: Site) -> None:
    since = (await site.thing("a")).revision
    async with site.watching(THINGS, resourceVersion=since) as events:
        await site.patch(THINGS, "a", {"status": {"s": 5}}, subresource="status")
        await site.delete(THINGS, "a")
        seen = [await events.next() for _ in range(2)]
    assert [event["type"] for event in seen] == ["MODIFIED", "DELETED"]
    assert seen[0]["object"]["status"] == {"s": 5}


@case
async def a_watch_ends_after_its_time(site: Site) -> None:
    since = (await site.lease("a")).revision
    query = {"watch": "true", "resourceVersion": since, "timeoutSeconds": "1"}
    answer = await site.ask("GET", LEASES, **query)
    assert (answer.status, answer.tree) == (200, "")


@case
async def queries_of_watches_are_checked(site: Site) -> None:
    error = await site.watch_refusal(LEASES, sendInitialEvents="true")
    assert (error.code, error.reason) == (422, "Invalid")
    error = await site.watch_refusal(LEASES, resourceVersion="abc")
    assert error.code == 500
    error = await site.watch_refusal(LEASES, labelSelector="a b")
    assert (error.code, error.reason) == (400, "BadRequest")
    error = await site.watch_refusal(LEASES, fieldSelector="spec.x=1")
    assert (error.code, error.reason) == (400, "BadRequest")


@case
async def the_last_state_of_an_object_is_told_with_the_version_of_its_going(site: Site) -> None:
    made = await site.lease("a")
    async with site.watching(LEASES, resourceVersion=made.revision) as events:
        await site.delete(LEASES, "a")
        event = await events.next()
    assert event["type"] == "DELETED"
    assert event["object"]["metadata"]["uid"] == made.metadata["uid"]
    assert int(event["object"]["metadata"]["resourceVersion"]) > int(made.revision)
    assert "deletionTimestamp" not in event["object"]["metadata"]
