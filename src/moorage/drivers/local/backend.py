"""What the three ways of keeping a volume have in common: image file, btrfs subvolume, plain directory.

A backend fills a directory that belongs to the object alone: first while it is built aside, later in place. It
knows nothing of pools, ids or records.
"""

from __future__ import annotations

import os
from datetime import datetime
from pathlib import Path
from typing import Final, Protocol

from msgspec import Struct

from moorage.drivers.local.records import VolumeFile
from moorage.framework.source import RootOwnership, Source
from moorage.spec.types import VolumeUsage

IMAGE: Final = "disk.img"
DATA: Final = "data"


class Origin(Struct, frozen=True, kw_only=True):
    """Content to start with: the directory of a volume (`live`) or of a snapshot, and whether it lies in this pool."""

    place: Path
    live: bool
    same_pool: bool = True


class Damage(Struct, frozen=True):
    """Content that is not what the record says, in one clause; `lost` when bytes are missing for good."""

    reason: str
    lost: bool = False


class Backend(Protocol):
    """One way of keeping volumes. Every method may be repeated after it was cut short. All raise OSError."""

    def make(self, place: Path, volume: VolumeFile) -> None:
        """Make the content of an empty volume, durably."""
        ...

    def fill(self, place: Path, volume: VolumeFile, origin: Origin) -> None:
        """Make the content of a volume that starts with what `origin` holds, durably."""
        ...

    def cut(self, place: Path, volume_place: Path, volume: VolumeFile) -> tuple[datetime, int]:
        """Put the present content of a volume into `place`, durably; the time of the cut and the size in bytes."""
        ...

    def grow(self, place: Path, volume: VolumeFile, size_bytes: int) -> None:
        """Have room for `size_bytes`."""
        ...

    def apply(self, place: Path, before: VolumeFile, after: VolumeFile) -> None:
        """Make the mutable settings of `after` true; what can fail is done first."""
        ...

    def source(self, place: Path, volume: VolumeFile) -> Source:
        """What the node is given."""
        ...

    def usage(self, place: Path, volume: VolumeFile) -> tuple[VolumeUsage, ...]:
        """The volume's own figures; none where its file system can tell them."""
        ...

    def damage(self, place: Path, volume: VolumeFile) -> Damage | None:
        """What is wrong with the content; None when it is what the record says."""
        ...


def own_root(path: Path, root: RootOwnership) -> None:
    """Give a fresh root directory its owner and mode: 0755 when nothing else was asked for."""
    os.chown(path, -1 if root.uid is None else root.uid, -1 if root.gid is None else root.gid)
    os.chmod(path, 0o755 if root.mode is None else root.mode)
