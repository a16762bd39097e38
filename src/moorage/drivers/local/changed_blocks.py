"""Which ranges of a snapshot hold data, and which differ between two: from extent maps, without reading data."""

from __future__ import annotations

import errno
from collections.abc import Iterable, Iterator
from pathlib import Path

from moorage.drivers.local.backend import IMAGE
from moorage.drivers.local.pool import Pool
from moorage.drivers.local.snapshots import Snapshots
from moorage.framework.values import ChangedBlocks, SnapshotRecord
from moorage.host.fiemap import Extent, Range, allocated_ranges, changed_ranges, file_extents
from moorage.spec.errors import FailedPrecondition, OutOfRange
from moorage.spec.types import BlockMetadata


def allocated_blocks(snapshots: Snapshots, snapshot: SnapshotRecord, starting_offset: int) -> ChangedBlocks:
    """The ranges of an image snapshot that hold data. Raises FailedPrecondition or OutOfRange."""
    image, size_bytes, _ = _image(snapshots, snapshot)
    _check_offset(starting_offset, size_bytes)
    ranges = allocated_ranges(_extents(image))
    return ChangedBlocks(volume_capacity_bytes=size_bytes, blocks=list(_cut(ranges, starting_offset, size_bytes)))


def changed_blocks(
    snapshots: Snapshots, base: SnapshotRecord, target: SnapshotRecord, starting_offset: int
) -> ChangedBlocks:
    """The ranges of `target` that may differ from `base`; what `target` is longer by counts where it holds data.

    Raises FailedPrecondition where the two do not share blocks, so that all of them would differ, or OutOfRange.
    """
    base_image, _, base_pool = _image(snapshots, base)
    image, size_bytes, pool = _image(snapshots, target)
    _check_offset(starting_offset, size_bytes)
    if not pool.facts.reflink:
        raise FailedPrecondition(
            f"snapshot {target.snapshot_id!r} is in pool {pool.name!r}, where snapshots are full copies; "
            "changed blocks need xfs with reflink or btrfs"
        )
    if pool is not base_pool:
        raise FailedPrecondition(
            f"snapshots {base.snapshot_id!r} and {target.snapshot_id!r} are in different pools; compare two of one"
        )
    ranges = changed_ranges(_extents(base_image), _extents(image))
    return ChangedBlocks(volume_capacity_bytes=size_bytes, blocks=list(_cut(ranges, starting_offset, size_bytes)))


def _image(snapshots: Snapshots, snapshot: SnapshotRecord) -> tuple[Path, int, Pool]:
    place, backend, size_bytes, pool = snapshots.locate(snapshot.snapshot_id)
    if backend != "image":
        raise FailedPrecondition(
            f"snapshot {snapshot.snapshot_id!r} is a {backend}; changed blocks are known of image snapshots only"
        )
    return place / IMAGE, size_bytes, pool


def _extents(image: Path) -> list[Extent]:
    try:
        return file_extents(str(image))
    except OSError as error:
        if error.errno == errno.EOPNOTSUPP:
            raise FailedPrecondition("the pool's file system does not tell where data lies") from error
        raise


def _check_offset(starting_offset: int, size_bytes: int) -> None:
    if starting_offset > size_bytes:
        raise OutOfRange(f"starting_offset {starting_offset} is beyond the volume's {size_bytes} bytes")


def _cut(ranges: Iterable[Range], start: int, end: int) -> Iterator[BlockMetadata]:
    """The ranges within [start, end); extents go by whole blocks and may reach past the end of the file."""
    for each in ranges:
        offset, stop = max(each.offset, start), min(each.offset + each.length, end)
        if offset < stop:
            yield BlockMetadata(byte_offset=offset, size_bytes=stop - offset)
