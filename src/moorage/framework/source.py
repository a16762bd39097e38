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


class NetworkMount(Struct, frozen=True):
    """A file system of a server; the framework mounts it in a process that can be given up when the server is dead.

    Not for FUSE programs: their daemon would end with that process. Start it in `node_connect`.

    source: as the mount table shows it (`server:/export/dir`, `//server/share`); no two volumes have the same.
    fs_type: as mount(8) takes it: `nfs4`, `cifs`, `ceph`, ...
    options: the mount flags of the request are added behind them, so that they win.
    with_program: by mount(8) and its mount.TYPE program, during which other users of the node can see the options;
        False: by the system call alone.
    timeout_s: how long a mount may take.
    own_filesystem: whether what the server says of the file system is about this volume alone; where it is not, a
        driver answers `node_usage`.
    """

    source: str
    fs_type: str
    options: tuple[str, ...] = ()
    with_program: bool = True
    timeout_s: float = 60.0
    own_filesystem: bool = False

    def __repr__(self) -> str:
        return f"NetworkMount({self.source!r}, {self.fs_type!r}, <{len(self.options)} options>)"


Source = ImageFile | BlockDevice | Directory | NetworkMount


def local_path(source: Source | None) -> str:
    """The file, device or directory of the volume on this node; empty where there is none."""
    return "" if source is None or isinstance(source, NetworkMount) else str(source.path)


def network_source(source: Source | None) -> str:
    """What is mounted from a server; empty for every other source."""
    return source.source if isinstance(source, NetworkMount) else ""
