"""Which objects and changes the server refuses, as far as a controller can run into it.

The rules are those of the real server with the fields they name; where it lists every mistake of an object,
this does too, but it knows fewer rules.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, Final, TypeAlias

from moorage.base.units import UnitError, parse_quantity
from moorage.testing.kube.kinds import Kind
from moorage.testing.kube.refusal import (
    bad_request,
    forbidden_field,
    invalid,
    invalid_field,
    required_field,
)
from moorage.testing.kube.tree import Tree, finalizers, is_deleted, lookup

__all__ = ["check_change", "check_new", "check_times"]

Cause: TypeAlias = tuple[str, str, str]

_NAME: Final = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
_NAME_TEXT: Final = (
    "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start "
    "and end with an alphanumeric character (e.g. 'example.com', regex used for validation is "
    "'[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')"
)
_LABEL_VALUE: Final = re.compile(r"(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?")
_LABEL_TEXT: Final = (
    "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and "
    "end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for validation is "
    "'(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')"
)
_KEY: Final = re.compile(r"([a-z0-9]([-a-z0-9.]*[a-z0-9])?/)?([A-Za-z0-9][-A-Za-z0-9_.]{0,61})?[A-Za-z0-9]")
_KEY_TEXT: Final = (
    "name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric "
    "character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is "
    "'([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')"
)
_STANDARD_FINALIZERS: Final = frozenset({"kubernetes", "orphan", "foregroundDeletion"})
_PLAIN_FINALIZER: Final = "name is neither a standard finalizer name nor is it fully qualified"
_MICRO_TIME: Final = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}(Z|[+-]\d\d:\d\d)")
_MICRO_TIMES: Final[Mapping[str, tuple[str, ...]]] = {
    "Lease": ("spec.acquireTime", "spec.renewTime"),
    "Event": ("eventTime", "series.lastObservedTime"),
}
_CLAIM_SPEC: Final = (
    "spec is immutable after creation except resources.requests and volumeAttributesClassName for bound claims"
)
_IMMUTABLE: Final[Mapping[str, tuple[str, ...]]] = {
    "VolumeAttachment": ("spec",),
    "StorageClass": ("provisioner", "parameters", "reclaimPolicy", "volumeBindingMode"),
    "VolumeAttributesClass": ("driverName", "parameters"),
    "CSIStorageCapacity": ("nodeTopology", "storageClassName"),
}
MAX_NAME: Final = 253


def check_times(tree: Tree) -> None:
    """Raises Refusal for a time with microseconds that is written without exactly six digits of them."""
    kind = str(tree.get("kind", ""))
    for path in _MICRO_TIMES.get(kind, ()):
        value = lookup(tree, path)
        if value is not None and not (isinstance(value, str) and _MICRO_TIME.fullmatch(value)):
            version = str(tree.get("apiVersion", "")).rpartition("/")[2]
            raise bad_request(
                f'{kind} in version "{version}" cannot be handled as a {kind}: parsing time "{value}" as '
                '"2006-01-02T15:04:05.000000Z07:00": cannot parse'
            )


def check_new(kind: Kind, tree: Tree) -> None:
    """Raises Refusal when the object may not be created."""
    causes = [*_metadata_causes(kind, tree), *_NEW.get(kind.resource.kind, _nothing)(tree)]
    if causes:
        raise invalid(kind.resource, str(lookup(tree, "metadata.name") or ""), causes)


def check_change(kind: Kind, before: Tree, after: Tree) -> None:
    """Raises Refusal when the object may not become like that."""
    causes = [*_metadata_causes(kind, after), *_new_finalizers(before, after)]
    causes += _CHANGED.get(kind.resource.kind, _unchanged)(before, after)
    causes += [
        invalid_field(field, lookup(after, field), "field is immutable")
        for field in _IMMUTABLE.get(kind.resource.kind, ())
        if lookup(before, field) != lookup(after, field)
    ]
    if causes:
        raise invalid(kind.resource, before["metadata"]["name"], causes)


def _metadata_causes(kind: Kind, tree: Tree) -> list[Cause]:
    found = tree["metadata"]
    name = str(found.get("name", ""))
    causes: list[Cause] = []
    if not name:
        causes.append(required_field("metadata.name", "name or generateName is required"))
    elif not kind.free_names and not (len(name) <= MAX_NAME and _NAME.fullmatch(name)):
        causes.append(invalid_field("metadata.name", name, _NAME_TEXT))
    causes += [
        invalid_field(f"metadata.{field}", key, _KEY_TEXT)
        for field in ("labels", "annotations")
        for key in found.get(field) or {}
        if not _KEY.fullmatch(key)
    ]
    causes += [
        invalid_field("metadata.labels", value, _LABEL_TEXT)
        for value in (found.get("labels") or {}).values()
        if len(value) > 63 or not _LABEL_VALUE.fullmatch(value)
    ]
    for index, finalizer in enumerate(finalizers(tree)):
        if "/" not in finalizer and finalizer not in _STANDARD_FINALIZERS and not kind.custom:
            causes.append(invalid_field(f"metadata.finalizers[{index}]", finalizer, _PLAIN_FINALIZER))
    return causes


def _new_finalizers(before: Tree, after: Tree) -> list[Cause]:
    added = [name for name in finalizers(after) if name not in finalizers(before)]
    if not added or not is_deleted(before):
        return []
    listed = ", ".join(f'"{name}"' for name in added)
    text = f"no new finalizers can be added if the object is being deleted, found new finalizers []string{{{listed}}}"
    return [forbidden_field("metadata.finalizers", text)]


def _nothing(tree: Tree) -> list[Cause]:
    return []


def _unchanged(before: Tree, after: Tree) -> list[Cause]:
    return []


def _new_claim(tree: Tree) -> list[Cause]:
    causes: list[Cause] = []
    if not lookup(tree, "spec.accessModes"):
        causes.append(required_field("spec.accessModes", "at least 1 access mode is required"))
    if lookup(tree, "spec.resources.requests.storage") is None:
        causes.append(required_field("spec.resources[storage]"))
    return causes


def _new_volume(tree: Tree) -> list[Cause]:
    causes: list[Cause] = []
    if not lookup(tree, "spec.accessModes"):
        causes.append(required_field("spec.accessModes"))
    if not lookup(tree, "spec.capacity.storage"):
        causes.append(required_field("spec.capacity"))
    terms = lookup(tree, "spec.nodeAffinity.required.nodeSelectorTerms")
    if lookup(tree, "spec.nodeAffinity.required") is not None and not terms:
        causes.append(
            required_field("spec.nodeAffinity.required.nodeSelectorTerms", "must have at least one node selector term")
        )
    return causes


def _new_attachment(tree: Tree) -> list[Cause]:
    source = lookup(tree, "spec.source") or {}
    causes = [
        required_field(f"spec.{field}") for field in ("attacher", "nodeName") if not lookup(tree, f"spec.{field}")
    ]
    if not source.get("persistentVolumeName") and not source.get("inlineVolumeSpec"):
        causes.append(
            required_field("spec.source", "must specify exactly one of inlineVolumeSpec and persistentVolumeName")
        )
    return causes


def _new_event(tree: Tree) -> list[Cause]:
    about, own = lookup(tree, "involvedObject.namespace") or "", tree["metadata"].get("namespace", "")
    if own == (about or "default"):
        return []
    return [invalid_field("involvedObject.namespace", about, "does not match event.namespace")]


def _new_class(tree: Tree) -> list[Cause]:
    return [] if tree.get("provisioner") else [required_field("provisioner")]


def _changed_claim(before: Tree, after: Tree) -> list[Cause]:
    old, new = dict(before.get("spec") or {}), dict(after.get("spec") or {})
    bound = lookup(before, "status.phase") == "Bound"
    causes: list[Cause] = []
    if bound:
        if _size(new) < _size(old) and _size(new) < _size_of(lookup(before, "status.capacity.storage")):
            causes.append(
                forbidden_field("spec.resources.requests.storage", "field can not be less than status.capacity")
            )
        for spec in (old, new):
            spec.pop("resources", None)
            spec.pop("volumeAttributesClassName", None)
    if not old.get("volumeName"):
        old.pop("volumeName", None)
        new.pop("volumeName", None)
    if "storageClassName" not in old and not bound:
        new.pop("storageClassName", None)
    if old != new:
        causes.append(forbidden_field("spec", _CLAIM_SPEC))
    return causes


def _changed_volume(before: Tree, after: Tree) -> list[Cause]:
    old, new = lookup(before, "spec.csi"), lookup(after, "spec.csi")
    causes: list[Cause] = []
    if isinstance(old, dict) and isinstance(new, dict):
        movable = ("controllerExpandSecretRef", "nodeExpandSecretRef")
        old = {key: value for key, value in old.items() if key not in movable}
        new = {key: value for key, value in new.items() if key not in movable}
    if old != new:
        text = "spec.persistentvolumesource is immutable after creation"
        causes.append(forbidden_field("spec.persistentvolumesource", text))
    if lookup(before, "spec.volumeMode") != lookup(after, "spec.volumeMode"):
        causes.append(invalid_field("spec.volumeMode", lookup(after, "spec.volumeMode"), "field is immutable"))
    return causes


def _size(spec: Mapping[str, Any]) -> Any:
    return _size_of(lookup(spec, "resources.requests.storage"))


def _size_of(quantity: Any) -> Any:
    try:
        return parse_quantity(str(quantity))
    except UnitError:
        return 0


_NEW: Final[Mapping[str, Callable[[Tree], list[Cause]]]] = {
    "PersistentVolumeClaim": _new_claim,
    "PersistentVolume": _new_volume,
    "VolumeAttachment": _new_attachment,
    "StorageClass": _new_class,
    "Event": _new_event,
}
_CHANGED: Final[Mapping[str, Callable[[Tree, Tree], list[Cause]]]] = {
    "PersistentVolumeClaim": _changed_claim,
    "PersistentVolume": _changed_volume,
}
