"""Where a file's bytes lie on disk (FIEMAP), and which ranges of two reflinked files can differ.

Comparing costs time by extents, not by bytes. It is only sound between files of one copy-on-write file system
that both still exist and are not being written: then the same physical block means the same content. Where
the kernel does not vouch for an address (delayed, inline, encoded, unknown) the range counts as changed.
"""

from __future__ import annotations

import itertools
import os
import struct
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from moorage.host import ioctl

FIEMAP_FLAG_SYNC: Final = 0x1
FIEMAP_EXTENT_LAST: Final = 0x1
FIEMAP_EXTENT_UNKNOWN: Final = 0x2
FIEMAP_EXTENT_DELALLOC: Final = 0x4
FIEMAP_EXTENT_ENCODED: Final = 0x8
FIEMAP_EXTENT_DATA_ENCRYPTED: Final = 0x80
FIEMAP_EXTENT_NOT_ALIGNED: Final = 0x100
FIEMAP_EXTENT_DATA_INLINE: Final = 0x200
FIEMAP_EXTENT_DATA_TAIL: Final = 0x400
FIEMAP_EXTENT_UNWRITTEN: Final = 0x800
FIEMAP_EXTENT_SHARED: Final = 0x2000

_UNTRUSTED: Final = (
    FIEMAP_EXTENT_UNKNOWN
    | FIEMAP_EXTENT_DELALLOC
    | FIEMAP_EXTENT_ENCODED
    | FIEMAP_EXTENT_DATA_ENCRYPTED
    | FIEMAP_EXTENT_NOT_ALIGNED
    | FIEMAP_EXTENT_DATA_INLINE
    | FIEMAP_EXTENT_DATA_TAIL
)
_HEADER: Final = struct.Struct("=QQIIII")
_EXTENT: Final = struct.Struct("=QQQQQIIII")
_BATCH: Final = 512
_WHOLE_FILE: Final = (1 << 64) - 1


@dataclass(frozen=True, slots=True)
class Extent:
    """`length` bytes of a file at `logical`, lying at `physical` on its device; `flags` are FIEMAP_EXTENT_*."""

    logical: int
    physical: int
    length: int
    flags: int = 0

    @property
    def end(self) -> int:
        """First byte after the extent."""
        return self.logical + self.length


@dataclass(frozen=True, slots=True)
class Range:
    """`length` bytes at `offset`."""

    offset: int
    length: int


def file_extents(path: str) -> list[Extent]:
    """All extents of the file, in order, after its dirty pages were written. Raises OSError (EOPNOTSUPP)."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        return list(_batches(fd))
    finally:
        os.close(fd)


def _batches(fd: int) -> Iterator[Extent]:
    start = 0
    while True:
        buffer = bytearray(_HEADER.size + _BATCH * _EXTENT.size)
        _HEADER.pack_into(buffer, 0, start, _WHOLE_FILE - start, FIEMAP_FLAG_SYNC, 0, _BATCH, 0)
        ioctl.call(fd, ioctl.FS_IOC_FIEMAP, buffer)
        mapped = _HEADER.unpack_from(buffer, 0)[3]
        last: Extent | None = None
        for index in range(mapped):
            logical, physical, length, _, _, flags, *_ = _EXTENT.unpack_from(
                buffer, _HEADER.size + index * _EXTENT.size
            )
            last = Extent(logical, physical, length, flags)
            yield last
        if last is None or last.flags & FIEMAP_EXTENT_LAST:
            return
        start = last.end


def allocated_ranges(extents: Iterable[Extent]) -> list[Range]:
    """Ranges that may hold anything but zeros: holes and unwritten extents are left out, neighbours are
    joined.
    """
    data = (extent for extent in extents if not extent.flags & FIEMAP_EXTENT_UNWRITTEN)
    return _joined((extent.logical, extent.end) for extent in data)


def changed_ranges(base: Sequence[Extent], target: Sequence[Extent]) -> list[Range]:
    """Ranges of `target` whose bytes may differ from `base`. Pure; both in logical order, without overlaps.

    A range is unchanged when both sides map it to the same physical place by trusted extents, or when it
    reads as zeros on both (hole or unwritten). A range that `target` lost to a hole is changed. The result
    may go past the end of a file by less than one block; cut it to the file's size.
    """
    bounds = sorted({edge for extent in (*base, *target) for edge in (extent.logical, extent.end)})
    base_cursor, target_cursor = _Cursor(base), _Cursor(target)
    differing = []
    for start, end in itertools.pairwise(bounds):
        if _differs(base_cursor.at(start), target_cursor.at(start), start):
            differing.append((start, end))
    return _joined(differing)


class _Cursor:
    """Walks extents forward: `at` must be called with offsets that only grow."""

    def __init__(self, extents: Sequence[Extent]) -> None:
        self.extents = extents
        self.index = 0

    def at(self, offset: int) -> Extent | None:
        """The extent holding data at `offset`, None where zeros are read."""
        while self.index < len(self.extents) and self.extents[self.index].end <= offset:
            self.index += 1
        if self.index == len(self.extents) or self.extents[self.index].logical > offset:
            return None
        extent = self.extents[self.index]
        return None if extent.flags & FIEMAP_EXTENT_UNWRITTEN else extent


def _differs(base: Extent | None, target: Extent | None, offset: int) -> bool:
    if base is None or target is None:
        return base is not target
    if (base.flags | target.flags) & _UNTRUSTED:
        return True
    return base.physical + offset - base.logical != target.physical + offset - target.logical


def _joined(pairs: Iterable[tuple[int, int]]) -> list[Range]:
    result: list[Range] = []
    for start, end in pairs:
        if result and result[-1].offset + result[-1].length == start:
            result[-1] = Range(result[-1].offset, result[-1].length + end - start)
        elif end > start:
            result.append(Range(start, end - start))
    return result
