"""Volumes as plain directories: works without root and on every file system; sizes are promises that nothing enforces.

Snapshots and clones are copies, file by file, of a tree that may change meanwhile: not of one instant.
"""

from __future__ import annotations

import os
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from msgspec import Struct

from moorage.base.faults import declare_step
from moorage.base.run import run_sync
from moorage.drivers.local.backend import DATA, Damage, Origin, own_root
from moorage.drivers.local.filedata import copy_data
from moorage.drivers.local.records import VolumeFile
from moorage.drivers.local.tree import copy_tree
from moorage.framework.source import Directory, Source
from moorage.host.paths import ensure_directory, fsync_directory
from moorage.host.stats import filesystem_stats
from moorage.spec.types import UsageUnit, VolumeUsage

MADE = declare_step("local.directory.made", "the directory of the volume exists")
COPIED = declare_step("local.directory.copied", "the copy of the directory is complete and on disk")
_COUNT_TIMEOUT_S: Final = 60.0
_MIN_AGE_S: Final = 10.0
_REST: Final = 20.0  # a count that took a second is good for twenty


class _Count(Struct, frozen=True):
    used_bytes: int
    files: int
    valid_until_s: float


class DirectoryBackend:
    """Plain directories; keeps the latest counts of what they hold, because counting walks the tree."""

    def __init__(self) -> None:
        self._counts: dict[Path, _Count] = {}

    def make(self, place: Path, volume: VolumeFile) -> None:
        """An empty directory with its owner and mode."""
        data = place / DATA
        with MADE:
            ensure_directory(str(data), mode=0o700)
            own_root(data, volume.root)
            fsync_directory(str(data))

    def fill(self, place: Path, volume: VolumeFile, origin: Origin) -> None:
        """A copy of the origin's tree."""
        del volume
        self._copy(origin.place / DATA, place / DATA)

    def cut(self, place: Path, volume_place: Path, volume: VolumeFile) -> tuple[datetime, int]:
        """A copy of the volume's tree; the time is that of its beginning."""
        cut_at = datetime.now(UTC)
        self._copy(volume_place / DATA, place / DATA)
        return cut_at, volume.size_bytes

    def grow(self, place: Path, volume: VolumeFile, size_bytes: int) -> None:
        """Nothing holds the limit, so nothing is to be done."""

    def apply(self, place: Path, before: VolumeFile, after: VolumeFile) -> None:
        """Directories have no mutable settings."""

    def source(self, place: Path, volume: VolumeFile) -> Source:
        """The directory."""
        del volume
        return Directory(place / DATA)

    def usage(self, place: Path, volume: VolumeFile) -> tuple[VolumeUsage, ...]:
        """What the files take on disk, counted, against the promised size; inodes of the pool."""
        count = self._counted(place / DATA)
        pool = filesystem_stats(str(place))
        left = max(0, min(volume.size_bytes - count.used_bytes, pool.available_bytes))
        return (
            VolumeUsage(UsageUnit.BYTES, volume.size_bytes, left, count.used_bytes),
            VolumeUsage(UsageUnit.INODES, count.files + pool.available_inodes, pool.available_inodes, count.files),
        )

    def damage(self, place: Path, volume: VolumeFile) -> Damage | None:
        """Looks for the directory."""
        del volume
        data = place / DATA
        return None if data.is_dir() and not data.is_symlink() else Damage("its directory is gone")

    def _copy(self, source: Path, target: Path) -> None:
        with COPIED:
            ensure_directory(str(target), mode=0o700)
            copy_tree(source, target, copy_data)

    def _counted(self, data: Path) -> _Count:
        known = self._counts.get(data)
        begun_s = time.monotonic()
        if known is not None and begun_s < known.valid_until_s:
            return known
        os.stat(data)
        used, files = (_count(data, option) for option in ("--block-size=1", "--inodes"))
        ended_s = time.monotonic()
        self._counts = {path: count for path, count in self._counts.items() if count.valid_until_s > ended_s}
        count = _Count(used, files, ended_s + max(_MIN_AGE_S, _REST * (ended_s - begun_s)))
        self._counts[data] = count
        return count


def _count(data: Path, option: str) -> int:
    """By du(1), which copes with any depth. Files that vanish meanwhile make it fail with figures all the same."""
    done = run_sync(["du", "-s", "-x", option, "--", str(data)], timeout_s=_COUNT_TIMEOUT_S, check=False)
    word = done.stdout.split(None, 1)[:1]
    return int(word[0]) if word and word[0].isdigit() else 0
