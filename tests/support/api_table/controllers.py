"""What the controllers of Kubernetes do to claims and volumes, which the fake does when it is told to."""

from __future__ import annotations

from tests.support.api_table.case import kcm_case
from tests.support.api_table.site import Answer, Site

from moorage.kube.resource import (
    CONFIG_MAPS,
    NAMESPACES,
    PERSISTENT_VOLUME_CLAIMS,
    PERSISTENT_VOLUMES,
    PODS,
    STORAGE_CLASSES,
    Resource,
)

CLAIMS, VOLUMES = PERSISTENT_VOLUME_CLAIMS, PERSISTENT_VOLUMES
DRIVER = "table.moorage.example"
CLAIM = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}
PROVISIONER = "volume.kubernetes.io/storage-provisioner"


async def storage_class(site: Site, **more: object) -> str:
    name = site.name("class")
    await site.create(STORAGE_CLASSES, {"metadata": {"name": name}, "provisioner": DRIVER, **more})
    return name


async def claim(site: Site, class_name: str) -> Answer:
    return await site.create(CLAIMS, {"metadata": {"name": "one"}, "spec": {**CLAIM, "storageClassName": class_name}})


async def provision(site: Site, made: Answer, class_name: str) -> str:
    """Do what a provisioner does: a volume that refers to the claim."""
    name = site.name("pvc")
    found = made.metadata
    reference = {"kind": "PersistentVolumeClaim", "apiVersion": "v1", "namespace": found["namespace"]}
    spec = {
        "capacity": {"storage": "1Gi"},
        "accessModes": ["ReadWriteOnce"],
        "persistentVolumeReclaimPolicy": "Retain",
        "storageClassName": class_name,
        "csi": {"driver": DRIVER, "volumeHandle": "h"},
        "claimRef": {**reference, "name": "one", "uid": found["uid"], "resourceVersion": found["resourceVersion"]},
    }
    await site.create(VOLUMES, {"metadata": {"name": name}, "spec": spec})
    return name


async def phase(site: Site, resource: Resource, name: str, wanted: str) -> Answer:
    return await site.until(
        lambda: site.get(resource, name), lambda answer: bool(answer.tree.get("status", {}).get("phase") == wanted)
    )


@kcm_case
async def a_claim_is_handed_to_its_provisioner(site: Site) -> None:
    class_name = await storage_class(site)
    await claim(site, class_name)
    found = await site.until(
        lambda: site.get(CLAIMS, "one"), lambda answer: PROVISIONER in answer.metadata.get("annotations", {})
    )
    assert found.metadata["annotations"][PROVISIONER] == DRIVER
    await site.delete(STORAGE_CLASSES, class_name)


@kcm_case
async def a_volume_for_a_claim_is_bound_to_it_and_released_after_it(site: Site) -> None:
    class_name = await storage_class(site)
    name = await provision(site, await claim(site, class_name), class_name)
    bound = await phase(site, CLAIMS, "one", "Bound")
    assert bound.tree["spec"]["volumeName"] == name
    assert bound.tree["status"]["capacity"] == {"storage": "1Gi"}
    assert bound.tree["status"]["accessModes"] == ["ReadWriteOnce"]
    assert bound.metadata["annotations"]["pv.kubernetes.io/bind-completed"] == "yes"
    await phase(site, VOLUMES, name, "Bound")
    await site.delete(CLAIMS, "one")
    await site.until(lambda: site.get(CLAIMS, "one"), lambda answer: answer.status == 404)
    released = await phase(site, VOLUMES, name, "Released")
    assert released.tree["spec"]["claimRef"]["uid"] == bound.metadata["uid"]
    await site.delete(VOLUMES, name)
    await site.until(lambda: site.get(VOLUMES, name), lambda answer: answer.status == 404)
    await site.delete(STORAGE_CLASSES, class_name)


@kcm_case
async def a_volume_without_claim_becomes_available(site: Site) -> None:
    name = site.name("pv")
    spec = {**CLAIM, "capacity": {"storage": "1Gi"}, "csi": {"driver": DRIVER, "volumeHandle": "h"}}
    del spec["resources"]
    await site.create(VOLUMES, {"metadata": {"name": name}, "spec": {**spec, "storageClassName": "none"}})
    await phase(site, VOLUMES, name, "Available")
    await site.delete(VOLUMES, name)


@kcm_case
async def a_claim_that_a_pod_uses_is_kept(site: Site) -> None:
    await claim(site, "none")
    volumes = [{"name": "v", "persistentVolumeClaim": {"claimName": "one"}}]
    containers = [{"name": "c", "image": "i"}]
    spec = {"automountServiceAccountToken": False, "containers": containers, "volumes": volumes, "nodeName": "none"}
    await site.create(PODS, {"metadata": {"name": "user", "finalizers": ["a/b"]}, "spec": spec})
    assert (await site.delete(CLAIMS, "one")).metadata["deletionTimestamp"]
    assert (await site.get(CLAIMS, "one")).status == 200
    await site.delete(PODS, "user", gracePeriodSeconds=0)
    await site.patch(PODS, "user", {"metadata": {"finalizers": None}})
    await site.until(lambda: site.get(CLAIMS, "one"), lambda answer: answer.status == 404)


@kcm_case
async def a_bound_claim_may_grow_but_nothing_else(site: Site) -> None:
    class_name = await storage_class(site, allowVolumeExpansion=True)
    name = await provision(site, await claim(site, class_name), class_name)
    await phase(site, CLAIMS, "one", "Bound")
    grown = await site.patch(CLAIMS, "one", {"spec": {"resources": {"requests": {"storage": "2Gi"}}}})
    assert grown.tree["spec"]["resources"] == {"requests": {"storage": "2Gi"}}
    assert grown.tree["status"]["capacity"] == {"storage": "1Gi"}
    shrunk = await site.patch(CLAIMS, "one", {"spec": {"resources": {"requests": {"storage": "512Mi"}}}})
    assert shrunk.refusal == (422, "Invalid")
    moved = await site.patch(CLAIMS, "one", {"spec": {"volumeName": "other"}})
    assert moved.refusal == (422, "Invalid")
    await site.delete(CLAIMS, "one")
    await site.until(lambda: site.get(CLAIMS, "one"), lambda answer: answer.status == 404)
    await site.delete(VOLUMES, name)
    await site.delete(STORAGE_CLASSES, class_name)


@kcm_case
async def a_claim_cannot_grow_where_its_class_forbids_it(site: Site) -> None:
    class_name = await storage_class(site)
    name = await provision(site, await claim(site, class_name), class_name)
    await phase(site, CLAIMS, "one", "Bound")
    grown = await site.patch(CLAIMS, "one", {"spec": {"resources": {"requests": {"storage": "2Gi"}}}})
    assert grown.refusal == (403, "Forbidden")
    await site.delete(CLAIMS, "one")
    await site.until(lambda: site.get(CLAIMS, "one"), lambda answer: answer.status == 404)
    await site.delete(VOLUMES, name)
    await site.delete(STORAGE_CLASSES, class_name)


@kcm_case
async def a_namespace_ends_when_it_is_empty(site: Site) -> None:
    name = site.name("ending")
    await site.create(NAMESPACES, {"metadata": {"name": name}})
    body = {"metadata": {"name": "one", "finalizers": ["a/b"]}}
    assert (await site.ask("POST", CONFIG_MAPS, body=body, namespace=name)).status == 201
    await site.delete(NAMESPACES, name)
    await site.until(
        lambda: site.ask("GET", CONFIG_MAPS, "one", namespace=name),
        lambda answer: "deletionTimestamp" in answer.metadata,
    )
    assert (await site.get(NAMESPACES, name)).status == 200
    patch = {"metadata": {"finalizers": None}}
    merge = "application/merge-patch+json"
    await site.ask("PATCH", CONFIG_MAPS, "one", body=patch, content_type=merge, namespace=name)
    await site.until(lambda: site.get(NAMESPACES, name), lambda answer: answer.status == 404)
