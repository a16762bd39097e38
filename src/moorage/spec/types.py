"""The values of the CSI specification as frozen Python types.

Field names are those of `csi.proto`, so that the specification can be read beside the code and
`moorage.spec.convert` needs no table of names. What differs is what makes them pleasant: enums,
`datetime`, `None` for an absent wrapper, unions where the proto has a `oneof`, and secrets that
cannot be printed. msgspec structs are used for what they save at start (docs/design/structs.md).
This module does no I/O and knows neither gRPC nor protobuf.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from enum import IntEnum
from typing import Self

from msgspec import Struct

STRIPPED = "***stripped***"


class OpenEnum(IntEnum):
    """An enum that keeps numbers it does not know, as protobuf does, so that newer peers are tolerated."""

    @classmethod
    def _missing_(cls, value: object) -> Self | None:
        if not isinstance(value, int):
            return None
        member = int.__new__(cls, value)
        member._name_ = f"UNRECOGNIZED_{value}"
        member._value_ = value
        return member

    @property
    def recognized(self) -> bool:
        """False for a number that this version of the specification does not define."""
        return self._name_ in type(self).__members__


class PluginCapability(OpenEnum):
    """`PluginCapability.Service.Type`: what the whole plugin offers."""

    UNKNOWN = 0
    CONTROLLER_SERVICE = 1
    VOLUME_ACCESSIBILITY_CONSTRAINTS = 2
    GROUP_CONTROLLER_SERVICE = 3
    SNAPSHOT_METADATA_SERVICE = 4
    SNAPSHOT_ACCESSIBILITY_CONSTRAINTS = 5


class VolumeExpansion(OpenEnum):
    """`PluginCapability.VolumeExpansion.Type`: whether a published volume can grow."""

    UNKNOWN = 0
    ONLINE = 1
    OFFLINE = 2


class ControllerCapability(OpenEnum):
    """`ControllerServiceCapability.RPC.Type`; 11 is VOLUME_CONDITION of CSI 1.3 to 1.12."""

    UNKNOWN = 0
    CREATE_DELETE_VOLUME = 1
    PUBLISH_UNPUBLISH_VOLUME = 2
    LIST_VOLUMES = 3
    GET_CAPACITY = 4
    CREATE_DELETE_SNAPSHOT = 5
    LIST_SNAPSHOTS = 6
    CLONE_VOLUME = 7
    PUBLISH_READONLY = 8
    EXPAND_VOLUME = 9
    LIST_VOLUMES_PUBLISHED_NODES = 10
    VOLUME_CONDITION = 11
    GET_VOLUME = 12
    SINGLE_NODE_MULTI_WRITER = 13
    MODIFY_VOLUME = 14
    GET_SNAPSHOT = 15
    GET_VOLUME_HEALTH = 16
    LIST_VOLUME_HEALTH = 17


class GroupControllerCapability(OpenEnum):
    """`GroupControllerServiceCapability.RPC.Type`."""

    UNKNOWN = 0
    CREATE_DELETE_GET_VOLUME_GROUP_SNAPSHOT = 1


class NodeCapability(OpenEnum):
    """`NodeServiceCapability.RPC.Type`; 4 is VOLUME_CONDITION of CSI 1.3 to 1.12."""

    UNKNOWN = 0
    STAGE_UNSTAGE_VOLUME = 1
    GET_VOLUME_STATS = 2
    EXPAND_VOLUME = 3
    VOLUME_CONDITION = 4
    SINGLE_NODE_MULTI_WRITER = 5
    VOLUME_MOUNT_GROUP = 6
    GET_VOLUME_HEALTH = 7
    GET_STORAGE_HEALTH = 8


class AccessMode(OpenEnum):
    """`VolumeCapability.AccessMode.Mode`."""

    UNKNOWN = 0
    SINGLE_NODE_WRITER = 1
    SINGLE_NODE_READER_ONLY = 2
    MULTI_NODE_READER_ONLY = 3
    MULTI_NODE_SINGLE_WRITER = 4
    MULTI_NODE_MULTI_WRITER = 5
    SINGLE_NODE_SINGLE_WRITER = 6
    SINGLE_NODE_MULTI_WRITER = 7


class UsageUnit(OpenEnum):
    """`VolumeUsage.Unit`."""

    UNKNOWN = 0
    BYTES = 1
    INODES = 2


class VolumeHealthStatus(OpenEnum):
    """`VolumeHealthErrorType` of CSI 1.13."""

    UNKNOWN = 0
    DEGRADED = 1
    INACCESSIBLE = 2
    DATA_LOSS = 3


class StorageHealthStatus(OpenEnum):
    """`StorageHealthErrorType` of CSI 1.13."""

    UNKNOWN = 0
    STORAGE_DEGRADED = 1
    STORAGE_UNREACHABLE = 2


class BlockMetadataType(OpenEnum):
    """Whether the tuples of a snapshot-metadata stream all have one size."""

    UNKNOWN = 0
    FIXED_LENGTH = 1
    VARIABLE_LENGTH = 2


class Secrets(dict[str, str]):
    """A secrets map that never shows its values in `repr`, logs or tracebacks."""

    def __repr__(self) -> str:
        return f"Secrets({', '.join(f'{key}={STRIPPED}' for key in sorted(self))})"

    __str__ = __repr__


class CapacityRange(Struct, frozen=True, repr_omit_defaults=True):
    """A size in bytes with a floor and a ceiling; 0 means unset."""

    required_bytes: int = 0
    limit_bytes: int = 0

    def contains(self, size_bytes: int) -> bool:
        """Whether a volume of this size satisfies the range."""
        return size_bytes >= self.required_bytes and (not self.limit_bytes or size_bytes <= self.limit_bytes)


class Topology(Struct, frozen=True, repr_omit_defaults=True):
    """Where something is reachable: all segments together name one place."""

    segments: Mapping[str, str] = {}


class TopologyRequirement(Struct, frozen=True, repr_omit_defaults=True):
    """Where a volume must (`requisite`) and should, in order (`preferred`), be reachable."""

    requisite: tuple[Topology, ...] = ()
    preferred: tuple[Topology, ...] = ()


class BlockAccess(Struct, frozen=True, tag_field="type", tag="block"):
    """The volume is given as a raw block device."""


class MountAccess(Struct, frozen=True, tag_field="type", tag="mount"):
    """The volume is given as a mounted file system; `mount_flags` may be sensitive and are not shown."""

    fs_type: str = ""
    mount_flags: tuple[str, ...] = ()
    volume_mount_group: str = ""

    def __repr__(self) -> str:
        flags = f"{len(self.mount_flags)} flags" if self.mount_flags else "no flags"
        return f"MountAccess(fs_type={self.fs_type!r}, {flags}, group={self.volume_mount_group!r})"


class VolumeCapability(Struct, frozen=True, repr_omit_defaults=True):
    """How a volume is to be used. `access_type` is None when the peer left the oneof unset."""

    access_mode: AccessMode
    access_type: BlockAccess | MountAccess | None = MountAccess()

    @property
    def is_block(self) -> bool:
        """True for raw block access."""
        return isinstance(self.access_type, BlockAccess)

    @property
    def mount(self) -> MountAccess:
        """The mount access; an empty one for a block capability."""
        return self.access_type if isinstance(self.access_type, MountAccess) else MountAccess()


class SnapshotSource(Struct, frozen=True, tag_field="type", tag="snapshot"):
    """A volume's content comes from a snapshot."""

    snapshot_id: str


class VolumeSource(Struct, frozen=True, tag_field="type", tag="volume"):
    """A volume's content comes from another volume (a clone)."""

    volume_id: str


ContentSource = SnapshotSource | VolumeSource


class Volume(Struct, frozen=True, repr_omit_defaults=True):
    """A volume as the specification describes it; `capacity_bytes` 0 means unknown."""

    volume_id: str
    capacity_bytes: int = 0
    volume_context: Mapping[str, str] = {}
    content_source: ContentSource | None = None
    accessible_topology: tuple[Topology, ...] = ()


class Snapshot(Struct, frozen=True, repr_omit_defaults=True):
    """A snapshot; `size_bytes` is the least size of a volume restored from it, 0 means unknown."""

    snapshot_id: str
    source_volume_id: str
    creation_time: datetime
    size_bytes: int = 0
    ready_to_use: bool = True
    group_snapshot_id: str = ""
    accessible_topology: tuple[Topology, ...] = ()


class VolumeGroupSnapshot(Struct, frozen=True, repr_omit_defaults=True):
    """Snapshots of several volumes, cut at one instant."""

    group_snapshot_id: str
    snapshots: tuple[Snapshot, ...]
    creation_time: datetime
    ready_to_use: bool = True


class VolumeUsage(Struct, frozen=True, repr_omit_defaults=True):
    """Figures of one unit for a published volume; bytes or inodes."""

    unit: UsageUnit
    total: int
    available: int = 0
    used: int = 0


class VolumeCondition(Struct, frozen=True, repr_omit_defaults=True):
    """The health of a volume as CSI 1.3 to 1.12 told it (alpha, removed in 1.13)."""

    abnormal: bool = False
    message: str = ""


class HealthEntry(Struct, frozen=True, repr_omit_defaults=True):
    """One thing that is wrong with a volume: `reason` is one CamelCase word, `message` is for people."""

    status: VolumeHealthStatus
    reason: str = ""
    message: str = ""


class VolumeHealth(Struct, frozen=True, repr_omit_defaults=True):
    """The health of a volume (CSI 1.13, alpha); no entries means healthy."""

    volume_id: str
    health_statuses: tuple[HealthEntry, ...] = ()


class StorageBackendHealth(Struct, frozen=True, repr_omit_defaults=True):
    """One thing that is wrong with the storage behind this node (CSI 1.13, alpha)."""

    status: StorageHealthStatus
    reason: str = ""
    message: str = ""
    volume_capability: VolumeCapability | None = None


class BlockMetadata(Struct, frozen=True, repr_omit_defaults=True):
    """A range of bytes of a snapshot."""

    byte_offset: int
    size_bytes: int
