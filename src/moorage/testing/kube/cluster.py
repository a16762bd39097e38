"""What the controllers of Kubernetes itself do to volumes, as far as a storage controller waits for it.

Each class is one of them, simplified and level-based: it looks at all objects and makes the next change. What
they write, they write by the rules of the server, so a change that a test forgot to allow is refused here too.
"""

from __future__ import annotations

import hashlib
from typing import Any, Final

from moorage.kube.resource import (
    CSI_DRIVERS,
    NAMESPACES,
    PERSISTENT_VOLUME_CLAIMS,
    PERSISTENT_VOLUMES,
    PODS,
    STORAGE_CLASSES,
    VOLUME_ATTACHMENTS,
    Resource,
)
from moorage.testing.kube.refusal import Refusal
from moorage.testing.kube.server import FakeApiServer
from moorage.testing.kube.tree import Tree, finalizers, is_deleted, lookup, metadata

__all__ = ["AttachDetach", "Binder", "GarbageCollector", "NamespaceLifecycle", "Protection"]

_PVC_PROTECTION: Final = "kubernetes.io/pvc-protection"
_PV_PROTECTION: Final = "kubernetes.io/pv-protection"
_BIND_COMPLETED: Final = "pv.kubernetes.io/bind-completed"
_BOUND_BY: Final = "pv.kubernetes.io/bound-by-controller"
_PROVISIONERS: Final = ("volume.kubernetes.io/storage-provisioner", "volume.beta.kubernetes.io/storage-provisioner")
_SELECTED_NODE: Final = "volume.kubernetes.io/selected-node"
_NO_PROVISIONER: Final = "kubernetes.io/no-provisioner"


class Binder:
    """The PersistentVolume controller: asks provisioners for volumes, binds claims, releases volumes."""

    def react(self, server: FakeApiServer) -> None:
        """Do one step for each claim and volume."""
        for claim in server.objects(PERSISTENT_VOLUME_CLAIMS):
            if lookup(claim, "status.phase") == "Bound":
                continue
            volume = self._volume_for(server, claim)
            if volume is not None:
                self._bind(server, claim, volume)
            elif not is_deleted(claim):
                self._ask(server, claim)
        for volume in server.objects(PERSISTENT_VOLUMES):
            self._set_phase(server, volume)

    def _volume_for(self, server: FakeApiServer, claim: Tree) -> Tree | None:
        wanted = lookup(claim, "spec.volumeName")
        if wanted:
            volume = server.find(PERSISTENT_VOLUMES, wanted)
            reference = lookup(volume or {}, "spec.claimRef")
            return volume if reference is None or _refers_to(reference, claim) else None
        for volume in server.objects(PERSISTENT_VOLUMES):
            reference = lookup(volume, "spec.claimRef")
            if reference and _refers_to(reference, claim) and not is_deleted(volume):
                return volume
        return None

    def _ask(self, server: FakeApiServer, claim: Tree) -> None:
        """Name the provisioner on a claim that waits for none but it."""
        found = server.find(STORAGE_CLASSES, lookup(claim, "spec.storageClassName") or "")
        annotations = metadata(claim).setdefault("annotations", {})
        if found is None or found["provisioner"] == _NO_PROVISIONER or lookup(claim, "spec.volumeName"):
            return
        if found.get("volumeBindingMode") == "WaitForFirstConsumer" and _SELECTED_NODE not in annotations:
            return
        if any(annotations.get(key) != found["provisioner"] for key in _PROVISIONERS):
            annotations.update(dict.fromkeys(_PROVISIONERS, found["provisioner"]))
            _change(server, PERSISTENT_VOLUME_CLAIMS, claim)

    def _bind(self, server: FakeApiServer, claim: Tree, volume: Tree) -> None:
        name = volume["metadata"]["name"]
        reference = lookup(volume, "spec.claimRef") or {}
        if reference.get("uid") != claim["metadata"]["uid"]:
            volume["spec"]["claimRef"] = {
                "kind": "PersistentVolumeClaim",
                "apiVersion": "v1",
                **{key: claim["metadata"][key] for key in ("namespace", "name", "uid", "resourceVersion")},
            }
            metadata(volume).setdefault("annotations", {})[_BOUND_BY] = "yes"
            volume = _change(server, PERSISTENT_VOLUMES, volume)
        if lookup(volume, "status.phase") != "Bound":
            volume.setdefault("status", {})["phase"] = "Bound"
            _change(server, PERSISTENT_VOLUMES, volume, subresource="status")
        annotations = metadata(claim).setdefault("annotations", {})
        if not claim["spec"].get("volumeName"):
            claim["spec"]["volumeName"] = name
            annotations[_BOUND_BY] = "yes"
        annotations[_BIND_COMPLETED] = "yes"
        claim = _change(server, PERSISTENT_VOLUME_CLAIMS, claim)
        claim["status"] = {
            **(claim.get("status") or {}),
            "phase": "Bound",
            "accessModes": lookup(volume, "spec.accessModes"),
            "capacity": lookup(volume, "spec.capacity"),
        }
        _change(server, PERSISTENT_VOLUME_CLAIMS, claim, subresource="status")

    def _set_phase(self, server: FakeApiServer, volume: Tree) -> None:
        reference, phase = lookup(volume, "spec.claimRef"), lookup(volume, "status.phase")
        wanted = phase
        if reference is None:
            wanted = "Available" if phase in {None, "Pending"} else phase
        elif reference.get("uid"):
            claim = server.find(PERSISTENT_VOLUME_CLAIMS, reference["name"], reference["namespace"])
            if claim is None or claim["metadata"]["uid"] != reference["uid"]:
                wanted = "Failed" if phase == "Failed" else "Released"
        if wanted != phase:
            volume.setdefault("status", {})["phase"] = wanted
            _change(server, PERSISTENT_VOLUMES, volume, subresource="status")


class Protection:
    """The controllers that keep claims which pods use, and volumes which are bound, until that is over."""

    def react(self, server: FakeApiServer) -> None:
        """Release what is deleted and no longer used."""
        used = {
            (pod["metadata"]["namespace"], name)
            for pod in server.objects(PODS)
            if lookup(pod, "status.phase") not in {"Succeeded", "Failed"}
            for name in claims_of(pod)
        }
        for claim in server.objects(PERSISTENT_VOLUME_CLAIMS):
            if (claim["metadata"]["namespace"], claim["metadata"]["name"]) not in used:
                _release(server, PERSISTENT_VOLUME_CLAIMS, claim, _PVC_PROTECTION)
        for volume in server.objects(PERSISTENT_VOLUMES):
            if lookup(volume, "status.phase") != "Bound":
                _release(server, PERSISTENT_VOLUMES, volume, _PV_PROTECTION)


class AttachDetach:
    """The attach-detach controller: a VolumeAttachment for each CSI volume that a pod on a node needs.

    As the real one it deletes only attachments that it knows to have been needed.
    """

    def __init__(self) -> None:
        self._known: set[str] = set()

    def react(self, server: FakeApiServer) -> None:
        """Create the attachments that are missing, delete those that nothing needs."""
        wanted = self._wanted(server)
        present = {tree["metadata"]["name"]: tree for tree in server.objects(VOLUME_ATTACHMENTS)}
        for name, spec in wanted.items():
            if name not in present:
                server.create(VOLUME_ATTACHMENTS, {"metadata": {"name": name}, "spec": spec})
        self._known |= wanted.keys()
        for name, tree in present.items():
            if name in self._known and name not in wanted and not is_deleted(tree):
                server.delete(VOLUME_ATTACHMENTS, name, user="attach-detach-controller")

    def _wanted(self, server: FakeApiServer) -> dict[str, Tree]:
        found: dict[str, Tree] = {}
        for pod in server.objects(PODS):
            node = lookup(pod, "spec.nodeName")
            if not node or lookup(pod, "status.phase") in {"Succeeded", "Failed"}:
                continue
            for claim_name in claims_of(pod):
                claim = server.find(PERSISTENT_VOLUME_CLAIMS, claim_name, pod["metadata"]["namespace"])
                volume = server.find(PERSISTENT_VOLUMES, lookup(claim or {}, "spec.volumeName") or "")
                if volume is None or lookup(claim or {}, "status.phase") != "Bound":
                    continue
                csi = lookup(volume, "spec.csi")
                if csi and self._needs_attaching(server, csi["driver"]):
                    source = {"persistentVolumeName": volume["metadata"]["name"]}
                    name = attachment_name(csi["volumeHandle"], csi["driver"], node)
                    found[name] = {"attacher": csi["driver"], "nodeName": node, "source": source}
        return found

    def _needs_attaching(self, server: FakeApiServer, driver: str) -> bool:
        return lookup(server.find(CSI_DRIVERS, driver) or {}, "spec.attachRequired") is not False


class NamespaceLifecycle:
    """The namespace controller: empties a namespace that is being deleted, then lets it go."""

    def react(self, server: FakeApiServer) -> None:
        """Delete what is left; what has finalizers is waited for."""
        for namespace in server.objects(NAMESPACES):
            name = namespace["metadata"]["name"]
            if not is_deleted(namespace):
                continue
            kinds = [kind.resource for kind in server.kinds if kind.resource.namespaced and kind.stored]
            left = [(resource, tree) for resource in kinds for tree in server.objects(resource, name)]
            for resource, tree in left:
                if not is_deleted(tree):
                    server.delete(resource, tree["metadata"]["name"], name, user="namespace-controller")
            if not left and not finalizers(namespace):
                server.remove(NAMESPACES, name)


class GarbageCollector:
    """Deletes objects whose owners are all gone."""

    def __init__(self, *resources: Resource) -> None:
        """`resources` are those that owners and dependents are looked for in."""
        self._resources = resources

    def react(self, server: FakeApiServer) -> None:
        """Delete what has lost its last owner."""
        objects = [(resource, tree) for resource in self._resources for tree in server.objects(resource)]
        uids = {tree["metadata"]["uid"] for _, tree in objects}
        for resource, tree in objects:
            owners = tree["metadata"].get("ownerReferences") or ()
            if owners and not is_deleted(tree) and not any(owner["uid"] in uids for owner in owners):
                found = tree["metadata"]
                server.delete(resource, found["name"], found.get("namespace", ""), user="generic-garbage-collector")


def claims_of(pod: Tree) -> list[str]:
    """The names of the claims that a pod mounts, those of its ephemeral volumes too."""
    found = []
    for volume in lookup(pod, "spec.volumes") or ():
        if "persistentVolumeClaim" in volume:
            found.append(volume["persistentVolumeClaim"]["claimName"])
        elif "ephemeral" in volume:
            found.append(f"{pod['metadata']['name']}-{volume['name']}")
    return found


def attachment_name(handle: str, driver: str, node: str) -> str:
    """How Kubernetes names the VolumeAttachment of a volume on a node."""
    return f"csi-{hashlib.sha256(f'{handle}{driver}{node}'.encode()).hexdigest()}"


def _refers_to(reference: Tree, claim: Tree) -> bool:
    found = claim["metadata"]
    same = (reference.get("namespace"), reference.get("name")) == (found["namespace"], found["name"])
    return same and reference.get("uid", found["uid"]) in {"", found["uid"]}


def _release(server: FakeApiServer, resource: Resource, tree: Tree, finalizer: str) -> None:
    if is_deleted(tree) and finalizer in finalizers(tree):
        metadata(tree)["finalizers"] = [name for name in finalizers(tree) if name != finalizer]
        _change(server, resource, tree)


def _change(server: FakeApiServer, resource: Resource, tree: Tree, *, subresource: str = "") -> Any:
    """Update an object; what is refused stays as it is and is tried again at the next change."""
    try:
        return server.change(resource, tree, subresource=subresource)
    except Refusal:
        return tree
