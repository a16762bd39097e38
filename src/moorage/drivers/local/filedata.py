"""Copies the content of one open file to another: shared blocks where possible, holes kept otherwise."""

from __future__ import annotations

import errno
import os
from typing import Final

from moorage.host import ioctl
from moorage.host.copy import data_ranges

_CHUNK_BYTES: Final = 4 << 20
_CANNOT_SHARE: Final = (errno.EOPNOTSUPP, errno.EXDEV, errno.EINVAL, errno.ENOTTY, errno.ENOSYS, errno.EPERM)


def copy_data(source_fd: int, target_fd: int) -> None:
    """Make the empty file `target_fd` hold what `source_fd` holds. Raises OSError.

    A source that shrinks meanwhile leaves zeros where it ended; one that grows is copied up to its first length.
    """
    try:
        ioctl.call(target_fd, ioctl.FICLONE, source_fd)
        return
    except OSError as error:
        if error.errno not in _CANNOT_SHARE:
            raise
    length = os.fstat(source_fd).st_size
    os.ftruncate(target_fd, length)
    for start, end in data_ranges(source_fd, 0, length=length):
        _copy_range(source_fd, target_fd, start, end=end)


def _copy_range(source_fd: int, target_fd: int, start: int, *, end: int) -> None:
    while start < end:
        data = os.pread(source_fd, min(_CHUNK_BYTES, end - start), start)
        if not data:
            return
        view = memoryview(data)
        while view:
            written = os.pwrite(target_fd, view, start)
            start += written
            view = view[written:]
