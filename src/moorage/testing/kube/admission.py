"""What admission plugins of every cluster do that looks at other objects too: namespaces, the default class, growth."""

from __future__ import annotations

from typing import Final

from moorage.base.units import UnitError, parse_quantity
from moorage.kube.resource import NAMESPACES, PERSISTENT_VOLUME_CLAIMS, STORAGE_CLASSES, Resource
from moorage.testing.kube.defaults import DEFAULT_CLASS
from moorage.testing.kube.refusal import Refusal, not_found
from moorage.testing.kube.store import Store
from moorage.testing.kube.tree import Tree, is_deleted, lookup

__all__ = ["check_growth", "check_namespace", "default_class"]

_SIZE: Final = "spec.resources.requests.storage"
_NO_GROWTH: Final = (
    "only dynamically provisioned pvc can be resized and the storageclass that provisions the pvc must support resize"
)


def default_class(store: Store, resource: Resource) -> str:
    """The storage class of a new claim that names none, the newest of those marked; empty for other kinds."""
    if resource != PERSISTENT_VOLUME_CLAIMS:
        return ""
    classes = [stored.tree for _, stored in store.objects(STORAGE_CLASSES)]
    marked = [tree for tree in classes if (lookup(tree, "metadata.annotations") or {}).get(DEFAULT_CLASS) == "true"]
    newest = max(marked, key=lambda tree: int(tree["metadata"]["resourceVersion"]), default=None)
    return "" if newest is None else str(newest["metadata"]["name"])


def check_namespace(store: Store, resource: Resource, namespace: str, name: str) -> None:
    """Raises Refusal when nothing can be created in a namespace: it is not there, or it is being deleted."""
    if not namespace:
        return
    found = store.find(NAMESPACES, ("", namespace))
    if found is None:
        raise not_found(NAMESPACES, namespace)
    if is_deleted(found.tree):
        text = f"namespace {namespace} is being terminated"
        cause = {"reason": "NamespaceTerminating", "message": text, "field": "metadata.namespace"}
        details = {"name": name, "kind": resource.plural, "causes": [cause]}
        why = f"unable to create new content in namespace {namespace} because it is being terminated"
        raise Refusal(403, "Forbidden", f'{resource.group_resource} "{name}" is forbidden: {why}', details=details)


def check_growth(store: Store, resource: Resource, before: Tree, after: Tree) -> None:
    """Raises Refusal when a claim is to grow whose class does not allow that."""
    if resource != PERSISTENT_VOLUME_CLAIMS:
        return
    try:
        grows = parse_quantity(str(lookup(after, _SIZE))) > parse_quantity(str(lookup(before, _SIZE)))
    except UnitError:
        return
    found = store.find(STORAGE_CLASSES, ("", lookup(before, "spec.storageClassName") or ""))
    if grows and not (found and found.tree.get("allowVolumeExpansion")):
        name = before["metadata"]["name"]
        details = {"name": name, "kind": resource.plural}
        raise Refusal(403, "Forbidden", f'{resource.plural} "{name}" is forbidden: {_NO_GROWTH}', details=details)
