"""Copies of files that share their blocks until one side is written (FICLONE): xfs and btrfs, no data moved."""

from __future__ import annotations

import errno
import os
import secrets
from typing import Final

from moorage.host import ioctl

_UNSUPPORTED: Final = (errno.EOPNOTSUPP, errno.EXDEV, errno.EINVAL, errno.ENOTTY, errno.ENOSYS)
_NO_TMPFILE: Final = (errno.EOPNOTSUPP, errno.EISDIR, errno.ENOENT, errno.EINVAL)
_PROBE_BYTES: Final = 4096


class ReflinkUnsupported(OSError):
    """The two files cannot share blocks: other file system, or one without reflinks. Copy the data instead."""


def reflink(source: str, target: str, *, mode: int = 0o600) -> None:
    """Make `target` share all blocks of `source`; an existing target is replaced in place, keeping its inode.

    The clone is a consistent image of the moment and has the length of the source; it is synced to disk. A
    target made by this call is removed again when the call fails. Raises ReflinkUnsupported, or OSError
    (ENOSPC, ETXTBSY, ...).
    """
    source_fd = os.open(source, os.O_RDONLY | os.O_CLOEXEC)
    try:
        existed = os.path.lexists(target)
        target_fd = os.open(target, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, mode)
        try:
            ioctl.call(target_fd, ioctl.FICLONE, source_fd)
            os.ftruncate(target_fd, os.fstat(source_fd).st_size)
            os.fsync(target_fd)
        except OSError as error:
            if not existed:
                os.unlink(target)
            if error.errno in _UNSUPPORTED:
                text = f"{source} cannot be reflinked to {target}: {error.strerror}; copy it instead"
                raise ReflinkUnsupported(error.errno, text) from None
            raise
        finally:
            os.close(target_fd)
    finally:
        os.close(source_fd)


def supports_reflink(directory: str) -> bool:
    """Try a reflink between two files in `directory` that have no name, so that not even kill -9 leaves them.

    Raises OSError.
    """
    with open(_nameless(directory), "w+b") as source, open(_nameless(directory), "w+b") as target:
        source.write(bytes(_PROBE_BYTES))
        source.flush()
        try:
            ioctl.call(target.fileno(), ioctl.FICLONE, source.fileno())
        except OSError as error:
            if error.errno in _UNSUPPORTED:
                return False
            raise
    return True


def _nameless(directory: str) -> int:
    """A new file without a name; where such files cannot be made, one whose name is gone at once."""
    try:
        return os.open(directory, os.O_TMPFILE | os.O_RDWR | os.O_CLOEXEC, 0o600)
    except OSError as error:
        if error.errno not in _NO_TMPFILE:
            raise
    path = os.path.join(directory, f".reflink-probe-{secrets.token_hex(6)}")
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    os.unlink(path)
    return fd
