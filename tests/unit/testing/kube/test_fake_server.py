"""What tests do around the API of the fake server: objects, the log, roles, definitions, reviews."""

from __future__ import annotations

import dataclasses
from collections.abc import Awaitable, Callable

import pytest
from tests.support.api_table.site import THINGS, Site

from moorage.kube.api import Api
from moorage.kube.errors import Forbidden
from moorage.kube.resource import (
    CONFIG_MAPS,
    CUSTOM_RESOURCE_DEFINITIONS,
    LEASES,
    NAMESPACES,
    PERSISTENT_VOLUME_CLAIMS,
    PERSISTENT_VOLUMES,
    PODS,
    SERVICE_ACCOUNTS,
    STORAGE_CLASSES,
    TOKEN_REVIEWS,
    VOLUME_GROUP_SNAPSHOTS,
    VOLUME_SNAPSHOTS,
)
from moorage.testing.clock import LoopClock, run_virtual
from moorage.testing.kube import (
    FakeApiServer,
    FakeTransport,
    GarbageCollector,
    Kind,
    Refusal,
    Rule,
    TokenOwner,
    custom_kind,
    rules_of,
)

CLAIM = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}


def with_server(work: Callable[[FakeApiServer, Site], Awaitable[None]]) -> None:
    async def run() -> None:
        server = FakeApiServer(clock=LoopClock())
        await work(server, Site(FakeTransport(server), "default"))

    run_virtual(run())


def test_put_stores_what_it_is_given_and_makes_the_namespace() -> None:
    server = FakeApiServer()
    made = server.put(
        PERSISTENT_VOLUME_CLAIMS,
        {"metadata": {"name": "one", "namespace": "new"}, "spec": CLAIM, "status": {"phase": "Bound"}},
    )
    assert made["status"] == {"phase": "Bound"}
    assert made["kind"] == "PersistentVolumeClaim"
    assert made["metadata"].keys() >= {"uid", "resourceVersion", "creationTimestamp"}
    assert server.find(NAMESPACES, "new") is not None
    again = server.put(PERSISTENT_VOLUME_CLAIMS, {"metadata": {"name": "one", "namespace": "new"}, "spec": CLAIM})
    assert again["metadata"]["uid"] == made["metadata"]["uid"]
    assert int(again["metadata"]["resourceVersion"]) > int(made["metadata"]["resourceVersion"])


def test_what_a_test_gets_is_a_copy() -> None:
    server = FakeApiServer()
    server.put(LEASES, {"metadata": {"name": "one"}, "spec": {"holderIdentity": "me"}})
    found = server.find(LEASES, "one")
    assert found is not None
    found["spec"]["holderIdentity"] = "changed"
    server.objects(LEASES)[0]["spec"].clear()
    assert (server.find(LEASES, "one") or {})["spec"] == {"holderIdentity": "me"}


def test_change_create_and_delete_follow_the_rules() -> None:
    server = FakeApiServer()
    made = server.create(LEASES, {"metadata": {"name": "one", "finalizers": ["a/b"]}, "spec": {}})
    server.delete(LEASES, "one")
    changed = server.change(LEASES, {**(server.find(LEASES, "one") or {}), "spec": {"holderIdentity": "x"}})
    assert changed["metadata"]["uid"] == made["metadata"]["uid"]
    with pytest.raises(Refusal):
        server.change(LEASES, made)
    changed["metadata"]["finalizers"] = []
    server.change(LEASES, changed)
    assert server.find(LEASES, "one") is None
    with pytest.raises(KeyError):
        server.change(LEASES, changed)


def test_the_same_seed_gives_the_same_names() -> None:
    def names(seed: int) -> list[str]:
        server = FakeApiServer(seed=seed)
        made = [server.create(CONFIG_MAPS, {"metadata": {"generateName": "x-"}}) for _ in range(3)]
        return [tree["metadata"]["name"] for tree in made]

    assert names(1) == names(1)
    assert names(1) != names(2)


def test_the_log_counts_by_verb_resource_and_user() -> None:
    async def work(server: FakeApiServer, site: Site) -> None:
        other = Site(FakeTransport(server, user="other"), "default")
        await site.lease("one")
        await other.lease("two")
        await site.patch(LEASES, "one", {"spec": {"holderIdentity": "x"}})
        await site.get(LEASES, "none")
        await site.ask("GET", LEASES)
        await site.thing("one")
        await site.patch(THINGS, "one", {"status": {"s": 2}}, subresource="status")
        assert server.log.count(verb="create", resource="leases") == 2
        assert server.log.counts(user="other") == {("create", "leases"): 1}
        assert server.log.counts()[("patch", "things/status")] == 1
        assert [record.status for record in server.log.select(verb="get")] == [404]
        record = server.log.select(verb="patch", resource="leases")[0]
        assert (record.name, record.content_type) == ("one", "application/merge-patch+json")
        assert b"holderIdentity" in record.body
        server.log.clear()
        assert len(server.log) == 0

    with_server(work)


def test_a_role_allows_what_it_names() -> None:
    role = {
        "kind": "ClusterRole",
        "rules": [
            {"apiGroups": ["coordination.k8s.io"], "resources": ["leases"], "verbs": ["get", "list", "create"]},
            {"apiGroups": [""], "resources": ["persistentvolumes/status"], "verbs": ["*"]},
            {"apiGroups": [""], "resources": ["configmaps"], "resourceNames": ["mine"], "verbs": ["get"]},
        ],
    }

    async def run() -> None:
        server = FakeApiServer()
        server.put(PERSISTENT_VOLUMES, {"metadata": {"name": "pv"}, "spec": {}})
        site = Site(FakeTransport(server, user="sidecar", rules=rules_of(role)), "default")
        await site.lease("one")
        answer = await site.patch(LEASES, "one", {})
        assert answer.refusal == (403, "Forbidden")
        assert answer.tree["message"] == (
            'leases.coordination.k8s.io "one" is forbidden: User "sidecar" cannot patch resource "leases" '
            'in API group "coordination.k8s.io" in the namespace "default"'
        )
        assert (await site.watch_refusal(LEASES)).code == 403
        assert (await site.patch(PERSISTENT_VOLUMES, "pv", {}, subresource="status")).status == 200
        assert (await site.patch(PERSISTENT_VOLUMES, "pv", {})).status == 403
        assert (await site.get(CONFIG_MAPS, "mine")).status == 404
        assert (await site.get(CONFIG_MAPS, "other")).status == 403
        with pytest.raises(Forbidden):
            await Api(site.transport).delete(LEASES, name="one", namespace="default")

    run_virtual(run())


def test_a_rule_can_be_of_one_namespace() -> None:
    rule = Rule(groups=("*",), resources=("*",), verbs=("*",), namespace="here")

    async def run() -> None:
        server = FakeApiServer(namespaces=("here", "there"))
        transport = FakeTransport(server, rules=(rule,))
        assert (await Site(transport, "here").get(LEASES, "x")).status == 404
        assert (await Site(transport, "there").get(LEASES, "x")).status == 403

    run_virtual(run())


def test_kinds_can_be_missing_and_come_and_go() -> None:
    async def run() -> None:
        server = FakeApiServer(custom=())
        site = Site(FakeTransport(server), "default")
        api = Api(site.transport)
        assert (await site.ask("GET", VOLUME_SNAPSHOTS)).status == 404
        assert not await api.served(VOLUME_SNAPSHOTS)
        server.serve(custom_kind(VOLUME_SNAPSHOTS))
        assert await api.served(VOLUME_SNAPSHOTS)
        async with site.watching(VOLUME_SNAPSHOTS) as events:
            server.unserve(VOLUME_SNAPSHOTS)
            with pytest.raises(StopAsyncIteration):
                await events.next()
        assert (await site.ask("GET", VOLUME_SNAPSHOTS)).status == 404

    run_virtual(run())


def test_a_definition_makes_a_kind_and_its_deletion_ends_it() -> None:
    async def work(server: FakeApiServer, site: Site) -> None:
        await site.thing("one")
        definition = server.objects(CUSTOM_RESOURCE_DEFINITIONS)[0]
        assert {"type": "Established", "status": "True"} in definition["status"]["conditions"]
        await site.delete(CUSTOM_RESOURCE_DEFINITIONS, definition["metadata"]["name"])
        assert (await site.get(THINGS, "one")).status == 404

    with_server(work)


def test_versions_of_a_group_share_their_objects() -> None:
    async def work(server: FakeApiServer, site: Site) -> None:
        old = VOLUME_GROUP_SNAPSHOTS.at("v1beta1")
        await site.create(old, {"metadata": {"name": "one"}, "spec": {"source": {}}})
        assert (await site.get(old, "one")).tree["apiVersion"] == "groupsnapshot.storage.k8s.io/v1beta1"
        assert (await site.get(VOLUME_GROUP_SNAPSHOTS, "one")).tree["apiVersion"] == "groupsnapshot.storage.k8s.io/v1"
        item = (await site.ask("GET", old)).tree["items"][0]
        assert item["apiVersion"] == "groupsnapshot.storage.k8s.io/v1beta1"

    with_server(work)


def test_a_kind_can_be_changed() -> None:
    async def work(server: FakeApiServer, site: Site) -> None:
        kind = server.kind_of(LEASES)
        assert isinstance(kind, Kind)
        server.serve(dataclasses.replace(kind, blind_update=True))
        await site.lease("one")
        assert (await site.put(LEASES, "one", {"metadata": {"name": "one"}, "spec": {}})).status == 200

    with_server(work)


def test_the_newest_default_class_is_taken() -> None:
    server = FakeApiServer()
    mark = {"storageclass.kubernetes.io/is-default-class": "true"}
    for name in ("old", "new"):
        server.create(STORAGE_CLASSES, {"metadata": {"name": name, "annotations": mark}, "provisioner": "p"})
    unnamed = server.create(PERSISTENT_VOLUME_CLAIMS, {"metadata": {"name": "a"}, "spec": dict(CLAIM)})
    assert unnamed["spec"]["storageClassName"] == "new"
    none = {**CLAIM, "storageClassName": ""}
    assert server.create(PERSISTENT_VOLUME_CLAIMS, {"metadata": {"name": "b"}, "spec": none})["spec"] == {
        **none,
        "volumeMode": "Filesystem",
    }


def test_tokens_are_issued_and_reviewed() -> None:
    async def work(server: FakeApiServer, site: Site) -> None:
        server.put(SERVICE_ACCOUNTS, {"metadata": {"name": "backup"}})
        request = {"spec": {"audiences": ["mine"], "expirationSeconds": 600}}
        issued = await site.ask("POST", SERVICE_ACCOUNTS, "backup", subresource="token", body=request)
        assert issued.status == 201
        token = issued.tree["status"]["token"]
        assert issued.tree["status"]["expirationTimestamp"] == "2026-01-01T00:10:00Z"

        async def review(token: str, *audiences: str) -> dict[str, object]:
            body = {"metadata": {}, "spec": {"token": token, "audiences": list(audiences)}}
            found: dict[str, object] = (await site.create(TOKEN_REVIEWS, body)).tree["status"]
            return found

        good = await review(token, "mine", "other")
        assert good["authenticated"] is True
        assert good["audiences"] == ["mine"]
        assert "authenticated" not in await review(token, "other")
        assert "authenticated" not in await review("unknown", "mine")
        server.reviewer.tokens["given"] = TokenOwner(username="me", audiences=("mine",))
        assert (await review("given", "mine"))["user"] == {"username": "me", "uid": "", "groups": []}

    with_server(work)


def test_pods_are_bound_and_evicted() -> None:
    async def work(server: FakeApiServer, site: Site) -> None:
        await site.create(PODS, {"metadata": {"name": "one"}, "spec": {"containers": []}})
        binding = {"metadata": {"name": "one"}, "target": {"kind": "Node", "name": "n1"}}
        assert (await site.ask("POST", PODS, "one", subresource="binding", body=binding)).status == 201
        assert (await site.get(PODS, "one")).tree["spec"]["nodeName"] == "n1"
        assert (await site.ask("POST", PODS, "one", subresource="eviction", body={})).status == 201
        assert (await site.get(PODS, "one")).metadata["deletionGracePeriodSeconds"] == 30
        assert (await site.ask("GET", PODS, "one", subresource="eviction")).refusal == (405, "MethodNotAllowed")

    with_server(work)


def test_the_garbage_collector_takes_what_lost_its_owners() -> None:
    server = FakeApiServer(behaviours=[GarbageCollector(LEASES, CONFIG_MAPS)])
    owner = server.create(CONFIG_MAPS, {"metadata": {"name": "owner"}})
    reference = {"apiVersion": "v1", "kind": "ConfigMap", "name": "owner", "uid": owner["metadata"]["uid"]}
    server.create(LEASES, {"metadata": {"name": "owned", "ownerReferences": [reference]}, "spec": {}})
    server.create(LEASES, {"metadata": {"name": "free"}, "spec": {}})
    server.reactions.settle()
    assert len(server.objects(LEASES)) == 2
    server.delete(CONFIG_MAPS, "owner")
    server.reactions.settle()
    assert [tree["metadata"]["name"] for tree in server.objects(LEASES)] == ["free"]


def test_controllers_that_never_come_to_rest_are_noticed() -> None:
    class Restless:
        def react(self, server: FakeApiServer) -> None:
            server.put(LEASES, {"metadata": {"name": "one"}, "spec": {}})

    with pytest.raises(RuntimeError, match="still change objects"):
        FakeApiServer(behaviours=[Restless()]).reactions.settle()
