"""Volumes as btrfs subvolumes: the limit is a quota group's, snapshots and clones share everything and take no time.

A subvolume appears whole or not at all, and its creation is committed when the call returns.
"""

from __future__ import annotations

from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from moorage.base.faults import declare_step
from moorage.base.run import run_sync
from moorage.drivers.local.backend import DATA, Damage, Origin, own_root
from moorage.drivers.local.filedata import copy_data
from moorage.drivers.local.records import VolumeFile
from moorage.drivers.local.tree import copy_tree
from moorage.framework.source import Directory, Source
from moorage.host import btrfs
from moorage.host.qgroup import ensure_limit, find_usage, remove_qgroup
from moorage.host.stats import filesystem_stats
from moorage.spec.errors import InvalidArgument, OutOfRange
from moorage.spec.types import UsageUnit, VolumeUsage

MADE = declare_step("local.subvolume.made", "the subvolume exists")
LIMITED = declare_step("local.subvolume.limited", "the subvolume has its size limit")
CUT = declare_step("local.subvolume.cut", "the read-only snapshot of the subvolume exists")
DELETED = declare_step("local.subvolume.deleted", "the subvolume is deleted")
_COMPRESSIONS: Final[dict[str, btrfs.Compression]] = {"none": "none", "lzo": "lzo", "zstd": "zstd"}


class SubvolumeBackend:
    """Subvolumes of one btrfs with quotas turned on."""

    def make(self, place: Path, volume: VolumeFile) -> None:
        """An empty subvolume with its limit, owner, mode and compression."""
        data = place / DATA
        with MADE:
            btrfs.ensure_subvolume(str(data))
        own_root(data, volume.root)
        self._finish(data, volume)

    def fill(self, place: Path, volume: VolumeFile, origin: Origin) -> None:
        """A writable snapshot of the origin; across pools, a copy of a snapshot's files."""
        source, data = origin.place / DATA, place / DATA
        if origin.same_pool:
            self._check_fit(source, volume.size_bytes)
            with MADE:
                btrfs.ensure_snapshot(str(source), str(data), readonly=False)
        elif origin.live:
            raise InvalidArgument(
                "a volume of files cannot be cloned into another pool; take a snapshot and restore it"
            )
        else:
            with MADE:
                btrfs.ensure_subvolume(str(data))
            ensure_limit(str(data), volume.size_bytes)
            copy_tree(source, data, copy_data)
        self._finish(data, volume)

    def cut(self, place: Path, volume_place: Path, volume: VolumeFile) -> tuple[datetime, int]:
        """A read-only snapshot; the file system makes it atomic."""
        with CUT:
            cut_at = datetime.now(UTC)
            btrfs.ensure_snapshot(str(volume_place / DATA), str(place / DATA), readonly=True)
        return cut_at, volume.size_bytes

    def grow(self, place: Path, volume: VolumeFile, size_bytes: int) -> None:
        """Raise the limit."""
        del volume
        with LIMITED:
            ensure_limit(str(place / DATA), size_bytes)

    def apply(self, place: Path, before: VolumeFile, after: VolumeFile) -> None:
        """Compression of what is written from now on."""
        del before
        if after.compression:
            btrfs.ensure_compression(str(place / DATA), _COMPRESSIONS[after.compression])

    def source(self, place: Path, volume: VolumeFile) -> Source:
        """The subvolume's directory."""
        del volume
        return Directory(place / DATA)

    def usage(self, place: Path, volume: VolumeFile) -> tuple[VolumeUsage, ...]:
        """What the quota group counts, against the limit or the pool's free space, whichever is less."""
        found = find_usage(str(place / DATA))
        if found is None:
            return ()
        free = filesystem_stats(str(place)).available_bytes
        total = found.limit_bytes or volume.size_bytes
        left = max(0, min(total - found.referenced_bytes, free))
        return (VolumeUsage(UsageUnit.BYTES, total, left, found.referenced_bytes),)

    def damage(self, place: Path, volume: VolumeFile) -> Damage | None:
        """Looks for the subvolume."""
        del volume
        return None if btrfs.find_subvolume(str(place / DATA)) is not None else Damage("its subvolume is gone")

    def _finish(self, data: Path, volume: VolumeFile) -> None:
        with LIMITED:
            ensure_limit(str(data), volume.size_bytes)
        if volume.compression:
            btrfs.ensure_compression(str(data), _COMPRESSIONS[volume.compression])
        btrfs.sync(str(data))

    def _check_fit(self, source: Path, size_bytes: int) -> None:
        found = find_usage(str(source))
        if found is not None and found.referenced_bytes > size_bytes:
            raise OutOfRange(f"the source holds {found.referenced_bytes} bytes and does not fit into {size_bytes}")


def delete_subvolume(path: Path) -> bool:
    """Delete a subvolume and the figures kept of it; False when there is none. Raises OSError.

    ENOTEMPTY means that a user made subvolumes inside, which go first, by the removal of the tree.
    """
    found = btrfs.find_subvolume(str(path))
    if found is None:
        return False
    with DELETED:
        btrfs.delete_subvolume(str(path))
    with suppress(OSError):  # busy while it is cleaned up: from Linux 6.10 on the kernel then removes it itself
        remove_qgroup(str(path.parent), found.subvolume_id)
    return True


def make_writable(path: Path) -> None:
    """Clear the read-only flag of a subvolume and of those inside, so that they can be emptied. Raises OSError."""
    btrfs.ensure_subvolume_readonly(str(path), False)
    found = run_sync(["find", str(path), "-mindepth", "1", "-type", "d", "-inum", "256", "-print0"], timeout_s=600.0)
    for inner in filter(None, found.stdout.split("\0")):
        with suppress(OSError):  # an odd name; removal then says what is left
            btrfs.ensure_subvolume_readonly(inner, False)
