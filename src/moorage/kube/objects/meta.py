"""What all kinds have in common: metadata, references, selectors, conditions.

The structs are for reading only: fields that they do not name (managedFields above all) are skipped while
decoding, so a decoded object is never sent back. They are not tracked by the garbage collector, which is safe
because JSON has no cycles, and saves a scan of every cached object. Quantities stay text; see
`moorage.base.units`. Field names are those of the API in snake case.

Source: the Kubernetes API reference, "ObjectMeta" and following.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from types import MappingProxyType
from typing import Any, Final

from msgspec import Struct

__all__ = [
    "EMPTY",
    "ApiStruct",
    "Condition",
    "LabelSelector",
    "LabelSelectorRequirement",
    "LocalObjectReference",
    "ObjectMeta",
    "ObjectReference",
    "OwnerReference",
    "PartialObject",
    "TypedReference",
]

EMPTY: Final[Mapping[str, Any]] = MappingProxyType({})
"""The default of every mapping, shared so that an object without labels does not pay for an empty dict."""


class ApiStruct(Struct, frozen=True, kw_only=True, gc=False, rename="camel", omit_defaults=True):
    """The base of all structs that are decoded from the API server's JSON."""


class OwnerReference(ApiStruct, frozen=True):
    """Who an object belongs to; it is deleted with its owner."""

    api_version: str = ""
    kind: str = ""
    name: str = ""
    uid: str = ""
    controller: bool = False
    block_owner_deletion: bool = False


class ObjectMeta(ApiStruct, frozen=True):
    """Identity and bookkeeping of an object. `resource_version` changes with every write to it."""

    name: str = ""
    generate_name: str = ""
    namespace: str = ""
    uid: str = ""
    resource_version: str = ""
    generation: int = 0
    creation_timestamp: datetime | None = None
    deletion_timestamp: datetime | None = None
    deletion_grace_period_seconds: int | None = None
    labels: Mapping[str, str] = EMPTY
    annotations: Mapping[str, str] = EMPTY
    finalizers: tuple[str, ...] = ()
    owner_references: tuple[OwnerReference, ...] = ()


class PartialObject(ApiStruct, frozen=True):
    """The metadata of an object of any kind, for whoever needs no more."""

    api_version: str = ""
    kind: str = ""
    metadata: ObjectMeta = ObjectMeta()


class ObjectReference(ApiStruct, frozen=True):
    """An object named by another one; what is empty is not known."""

    api_version: str = ""
    kind: str = ""
    namespace: str = ""
    name: str = ""
    uid: str = ""
    resource_version: str = ""
    field_path: str = ""


class LocalObjectReference(ApiStruct, frozen=True):
    """An object in the namespace of the one that names it."""

    name: str = ""


class TypedReference(ApiStruct, frozen=True):
    """The object that a volume is to be filled from; `api_group` is empty for the core group."""

    api_group: str = ""
    kind: str = ""
    name: str = ""
    namespace: str = ""


class LabelSelectorRequirement(ApiStruct, frozen=True):
    """One requirement: `operator` is In, NotIn, Exists or DoesNotExist."""

    key: str = ""
    operator: str = ""
    values: tuple[str, ...] = ()


class LabelSelector(ApiStruct, frozen=True):
    """Objects by label; all parts must hold, an empty selector holds for every object."""

    match_labels: Mapping[str, str] = EMPTY
    match_expressions: tuple[LabelSelectorRequirement, ...] = ()


class Condition(ApiStruct, frozen=True):
    """One aspect of the state of an object; `status` is True, False or Unknown as text."""

    type: str = ""
    status: str = ""
    reason: str = ""
    message: str = ""
    last_transition_time: datetime | None = None
    last_probe_time: datetime | None = None
    observed_generation: int = 0
