"""Copies of files that share their blocks until one side is written (FICLONE): xfs and btrfs, no data moved."""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
from typing import Final

from moorage.host import ioctl

_UNSUPPORTED: Final = (errno.EOPNOTSUPP, errno.EXDEV, errno.EINVAL, errno.ENOTTY, errno.ENOSYS)
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
    """Try a reflink between two hidden files in `directory`, which are gone again afterwards.

    Raises OSError.
    """
    names = [os.path.join(directory, f".reflink-probe-{secrets.token_hex(6)}") for _ in range(2)]
    try:
        with open(names[0], "xb") as file:
            file.write(bytes(range(256)) * (_PROBE_BYTES // 256))
        reflink(names[0], names[1])
        return True
    except ReflinkUnsupported:
        return False
    finally:
        for name in names:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(name)
