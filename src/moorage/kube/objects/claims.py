"""PersistentVolumeClaim: what a user asks for. Source: the Kubernetes API reference, v1."""

from __future__ import annotations

from collections.abc import Mapping

from moorage.kube.objects.meta import EMPTY, ApiStruct, Condition, LabelSelector, ObjectMeta, TypedReference

__all__ = [
    "ClaimSpec",
    "ClaimStatus",
    "ModifyVolumeStatus",
    "PersistentVolumeClaim",
    "ResourceRequirements",
]


class ResourceRequirements(ApiStruct, frozen=True):
    """Quantities by resource name; `storage` is the only one of a claim."""

    requests: Mapping[str, str] = EMPTY
    limits: Mapping[str, str] = EMPTY


class ClaimSpec(ApiStruct, frozen=True):
    """What is asked for. A `storage_class_name` of None asks for the default class, an empty one for none."""

    access_modes: tuple[str, ...] = ()
    resources: ResourceRequirements = ResourceRequirements()
    storage_class_name: str | None = None
    volume_attributes_class_name: str | None = None
    volume_mode: str | None = None
    volume_name: str = ""
    selector: LabelSelector | None = None
    data_source: TypedReference | None = None
    data_source_ref: TypedReference | None = None


class ModifyVolumeStatus(ApiStruct, frozen=True):
    """A change of the attributes class that is not done; `status` is Pending, InProgress or Infeasible."""

    status: str = ""
    target_volume_attributes_class_name: str = ""


class ClaimStatus(ApiStruct, frozen=True):
    """What there is, and what is being done about it."""

    phase: str = ""
    access_modes: tuple[str, ...] = ()
    capacity: Mapping[str, str] = EMPTY
    allocated_resources: Mapping[str, str] = EMPTY
    allocated_resource_statuses: Mapping[str, str] = EMPTY
    current_volume_attributes_class_name: str | None = None
    modify_volume_status: ModifyVolumeStatus | None = None
    conditions: tuple[Condition, ...] = ()


class PersistentVolumeClaim(ApiStruct, frozen=True):
    """A request for a volume, and after binding the title to it."""

    metadata: ObjectMeta = ObjectMeta()
    spec: ClaimSpec = ClaimSpec()
    status: ClaimStatus = ClaimStatus()
