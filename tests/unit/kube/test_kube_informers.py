"""Readers of the same objects share one cache, which holds what any of them declared."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable

import pytest
from tests.support.kube_client import in_no_time

from moorage.base.metrics import SIDECAR_OPERATIONS, Metrics
from moorage.kube.api import Api
from moorage.kube.fields import UndeclaredField
from moorage.kube.informers import Informers
from moorage.kube.objects.claims import PersistentVolumeClaim
from moorage.kube.objects.classes import StorageClass
from moorage.kube.objects.meta import PartialObject
from moorage.kube.resource import PERSISTENT_VOLUME_CLAIMS, STORAGE_CLASSES
from moorage.testing.kube.server import FakeApiServer
from moorage.testing.kube.transport import FakeTransport


def play(work: Callable[[FakeApiServer, Informers], Awaitable[None]], *, metrics: Metrics | None = None) -> None:
    async def run() -> None:
        server = FakeApiServer()
        server.put(STORAGE_CLASSES, {"metadata": {"name": "fast"}, "provisioner": "d", "parameters": {"a": "b"}})
        informers = Informers(Api(FakeTransport(server)), metrics=metrics)
        running = asyncio.ensure_future(informers.run())
        try:
            await work(server, informers)
        finally:
            running.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await running

    in_no_time(run())


def test_two_readers_share_one_list_and_the_union_of_their_fields() -> None:
    async def work(server: FakeApiServer, informers: Informers) -> None:
        one = informers.want(STORAGE_CLASSES, StorageClass, fields=["provisioner"])
        other = informers.want(STORAGE_CLASSES, StorageClass, fields=["parameters"])
        await informers.ready(one)
        await informers.ready(one, other)
        assert one is other
        (found,) = one.store
        assert (found.provisioner, found.parameters) == ("d", {"a": "b"})
        with pytest.raises(UndeclaredField):
            _ = found.reclaim_policy
        assert server.log.count(verb="list") == 1

    play(work)


def test_a_reader_without_declaration_reads_everything() -> None:
    async def work(_: FakeApiServer, informers: Informers) -> None:
        informer = informers.want(STORAGE_CLASSES, StorageClass, fields=["provisioner"])
        informers.want(STORAGE_CLASSES, StorageClass)
        await informers.ready(informer)
        assert informer.type_ is StorageClass

    play(work)


def test_what_nobody_has_started_is_not_asked_for() -> None:
    async def work(server: FakeApiServer, informers: Informers) -> None:
        informers.want(PERSISTENT_VOLUME_CLAIMS, PersistentVolumeClaim)
        await informers.ready(informers.want(STORAGE_CLASSES, StorageClass))
        await asyncio.sleep(1000)
        assert server.log.count(resource="persistentvolumeclaims") == 0
        assert informers.problem == ""

    play(work)


def test_other_selections_are_other_caches() -> None:
    async def work(server: FakeApiServer, informers: Informers) -> None:
        for namespace in ("default", "kube-system"):
            server.put(PERSISTENT_VOLUME_CLAIMS, {"metadata": {"name": "a", "namespace": namespace}, "spec": {}})
        everywhere = informers.want(PERSISTENT_VOLUME_CLAIMS, PersistentVolumeClaim)
        here = informers.want(PERSISTENT_VOLUME_CLAIMS, PersistentVolumeClaim, namespace="default")
        await informers.ready(everywhere, here)
        assert sorted(everywhere.store.keys()) == ["default/a", "kube-system/a"]
        assert here.store.keys() == ["default/a"]

    play(work)


def test_one_cache_cannot_have_two_types() -> None:
    async def work(_: FakeApiServer, informers: Informers) -> None:
        informers.want(STORAGE_CLASSES, StorageClass)
        with pytest.raises(TypeError, match="storageclasses are cached as StorageClass"):
            informers.want(STORAGE_CLASSES, PartialObject)

    play(work)


def test_an_outage_shows_as_a_problem() -> None:
    async def work(server: FakeApiServer, informers: Informers) -> None:
        await informers.ready(informers.want(STORAGE_CLASSES, StorageClass))
        server.go_down()
        await asyncio.sleep(20)
        assert "storageclasses cannot be kept up to date" in informers.problem

    play(work)


def test_sizes_are_metrics() -> None:
    metrics = Metrics(SIDECAR_OPERATIONS)

    async def work(_: FakeApiServer, informers: Informers) -> None:
        await informers.ready(informers.want(STORAGE_CLASSES, StorageClass))
        text = metrics.render().decode()
        labels = '{namespace="",resource="storageclasses.storage.k8s.io",selector=""}'
        assert f"moorage_kube_informer_objects{labels} 1.0" in text
        assert f"moorage_kube_informer_lists{labels} 1.0" in text

    play(work, metrics=metrics)
