"""PersistentVolume and VolumeAttachment. Source: the Kubernetes API reference, v1 and storage.k8s.io/v1."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from moorage.kube.objects.meta import EMPTY, ApiStruct, ObjectMeta, ObjectReference

__all__ = [
    "AttachmentSource",
    "AttachmentSpec",
    "AttachmentStatus",
    "CsiVolumeSource",
    "InTreeVolumeSource",
    "NodeSelector",
    "NodeSelectorRequirement",
    "NodeSelectorTerm",
    "PersistentVolume",
    "SecretReference",
    "VolumeAttachment",
    "VolumeError",
    "VolumeNodeAffinity",
    "VolumeSpec",
    "VolumeStatus",
]


class SecretReference(ApiStruct, frozen=True):
    """A Secret in any namespace."""

    name: str = ""
    namespace: str = ""


class CsiVolumeSource(ApiStruct, frozen=True):
    """How a CSI driver knows the volume, and with which secrets it is used."""

    driver: str = ""
    volume_handle: str = ""
    read_only: bool = False
    fs_type: str = ""
    volume_attributes: Mapping[str, str] = EMPTY
    controller_publish_secret_ref: SecretReference | None = None
    node_stage_secret_ref: SecretReference | None = None
    node_publish_secret_ref: SecretReference | None = None
    controller_expand_secret_ref: SecretReference | None = None
    node_expand_secret_ref: SecretReference | None = None


class InTreeVolumeSource(ApiStruct, frozen=True):
    """A volume of a former in-tree plugin; only that it is one matters."""


class NodeSelectorRequirement(ApiStruct, frozen=True):
    """One requirement on a label of a node: `operator` is In, NotIn, Exists, DoesNotExist, Gt or Lt."""

    key: str = ""
    operator: str = ""
    values: tuple[str, ...] = ()


class NodeSelectorTerm(ApiStruct, frozen=True):
    """Requirements that must all hold; a term without any matches no node."""

    match_expressions: tuple[NodeSelectorRequirement, ...] = ()
    match_fields: tuple[NodeSelectorRequirement, ...] = ()


class NodeSelector(ApiStruct, frozen=True):
    """Nodes that match one of the terms."""

    node_selector_terms: tuple[NodeSelectorTerm, ...] = ()


class VolumeNodeAffinity(ApiStruct, frozen=True):
    """From which nodes the volume can be reached."""

    required: NodeSelector | None = None


class VolumeSpec(ApiStruct, frozen=True):
    """What the volume is and who owns it."""

    capacity: Mapping[str, str] = EMPTY
    access_modes: tuple[str, ...] = ()
    claim_ref: ObjectReference | None = None
    csi: CsiVolumeSource | None = None
    gce_persistent_disk: InTreeVolumeSource | None = None
    aws_elastic_block_store: InTreeVolumeSource | None = None
    azure_disk: InTreeVolumeSource | None = None
    azure_file: InTreeVolumeSource | None = None
    cinder: InTreeVolumeSource | None = None
    vsphere_volume: InTreeVolumeSource | None = None
    portworx_volume: InTreeVolumeSource | None = None
    mount_options: tuple[str, ...] = ()
    node_affinity: VolumeNodeAffinity | None = None
    persistent_volume_reclaim_policy: str = ""
    storage_class_name: str = ""
    volume_attributes_class_name: str | None = None
    volume_mode: str | None = None


class VolumeStatus(ApiStruct, frozen=True):
    """Where the volume stands: `phase` is Pending, Available, Bound, Released or Failed."""

    phase: str = ""
    message: str = ""
    reason: str = ""
    last_phase_transition_time: datetime | None = None


class PersistentVolume(ApiStruct, frozen=True):
    """A volume that exists."""

    metadata: ObjectMeta = ObjectMeta()
    spec: VolumeSpec = VolumeSpec()
    status: VolumeStatus = VolumeStatus()


class AttachmentSource(ApiStruct, frozen=True):
    """What is attached: a volume by name, or the spec of one that has no object."""

    persistent_volume_name: str | None = None
    inline_volume_spec: VolumeSpec | None = None


class AttachmentSpec(ApiStruct, frozen=True):
    """What is to be attached where, by which driver."""

    attacher: str = ""
    node_name: str = ""
    source: AttachmentSource = AttachmentSource()


class VolumeError(ApiStruct, frozen=True):
    """The last thing that went wrong; `error_code` is the gRPC code where the server knows the field."""

    message: str = ""
    error_code: int | None = None
    time: datetime | None = None


class AttachmentStatus(ApiStruct, frozen=True):
    """Whether it is attached, with which publish context, and what went wrong."""

    attached: bool = False
    attachment_metadata: Mapping[str, str] = EMPTY
    attach_error: VolumeError | None = None
    detach_error: VolumeError | None = None


class VolumeAttachment(ApiStruct, frozen=True):
    """The wish that a volume be attached to a node, for as long as the object lives."""

    metadata: ObjectMeta = ObjectMeta()
    spec: AttachmentSpec = AttachmentSpec()
    status: AttachmentStatus = AttachmentStatus()
