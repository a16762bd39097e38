"""Where the bytes of a volume are on this node: what `Driver.node_source` answers.

The framework does the rest: loop devices, proof of blankness, mkfs, mounts, bind mounts, growth
and statistics. This module is values only.
"""

from __future__ import annotations

from pathlib import Path

from msgspec import Struct


class RootOwnership(Struct, frozen=True):
    """Owner and mode of the root directory of a file system, applied once, when it is made."""

    uid: int | None = None
    gid: int | None = None
    mode: int | None = None


class ImageFile(Struct, frozen=True):
    """A file that holds the volume; the framework attaches a loop device to it at stage."""

    path: Path
    direct_io: bool = True
    read_ahead_kib: int | None = None
    root: RootOwnership = RootOwnership()


class BlockDevice(Struct, frozen=True):
    """A device node that is there already."""

    path: Path
    root: RootOwnership = RootOwnership()


class Directory(Struct, frozen=True):
    """A directory that is the volume: bind-mounted, never formatted.

    `own_filesystem` is True where the directory's statistics are the volume's own (a subvolume with
    its own limit is not: its driver answers `node_usage`).
    """

    path: Path
    own_filesystem: bool = False


Source = ImageFile | BlockDevice | Directory
