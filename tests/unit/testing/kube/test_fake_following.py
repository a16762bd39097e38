"""Whoever lists and then watches knows what the server knows, whatever happens to objects, watches and the past."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import Struct

from moorage.kube.api import Api
from moorage.kube.errors import AlreadyExists, Gone, NotFound, Unreachable
from moorage.kube.resource import LEASES
from moorage.kube.watch import Bookmark
from moorage.testing.clock import run_virtual
from moorage.testing.kube import DropWatch, ExpireWatch, FakeApiServer, FakeTransport

NAMES = st.sampled_from(["a", "b", "c"])
WRITES = st.one_of(
    st.tuples(st.just("create"), NAMES, st.sampled_from(["", "x", "y"]), st.booleans()),
    st.tuples(st.just("label"), NAMES, st.sampled_from(["", "x", "y"]), st.booleans()),
    st.tuples(st.just("delete"), NAMES, st.just(""), st.booleans()),
    st.tuples(st.just("release"), NAMES, st.just(""), st.booleans()),
    st.tuples(st.sampled_from(["break", "end", "expire", "compact", "bookmark"]), NAMES, st.just(""), st.booleans()),
)


class Metadata(Struct, rename="camel"):
    name: str
    resource_version: str


class Seen(Struct):
    metadata: Metadata


class Follower:
    """The simplest client that keeps up: lists, watches, and lists again only when it must."""

    def __init__(self, server: FakeApiServer, selector: str) -> None:
        self.api = Api(FakeTransport(server, user="follower"))
        self.selector = selector
        self.known: dict[str, str] = {}
        self.revision = ""

    async def run(self) -> None:
        while True:
            try:
                if not self.revision:
                    await self._list()
                await self._watch()
            except Gone:
                self.revision = ""
            except Unreachable:
                await asyncio.sleep(0.001)

    async def _list(self) -> None:
        page = await self.api.list(LEASES, Seen, namespace="default", label_selector=self.selector, page_size=2)
        self.known = {item.metadata.name: item.metadata.resource_version for item in page.items}
        self.revision = page.resource_version

    async def _watch(self) -> None:
        watch = self.api.watch(
            LEASES, Seen, namespace="default", label_selector=self.selector, resource_version=self.revision
        )
        async with watch as events:
            async for event in events:
                if isinstance(event, Bookmark):
                    self.revision = event.resource_version
                    continue
                found = event.object.metadata
                assert int(found.resource_version) > int(self.revision)
                assert (event.type == "ADDED") == (found.name not in self.known)
                if event.type == "DELETED":
                    del self.known[found.name]
                else:
                    self.known[found.name] = found.resource_version
                self.revision = found.resource_version


async def write(server: FakeApiServer, api: Api, what: str, name: str, label: str, held: bool) -> None:
    labels = {"l": label or None}
    match what:
        case "create":
            finalizers = ["a/b"] if held else []
            body = {"metadata": {"name": name, "labels": {"l": label} if label else {}, "finalizers": finalizers}}
            await api.create(LEASES, bytes, body, namespace="default")
        case "label":
            await api.patch_merge(LEASES, bytes, {"metadata": {"labels": labels}}, name=name, namespace="default")
        case "delete":
            await api.delete(LEASES, name=name, namespace="default")
        case "release":
            patch = {"metadata": {"finalizers": None}}
            await api.patch_merge(LEASES, bytes, patch, name=name, namespace="default")
        case "break":
            server.break_watches()
        case "end":
            server.break_watches(cleanly=True)
        case "expire":
            server.expire_watches()
        case "compact":
            server.compact()
        case _:
            server.bookmark()


@pytest.mark.parametrize("selector", ["", "l=x"], ids=["everything", "a-selection"])
@settings(max_examples=60, deadline=None)
@given(writes=st.lists(st.tuples(WRITES, st.booleans()), max_size=25), drop_after=st.integers(0, 4))
def test_a_follower_keeps_up(
    selector: str, writes: list[tuple[tuple[str, str, str, bool], bool]], drop_after: int
) -> None:
    async def work() -> None:
        server = FakeApiServer()
        server.faults.add(DropWatch(after_events=drop_after), verb="watch", times=2)
        server.faults.add(ExpireWatch(after_events=drop_after), verb="watch", times=1, skip=2)
        follower, api = Follower(server, selector), Api(FakeTransport(server))
        async with asyncio.TaskGroup() as group:
            task = group.create_task(follower.run())
            for (what, name, label, held), pause in writes:
                with contextlib.suppress(NotFound, AlreadyExists):
                    await write(server, api, what, name, label, held)
                if pause:
                    await asyncio.sleep(0.01)
            await asyncio.sleep(1)
            assert follower.known == present(server, selector)
            task.cancel()

    run_virtual(work())


def present(server: FakeApiServer, selector: str) -> dict[str, str]:
    def selected(tree: dict[str, Any]) -> bool:
        return not selector or (tree["metadata"].get("labels") or {}).get("l") == "x"

    found = [tree["metadata"] for tree in server.objects(LEASES) if selected(tree)]
    return {metadata["name"]: metadata["resourceVersion"] for metadata in found}
