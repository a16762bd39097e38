"""How much a pool can still give: pure arithmetic over what the file system says and what has been promised.

Thin volumes take space on write, so without an over-commit limit any number of them fits; what is told is then the
space that is free now. Reserved volumes have taken theirs, which the file system's own figures show.
"""

from __future__ import annotations

from typing import Final

from moorage.drivers.local.config import Allocation
from moorage.framework.values import Capacity
from moorage.host.stats import FilesystemStats
from moorage.spec.errors import ResourceExhausted

METADATA_MARGIN_PERCENT: Final = 2
NEARLY_FULL_PERCENT: Final = 95


def promised_limit_bytes(total_bytes: int, overcommit_percent: int) -> int | None:
    """The most that all volumes together may be promised; None for no limit."""
    return total_bytes * overcommit_percent // 100 if overcommit_percent else None


def can_reserve_bytes(stats: FilesystemStats) -> int:
    """What reserved volumes can still take, leaving the pool's file system room for its own metadata."""
    return max(0, stats.available_bytes - stats.total_bytes * METADATA_MARGIN_PERCENT // 100)


def offer(
    stats: FilesystemStats,
    *,
    allocation: Allocation,
    promised_bytes: int,
    overcommit_percent: int,
    largest_bytes: int | None,
    limit_bytes: int,
    minimum_bytes: int,
) -> Capacity:
    """The answer of GetCapacity. `largest_bytes` is the storage's own limit of one volume, None where it has none."""
    reservable = can_reserve_bytes(stats)
    available = reservable if allocation == "reserved" else stats.available_bytes
    bounds = [bound for bound in (largest_bytes, limit_bytes or None) if bound is not None]
    limit = promised_limit_bytes(stats.total_bytes, overcommit_percent)
    if limit is not None:
        available = max(0, limit - promised_bytes)
        if allocation == "reserved":
            available = min(available, reservable)
        bounds.append(available)
    if allocation == "reserved":
        bounds.append(reservable)
    largest = min(bounds, default=None)
    return Capacity(available_bytes=available, maximum_volume_bytes=largest, minimum_volume_bytes=minimum_bytes)


def check_promise(
    stats: FilesystemStats, *, pool: str, more_bytes: int, promised_bytes: int, overcommit_percent: int
) -> None:
    """Raise ResourceExhausted when `more_bytes` would exceed the over-commit limit."""
    limit = promised_limit_bytes(stats.total_bytes, overcommit_percent)
    if limit is not None and promised_bytes + more_bytes > limit:
        raise ResourceExhausted(
            f"pool {pool!r} has promised {promised_bytes} of {limit} bytes and cannot promise {more_bytes} more; "
            "delete volumes, raise overcommit_percent or use another pool"
        )


def is_nearly_full(stats: FilesystemStats) -> bool:
    """Whether so little is left that thin volumes may soon fail to write."""
    total = stats.used_bytes + stats.available_bytes
    return total > 0 and stats.used_bytes * 100 >= total * NEARLY_FULL_PERCENT
