"""Facts about block devices: who they are, how large, and waiting until they appear."""

from __future__ import annotations

import errno
import os
import stat
import time
from dataclasses import dataclass
from typing import Final

from moorage.host import ioctl

_POLL_S: Final = 0.02


@dataclass(frozen=True, slots=True)
class BlockDevice:
    """A block device: `path` as asked, its number, its size in bytes and whether the kernel refuses writes."""

    path: str
    major: int
    minor: int
    size_bytes: int
    readonly: bool

    @property
    def number(self) -> str:
        """`major:minor`, as mountinfo and /sys/dev/block spell it."""
        return f"{self.major}:{self.minor}"


def inspect_device(path: str) -> BlockDevice:
    """Describe the block device at `path`.

    Raises OSError: ENOTBLK when it is none, ENXIO when it has no medium.
    """
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    try:
        info = os.fstat(fd)
        if not stat.S_ISBLK(info.st_mode):
            raise OSError(errno.ENOTBLK, f"{path} is no block device; check the path")
        return BlockDevice(
            path,
            os.major(info.st_rdev),
            os.minor(info.st_rdev),
            ioctl.read_u64(fd, ioctl.BLKGETSIZE64),
            ioctl.read_u32(fd, ioctl.BLKROGET) != 0,
        )
    finally:
        os.close(fd)


def find_device(path: str) -> BlockDevice | None:
    """Like `inspect_device`, but None when there is no such device (yet).

    Raises OSError for any other trouble.
    """
    try:
        return inspect_device(path)
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ENXIO, errno.ENODEV, errno.ENOTBLK):
            return None
        raise


def wait_for_device(path: str, *, timeout_s: float, min_size_bytes: int = 1) -> BlockDevice:
    """Wait until `path` is a block device of at least `min_size_bytes`.

    Raises TimeoutError saying what was seen.
    """
    deadline = time.monotonic() + timeout_s
    while True:
        device = find_device(path)
        if device is not None and device.size_bytes >= min_size_bytes:
            return device
        if time.monotonic() >= deadline:
            seen = "it is not there" if device is None else f"it has only {device.size_bytes} bytes"
            raise TimeoutError(
                f"{path} was not ready after {timeout_s:g} s: {seen}; check that the volume is attached to this host"
            )
        time.sleep(_POLL_S)


def size_of(path: str) -> int:
    """Size in bytes of a block device or of a regular file. Raises OSError."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        return os.lseek(fd, 0, os.SEEK_END)
    finally:
        os.close(fd)
