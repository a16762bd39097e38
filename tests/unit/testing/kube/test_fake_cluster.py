"""The simulated controllers: binding, protection, attachment."""

from __future__ import annotations

import asyncio
import hashlib
from typing import Any

import pytest

from moorage.kube.resource import (
    CSI_DRIVERS,
    PERSISTENT_VOLUME_CLAIMS,
    PERSISTENT_VOLUMES,
    PODS,
    STORAGE_CLASSES,
    VOLUME_ATTACHMENTS,
)
from moorage.testing.clock import run_virtual
from moorage.testing.kube import AttachDetach, Binder, FakeApiServer, Protection

DRIVER = "d.example"
REQUESTED = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}


def cluster() -> FakeApiServer:
    return FakeApiServer(behaviours=[Binder(), Protection(), AttachDetach()])


def claim(server: FakeApiServer, **spec: Any) -> dict[str, Any]:
    tree = {"metadata": {"name": "one"}, "spec": {**REQUESTED, "storageClassName": "fast", **spec}}
    return server.create(PERSISTENT_VOLUME_CLAIMS, tree)


def volume(server: FakeApiServer, **spec: Any) -> dict[str, Any]:
    base = {"accessModes": ["ReadWriteOnce"], "capacity": {"storage": "1Gi"}, "storageClassName": "fast"}
    csi = {"driver": DRIVER, "volumeHandle": "h"}
    return server.create(PERSISTENT_VOLUMES, {"metadata": {"name": "pv"}, "spec": {**base, "csi": csi, **spec}})


def reference(made: dict[str, Any]) -> dict[str, str]:
    found = made["metadata"]
    return {"kind": "PersistentVolumeClaim", **{key: found[key] for key in ("namespace", "name", "uid")}}


def pod(server: FakeApiServer, node: str = "n1") -> None:
    volumes = [{"name": "v", "persistentVolumeClaim": {"claimName": "one"}}]
    server.create(PODS, {"metadata": {"name": "pod"}, "spec": {"nodeName": node, "volumes": volumes}})


def get(server: FakeApiServer, resource: Any, name: str) -> dict[str, Any]:
    found = server.find(resource, name)
    assert found is not None
    return found


def test_a_claim_waits_for_its_consumer() -> None:
    server = cluster()
    late = {"metadata": {"name": "fast"}, "provisioner": DRIVER, "volumeBindingMode": "WaitForFirstConsumer"}
    server.create(STORAGE_CLASSES, late)
    made = claim(server)
    server.reactions.settle()
    assert "annotations" not in get(server, PERSISTENT_VOLUME_CLAIMS, "one")["metadata"]
    made["metadata"]["annotations"] = {"volume.kubernetes.io/selected-node": "n1"}
    server.change(PERSISTENT_VOLUME_CLAIMS, made)
    server.reactions.settle()
    annotations = get(server, PERSISTENT_VOLUME_CLAIMS, "one")["metadata"]["annotations"]
    assert annotations["volume.kubernetes.io/storage-provisioner"] == DRIVER
    assert annotations["volume.beta.kubernetes.io/storage-provisioner"] == DRIVER


def test_a_claim_that_names_its_volume_is_bound_to_it() -> None:
    server = cluster()
    volume(server)
    made = claim(server, volumeName="pv")
    server.reactions.settle()
    assert get(server, PERSISTENT_VOLUME_CLAIMS, "one")["status"]["phase"] == "Bound"
    bound = get(server, PERSISTENT_VOLUMES, "pv")
    assert bound["spec"]["claimRef"]["uid"] == made["metadata"]["uid"]
    assert bound["metadata"]["annotations"] == {"pv.kubernetes.io/bound-by-controller": "yes"}


def test_a_volume_of_another_claim_is_not_bound() -> None:
    server = cluster()
    made = claim(server, volumeName="pv")
    volume(server, claimRef={**reference(made), "uid": "another"})
    server.reactions.settle()
    assert get(server, PERSISTENT_VOLUME_CLAIMS, "one")["status"]["phase"] == "Pending"
    assert get(server, PERSISTENT_VOLUMES, "pv")["status"]["phase"] == "Released"


def test_a_pod_on_a_node_gets_its_volume_attached_and_detached() -> None:
    server = cluster()
    volume(server, claimRef=reference(claim(server)))
    pod(server)
    server.reactions.settle()
    (attachment,) = server.objects(VOLUME_ATTACHMENTS)
    assert attachment["metadata"]["name"] == "csi-" + hashlib.sha256(b"hd.examplen1").hexdigest()
    assert attachment["spec"] == {"attacher": DRIVER, "nodeName": "n1", "source": {"persistentVolumeName": "pv"}}
    assert attachment["status"] == {"attached": False}
    server.remove(PODS, "pod")
    server.reactions.settle()
    assert server.objects(VOLUME_ATTACHMENTS) == []


def test_a_driver_that_does_not_attach_gets_no_attachment() -> None:
    server = cluster()
    server.create(CSI_DRIVERS, {"metadata": {"name": DRIVER}, "spec": {"attachRequired": False}})
    volume(server, claimRef=reference(claim(server)))
    pod(server)
    server.reactions.settle()
    assert server.objects(VOLUME_ATTACHMENTS) == []


def test_protection_ends_with_the_use() -> None:
    server = cluster()
    volume(server, claimRef=reference(claim(server)))
    pod(server)
    server.reactions.settle()
    server.delete(PERSISTENT_VOLUME_CLAIMS, "one")
    server.delete(PERSISTENT_VOLUMES, "pv")
    server.reactions.settle()
    assert get(server, PERSISTENT_VOLUME_CLAIMS, "one")["metadata"]["deletionTimestamp"]
    assert get(server, PERSISTENT_VOLUMES, "pv")["status"]["phase"] == "Bound"
    server.remove(PODS, "pod")
    server.reactions.settle()
    assert server.find(PERSISTENT_VOLUME_CLAIMS, "one") is None
    assert server.find(PERSISTENT_VOLUMES, "pv") is None


@pytest.mark.parametrize("delay_s", [0.01, 5.0])
def test_on_an_event_loop_they_act_by_themselves(delay_s: float) -> None:
    async def work() -> None:
        server = cluster()
        server.reactions.delay_s = delay_s
        volume(server, claimRef=reference(claim(server)))
        await asyncio.sleep(delay_s / 2)
        assert get(server, PERSISTENT_VOLUME_CLAIMS, "one")["status"]["phase"] == "Pending"
        await asyncio.sleep(delay_s)
        assert get(server, PERSISTENT_VOLUME_CLAIMS, "one")["status"]["phase"] == "Bound"

    run_virtual(work())
