"""Claims, volumes, attachments and classes: defaults, protection, and what of them stays as it is."""

from __future__ import annotations

from tests.support.api_table.case import case
from tests.support.api_table.site import STRATEGIC, Site

from moorage.kube.resource import (
    CSI_DRIVERS,
    PERSISTENT_VOLUME_CLAIMS,
    PERSISTENT_VOLUMES,
    SECRETS,
    STORAGE_CLASSES,
    VOLUME_ATTACHMENTS,
)

CLAIM = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}, "storageClassName": "none"}
VOLUME = {
    "capacity": {"storage": "1Gi"},
    "accessModes": ["ReadWriteOnce"],
    "csi": {"driver": "table.moorage.example", "volumeHandle": "h"},
    "storageClassName": "none",
}
ATTACHMENT = {"attacher": "table.moorage.example", "nodeName": "n", "source": {"persistentVolumeName": "p"}}


@case
async def claims_and_volumes_are_protected_and_pending(site: Site) -> None:
    claim = await site.create(PERSISTENT_VOLUME_CLAIMS, {"metadata": {"name": "one"}, "spec": CLAIM})
    assert claim.metadata["finalizers"] == ["kubernetes.io/pvc-protection"]
    assert claim.tree["status"] == {"phase": "Pending"}
    assert claim.tree["spec"]["volumeMode"] == "Filesystem"
    name = site.name("pv")
    volume = await site.create(
        PERSISTENT_VOLUMES, {"metadata": {"name": name}, "spec": VOLUME, "status": {"phase": "Bound"}}
    )
    assert volume.metadata["finalizers"] == ["kubernetes.io/pv-protection"]
    assert volume.tree["status"]["phase"] == "Pending"
    assert volume.tree["spec"]["persistentVolumeReclaimPolicy"] == "Retain"
    await site.delete(PERSISTENT_VOLUMES, name)


@case
async def defaults_of_classes_drivers_and_secrets(site: Site) -> None:
    name = site.name("class")
    found = await site.create(STORAGE_CLASSES, {"metadata": {"name": name}, "provisioner": "p"})
    assert (found.tree["reclaimPolicy"], found.tree["volumeBindingMode"]) == ("Delete", "Immediate")
    await site.delete(STORAGE_CLASSES, name)
    driver = await site.create(CSI_DRIVERS, {"metadata": {"name": name}, "spec": {}})
    assert driver.tree["spec"]["attachRequired"] is True
    assert driver.tree["spec"]["fsGroupPolicy"] == "ReadWriteOnceWithFSType"
    assert driver.tree["spec"]["volumeLifecycleModes"] == ["Persistent"]
    await site.delete(CSI_DRIVERS, name)
    secret = await site.create(SECRETS, {"metadata": {"name": "one"}, "stringData": {"a": "b"}})
    assert (secret.tree["type"], secret.tree["data"]) == ("Opaque", {"a": "Yg=="})
    assert "stringData" not in secret.tree


@case
async def a_missing_spec_is_invalid(site: Site) -> None:
    answer = await site.ask("POST", PERSISTENT_VOLUME_CLAIMS, body={"metadata": {"name": "one"}, "spec": {}})
    assert answer.cause == ("FieldValueRequired", "spec.accessModes")


@case
async def an_empty_node_affinity_is_invalid(site: Site) -> None:
    spec = {**VOLUME, "nodeAffinity": {"required": {"nodeSelectorTerms": []}}}
    answer = await site.ask("POST", PERSISTENT_VOLUMES, body={"metadata": {"name": site.name("pv")}, "spec": spec})
    assert answer.cause == ("FieldValueRequired", "spec.nodeAffinity.required.nodeSelectorTerms")


@case
async def the_status_of_an_attachment_takes_status_only(site: Site) -> None:
    name = site.name("va")
    made = await site.create(
        VOLUME_ATTACHMENTS, {"metadata": {"name": name}, "spec": ATTACHMENT, "status": {"attached": True}}
    )
    assert made.tree["status"] == {"attached": False}
    patch = {"metadata": {"finalizers": ["a/b"], "annotations": {"a": "b"}}, "status": {"attached": True}}
    changed = await site.patch(VOLUME_ATTACHMENTS, name, patch, subresource="status")
    assert changed.tree["status"] == {"attached": True}
    assert not {"annotations", "finalizers"} & changed.metadata.keys()
    await site.delete(VOLUME_ATTACHMENTS, name)


@case
async def conditions_are_merged_by_type_in_a_strategic_patch(site: Site) -> None:
    await site.create(PERSISTENT_VOLUME_CLAIMS, {"metadata": {"name": "one"}, "spec": CLAIM})
    for kind in ("Resizing", "FileSystemResizePending"):
        patch = {"status": {"conditions": [{"type": kind, "status": "True"}]}}
        await site.patch(PERSISTENT_VOLUME_CLAIMS, "one", patch, STRATEGIC, subresource="status")
    found = await site.get(PERSISTENT_VOLUME_CLAIMS, "one")
    assert {entry["type"] for entry in found.tree["status"]["conditions"]} == {"Resizing", "FileSystemResizePending"}


@case
async def the_status_of_a_claim_takes_metadata_too(site: Site) -> None:
    await site.create(PERSISTENT_VOLUME_CLAIMS, {"metadata": {"name": "one"}, "spec": CLAIM})
    patch = {
        "metadata": {"annotations": {"mine": "b"}},
        "spec": {"volumeName": "v"},
        "status": {"conditions": [{"type": "Resizing", "status": "True"}]},
    }
    changed = await site.patch(PERSISTENT_VOLUME_CLAIMS, "one", patch, subresource="status")
    assert changed.metadata["annotations"]["mine"] == "b"
    assert "volumeName" not in changed.tree["spec"]
    assert changed.tree["status"]["conditions"][0]["type"] == "Resizing"


@case
async def what_is_immutable_stays(site: Site) -> None:
    name = site.name("va")
    await site.create(VOLUME_ATTACHMENTS, {"metadata": {"name": name}, "spec": ATTACHMENT})
    answer = await site.patch(VOLUME_ATTACHMENTS, name, {"spec": {"nodeName": "other"}})
    assert (answer.status, answer.cause) == (422, ("FieldValueInvalid", "spec"))
    await site.delete(VOLUME_ATTACHMENTS, name)
    await site.create(STORAGE_CLASSES, {"metadata": {"name": name}, "provisioner": "p"})
    answer = await site.patch(STORAGE_CLASSES, name, {"provisioner": "q"})
    assert (answer.status, answer.cause) == (422, ("FieldValueInvalid", "provisioner"))
    await site.delete(STORAGE_CLASSES, name)


@case
async def the_spec_of_an_unbound_claim_is_immutable(site: Site) -> None:
    await site.create(PERSISTENT_VOLUME_CLAIMS, {"metadata": {"name": "one"}, "spec": CLAIM})
    for patch in ({"accessModes": ["ReadWriteMany"]}, {"resources": {"requests": {"storage": "2Gi"}}}):
        answer = await site.patch(PERSISTENT_VOLUME_CLAIMS, "one", {"spec": patch})
        assert (answer.status, answer.cause) == (422, ("FieldValueForbidden", "spec"))
    assert (await site.patch(PERSISTENT_VOLUME_CLAIMS, "one", {"spec": {"volumeName": "v"}})).status == 200


@case
async def the_source_of_a_volume_is_immutable(site: Site) -> None:
    name = site.name("pv")
    await site.create(PERSISTENT_VOLUMES, {"metadata": {"name": name}, "spec": VOLUME})
    answer = await site.patch(PERSISTENT_VOLUMES, name, {"spec": {"csi": {"volumeHandle": "other"}}})
    assert (answer.status, answer.cause) == (422, ("FieldValueForbidden", "spec.persistentvolumesource"))
    await site.delete(PERSISTENT_VOLUMES, name)
