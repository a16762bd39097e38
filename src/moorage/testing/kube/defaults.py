"""What the server fills in when an object is created, kind by kind, as far as a controller reads it.

The finalizers come from the admission plugin StorageObjectInUseProtection, the default class from
DefaultStorageClass; both are on in every cluster.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping
from typing import Any, Final

from moorage.testing.kube.tree import Tree, copied, metadata

__all__ = ["DEFAULT_CLASS", "fill_in", "new_status"]

DEFAULT_CLASS: Final = "storageclass.kubernetes.io/is-default-class"
_PVC_PROTECTION: Final = "kubernetes.io/pvc-protection"
_PV_PROTECTION: Final = "kubernetes.io/pv-protection"


def fill_in(tree: Tree, *, default_class: str) -> None:
    """Add to a new object what the server adds; `default_class` is the storage class for claims that name none."""
    kind = tree.get("kind", "")
    if (extra := _EXTRA.get(kind)) is not None:
        extra(tree)
    if kind == "PersistentVolumeClaim" and default_class and not _names_a_class(tree):
        tree["spec"]["storageClassName"] = default_class
    if kind in _PROTECTED:
        present = metadata(tree).setdefault("finalizers", [])
        if _PROTECTED[kind] not in present:
            present.append(_PROTECTED[kind])


def new_status(tree: Tree, time: str) -> Tree | None:
    """The status that a new object starts with, whatever its creator wrote; None for no status at all."""
    match tree.get("kind"):
        case "PersistentVolumeClaim" | "Pod":
            return {"phase": "Pending"}
        case "PersistentVolume":
            return {"phase": "Pending", "lastPhaseTransitionTime": time}
        case "Namespace":
            return {"phase": "Active"}
        case "VolumeAttachment":
            return {"attached": False}
        case "Node":
            given: Any = copied(tree.get("status"))
            return given or {}
    return None


def _names_a_class(tree: Tree) -> bool:
    annotations: Mapping[str, str] = (tree.get("metadata") or {}).get("annotations") or {}
    return "storageClassName" in tree["spec"] or "volume.beta.kubernetes.io/storage-class" in annotations


def _claim(tree: Tree) -> None:
    tree["spec"].setdefault("volumeMode", "Filesystem")
    source, reference = tree["spec"].get("dataSource"), tree["spec"].get("dataSourceRef")
    if source and not reference:
        tree["spec"]["dataSourceRef"] = copied(source)
    elif reference and not source and not reference.get("namespace"):
        tree["spec"]["dataSource"] = copied(reference)


def _volume(tree: Tree) -> None:
    tree["spec"].setdefault("persistentVolumeReclaimPolicy", "Retain")
    tree["spec"].setdefault("volumeMode", "Filesystem")


def _storage_class(tree: Tree) -> None:
    tree.setdefault("reclaimPolicy", "Delete")
    tree.setdefault("volumeBindingMode", "Immediate")


def _csi_driver(tree: Tree) -> None:
    spec = tree.setdefault("spec", {})
    for key, value in _CSI_DRIVER.items():
        spec.setdefault(key, copied(value))


def _secret(tree: Tree) -> None:
    tree.setdefault("type", "Opaque")
    if texts := tree.pop("stringData", None):
        data = tree.setdefault("data", {})
        data.update({key: base64.b64encode(text.encode()).decode() for key, text in texts.items()})


def _event(tree: Tree) -> None:
    tree.setdefault("source", {})
    for key in ("firstTimestamp", "lastTimestamp", "eventTime"):
        tree.setdefault(key, None)
    tree.setdefault("reportingComponent", "")
    tree.setdefault("reportingInstance", "")


def _pod(tree: Tree) -> None:
    spec = tree.setdefault("spec", {})
    spec.setdefault("restartPolicy", "Always")
    spec.setdefault("terminationGracePeriodSeconds", 30)
    spec.setdefault("serviceAccountName", "default")
    spec.setdefault("schedulerName", "default-scheduler")


def _namespace(tree: Tree) -> None:
    metadata(tree).setdefault("labels", {})["kubernetes.io/metadata.name"] = metadata(tree).get("name", "")
    tree["spec"] = {"finalizers": ["kubernetes"]}


_CSI_DRIVER: Final[Mapping[str, Any]] = {
    "attachRequired": True,
    "podInfoOnMount": False,
    "volumeLifecycleModes": ["Persistent"],
    "storageCapacity": False,
    "fsGroupPolicy": "ReadWriteOnceWithFSType",
    "requiresRepublish": False,
    "seLinuxMount": False,
}
_EXTRA: Final[Mapping[str, Callable[[Tree], None]]] = {
    "PersistentVolumeClaim": _claim,
    "PersistentVolume": _volume,
    "StorageClass": _storage_class,
    "CSIDriver": _csi_driver,
    "Secret": _secret,
    "Event": _event,
    "Pod": _pod,
    "Namespace": _namespace,
}
_PROTECTED: Final = {"PersistentVolumeClaim": _PVC_PROTECTION, "PersistentVolume": _PV_PROTECTION}
