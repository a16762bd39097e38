"""What each volume and snapshot says of itself, in a small file beside its content.

The journal can be rebuilt from these files alone, so they hold all that the journal keeps, and no secret: mount
flags, which may hold passwords, are left out. This module does no I/O.
"""

from __future__ import annotations

from typing import Final

import msgspec
from msgspec import Struct, structs

from moorage.drivers.local.config import Allocation, BackendName
from moorage.framework.source import RootOwnership
from moorage.framework.values import SnapshotRecord, VolumeRecord
from moorage.spec.types import MountAccess, VolumeCapability

FORMAT: Final = 1
VOLUME_FILE: Final = "volume.json"
SNAPSHOT_FILE: Final = "snapshot.json"


class VolumeFile(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """`volume.json`. `read_ahead_kib` None leaves the kernel's default; sizes are bytes."""

    format: int = 0
    record: VolumeRecord
    backend: BackendName
    allocation: Allocation = "thin"
    read_ahead_kib: int | None = None
    compression: str = ""
    root: RootOwnership = RootOwnership()

    @property
    def volume_id(self) -> str:
        """The volume's id."""
        return self.record.volume_id

    @property
    def object_id(self) -> str:
        """The id by which the object is found in its pool."""
        return self.record.volume_id

    @property
    def size_bytes(self) -> int:
        """The size that the volume was last given."""
        return self.record.capacity_bytes

    @property
    def is_block(self) -> bool:
        """Whether the volume was made for raw block access only: its content is then never looked into."""
        capabilities = self.record.volume_capabilities
        return bool(capabilities) and all(capability.is_block for capability in capabilities)

    def resized(self, size_bytes: int) -> VolumeFile:
        """The same volume with another size."""
        return structs.replace(self, record=structs.replace(self.record, capacity_bytes=size_bytes))


class SnapshotFile(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """`snapshot.json`. `block` tells that the content is a raw device's, not a file system's.

    `group_size` is the number of members of the group that it was cut with; 0 for none.
    """

    format: int = 0
    record: SnapshotRecord
    backend: BackendName
    block: bool = False
    group_size: int = 0

    @property
    def object_id(self) -> str:
        """The id by which the object is found in its pool."""
        return self.record.snapshot_id


def without_mount_flags(capabilities: tuple[VolumeCapability, ...]) -> tuple[VolumeCapability, ...]:
    """The capabilities as they may be written to disk."""
    return tuple(
        structs.replace(capability, access_type=structs.replace(capability.access_type, mount_flags=()))
        if isinstance(capability.access_type, MountAccess)
        else capability
        for capability in capabilities
    )


def encode(content: VolumeFile | SnapshotFile) -> bytes:
    """The file's bytes: JSON for people to read too."""
    if isinstance(content, VolumeFile):
        flagless = without_mount_flags(content.record.volume_capabilities)
        record = structs.replace(content.record, volume_capabilities=flagless)
        return _encode(structs.replace(content, format=FORMAT, record=record))
    return _encode(structs.replace(content, format=FORMAT))


def decode_volume(data: bytes) -> VolumeFile:
    """Read `volume.json`; raises ValueError for anything else."""
    content = msgspec.json.decode(data, type=VolumeFile)
    _check_format(content.format)
    return content


def decode_snapshot(data: bytes) -> SnapshotFile:
    """Read `snapshot.json`; raises ValueError for anything else."""
    content = msgspec.json.decode(data, type=SnapshotFile)
    _check_format(content.format)
    return content


def _encode(content: VolumeFile | SnapshotFile) -> bytes:
    return msgspec.json.format(msgspec.json.encode(content), indent=1) + b"\n"


def _check_format(number: int) -> None:
    if number != FORMAT:
        raise ValueError(f"format {number} is not {FORMAT}; a newer driver wrote it")
