"""What the server knows of each kind: how it stores, updates and selects its objects.

The kinds of the server itself differ from those that a CustomResourceDefinition makes, and among each other,
in details that controllers depend on. The table holds what was observed on Kubernetes 1.36.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from moorage.kube import resource as known
from moorage.kube.resource import Resource

__all__ = ["BUILT_IN", "CUSTOM", "Kind", "custom_kind", "defined_kind"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """A kind of object, and what the server does with it.

    `status` says that status is written through the subresource only; `status_metadata` that the subresource
    also takes labels, annotations and finalizers. `blind_update` allows PUT without resourceVersion,
    `create_on_update` lets PUT create. `returns_deleted` tells what DELETE answers, `fields` what can be
    selected beside the name. `stored` is False for reviews, which are answered and forgotten.
    """

    resource: Resource
    custom: bool = False
    status: bool = False
    status_metadata: bool = False
    generation: bool = False
    blind_update: bool = True
    create_on_update: bool = False
    returns_deleted: bool = False
    graceful: bool = False
    stored: bool = True
    free_names: bool = False
    fields: tuple[str, ...] = ()
    subresources: tuple[str, ...] = ()
    versions: tuple[str, ...] = ()

    @property
    def selectable(self) -> tuple[str, ...]:
        """All fields that a field selector may name."""
        return ("metadata.name", "metadata.namespace", *self.fields)

    @property
    def served_versions(self) -> tuple[str, ...]:
        """The versions of the group in which it can be read and written; all have the same form."""
        return self.versions or (self.resource.version,)


_POD_FIELDS: Final = (
    "spec.nodeName", "spec.restartPolicy", "spec.schedulerName", "spec.serviceAccountName", "spec.hostNetwork",
    "status.phase", "status.podIP", "status.nominatedNodeName",
)  # fmt: skip
_EVENT_FIELDS: Final = (
    "involvedObject.kind", "involvedObject.namespace", "involvedObject.name", "involvedObject.uid",
    "involvedObject.apiVersion", "involvedObject.resourceVersion", "involvedObject.fieldPath", "reason",
    "reportingComponent", "source", "type",
)  # fmt: skip

BUILT_IN: Final[tuple[Kind, ...]] = (
    Kind(
        resource=known.PODS, status=True, status_metadata=True, generation=True, returns_deleted=True, graceful=True,
        fields=_POD_FIELDS, subresources=("binding", "eviction"),
    ),
    Kind(resource=known.NODES, status=True, status_metadata=True, fields=("spec.unschedulable",)),
    Kind(resource=known.NAMESPACES, status=True, status_metadata=True, returns_deleted=True, fields=("status.phase",)),
    Kind(resource=known.SECRETS, fields=("type",)),
    Kind(resource=known.CONFIG_MAPS),
    Kind(resource=known.SERVICE_ACCOUNTS, returns_deleted=True, subresources=("token",)),
    Kind(resource=known.SERVICES, status=True, status_metadata=True, returns_deleted=True),
    Kind(resource=known.RESOURCE_QUOTAS, status=True, status_metadata=True, returns_deleted=True),
    Kind(resource=known.EVENTS, create_on_update=True, free_names=True, fields=_EVENT_FIELDS),
    Kind(resource=known.PERSISTENT_VOLUMES, status=True, status_metadata=True, returns_deleted=True),
    Kind(resource=known.PERSISTENT_VOLUME_CLAIMS, status=True, status_metadata=True, returns_deleted=True),
    Kind(resource=known.STORAGE_CLASSES, returns_deleted=True),
    Kind(resource=known.VOLUME_ATTACHMENTS, status=True, blind_update=False, returns_deleted=True),
    Kind(resource=known.VOLUME_ATTRIBUTES_CLASSES, returns_deleted=True),
    Kind(resource=known.CSI_DRIVERS, blind_update=False, returns_deleted=True),
    Kind(resource=known.CSI_NODES, blind_update=False, returns_deleted=True),
    Kind(resource=known.CSI_STORAGE_CAPACITIES, blind_update=False, returns_deleted=True),
    Kind(resource=known.LEASES, blind_update=False, create_on_update=True),
    Kind(resource=known.DEPLOYMENTS, status=True, status_metadata=True, generation=True),
    Kind(resource=known.REPLICA_SETS, status=True, status_metadata=True, generation=True, fields=("status.replicas",)),
    Kind(resource=known.STATEFUL_SETS, status=True, status_metadata=True, generation=True),
    Kind(resource=known.DAEMON_SETS, status=True, status_metadata=True, generation=True),
    Kind(resource=known.CUSTOM_RESOURCE_DEFINITIONS, status=True, generation=True, blind_update=False,
         returns_deleted=True),
    Kind(resource=known.TOKEN_REVIEWS, stored=False),
    Kind(resource=known.SUBJECT_ACCESS_REVIEWS, stored=False),
    Kind(resource=known.SELF_SUBJECT_ACCESS_REVIEWS, stored=False),
)  # fmt: skip


def custom_kind(resource: Resource, *, status: bool = True, versions: tuple[str, ...] = ()) -> Kind:
    """A kind as a CustomResourceDefinition makes it."""
    return Kind(
        resource=resource,
        custom=True,
        status=status,
        generation=True,
        blind_update=False,
        versions=versions or (resource.version,),
    )


def defined_kind(definition: Mapping[str, Any]) -> Kind:
    """The kind that a CustomResourceDefinition describes. Raises KeyError when it names no served version."""
    spec = definition["spec"]
    names = spec["names"]
    served = [version for version in spec["versions"] if version.get("served", True)]
    if not served:
        raise KeyError("served")
    stored = next((version for version in served if version.get("storage")), served[0])
    resource = Resource(
        spec["group"], stored["name"], names["plural"], names["kind"], namespaced=spec.get("scope") == "Namespaced"
    )
    kind = custom_kind(
        resource,
        status="status" in (stored.get("subresources") or {}),
        versions=tuple(version["name"] for version in served),
    )
    fields = tuple(entry["jsonPath"].lstrip(".") for entry in stored.get("selectableFields") or ())
    return replace(kind, fields=fields)


CUSTOM: Final[tuple[Kind, ...]] = (
    custom_kind(known.REFERENCE_GRANTS, status=False),
    custom_kind(known.VOLUME_POPULATORS, status=False),
    custom_kind(known.VOLUME_SNAPSHOTS),
    custom_kind(known.VOLUME_SNAPSHOT_CONTENTS),
    custom_kind(known.VOLUME_SNAPSHOT_CLASSES, status=False),
    custom_kind(known.VOLUME_GROUP_SNAPSHOTS, versions=("v1", "v1beta2", "v1beta1")),
    custom_kind(known.VOLUME_GROUP_SNAPSHOT_CONTENTS, versions=("v1", "v1beta2", "v1beta1")),
    custom_kind(known.VOLUME_GROUP_SNAPSHOT_CLASSES, status=False, versions=("v1", "v1beta2", "v1beta1")),
    custom_kind(known.SNAPSHOT_METADATA_SERVICES, status=False, versions=("v1beta1", "v1alpha1")),
)
"""The kinds of the storage projects whose definitions the contracts of the CSI controllers expect."""
