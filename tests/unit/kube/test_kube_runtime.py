"""The parts of the runtime together: objects are worked on as they come, and an idle controller is silent."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from functools import partial

from tests.support.kube_client import in_no_time

from moorage.kube.api import Api
from moorage.kube.cache import split_key
from moorage.kube.controller import Controller, Result, feed
from moorage.kube.events import Recorder, subject_of
from moorage.kube.informers import Informers
from moorage.kube.limiter import Limiter
from moorage.kube.manager import Group, Service, Standing, Supervisor
from moorage.kube.objects.claims import PersistentVolumeClaim
from moorage.kube.queue import Queue
from moorage.kube.resource import EVENTS, PERSISTENT_VOLUME_CLAIMS
from moorage.testing.kube.faults import Refuse
from moorage.testing.kube.server import FakeApiServer
from moorage.testing.kube.transport import FakeTransport

DONE = "example.com/done"


class Marker:
    """A controller as its author writes it: marks each claim, and says so in an event."""

    def __init__(self, api: Api, informers: Informers, recorder: Recorder) -> None:
        self.api = api
        self.informers = informers
        self.recorder = recorder
        self.order: list[str] = []
        self.claims = informers.want(
            PERSISTENT_VOLUME_CLAIMS, PersistentVolumeClaim, fields=["metadata.annotations", "spec.volume_name"]
        )

    async def run(self, standing: Standing) -> None:
        queue: Queue[str] = Queue("claims")
        await self.informers.ready(self.claims)
        with self.claims.handle(feed(queue)):
            standing.ready()
            await Controller("marker", queue, self.reconcile, workers=2).run()

    async def reconcile(self, key: str) -> Result | None:
        claim = self.claims.store.get(key)
        if claim is None or DONE in claim.metadata.annotations:
            return None
        self.order.append(key)
        namespace, name = split_key(key)
        written = await self.api.patch_merge(
            PERSISTENT_VOLUME_CLAIMS,
            self.claims.type_,
            {"metadata": {"annotations": {DONE: "yes"}}},
            name=name,
            namespace=namespace,
            resource_version=claim.metadata.resource_version,
        )
        self.claims.learn(written)
        self.recorder.record(subject_of(PERSISTENT_VOLUME_CLAIMS, claim), "Normal", "Marked", "it is done")
        return None


def play(work: Callable[[FakeApiServer, Marker, Supervisor], Awaitable[None]], *, before: int = 0) -> None:
    async def run() -> None:
        server = FakeApiServer()
        for number in range(before):
            put(server, f"old-{number}")
        api = Api(FakeTransport(server), limiter=Limiter(-1))
        informers, recorder = Informers(api), Recorder(api, "marker")
        marker = Marker(api, informers, recorder)
        services = [
            Service("informers", informers.run),
            Service("events", recorder.run, before_stop=partial(recorder.flush, timeout_s=2)),
        ]
        supervisor = Supervisor([Group("marker", marker.run)], services=services)
        running = asyncio.ensure_future(supervisor.run())
        await work(server, marker, supervisor)
        running.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await running
        assert len(server.objects(EVENTS)) == len(marked(server))

    in_no_time(run())


def put(server: FakeApiServer, name: str) -> None:
    spec = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}
    server.put(PERSISTENT_VOLUME_CLAIMS, {"metadata": {"name": name, "namespace": "default"}, "spec": spec})


def marked(server: FakeApiServer) -> set[str]:
    claims = server.objects(PERSISTENT_VOLUME_CLAIMS)
    return {tree["metadata"]["name"] for tree in claims if DONE in tree["metadata"].get("annotations", {})}


def test_each_claim_costs_one_patch_and_one_event_and_idleness_nothing() -> None:
    async def work(server: FakeApiServer, _: Marker, supervisor: Supervisor) -> None:
        await asyncio.sleep(1)
        assert supervisor.standing["marker"].problem == ""
        server.log.clear()
        for number in range(20):
            put(server, f"new-{number}")
        await asyncio.sleep(5)
        assert len(marked(server)) == 20
        assert server.log.counts() == {("patch", "persistentvolumeclaims"): 20, ("create", "events"): 20}
        server.log.clear()
        await asyncio.sleep(3600)
        assert {verb for verb, _ in server.log.counts()} == {"watch"}

    play(work)


def test_new_claims_go_before_those_that_were_there_at_the_start() -> None:
    async def work(server: FakeApiServer, marker: Marker, _: Supervisor) -> None:
        while not marker.order:
            await asyncio.sleep(0)
        put(server, "urgent")
        await asyncio.sleep(5)
        assert marker.order.index("default/urgent") < 100
        assert len(marker.order) == 501

    play(work, before=500)


def test_conflicts_outages_and_restarts_only_delay() -> None:
    async def work(server: FakeApiServer, _: Marker, __: Supervisor) -> None:
        for number in range(30):
            if number % 5 == 0:
                server.faults.add(Refuse(409), verb="patch", times=2)
            if number % 7 == 0:
                server.break_watches()
            if number == 15:
                server.go_down()
            put(server, f"c-{number}")
            await asyncio.sleep(1)
        server.compact()
        server.come_back()
        await asyncio.sleep(200)
        assert len(marked(server)) == 30

    play(work)
