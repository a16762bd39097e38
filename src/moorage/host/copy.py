"""Copies sparse files and devices so that holes stay holes, resumable after a crash, and handles file
allocation.

Data is found by SEEK_DATA/SEEK_HOLE and moved by copy_file_range(2), or read and written where the kernel
cannot. Progress is only reported once it is on disk, so a reported offset may be recorded and resumed from.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterable, Iterator
from typing import Final

from moorage.host import syscalls

_CHUNK_BYTES: Final = 4 << 20
_SYNC_BYTES: Final = 256 << 20
_CANNOT_COPY_RANGE: Final = (
    errno.EXDEV,
    errno.EINVAL,
    errno.EOPNOTSUPP,
    errno.ENOSYS,
    errno.EPERM,
    errno.EBADF,
)
_CANNOT_SEEK: Final = (errno.EINVAL, errno.EOPNOTSUPP)
_ZEROS: Final = bytes(1 << 20)


class CopyCancelled(Exception):
    """The copy was asked to stop; everything before `offset_bytes` is copied and on disk."""

    def __init__(self, offset_bytes: int) -> None:
        super().__init__(offset_bytes)
        self.offset_bytes = offset_bytes

    def __str__(self) -> str:
        return f"the copy was cancelled at byte {self.offset_bytes}; start it again from there"


def copy_sparse(
    source: str,
    target: str,
    *,
    start: int = 0,
    cancelled: Callable[[], bool] = lambda: False,
    progress: Callable[[int], None] = lambda offset_bytes: None,
    sync_every_bytes: int = _SYNC_BYTES,
) -> int:
    """Copy `source` from byte `start` to its end into `target` and return the source's length in bytes.

    The target is made if missing, extended to the source's length but never cut, and what it held in the
    holes of the source is zeroed (deallocated where possible). `cancelled` is asked about every 4 MiB,
    `progress` told the offset up to which all is on disk, at least every `sync_every_bytes` of data. Raises
    CopyCancelled or OSError.
    """
    source_fd = os.open(source, os.O_RDONLY | os.O_CLOEXEC)
    try:
        target_fd = os.open(target, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        try:
            length = os.lseek(source_fd, 0, os.SEEK_END)
            if os.lseek(target_fd, 0, os.SEEK_END) < length:
                os.ftruncate(target_fd, length)
            copying = _Copy(source_fd, target_fd, cancelled, progress, sync_every_bytes)
            copying.run(start, length)
            os.fsync(target_fd)
            progress(length)
            return length
        finally:
            os.close(target_fd)
    finally:
        os.close(source_fd)


class _Copy:
    """One running copy: where it is and how much is not yet synced."""

    def __init__(
        self,
        source_fd: int,
        target_fd: int,
        cancelled: Callable[[], bool],
        progress: Callable[[int], None],
        sync_every_bytes: int,
    ) -> None:
        self.source_fd = source_fd
        self.target_fd = target_fd
        self.cancelled = cancelled
        self.progress = progress
        self.sync_every_bytes = sync_every_bytes
        self.unsynced_bytes = 0
        self.use_range = True

    def run(self, start: int, length: int) -> None:
        position = start
        for data_start, data_end in data_ranges(self.source_fd, start, length=length):
            zero(self.target_fd, position, length=data_start - position)
            position = data_start
            while position < data_end:
                if self.cancelled():
                    os.fsync(self.target_fd)
                    raise CopyCancelled(position)
                position += self._step(position, min(_CHUNK_BYTES, data_end - position))
        zero(self.target_fd, position, length=length - position)

    def _step(self, offset: int, count: int) -> int:
        copied = self._move(offset, count)
        if not copied:
            raise OSError(errno.EIO, f"the source ended at byte {offset} while being copied; it must not shrink")
        self.unsynced_bytes += copied
        if self.unsynced_bytes >= self.sync_every_bytes:
            os.fdatasync(self.target_fd)
            self.unsynced_bytes = 0
            self.progress(offset + copied)
        return copied

    def _move(self, offset: int, count: int) -> int:
        if self.use_range:
            try:
                return os.copy_file_range(self.source_fd, self.target_fd, count, offset, offset)
            except OSError as error:
                if error.errno not in _CANNOT_COPY_RANGE:
                    raise
                self.use_range = False
        data = os.pread(self.source_fd, count, offset)
        view = memoryview(data)
        while view:
            written = os.pwrite(self.target_fd, view, offset + len(data) - len(view))
            view = view[written:]
        return len(data)


def data_ranges(fd: int, start: int, *, length: int) -> Iterator[tuple[int, int]]:
    """(start, end) of the parts with data from `start` to `length`; all of it where the kernel cannot tell."""
    position = start
    while position < length:
        try:
            data_start = os.lseek(fd, position, os.SEEK_DATA)
            data_end = min(os.lseek(fd, data_start, os.SEEK_HOLE), length)
        except OSError as error:
            if error.errno == errno.ENXIO:  # nothing but a hole until the end
                return
            if error.errno not in _CANNOT_SEEK:
                raise
            yield position, length
            return
        if data_start >= length:
            return
        yield data_start, data_end
        position = data_end


def zero(fd: int, offset: int, *, length: int) -> None:
    """Make `length` bytes at `offset` read as zero, deallocated where the file system can. Raises OSError."""
    for data_start, data_end in data_ranges(fd, offset, length=offset + length):
        try:
            mode = syscalls.FALLOC_FL_PUNCH_HOLE | syscalls.FALLOC_FL_KEEP_SIZE
            syscalls.fallocate(fd, mode, offset=data_start, length=data_end - data_start)
        except OSError as error:
            if error.errno not in (errno.EOPNOTSUPP, errno.ENODEV, errno.EINVAL):
                raise
            position = data_start
            while position < data_end:
                position += os.pwrite(fd, _ZEROS[: data_end - position], position)


def allocated_bytes(path: str) -> int:
    """Bytes that the file takes on disk; blocks shared by reflinks count in every file. Raises OSError."""
    return os.stat(path).st_blocks * 512


def ensure_size(path: str, size_bytes: int) -> bool:
    """Have a file of at least `size_bytes`, made sparse if missing; False when it was so. Never shrinks."""
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        if os.fstat(fd).st_size >= size_bytes:
            return False
        os.ftruncate(fd, size_bytes)
        os.fsync(fd)
        return True
    finally:
        os.close(fd)


def ensure_allocated(path: str, size_bytes: int) -> bool:
    """Have the first `size_bytes` of an existing file backed by reserved space; False when they were already.

    Extends the file when it is shorter. Raises OSError: ENOSPC, or EOPNOTSUPP where space cannot be reserved.
    """
    fd = os.open(path, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        before = os.fstat(fd)
        if size_bytes > 0:
            syscalls.fallocate(fd, 0, offset=0, length=size_bytes)
            os.fsync(fd)
        after = os.fstat(fd)
        return (after.st_size, after.st_blocks) != (before.st_size, before.st_blocks)
    finally:
        os.close(fd)


def punch_holes(path: str, ranges: Iterable[tuple[int, int]]) -> None:
    """Give back the space of these (offset, length) ranges, which then read as zero. Raises OSError (EOPNOTSUPP)."""
    fd = os.open(path, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        mode = syscalls.FALLOC_FL_PUNCH_HOLE | syscalls.FALLOC_FL_KEEP_SIZE
        for offset, length in ranges:
            syscalls.fallocate(fd, mode, offset=offset, length=length)
        os.fsync(fd)
    finally:
        os.close(fd)
