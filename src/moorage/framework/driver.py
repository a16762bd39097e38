"""The class a driver author subclasses, and the whole of what a driver can say.

A method that a driver defines is a capability that the plugin declares; one that it leaves out is
a capability that the plugin does not have. Methods may be `async def`, or plain `def` for vendor
SDKs that block: those run in a bounded pool of daemon threads.

What a method may rely on: its arguments are validated; no other call works on the same volume or
snapshot at the same time; it is called again with the same ids after a crash, a lost reply or a
deadline, so it must be written as "make sure that", not as "do". What it may raise: any error of
`moorage.spec.errors`; every other exception becomes INTERNAL, and its text stays in the log. Where
its arguments hold no secrets, `current_secrets()` gives those of the request.

This class holds no state of its own and does nothing by itself: `moorage.framework.plugin` reads it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Iterable, Mapping
from typing import Any, ClassVar, TypeAlias, TypeVar

from moorage.framework.config import Config
from moorage.framework.needs import DeploymentNeeds
from moorage.framework.source import Source
from moorage.framework.states import LocalJournal, State
from moorage.framework.values import (
    Attachment,
    Capacity,
    CapacityQuery,
    ChangedBlocks,
    NewGroupSnapshot,
    NewSnapshot,
    NewVolume,
    NodeInfo,
    NodeVolume,
    SnapshotRecord,
    VolumeRecord,
)
from moorage.spec.types import (
    AccessMode,
    HealthEntry,
    Snapshot,
    StorageBackendHealth,
    Topology,
    Volume,
    VolumeCapability,
    VolumeUsage,
)

T = TypeVar("T")
MaybeAwaitable: TypeAlias = T | Awaitable[T]

SINGLE_NODE_MODES = frozenset(
    {
        AccessMode.SINGLE_NODE_WRITER,
        AccessMode.SINGLE_NODE_READER_ONLY,
        AccessMode.SINGLE_NODE_SINGLE_WRITER,
        AccessMode.SINGLE_NODE_MULTI_WRITER,
    }
)


def optional(method: T) -> T:
    """Mark a method of `Driver` as one that a driver may leave out."""
    method.__moorage_optional__ = True  # type: ignore[attr-defined]  # a function object takes attributes
    return method


class Driver:
    """A storage driver. Subclass it, name it, and define what your storage can do.

    Everything but the name and the version may also be set on the instance, where it depends on the settings.

    name: the CSI driver name, a domain name of at most 63 characters.
    version: reported as `vendor_version`.
    Config: the class of the settings that the driver is made with.
    state: where the truth lives.
    access_modes: the modes that a volume of this driver can be given.
    block, mount: whether raw block and mounted volumes are offered.
    formats: whether the framework makes file systems on volumes; False where `node_source` gives directories or
        network mounts.
    fs_types: file systems that the framework may make on devices of this driver; the first is the default.
    default_size_bytes: the size of a volume when no size is asked for.
    granularity_bytes: sizes are rounded up to a multiple of it.
    minimum_size_bytes, maximum_size_bytes: limits of one volume.
    snapshots_outlive_volumes: False makes DeleteVolume of a volume with snapshots FAILED_PRECONDITION.
    online_expansion: whether a published volume can grow.
    node_expansion: whether the node must act after the controller has grown a volume.
    single_node_multi_writer: whether two pods on one node may share a volume; turn off only for storage
        that breaks by it (kubelet sends SINGLE_NODE_WRITER for ReadWriteOnce to a driver that opts out).
    mount_group: whether `volume_mount_group` is honoured by a group and mode on the volume's root.
    ephemeral: whether inline volumes are offered (made at publish with attribute `size`, deleted at unpublish).
    topology_aware: whether volumes are not reachable from everywhere (`node_info` and `places` say where).
    snapshot_topology: whether snapshots say where they are reachable (CSI 1.13, alpha).
    """

    name: ClassVar[str]
    version: ClassVar[str] = "0.1.0"
    Config: ClassVar[type[Config]] = Config
    state: State = LocalJournal()
    access_modes: frozenset[AccessMode] = SINGLE_NODE_MODES
    block: bool = True
    mount: bool = True
    formats: bool = True
    fs_types: tuple[str, ...] = ("ext4", "xfs", "btrfs")
    default_size_bytes: int = 1 << 30
    granularity_bytes: int = 512
    minimum_size_bytes: int = 1 << 20
    maximum_size_bytes: int | None = None
    snapshots_outlive_volumes: bool = True
    online_expansion: bool = True
    node_expansion: bool = True
    single_node_multi_writer: bool = True
    mount_group: bool = True
    ephemeral: bool = False
    topology_aware: bool = False
    snapshot_topology: bool = False
    manifest: ClassVar[Mapping[str, str]] = {}

    def __init__(self, config: Any) -> None:
        self.config = config

    # --- life of the plugin ---

    @optional
    def start(self) -> MaybeAwaitable[None]:
        """Called once, before the first RPC."""

    @optional
    def stop(self) -> MaybeAwaitable[None]:
        """Called once, after the last RPC; not when `start` failed or calls still run."""

    @optional
    def probe(self) -> MaybeAwaitable[bool]:
        """Whether the storage can be used now; raise `FailedPrecondition` when it never will be so."""
        raise NotImplementedError

    @classmethod
    def deployment_needs(cls, config: Any) -> DeploymentNeeds:
        """What this driver's pods need; read when manifests are made."""
        return DeploymentNeeds()

    def disabled_methods(self) -> frozenset[str]:
        """Names of methods that this instance does not offer although its class has them."""
        return frozenset()

    # --- volumes ---

    @optional
    def places(self) -> MaybeAwaitable[tuple[Topology, ...]]:
        """Where volumes can be put, best first; left out, any place that the orchestrator asks for will do."""
        raise NotImplementedError

    @optional
    def check_parameters(self, parameters: Mapping[str, str], mutable: Mapping[str, str]) -> None:
        """Raise `InvalidArgument` for a parameter this driver does not know, before anything is made."""

    @optional
    def create_volume(self, volume: NewVolume) -> MaybeAwaitable[Volume | None]:
        """Make sure that an empty volume exists. None means: with the id and size as asked."""
        raise NotImplementedError

    @optional
    def restore_snapshot(self, volume: NewVolume, snapshot: SnapshotRecord) -> MaybeAwaitable[Volume | None]:
        """Make sure that a volume with the snapshot's content exists, at least `volume.size_bytes` large."""
        raise NotImplementedError

    @optional
    def clone_volume(self, volume: NewVolume, source: VolumeRecord) -> MaybeAwaitable[Volume | None]:
        """Make sure that a volume with the present content of `source` exists."""
        raise NotImplementedError

    @optional
    def delete_volume(self, volume: VolumeRecord) -> MaybeAwaitable[None]:
        """Make sure that nothing of the volume exists, however far its creation came."""
        raise NotImplementedError

    @optional
    def expand_volume(self, volume: VolumeRecord, size_bytes: int) -> MaybeAwaitable[int]:
        """Make sure that the volume is at least `size_bytes` large; return its size in bytes."""
        raise NotImplementedError

    @optional
    def modify_volume(self, volume: VolumeRecord, parameters: Mapping[str, str]) -> MaybeAwaitable[None]:
        """Apply mutable parameters, all or none; raise `InvalidArgument` before the first is applied."""
        raise NotImplementedError

    @optional
    def find_volume(self, volume_id: str) -> MaybeAwaitable[VolumeRecord | None]:
        """A volume that exists but that the store has no record of (static volumes); None if there is none."""
        raise NotImplementedError

    @optional
    def list_tagged_volumes(self) -> MaybeAwaitable[Iterable[tuple[Volume, Mapping[str, str]]]]:
        """Every volume of this driver with the tags it was created with (`BackendTags`)."""
        raise NotImplementedError

    @optional
    def list_tagged_snapshots(self) -> MaybeAwaitable[Iterable[tuple[Snapshot, Mapping[str, str]]]]:
        """Every snapshot of this driver with the tags it was created with (`BackendTags`)."""
        raise NotImplementedError

    @optional
    def capacity(self, query: CapacityQuery) -> MaybeAwaitable[Capacity]:
        """How much can still be provisioned."""
        raise NotImplementedError

    @optional
    def volume_health(self, volume: VolumeRecord) -> MaybeAwaitable[tuple[HealthEntry, ...]]:
        """What is wrong with the volume, as the controller sees it; an empty tuple means healthy."""
        raise NotImplementedError

    # --- snapshots ---

    @optional
    def create_snapshot(self, snapshot: NewSnapshot, source: VolumeRecord) -> MaybeAwaitable[Snapshot | None]:
        """Make sure that the snapshot is cut. None means: ready, of the source's size, cut now."""
        raise NotImplementedError

    @optional
    def delete_snapshot(self, snapshot: SnapshotRecord) -> MaybeAwaitable[None]:
        """Make sure that nothing of the snapshot exists."""
        raise NotImplementedError

    @optional
    def snapshot_ready(self, snapshot: SnapshotRecord) -> MaybeAwaitable[bool]:
        """Whether a snapshot that was cut but not ready is ready now."""
        raise NotImplementedError

    @optional
    def create_group_snapshot(
        self, group: NewGroupSnapshot, sources: tuple[VolumeRecord, ...]
    ) -> MaybeAwaitable[tuple[Snapshot, ...] | None]:
        """Make sure that all members are cut at one instant, or none exists.

        After any error but `AlreadyExists`, which says that the snapshots are somebody else's, the members are
        deleted by `delete_snapshot`.
        """
        raise NotImplementedError

    @optional
    def allocated_blocks(self, snapshot: SnapshotRecord, starting_offset: int) -> MaybeAwaitable[ChangedBlocks]:
        """The ranges of the snapshot that hold data, from `starting_offset` (bytes) on."""
        raise NotImplementedError

    @optional
    def changed_blocks(
        self, base: SnapshotRecord, target: SnapshotRecord, starting_offset: int
    ) -> MaybeAwaitable[ChangedBlocks]:
        """The ranges of `target` that may differ from `base`, from `starting_offset` (bytes) on."""
        raise NotImplementedError

    # --- attaching ---

    @optional
    def controller_publish(self, volume: VolumeRecord, attachment: Attachment) -> MaybeAwaitable[Mapping[str, str]]:
        """Make sure that the node can reach the volume; return the publish context for it."""
        raise NotImplementedError

    @optional
    def controller_unpublish(self, attachment: Attachment) -> MaybeAwaitable[None]:
        """Make sure that the node can no longer reach the volume."""
        raise NotImplementedError

    @optional
    def list_attachments(self) -> MaybeAwaitable[Iterable[Attachment]]:
        """Everything that is attached, as the storage system says (`BackendTags`, `Stateless`)."""
        raise NotImplementedError

    @optional
    def attach_limit(self, node_id: str) -> MaybeAwaitable[int | None]:
        """How many volumes the node takes (None: any number); raise `NodeNotFound` for an unknown node."""
        raise NotImplementedError

    # --- node ---

    @optional
    def node_info(self) -> MaybeAwaitable[NodeInfo]:
        """Which node this is."""
        raise NotImplementedError

    @optional
    def node_source(self, volume: NodeVolume) -> MaybeAwaitable[Source | None]:
        """Where the volume's bytes are on this node. A question: it changes nothing, and never waits for a network.

        It is asked at any time, also to unstage and for statistics: the contexts are then those of the staging, if
        they are still known, and there are no secrets. None: the volume is not connected to this node now, which only
        a driver with `node_connect` can say. Raise `VolumeNotFound` for a volume that does not exist.
        """
        raise NotImplementedError

    @optional
    def node_connect(self, volume: NodeVolume) -> MaybeAwaitable[None]:
        """Make sure that the volume is connected to this node (log in, map), so that `node_source` finds it.

        Called once for each staging, after that is recorded, and again when the staging is repeated.
        """
        raise NotImplementedError

    @optional
    def node_disconnect(self, volume: NodeVolume) -> MaybeAwaitable[None]:
        """Make sure that nothing of `node_connect` is left, however far it came, and also where it never was.

        Called when the volume is no longer mounted anywhere on this node. There are no secrets; the contexts are
        those of the staging, or empty when its record was lost.
        """
        raise NotImplementedError

    @optional
    def node_usage(self, volume_id: str, path: str) -> MaybeAwaitable[tuple[VolumeUsage, ...]]:
        """The volume's usage, where the file system under `path` cannot tell it."""
        raise NotImplementedError

    @optional
    def node_volume_health(self, volume_id: str) -> MaybeAwaitable[tuple[HealthEntry, ...]]:
        """What is wrong with the volume, as this node sees it."""
        raise NotImplementedError

    @optional
    def node_storage_health(self) -> MaybeAwaitable[tuple[StorageBackendHealth, ...]]:
        """What is wrong with the storage behind this node."""
        raise NotImplementedError

    # --- what a driver may refine ---

    def supports(self, capability: VolumeCapability) -> str | None:
        """None when volumes of this driver can be used so, else the reason in one clause."""
        mode = capability.access_mode
        if mode not in self.access_modes:
            return f"access mode {mode.name} is not offered"
        if capability.is_block:
            return None if self.block else "raw block volumes are not offered"
        if not self.mount:
            return "mounted volumes are not offered"
        fs_type = capability.mount.fs_type
        if fs_type and self.fs_types and fs_type not in self.fs_types:
            return f"file system {fs_type!r} is not one of {', '.join(self.fs_types)}"
        return None
