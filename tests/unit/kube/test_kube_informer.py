"""A cache ends up as the server is, tells its handlers of every difference, and asks for no more than it must."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.support.kube_client import in_no_time

from moorage.kube.api import Api
from moorage.kube.errors import KubeError
from moorage.kube.fields import UndeclaredField
from moorage.kube.informer import Informer, Notice, Selection
from moorage.kube.limiter import Limiter
from moorage.kube.objects.claims import PersistentVolumeClaim
from moorage.kube.resource import PERSISTENT_VOLUME_CLAIMS, PODS
from moorage.kube.transport import Request, Response
from moorage.testing.kube.faults import DropWatch, ExpireWatch, LoseReply, Refuse
from moorage.testing.kube.server import FakeApiServer
from moorage.testing.kube.transport import FakeTransport

Claims = Informer[PersistentVolumeClaim]


class World:
    """A server, an informer on its claims, and what a handler was told."""

    def __init__(self) -> None:
        self.server = FakeApiServer()
        self.api = Api(FakeTransport(self.server), limiter=Limiter(-1))
        self.informer: Claims = Informer(
            self.api, Selection(PERSISTENT_VOLUME_CLAIMS), PersistentVolumeClaim, chance=lambda: 0.5
        )
        self.notices: list[Notice[PersistentVolumeClaim]] = []
        self.told: dict[str, str] = {}
        self.unfit: list[Notice[PersistentVolumeClaim]] = []

    def put(self, name: str, **annotations: str) -> dict[str, Any]:
        held = self.server.find(PERSISTENT_VOLUME_CLAIMS, name, "default")
        metadata = {"name": name, "namespace": "default", "annotations": annotations}
        if held is not None:
            metadata = {**held["metadata"], "annotations": annotations}
        return dict(
            self.server.put(
                PERSISTENT_VOLUME_CLAIMS,
                {
                    "metadata": metadata,
                    "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}},
                    "status": {"phase": "Pending"},
                },
            )
        )

    def remove(self, name: str) -> None:
        self.server.remove(PERSISTENT_VOLUME_CLAIMS, name, "default")

    def hear(self, notice: Notice[PersistentVolumeClaim]) -> None:
        """Keep what a reader would know that only ever hears of differences, and whether they fit each other."""
        self.notices.append(notice)
        key, uid = notice.key, notice.object.metadata.uid
        known = self.told.get(key)
        if known != (None if notice.before is None else uid):
            self.unfit.append(notice)
        if notice.after is None:
            self.told.pop(key, None)
        else:
            self.told[key] = uid

    @property
    def cached(self) -> dict[str, str]:
        return {item.metadata.name: item.metadata.resource_version for item in self.informer.store}

    @property
    def served(self) -> dict[str, str]:
        return {
            tree["metadata"]["name"]: tree["metadata"]["resourceVersion"]
            for tree in self.server.objects(PERSISTENT_VOLUME_CLAIMS)
        }

    async def until(self, condition: Callable[[], bool], *, within_s: float = 300) -> float:
        """Wait in virtual time; how long it took."""
        loop = asyncio.get_running_loop()
        start_s = loop.time()
        while not condition():
            assert loop.time() - start_s < within_s, "it did not come about"
            await asyncio.sleep(0.01)
        return loop.time() - start_s

    async def in_step(self) -> float:
        return await self.until(lambda: self.informer.has_synced and self.cached == self.served)


def play(work: Callable[[World], Awaitable[None]]) -> None:
    """Run `work` beside a running informer."""

    async def run() -> None:
        world = World()
        with world.informer.handle(world.hear):
            running = asyncio.ensure_future(world.informer.run())
            try:
                await work(world)
                assert world.unfit == []
            finally:
                running.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await running

    in_no_time(run())


def test_it_lists_once_and_then_watches() -> None:
    async def work(world: World) -> None:
        world.put("a")
        world.put("b")
        await world.informer.wait_synced()
        world.put("c")
        world.put("a", changed="yes")
        world.remove("b")
        await world.in_step()
        await asyncio.sleep(3600)
        assert world.served.keys() == {"a", "c"}
        assert world.server.log.count(verb="list", resource="persistentvolumeclaims") == 1
        assert 6 <= world.server.log.count(verb="watch") <= 12
        assert world.informer.problem == ""

    play(work)


def test_handlers_hear_of_each_difference_once() -> None:
    async def work(world: World) -> None:
        world.put("a")
        await world.informer.wait_synced()
        world.put("a", changed="yes")
        world.remove("a")
        await world.in_step()
        heard = [(note.before is not None, note.after is not None, note.initial) for note in world.notices]
        assert heard == [(False, True, True), (True, True, False), (True, False, False)]
        assert {note.key for note in world.notices} == {"default/a"}

    play(work)


def test_the_end_of_a_watch_costs_no_list_and_loses_nothing() -> None:
    async def work(world: World) -> None:
        await world.informer.wait_synced()
        await world.until(lambda: bool(world.server.watches))
        world.server.break_watches()
        world.put("a")
        assert await world.in_step() < 5
        world.server.break_watches(cleanly=True)
        world.put("b")
        assert await world.in_step() < 5
        assert world.informer.lists == 1

    play(work)


def test_after_410_what_vanished_is_told() -> None:
    async def work(world: World) -> None:
        for name in ("stays", "goes", "changes", "is-replaced"):
            world.put(name)
        await world.in_step()
        world.server.go_down()
        await asyncio.sleep(30)
        world.remove("goes")
        world.put("changes", changed="yes")
        world.remove("is-replaced")
        world.put("is-replaced")
        world.put("comes")
        world.server.compact()
        world.notices.clear()
        world.server.come_back()
        await world.in_step()
        heard = sorted((note.key, note.before is not None, note.after is not None) for note in world.notices)
        assert heard == [
            ("default/changes", True, True),
            ("default/comes", False, True),
            ("default/goes", True, False),
            ("default/is-replaced", False, True),
            ("default/is-replaced", True, False),
        ]
        assert world.informer.lists == 2
        assert not any(note.initial for note in world.notices)

    play(work)


def test_bookmarks_spare_a_list_when_the_history_is_short() -> None:
    async def work(world: World) -> None:
        world.put("a")
        await world.in_step()
        await asyncio.sleep(90)
        world.server.put(PODS, pod("x"))
        world.server.bookmark()
        await asyncio.sleep(1)
        world.server.compact()
        world.server.break_watches()
        world.put("b")
        await world.in_step()
        assert world.informer.lists == 1

    play(work)


def pod(name: str) -> dict[str, Any]:
    return {
        "metadata": {"name": name, "namespace": "default"},
        "spec": {"containers": [{"name": "c", "image": "i"}]},
    }


@pytest.mark.parametrize("down_s", [pytest.param(5, id="blip"), pytest.param(600, id="outage")])
def test_an_outage_is_reported_and_ends_by_itself(down_s: float) -> None:
    async def work(world: World) -> None:
        world.put("a")
        await world.in_step()
        world.server.go_down()
        before = len(world.server.log)
        await asyncio.sleep(down_s)
        assert "the cache of persistentvolumeclaims cannot be kept up to date" in world.informer.problem
        assert len(world.server.log) - before <= 4 + down_s / 15
        world.server.come_back()
        world.put("b")
        assert await world.in_step() <= 35
        assert world.informer.problem == ""

    play(work)


def test_a_refused_list_is_tried_again_with_growing_pauses() -> None:
    async def work(world: World) -> None:
        fault = world.server.faults.add(Refuse(403), verb="list", times=None)
        await asyncio.sleep(600)
        assert not world.informer.has_synced
        assert 20 < fault.hits < 50
        assert "403" in world.informer.problem
        world.server.faults.clear()
        await world.informer.wait_synced()

    play(work)


def test_watches_that_end_at_once_do_not_become_a_storm() -> None:
    async def work(world: World) -> None:
        await world.informer.wait_synced()
        world.server.faults.add(DropWatch(cleanly=True), times=None)
        world.server.break_watches()
        before = world.server.log.count(verb="watch")
        await asyncio.sleep(300)
        assert world.server.log.count(verb="watch") - before < 40

    play(work)


def test_a_handler_that_fails_harms_nobody() -> None:
    async def work(world: World) -> None:
        def broken(_: object) -> None:
            raise RuntimeError("a defect")

        with world.informer.handle(broken):
            world.put("a")
            await world.in_step()
        assert len(world.notices) == 1

    play(work)


def test_a_late_handler_hears_of_what_is_there_and_of_nothing_after_its_end() -> None:
    async def work(world: World) -> None:
        world.put("a")
        await world.in_step()
        late: list[str] = []
        with world.informer.handle(lambda note: late.append(f"{note.key} {note.initial}")):
            assert late == ["default/a True"]
            world.put("b")
            await world.in_step()
        world.put("c")
        await world.in_step()
        assert late == ["default/a True", "default/b False"]

    play(work)


def test_a_resync_comes_only_to_who_asked_for_it() -> None:
    async def work(world: World) -> None:
        world.put("a")
        await world.in_step()
        world.notices.clear()
        again: list[bool] = []
        with world.informer.handle(lambda note: again.append(note.resync), resync_s=60):
            await asyncio.sleep(190)
        await asyncio.sleep(190)
        assert again == [False, True, True, True]
        assert world.notices == []

    play(work)


async def rename(world: World, name: str, text: str) -> PersistentVolumeClaim:
    return await world.api.patch_merge(
        PERSISTENT_VOLUME_CLAIMS,
        world.informer.type_,
        {"metadata": {"annotations": {"note": text}}},
        name=name,
        namespace="default",
    )


def test_the_answer_to_our_own_write_is_there_at_once_and_told_once() -> None:
    async def work(world: World) -> None:
        world.put("a")
        await world.in_step()
        world.notices.clear()
        world.server.watch_lag_s = 5.0
        written = await rename(world, "a", "new")
        assert world.informer.learn(written)
        held = world.informer.store.get("default/a")
        assert held is not None
        assert held.metadata.annotations == {"note": "new"}
        await asyncio.sleep(20)
        assert len(world.notices) == 1

    play(work)


def test_a_write_that_the_watch_has_overtaken_is_not_taken() -> None:
    async def work(world: World) -> None:
        world.put("a")
        await world.in_step()
        written = await rename(world, "a", "new")
        world.remove("a")
        await world.in_step()
        assert not world.informer.learn(written)
        assert "default/a" not in world.informer.store

    play(work)


def test_an_older_event_does_not_undo_what_was_learnt() -> None:
    async def work(world: World) -> None:
        world.put("a")
        await world.in_step()
        world.server.watch_lag_s = 5.0
        await rename(world, "a", "first")
        assert world.informer.learn(await rename(world, "a", "second"))
        seen = []
        with world.informer.handle(lambda note: seen.append(note.object.metadata.annotations.get("note"))):
            await asyncio.sleep(20)
        assert set(seen) == {"second"}

    play(work)


def test_the_late_news_of_a_deletion_spares_the_new_object_of_that_name() -> None:
    async def work(world: World) -> None:
        world.put("a")
        await world.in_step()
        world.server.watch_lag_s = 5.0
        world.remove("a")
        spec = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}
        body = {"metadata": {"name": "a"}, "spec": spec}
        made = await world.api.create(PERSISTENT_VOLUME_CLAIMS, world.informer.type_, body, namespace="default")
        assert world.informer.learn(made)
        world.notices.clear()
        await asyncio.sleep(20)
        assert world.cached == world.served
        assert world.notices == []

    play(work)


def test_after_410_the_list_is_not_taken_from_a_stale_cache() -> None:
    asked: list[str] = []

    class Listening(FakeTransport):
        async def request(self, request: Request) -> Response:
            asked.append(dict(request.query).get("resourceVersion", "the newest"))
            return await super().request(request)

    async def run() -> None:
        server = FakeApiServer()
        api = Api(Listening(server), limiter=Limiter(-1))
        informer = Informer(api, Selection(PERSISTENT_VOLUME_CLAIMS), PersistentVolumeClaim)
        running = asyncio.ensure_future(informer.run())
        await informer.wait_synced()
        await asyncio.sleep(1)
        server.expire_watches()
        await asyncio.sleep(10)
        running.cancel()
        assert asked == ["0", "the newest"]

    in_no_time(run())


def test_only_declared_fields_are_decoded_and_declaring_late_is_refused() -> None:
    async def run() -> None:
        world = World()
        world.informer.declare(["spec.volume_name"])
        world.informer.declare(["status.phase"])
        world.put("a")
        running = asyncio.ensure_future(world.informer.run())
        await world.informer.wait_synced()
        (claim,) = world.informer.store
        assert claim.status.phase == "Pending"
        assert claim.metadata.uid
        with pytest.raises(UndeclaredField, match=r"spec\.selector was read but is not declared"):
            _ = claim.spec.selector
        world.informer.declare(["status.phase"])
        with pytest.raises(RuntimeError, match="declare all fields before the first start"):
            world.informer.declare(["spec.selector"])
        running.cancel()

    in_no_time(run())


STEPS = st.lists(
    st.one_of(
        st.tuples(st.sampled_from(["put", "remove", "own-write"]), st.sampled_from("abcd")),
        st.tuples(
            st.sampled_from(["break", "end", "expire", "compact", "down", "up", "lag", "refuse", "lose", "wait"]),
            st.just(""),
        ),
    ),
    max_size=40,
)


@settings(max_examples=60, deadline=None)
@given(STEPS)
def test_whatever_happens_the_cache_comes_to_agree_with_the_server(steps: list[tuple[str, str]]) -> None:
    async def work(world: World) -> None:
        for number, (step, name) in enumerate(steps):
            await disturb(world, step, name, number)
        world.server.come_back()
        world.server.faults.clear()
        world.server.watch_lag_s = 0.0
        await world.in_step()
        assert world.told == {item.key: item.uid for item in map(Known, world.informer.store)}

    play(work)


class Known:
    def __init__(self, claim: PersistentVolumeClaim) -> None:
        self.key = f"default/{claim.metadata.name}"
        self.uid = claim.metadata.uid


async def disturb(world: World, step: str, name: str, number: int) -> None:
    server = world.server
    present = name in world.served
    match step:
        case "put":
            world.put(name, number=str(number))
        case "remove" if present:
            world.remove(name)
        case "own-write" if present and server.reachable:
            with contextlib.suppress(KubeError):
                world.informer.learn(await rename(world, name, str(number)))
        case "break":
            server.break_watches()
        case "end":
            server.break_watches(cleanly=True)
        case "expire":
            server.faults.add(ExpireWatch(after_events=1))
        case "compact":
            server.compact()
        case "down":
            server.go_down()
        case "up":
            server.come_back()
        case "lag":
            server.watch_lag_s = 3.0
        case "refuse":
            server.faults.add(Refuse(503), verb="list")
        case "lose":
            server.faults.add(LoseReply(), verb="list")
        case _:
            await asyncio.sleep(7)
