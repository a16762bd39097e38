"""What is wrong with volumes and pools, for people and for the orchestrator: nothing is repaired here."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterable, Mapping
from contextlib import suppress
from typing import Final

from moorage.drivers.local.backend import IMAGE
from moorage.drivers.local.capacity import is_nearly_full
from moorage.drivers.local.pool import Pool
from moorage.drivers.local.pools import Pools
from moorage.drivers.local.use import Sight, image_uses
from moorage.host.mountinfo import find_mount
from moorage.spec.errors import DataLoss, Unavailable, VolumeNotFound
from moorage.spec.types import HealthEntry, StorageBackendHealth, StorageHealthStatus, VolumeHealthStatus

_STOPPED: Final = frozenset({"abort", "emergency_ro", "shutdown"})


def volume_health(pools: Pools, volume_id: str, *, recorded: bool) -> tuple[HealthEntry, ...]:
    """What is wrong with a volume; `recorded` means that it must exist, so that its absence is a finding.

    Raises VolumeNotFound for one that is neither recorded nor here.
    """
    try:
        found = pools.find_volume(volume_id)
    except DataLoss as error:
        return (HealthEntry(VolumeHealthStatus.DATA_LOSS, "DescriptionDamaged", error.message),)
    except Unavailable as error:
        return (HealthEntry(VolumeHealthStatus.INACCESSIBLE, "PoolUnavailable", error.message),)
    if found is None:
        if not recorded:
            raise VolumeNotFound(volume_id)
        return (HealthEntry(VolumeHealthStatus.INACCESSIBLE, "VolumeMissing", "the volume is in none of the pools"),)
    pool, volume = found
    place = pool.layout.place("volume", volume_id)
    damage = pool.backend(volume.backend).damage(place, volume)
    entries = []
    if damage is not None:
        status = VolumeHealthStatus.DATA_LOSS if damage.lost else VolumeHealthStatus.INACCESSIBLE
        entries.append(HealthEntry(status, "ContentDamaged", f"the volume is damaged: {damage.reason}"))
    elif volume.backend == "image":
        with suppress(FileNotFoundError):  # deleted since the look above
            sight = pools.glance.take()
            entries += _stopped(image_uses([place / IMAGE], sight=sight)[0].mount_points, sight)
    entries += [HealthEntry(VolumeHealthStatus.DEGRADED, reason, text) for reason, text in pool_problems(pool)]
    return tuple(entries)


def _stopped(mount_points: Iterable[str], sight: Sight) -> list[HealthEntry]:
    """A file system that the kernel stopped by itself, after an error: read-only (ext, btrfs) or shut down (xfs)."""
    for point in mount_points:
        if _is_stopped(point, sight):
            text = f"the file system at {point} was stopped by the kernel after an error; unstage the volume, check it"
            return [HealthEntry(VolumeHealthStatus.INACCESSIBLE, "FilesystemStopped", text)]
    return []


def _is_stopped(point: str, sight: Sight) -> bool:
    entry = find_mount(point, mounts=sight.mounts)
    if entry is not None and _STOPPED & set(entry.super_options):
        return True
    if entry is not None and "ro" in entry.super_options and "ro" not in entry.options:
        return True
    try:
        os.stat(point)
    except OSError as error:
        return error.errno == errno.EIO
    return False


def pool_problems(pool: Pool) -> list[tuple[str, str]]:
    """What is wrong with a pool: a reason in one word and a sentence for each."""
    trouble = pool.trouble()
    if trouble is not None:
        return [("PoolUnavailable", f"pool {pool.name!r} cannot be used: {trouble}")]
    stats = pool.stats()
    if is_nearly_full(stats):
        text = (
            f"pool {pool.name!r} has {stats.available_bytes} of {stats.total_bytes} bytes left; thin volumes may stall"
        )
        return [("PoolNearlyFull", text)]
    return []


def storage_health(pools: Pools) -> tuple[StorageBackendHealth, ...]:
    """What is wrong with the pools of this node: one entry for each reason, as the specification wants it."""
    found: dict[str, dict[str, str]] = {}
    for pool in pools:
        for reason, text in pool_problems(pool):
            found.setdefault(reason, {})[pool.name] = text
    return tuple(
        StorageBackendHealth(
            StorageHealthStatus.STORAGE_UNREACHABLE
            if reason == "PoolUnavailable"
            else StorageHealthStatus.STORAGE_DEGRADED,
            reason,
            _told(texts),
        )
        for reason, texts in found.items()
    )


def _told(texts: Mapping[str, str]) -> str:
    """One sentence for the troubles of several pools: their names first, for the message may be cut short."""
    first = next(iter(texts.values()))
    return first if len(texts) == 1 else f"pools {', '.join(map(repr, texts))}: {first}"
