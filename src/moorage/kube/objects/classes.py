"""StorageClass, VolumeAttributesClass, CSIDriver and CSIStorageCapacity. Source: API reference, storage.k8s.io/v1."""

from __future__ import annotations

from collections.abc import Mapping

from moorage.kube.objects.meta import EMPTY, ApiStruct, LabelSelector, ObjectMeta

__all__ = [
    "CsiDriver",
    "CsiDriverSpec",
    "CsiStorageCapacity",
    "StorageClass",
    "TokenRequest",
    "TopologySelectorLabel",
    "TopologySelectorTerm",
    "VolumeAttributesClass",
]


class TopologySelectorLabel(ApiStruct, frozen=True):
    """A topology key and the values that are allowed for it."""

    key: str = ""
    values: tuple[str, ...] = ()


class TopologySelectorTerm(ApiStruct, frozen=True):
    """Topology labels that must all hold."""

    match_label_expressions: tuple[TopologySelectorLabel, ...] = ()


class StorageClass(ApiStruct, frozen=True):
    """How volumes of a class are made; `reclaim_policy` and `volume_binding_mode` are defaulted by the server."""

    metadata: ObjectMeta = ObjectMeta()
    provisioner: str = ""
    parameters: Mapping[str, str] = EMPTY
    reclaim_policy: str | None = None
    mount_options: tuple[str, ...] = ()
    allow_volume_expansion: bool | None = None
    volume_binding_mode: str | None = None
    allowed_topologies: tuple[TopologySelectorTerm, ...] = ()


class VolumeAttributesClass(ApiStruct, frozen=True):
    """Attributes of a volume that may change while it is used."""

    metadata: ObjectMeta = ObjectMeta()
    driver_name: str = ""
    parameters: Mapping[str, str] = EMPTY


class TokenRequest(ApiStruct, frozen=True):
    """A service account token that the driver wants at publish."""

    audience: str = ""
    expiration_seconds: int | None = None


class CsiDriverSpec(ApiStruct, frozen=True):
    """What the cluster must know of a driver; None is the server's default."""

    attach_required: bool | None = None
    pod_info_on_mount: bool | None = None
    storage_capacity: bool | None = None
    fs_group_policy: str | None = None
    requires_republish: bool | None = None
    se_linux_mount: bool | None = None
    node_allocatable_update_period_seconds: int | None = None
    prevent_pod_scheduling_if_missing: bool | None = None
    service_account_token_in_secrets: bool | None = None
    volume_lifecycle_modes: tuple[str, ...] = ()
    token_requests: tuple[TokenRequest, ...] = ()


class CsiDriver(ApiStruct, frozen=True):
    """A driver as the cluster knows it; the object's name is the driver's."""

    metadata: ObjectMeta = ObjectMeta()
    spec: CsiDriverSpec = CsiDriverSpec()


class CsiStorageCapacity(ApiStruct, frozen=True):
    """How much room there is for volumes of a class in a segment of the topology."""

    metadata: ObjectMeta = ObjectMeta()
    node_topology: LabelSelector | None = None
    storage_class_name: str = ""
    capacity: str | None = None
    maximum_volume_size: str | None = None
