"""Says what is on a block device, and proves blankness instead of assuming it.

A device is `Blank` only when its size is known, every probed area could be read, nothing was recognised and
every byte in those areas is zero. An I/O error is never blank: file systems have been destroyed by reading "I
cannot tell" as "nothing there". Probed areas: the first and last 4 MiB, the backup superblocks of ext and
btrfs, and 64 samples spread over the device.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from moorage.host.signature import BTRFS_SUPERBLOCKS, MIB, Known, Unfinished, recognise

EDGE_BYTES: Final = 4 * MIB
_SAMPLES: Final = 64
_SAMPLE_BYTES: Final = 4096
_ZEROS: Final = bytes(EDGE_BYTES)


@dataclass(frozen=True, slots=True)
class Blank:
    """Every probed area of the `size_bytes` is zero."""

    size_bytes: int


@dataclass(frozen=True, slots=True)
class Unrecognised:
    """Something is there, first seen non-zero at `offset`, in no format that is recognised.

    It is NOT blank.
    """

    offset: int


@dataclass(frozen=True, slots=True)
class Unreadable:
    """The device could not be read, so nothing is known about it. It is NOT blank."""

    reason: str


Content = Blank | Known | Unfinished | Unrecognised | Unreadable


def probe(device: str) -> Content:
    """Look at a block device or a regular file. Trouble is an answer (`Unreadable`), never an exception."""
    try:
        fd = os.open(device, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        return Unreadable(f"{device} cannot be opened: {error.strerror}")
    try:
        return _probe_fd(fd, device)
    except OSError as error:
        return Unreadable(f"{device} cannot be read: {error.strerror}; check the storage behind it")
    finally:
        os.close(fd)


def _probe_fd(fd: int, device: str) -> Content:
    size_bytes = os.lseek(fd, 0, os.SEEK_END)
    if size_bytes <= 0:
        return Unreadable(f"{device} has no size; it may not be attached yet")
    os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)  # another host may have written since we last read

    def read(offset: int, length: int) -> bytes:
        return read_exactly(fd, offset, length=min(length, max(0, size_bytes - offset)))

    found = recognise(read, size_bytes)
    if found is not None:
        return found
    for offset, length in probed_areas(size_bytes):
        data = read(offset, length)
        if data != _ZEROS[: len(data)]:
            return Unrecognised(offset + len(data) - len(data.lstrip(b"\0")))
    return Blank(size_bytes)


def read_exactly(fd: int, offset: int, *, length: int) -> bytes:
    """pread(2) until `length` bytes are there. Raises OSError, EIO at an unexpected end."""
    parts: list[bytes] = []
    left = length
    while left:
        part = os.pread(fd, left, offset)
        if not part:
            raise OSError(5, "the device ended before its size")
        parts.append(part)
        offset += len(part)
        left -= len(part)
    return b"".join(parts)


def probed_areas(size_bytes: int) -> Iterator[tuple[int, int]]:
    """(offset, length) of everything that must be zero on a blank device of `size_bytes`. Pure."""
    yield 0, min(EDGE_BYTES, size_bytes)
    if size_bytes <= EDGE_BYTES:
        return
    yield from (
        (offset, min(_SAMPLE_BYTES, size_bytes - offset))
        for offset in sorted(_ext_backups() | set(BTRFS_SUPERBLOCKS) | _samples(size_bytes))
        if EDGE_BYTES <= offset < size_bytes
    )
    tail = max(EDGE_BYTES, size_bytes - EDGE_BYTES)
    yield tail, size_bytes - tail


def _ext_backups() -> set[int]:
    """Backup superblocks of ext: the first block of groups 1, 3, 5, 7, 9 for blocks of 1, 2 and 4 KiB."""
    return {
        (group * 8 * block + (1 if block == 1024 else 0)) * block
        for block in (1024, 2048, 4096)
        for group in (1, 3, 5, 7, 9)
    }


def _samples(size_bytes: int) -> set[int]:
    return {size_bytes * index // _SAMPLES // _SAMPLE_BYTES * _SAMPLE_BYTES for index in range(_SAMPLES)}


def wipe(device: str) -> None:
    """Zero every probed area, after which `probe` says Blank. DESTROYS what is there. Raises OSError.

    For a device that holds nothing but what an interrupted mkfs of the caller left; the caller must know
    that. EBUSY when the device is in use.
    """
    fd = os.open(device, os.O_WRONLY | os.O_EXCL | os.O_CLOEXEC)
    try:
        size_bytes = os.lseek(fd, 0, os.SEEK_END)
        for offset, length in reversed(list(probed_areas(size_bytes))):
            done = 0
            while done < length:
                done += os.pwrite(fd, _ZEROS[: length - done], offset + done)
        os.fsync(fd)
    finally:
        os.close(fd)
