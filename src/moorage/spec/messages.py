"""The requests and responses of every CSI RPC as frozen Python types.

One class for each protobuf message, with the same name and field names. A `oneof` wrapper that
carries no information of its own is flattened: capability lists are sets of enum members, list
entries are the objects themselves. A test holds every class against the descriptors, so a new
field of the specification cannot be forgotten. This module does no I/O and knows no protobuf.
"""

from __future__ import annotations

from collections.abc import Mapping

from msgspec import Struct, field

from moorage.spec.types import (
    BlockMetadata,
    BlockMetadataType,
    CapacityRange,
    ContentSource,
    ControllerCapability,
    GroupControllerCapability,
    NodeCapability,
    PluginCapability,
    Secrets,
    Snapshot,
    StorageBackendHealth,
    Topology,
    TopologyRequirement,
    Volume,
    VolumeCapability,
    VolumeCondition,
    VolumeExpansion,
    VolumeGroupSnapshot,
    VolumeHealth,
    VolumeUsage,
)

StringMap = Mapping[str, str]


# --- Identity ---------------------------------------------------------------------------------


class GetPluginInfoRequest(Struct, frozen=True, repr_omit_defaults=True):
    """Who are you?"""


class GetPluginInfoResponse(Struct, frozen=True, repr_omit_defaults=True):
    """The driver's name (a domain name of at most 63 characters) and version."""

    name: str
    vendor_version: str
    manifest: StringMap = {}


class GetPluginCapabilitiesRequest(Struct, frozen=True, repr_omit_defaults=True):
    """What does the whole plugin offer?"""


class GetPluginCapabilitiesResponse(Struct, frozen=True, repr_omit_defaults=True):
    """Services and kinds of volume expansion."""

    capabilities: frozenset[PluginCapability] = frozenset()
    volume_expansion: frozenset[VolumeExpansion] = frozenset()


class ProbeRequest(Struct, frozen=True, repr_omit_defaults=True):
    """Are you healthy and ready?"""


class ProbeResponse(Struct, frozen=True, repr_omit_defaults=True):
    """`ready` None counts as ready."""

    ready: bool | None = None


# --- Controller -------------------------------------------------------------------------------


class CreateVolumeRequest(Struct, frozen=True, repr_omit_defaults=True):
    """Make a volume of this name, or find the one made before."""

    name: str
    volume_capabilities: tuple[VolumeCapability, ...]
    capacity_range: CapacityRange | None = None
    parameters: StringMap = {}
    secrets: Secrets = field(default_factory=Secrets)
    volume_content_source: ContentSource | None = None
    accessibility_requirements: TopologyRequirement | None = None
    mutable_parameters: StringMap = {}


class CreateVolumeResponse(Struct, frozen=True, repr_omit_defaults=True):
    """The volume."""

    volume: Volume


class DeleteVolumeRequest(Struct, frozen=True, repr_omit_defaults=True):
    """Delete a volume; one that is gone already is fine."""

    volume_id: str
    secrets: Secrets = field(default_factory=Secrets)


class DeleteVolumeResponse(Struct, frozen=True, repr_omit_defaults=True):
    """Done."""


class ControllerPublishVolumeRequest(Struct, frozen=True, repr_omit_defaults=True):
    """Make a volume available on a node (attach)."""

    volume_id: str
    node_id: str
    volume_capability: VolumeCapability | None
    readonly: bool = False
    secrets: Secrets = field(default_factory=Secrets)
    volume_context: StringMap = {}


class ControllerPublishVolumeResponse(Struct, frozen=True, repr_omit_defaults=True):
    """What the node needs to find the volume."""

    publish_context: StringMap = {}


class ControllerUnpublishVolumeRequest(Struct, frozen=True, repr_omit_defaults=True):
    """Detach a volume from a node, or from all nodes when `node_id` is empty."""

    volume_id: str
    node_id: str = ""
    secrets: Secrets = field(default_factory=Secrets)


class ControllerUnpublishVolumeResponse(Struct, frozen=True, repr_omit_defaults=True):
    """Done."""


class ValidateVolumeCapabilitiesRequest(Struct, frozen=True, repr_omit_defaults=True):
    """Can this volume be used in all these ways?"""

    volume_id: str
    volume_capabilities: tuple[VolumeCapability, ...]
    volume_context: StringMap = {}
    parameters: StringMap = {}
    secrets: Secrets = field(default_factory=Secrets)
    mutable_parameters: StringMap = {}


class Confirmed(Struct, frozen=True, repr_omit_defaults=True):
    """What was confirmed by ValidateVolumeCapabilities."""

    volume_context: StringMap = {}
    volume_capabilities: tuple[VolumeCapability, ...] = ()
    parameters: StringMap = {}
    mutable_parameters: StringMap = {}


class ValidateVolumeCapabilitiesResponse(Struct, frozen=True, repr_omit_defaults=True):
    """`confirmed` None means no, and `message` says why."""

    confirmed: Confirmed | None = None
    message: str = ""


class ListVolumesRequest(Struct, frozen=True, repr_omit_defaults=True):
    """A page of volumes; `max_entries` 0 means no limit."""

    max_entries: int = 0
    starting_token: str = ""


class VolumeStatus(Struct, frozen=True, repr_omit_defaults=True):
    """Where a volume is attached, and its condition if the peer speaks CSI 1.12 or older."""

    published_node_ids: tuple[str, ...] = ()
    volume_condition: VolumeCondition | None = None


class ListedVolume(Struct, frozen=True, repr_omit_defaults=True):
    """An entry of ListVolumes."""

    volume: Volume
    status: VolumeStatus | None = None


class ListVolumesResponse(Struct, frozen=True, repr_omit_defaults=True):
    """A page; an empty `next_token` ends the list."""

    entries: tuple[ListedVolume, ...] = ()
    next_token: str = ""


class ControllerListVolumeHealthRequest(Struct, frozen=True, repr_omit_defaults=True):
    """A page of volumes that are not healthy (alpha)."""

    max_entries: int = 0
    starting_token: str = ""
    secrets: Secrets = field(default_factory=Secrets)


class ControllerListVolumeHealthResponse(Struct, frozen=True, repr_omit_defaults=True):
    """A page; an empty `next_token` ends the list."""

    entries: tuple[VolumeHealth, ...] = ()
    next_token: str = ""


class ControllerGetVolumeHealthRequest(Struct, frozen=True, repr_omit_defaults=True):
    """The controller's view of one volume's health (alpha)."""

    volume_id: str
    secrets: Secrets = field(default_factory=Secrets)


class ControllerGetVolumeHealthResponse(Struct, frozen=True, repr_omit_defaults=True):
    """The health."""

    volume_health: VolumeHealth


class ControllerGetVolumeRequest(Struct, frozen=True, repr_omit_defaults=True):
    """One volume, by id (alpha)."""

    volume_id: str


class ControllerGetVolumeResponse(Struct, frozen=True, repr_omit_defaults=True):
    """The volume and where it is attached."""

    volume: Volume
    status: VolumeStatus


class ControllerModifyVolumeRequest(Struct, frozen=True, repr_omit_defaults=True):
    """Change mutable parameters; keys not named stay as they are."""

    volume_id: str
    mutable_parameters: StringMap
    secrets: Secrets = field(default_factory=Secrets)


class ControllerModifyVolumeResponse(Struct, frozen=True, repr_omit_defaults=True):
    """Done."""


class GetCapacityRequest(Struct, frozen=True, repr_omit_defaults=True):
    """How much can still be provisioned, for these capabilities, parameters and place?"""

    volume_capabilities: tuple[VolumeCapability, ...] = ()
    parameters: StringMap = {}
    accessible_topology: Topology | None = None


class GetCapacityResponse(Struct, frozen=True, repr_omit_defaults=True):
    """Bytes that can still be provisioned, and the sizes one volume can have."""

    available_capacity: int
    maximum_volume_size: int | None = None
    minimum_volume_size: int | None = None


class ControllerGetCapabilitiesRequest(Struct, frozen=True, repr_omit_defaults=True):
    """What does the controller service offer?"""


class ControllerGetCapabilitiesResponse(Struct, frozen=True, repr_omit_defaults=True):
    """The set."""

    capabilities: frozenset[ControllerCapability] = frozenset()


class CreateSnapshotRequest(Struct, frozen=True, repr_omit_defaults=True):
    """Cut a snapshot of this name, or find the one cut before."""

    source_volume_id: str
    name: str
    secrets: Secrets = field(default_factory=Secrets)
    parameters: StringMap = {}
    accessibility_requirements: TopologyRequirement | None = None


class CreateSnapshotResponse(Struct, frozen=True, repr_omit_defaults=True):
    """The snapshot; while it is not `ready_to_use` the caller repeats the call."""

    snapshot: Snapshot


class DeleteSnapshotRequest(Struct, frozen=True, repr_omit_defaults=True):
    """Delete a snapshot; one that is gone already is fine."""

    snapshot_id: str
    secrets: Secrets = field(default_factory=Secrets)


class DeleteSnapshotResponse(Struct, frozen=True, repr_omit_defaults=True):
    """Done."""


class ListSnapshotsRequest(Struct, frozen=True, repr_omit_defaults=True):
    """A page of snapshots; both filters together must hold."""

    max_entries: int = 0
    starting_token: str = ""
    source_volume_id: str = ""
    snapshot_id: str = ""
    secrets: Secrets = field(default_factory=Secrets)


class ListSnapshotsResponse(Struct, frozen=True, repr_omit_defaults=True):
    """A page; an empty `next_token` ends the list."""

    entries: tuple[Snapshot, ...] = ()
    next_token: str = ""


class GetSnapshotRequest(Struct, frozen=True, repr_omit_defaults=True):
    """One snapshot, by id, ready or not (alpha)."""

    snapshot_id: str
    secrets: Secrets = field(default_factory=Secrets)


class GetSnapshotResponse(Struct, frozen=True, repr_omit_defaults=True):
    """The snapshot."""

    snapshot: Snapshot


class ControllerExpandVolumeRequest(Struct, frozen=True, repr_omit_defaults=True):
    """Grow a volume into a range."""

    volume_id: str
    capacity_range: CapacityRange | None
    secrets: Secrets = field(default_factory=Secrets)
    volume_capability: VolumeCapability | None = None


class ControllerExpandVolumeResponse(Struct, frozen=True, repr_omit_defaults=True):
    """The new size, and whether NodeExpandVolume must follow."""

    capacity_bytes: int
    node_expansion_required: bool = False


# --- Group controller -------------------------------------------------------------------------


class GroupControllerGetCapabilitiesRequest(Struct, frozen=True, repr_omit_defaults=True):
    """What does the group controller service offer?"""


class GroupControllerGetCapabilitiesResponse(Struct, frozen=True, repr_omit_defaults=True):
    """The set."""

    capabilities: frozenset[GroupControllerCapability] = frozenset()


class CreateVolumeGroupSnapshotRequest(Struct, frozen=True, repr_omit_defaults=True):
    """Cut snapshots of all these volumes at one instant."""

    name: str
    source_volume_ids: tuple[str, ...]
    secrets: Secrets = field(default_factory=Secrets)
    parameters: StringMap = {}


class CreateVolumeGroupSnapshotResponse(Struct, frozen=True, repr_omit_defaults=True):
    """The group."""

    group_snapshot: VolumeGroupSnapshot


class DeleteVolumeGroupSnapshotRequest(Struct, frozen=True, repr_omit_defaults=True):
    """Delete a group and all its members."""

    group_snapshot_id: str
    snapshot_ids: tuple[str, ...] = ()
    secrets: Secrets = field(default_factory=Secrets)


class DeleteVolumeGroupSnapshotResponse(Struct, frozen=True, repr_omit_defaults=True):
    """Done."""


class GetVolumeGroupSnapshotRequest(Struct, frozen=True, repr_omit_defaults=True):
    """One group, by id."""

    group_snapshot_id: str
    snapshot_ids: tuple[str, ...] = ()
    secrets: Secrets = field(default_factory=Secrets)


class GetVolumeGroupSnapshotResponse(Struct, frozen=True, repr_omit_defaults=True):
    """The group."""

    group_snapshot: VolumeGroupSnapshot


# --- Snapshot metadata ------------------------------------------------------------------------


class GetMetadataAllocatedRequest(Struct, frozen=True, repr_omit_defaults=True):
    """Stream the allocated ranges of a snapshot from `starting_offset` (bytes) on."""

    snapshot_id: str
    starting_offset: int = 0
    max_results: int = 0
    secrets: Secrets = field(default_factory=Secrets)


class GetMetadataAllocatedResponse(Struct, frozen=True, repr_omit_defaults=True):
    """One message of the stream: ranges in ascending order."""

    block_metadata_type: BlockMetadataType
    volume_capacity_bytes: int
    block_metadata: tuple[BlockMetadata, ...] = ()


class GetMetadataDeltaRequest(Struct, frozen=True, repr_omit_defaults=True):
    """Stream the ranges that differ between two snapshots of one volume."""

    base_snapshot_id: str
    target_snapshot_id: str
    starting_offset: int = 0
    max_results: int = 0
    secrets: Secrets = field(default_factory=Secrets)


class GetMetadataDeltaResponse(Struct, frozen=True, repr_omit_defaults=True):
    """One message of the stream: ranges in ascending order."""

    block_metadata_type: BlockMetadataType
    volume_capacity_bytes: int
    block_metadata: tuple[BlockMetadata, ...] = ()


# --- Node -------------------------------------------------------------------------------------


class NodeStageVolumeRequest(Struct, frozen=True, repr_omit_defaults=True):
    """Prepare a volume on this node, once, at the staging path."""

    volume_id: str
    staging_target_path: str
    volume_capability: VolumeCapability | None
    publish_context: StringMap = {}
    secrets: Secrets = field(default_factory=Secrets)
    volume_context: StringMap = {}


class NodeStageVolumeResponse(Struct, frozen=True, repr_omit_defaults=True):
    """Done."""


class NodeUnstageVolumeRequest(Struct, frozen=True, repr_omit_defaults=True):
    """Undo NodeStageVolume."""

    volume_id: str
    staging_target_path: str


class NodeUnstageVolumeResponse(Struct, frozen=True, repr_omit_defaults=True):
    """Done."""


class NodePublishVolumeRequest(Struct, frozen=True, repr_omit_defaults=True):
    """Make a volume visible at the target path."""

    volume_id: str
    target_path: str
    volume_capability: VolumeCapability | None
    staging_target_path: str = ""
    readonly: bool = False
    publish_context: StringMap = {}
    secrets: Secrets = field(default_factory=Secrets)
    volume_context: StringMap = {}


class NodePublishVolumeResponse(Struct, frozen=True, repr_omit_defaults=True):
    """Done."""


class NodeUnpublishVolumeRequest(Struct, frozen=True, repr_omit_defaults=True):
    """Undo NodePublishVolume and remove the target path."""

    volume_id: str
    target_path: str


class NodeUnpublishVolumeResponse(Struct, frozen=True, repr_omit_defaults=True):
    """Done."""


class NodeGetVolumeStatsRequest(Struct, frozen=True, repr_omit_defaults=True):
    """How full is the volume at this path?"""

    volume_id: str
    volume_path: str
    staging_target_path: str = ""


class NodeGetVolumeStatsResponse(Struct, frozen=True, repr_omit_defaults=True):
    """Usage, and the volume's condition for peers that speak CSI 1.12 or older."""

    usage: tuple[VolumeUsage, ...] = ()
    volume_condition: VolumeCondition | None = None


class NodeGetVolumeHealthRequest(Struct, frozen=True, repr_omit_defaults=True):
    """The node's view of one volume's health (alpha)."""

    volume_id: str
    volume_publish_path: str = ""
    staging_target_path: str = ""


class NodeGetVolumeHealthResponse(Struct, frozen=True, repr_omit_defaults=True):
    """The health."""

    volume_health: VolumeHealth


class NodeGetStorageHealthRequest(Struct, frozen=True, repr_omit_defaults=True):
    """The health of the storage behind this node (alpha)."""

    secrets: Secrets = field(default_factory=Secrets)


class NodeGetStorageHealthResponse(Struct, frozen=True, repr_omit_defaults=True):
    """What is wrong; nothing means healthy."""

    backend_health: tuple[StorageBackendHealth, ...] = ()


class NodeExpandVolumeRequest(Struct, frozen=True, repr_omit_defaults=True):
    """Grow what this node sees of a volume; no range means as far as it goes."""

    volume_id: str
    volume_path: str
    capacity_range: CapacityRange | None = None
    staging_target_path: str = ""
    volume_capability: VolumeCapability | None = None
    secrets: Secrets = field(default_factory=Secrets)


class NodeExpandVolumeResponse(Struct, frozen=True, repr_omit_defaults=True):
    """The size that the node now sees; 0 means unknown."""

    capacity_bytes: int = 0


class NodeGetCapabilitiesRequest(Struct, frozen=True, repr_omit_defaults=True):
    """What does the node service offer?"""


class NodeGetCapabilitiesResponse(Struct, frozen=True, repr_omit_defaults=True):
    """The set."""

    capabilities: frozenset[NodeCapability] = frozenset()


class NodeGetInfoRequest(Struct, frozen=True, repr_omit_defaults=True):
    """Which node is this?"""


class NodeGetInfoResponse(Struct, frozen=True, repr_omit_defaults=True):
    """The node's id, how many volumes it takes (0: the orchestrator decides) and where it is."""

    node_id: str
    max_volumes_per_node: int = 0
    accessible_topology: Topology | None = None
