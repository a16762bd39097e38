"""What driver methods are given and what the framework keeps of it.

`New*` is a wish: everything in it has been validated. `*Record` is what the store keeps: it never
holds secrets. Sizes are bytes, times are aware UTC.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Mapping
from datetime import datetime

from msgspec import Struct, field

from moorage.spec.types import (
    BlockMetadata,
    CapacityRange,
    ContentSource,
    Secrets,
    Snapshot,
    Topology,
    TopologyRequirement,
    Volume,
    VolumeCapability,
)


class NewVolume(Struct, frozen=True, kw_only=True):
    """A volume to be made.

    volume_id: the id to use, unless the storage system gives its own; the same on every replay.
    name: the orchestrator's name: any Unicode, never to be used as a path.
    size_bytes: already chosen inside `capacity_range`.
    parameters: as asked, overlaid with the mutable ones, without the orchestrator's own keys.
    topology: where to put it, chosen from the requirement; empty means anywhere.
    token: the same on every replay of this operation: for the client token of a cloud API.
    tags: for `BackendTags` drivers: to be stored with the volume, in the call that creates it.
    """

    volume_id: str
    name: str
    size_bytes: int
    capacity_range: CapacityRange = CapacityRange()
    volume_capabilities: tuple[VolumeCapability, ...] = ()
    parameters: Mapping[str, str] = {}
    mutable_parameters: Mapping[str, str] = {}
    content_source: ContentSource | None = None
    requirement: TopologyRequirement | None = None
    topology: tuple[Topology, ...] = ()
    secrets: Secrets = field(default_factory=Secrets)
    token: str = ""
    tags: Mapping[str, str] = {}


class NewSnapshot(Struct, frozen=True, kw_only=True):
    """A snapshot to be cut; fields as in `NewVolume`."""

    snapshot_id: str
    name: str
    source_volume_id: str
    parameters: Mapping[str, str] = {}
    requirement: TopologyRequirement | None = None
    group_snapshot_id: str = ""
    secrets: Secrets = field(default_factory=Secrets)
    token: str = ""
    tags: Mapping[str, str] = {}


class NewGroupSnapshot(Struct, frozen=True, kw_only=True):
    """Snapshots of several volumes to be cut at one instant; `members` pairs with the sources."""

    group_snapshot_id: str
    name: str
    members: tuple[NewSnapshot, ...]
    parameters: Mapping[str, str] = {}
    secrets: Secrets = field(default_factory=Secrets)
    token: str = ""


class VolumeRecord(Struct, frozen=True, kw_only=True):
    """A volume as the store knows it. `deleting` is set before the first step of its deletion.

    mutable_parameters: those of the creation, with which a repeated creation is compared.
    modified_parameters: what modifications have set since; with `BackendTags` only the storage system knows.
    """

    volume_id: str
    name: str
    capacity_bytes: int
    volume_capabilities: tuple[VolumeCapability, ...] = ()
    parameters: Mapping[str, str] = {}
    mutable_parameters: Mapping[str, str] = {}
    modified_parameters: Mapping[str, str] = {}
    volume_context: Mapping[str, str] = {}
    content_source: ContentSource | None = None
    accessible_topology: tuple[Topology, ...] = ()
    deleting: bool = False
    ephemeral: bool = False

    def as_volume(self) -> Volume:
        """The volume as the specification describes it."""
        return Volume(
            volume_id=self.volume_id,
            capacity_bytes=self.capacity_bytes,
            volume_context=self.volume_context,
            content_source=self.content_source,
            accessible_topology=self.accessible_topology,
        )


class SnapshotRecord(Struct, frozen=True, kw_only=True):
    """A snapshot as the store knows it."""

    snapshot_id: str
    name: str
    source_volume_id: str
    creation_time: datetime
    size_bytes: int = 0
    ready_to_use: bool = True
    parameters: Mapping[str, str] = {}
    group_snapshot_id: str = ""
    accessible_topology: tuple[Topology, ...] = ()
    deleting: bool = False

    def as_snapshot(self) -> Snapshot:
        """The snapshot as the specification describes it."""
        return Snapshot(
            snapshot_id=self.snapshot_id,
            source_volume_id=self.source_volume_id,
            creation_time=self.creation_time,
            size_bytes=self.size_bytes,
            ready_to_use=self.ready_to_use,
            group_snapshot_id=self.group_snapshot_id,
            accessible_topology=self.accessible_topology,
        )


class GroupRecord(Struct, frozen=True, kw_only=True):
    """A group snapshot as the store knows it."""

    group_snapshot_id: str
    name: str
    source_volume_ids: tuple[str, ...]
    snapshot_ids: tuple[str, ...]
    creation_time: datetime
    parameters: Mapping[str, str] = {}
    deleting: bool = False


class Attachment(Struct, frozen=True, kw_only=True):
    """A volume published to a node by the controller."""

    volume_id: str
    node_id: str
    volume_capability: VolumeCapability
    readonly: bool = False
    publish_context: Mapping[str, str] = {}


class NodeVolume(Struct, frozen=True, kw_only=True):
    """A volume to be used on this node.

    readonly: the controller published it read-only; the framework lets nobody write there then.
    """

    volume_id: str
    volume_capability: VolumeCapability
    volume_context: Mapping[str, str] = {}
    publish_context: Mapping[str, str] = {}
    readonly: bool = False
    secrets: Secrets = field(default_factory=Secrets)


class NodeInfo(Struct, frozen=True, kw_only=True):
    """Which node this is; `max_volumes_per_node` 0 lets the orchestrator decide."""

    node_id: str
    max_volumes_per_node: int = 0
    topology: Topology | None = None


class CapacityQuery(Struct, frozen=True, kw_only=True):
    """What GetCapacity asks for."""

    volume_capabilities: tuple[VolumeCapability, ...] = ()
    parameters: Mapping[str, str] = {}
    topology: Topology | None = None


class Capacity(Struct, frozen=True, kw_only=True):
    """What can still be provisioned, in bytes."""

    available_bytes: int
    maximum_volume_bytes: int | None = None
    minimum_volume_bytes: int | None = None


class ChangedBlocks(Struct, frozen=True, kw_only=True):
    """Ranges for a snapshot-metadata stream: ascending, not overlapping, inside the volume."""

    volume_capacity_bytes: int
    blocks: Iterable[BlockMetadata] | AsyncIterator[BlockMetadata]
    fixed_length: bool = False
