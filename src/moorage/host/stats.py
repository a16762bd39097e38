"""How full a mounted file system is. May block on a dead network mount: use `MountHelper.statfs` there."""

from __future__ import annotations

import os
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class FilesystemStats:
    """Sizes in bytes and inode counts.

    `available_*` is what an unprivileged user can still take, so `used + available` is less than `total` on
    file systems that reserve blocks for root. All inode figures are 0 where inodes are not limited (btrfs).
    """

    total_bytes: int
    available_bytes: int
    used_bytes: int
    total_inodes: int
    available_inodes: int
    used_inodes: int


def filesystem_stats(path: str) -> FilesystemStats:
    """Figures of the file system that holds `path`; prove first that it is the volume's mount. Raises
    OSError.
    """
    return from_statvfs(os.statvfs(path))


def from_statvfs(result: os.statvfs_result) -> FilesystemStats:
    """Pure conversion of what statvfs(3) returns."""
    unit = result.f_frsize or result.f_bsize
    return FilesystemStats(
        total_bytes=result.f_blocks * unit,
        available_bytes=result.f_bavail * unit,
        used_bytes=(result.f_blocks - result.f_bfree) * unit,
        total_inodes=result.f_files,
        available_inodes=result.f_favail,
        used_inodes=result.f_files - result.f_ffree,
    )
