"""How large a volume is where it is published, and how large it may be said to be.

Sizes in bytes. This module makes no calls; what it measures lies on the node under test.
"""

from __future__ import annotations

import os

from moorage.spec.capacity import describe_range
from moorage.spec.types import CapacityRange, Volume
from moorage.verify.exchange import Exchange
from moorage.verify.rule import Failed
from moorage.verify.use import Use

__all__ = ["expect_in_range", "has_own_file_system", "published_bytes"]


async def published_bytes(use: Use) -> int:
    """The size of the device at the target, or of the file system there. Raises Failed when it cannot be told."""
    try:
        return await use.lab.io(_device_bytes if use.capability.is_block else _file_system_bytes, use.target)
    except OSError as error:
        raise Failed(f"the size of {use.target} cannot be read: {error.strerror}", use.lab.last) from None


def has_own_file_system(volume: Volume, measured_bytes: int) -> bool:
    """Whether what was measured at a mount can be the volume's own file system.

    A share or directory shows the file system of its server, which is larger than the volume. A file system of
    the volume's own is a little smaller than the volume.
    """
    return 0 < measured_bytes <= volume.capacity_bytes


def expect_in_range(volume: Volume, capacity_range: CapacityRange, exchange: Exchange | None) -> None:
    """Raises Failed unless the volume's size, as far as it is told, lies in the range."""
    size_bytes = volume.capacity_bytes
    if size_bytes and not capacity_range.contains(size_bytes):
        raise Failed(
            f"the volume has {size_bytes} bytes, and {describe_range(capacity_range)} were asked for", exchange
        )


def _device_bytes(path: str) -> int:
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        return os.lseek(fd, 0, os.SEEK_END)
    finally:
        os.close(fd)


def _file_system_bytes(path: str) -> int:
    found = os.statvfs(path)
    return found.f_blocks * found.f_frsize
