"""btrfs quota groups: a hard limit and the true usage of a subvolume.

Every subvolume has the level-0 qgroup of its own id while quotas are on. Limits and figures are read from the
quota tree (BTRFS_IOC_TREE_SEARCH), which the kernel brings up to date with each commit.
"""

from __future__ import annotations

import errno
import os
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

from moorage.host import ioctl
from moorage.host.btrfs import containing_subvolume_id

_QUOTA_TREE: Final = 8
_STATUS_KEY, _INFO_KEY, _LIMIT_KEY = 240, 242, 244
_STATUS_ON, _STATUS_RESCAN, _STATUS_INCONSISTENT = 1, 2, 4
_CTL_ENABLE: Final = 1
_LIMIT_MAX_RFER: Final = 1
_NO_LIMIT: Final = (1 << 64) - 1
_SEARCH_KEY: Final = struct.Struct("=7QIIII4Q")
_SEARCH_HEADER: Final = struct.Struct("=QQQII")


@dataclass(frozen=True, slots=True)
class QgroupUsage:
    """`referenced_bytes` counts what the subvolume shows, shared or not, and is what the limit holds against;
    `exclusive_bytes` would be freed with it. `limit_bytes` is None without a limit. `exact` is False while
    the kernel still counts or has lost count.
    """

    referenced_bytes: int
    exclusive_bytes: int
    limit_bytes: int | None
    exact: bool


@contextmanager
def _directory(path: str) -> Iterator[int]:
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield fd
    finally:
        os.close(fd)


def ensure_quota_enabled(path: str) -> bool:
    """Turn quotas on for the btrfs that holds `path` and wait for the first count; False when they are on.

    Raises OSError: ENOTTY where it is not btrfs.
    """
    with _directory(path) as fd:
        on = _quota_flags(fd) is not None
        if not on:
            ioctl.call(fd, ioctl.BTRFS_IOC_QUOTA_CTL, bytearray(struct.pack("=QQ", _CTL_ENABLE, 0)))
        ioctl.call(fd, ioctl.BTRFS_IOC_QUOTA_RESCAN_WAIT)
        return not on


def ensure_limit(path: str, limit_bytes: int | None) -> bool:
    """Limit what the subvolume that holds `path` may reference; None lifts the limit. False when it is so.

    Raises OSError: ENOTCONN or EINVAL when quotas are off.
    """
    subvolume_id = containing_subvolume_id(path)
    with _directory(path) as fd:
        if _limit(fd, subvolume_id) == limit_bytes:
            return False
        value = _NO_LIMIT if limit_bytes is None else limit_bytes
        argument = struct.pack("=QQQQQQ", subvolume_id, _LIMIT_MAX_RFER, value, 0, 0, 0)
        ioctl.call(fd, ioctl.BTRFS_IOC_QGROUP_LIMIT, bytearray(argument))
        ioctl.call(fd, ioctl.BTRFS_IOC_SYNC)  # the quota tree shows it, and keeps it, from the next commit on
        return True


def find_usage(path: str, *, commit: bool = False) -> QgroupUsage | None:
    """Usage of the subvolume that holds `path`, None when quotas are off; `commit` first makes it current.

    Raises OSError.
    """
    subvolume_id = containing_subvolume_id(path)
    with _directory(path) as fd:
        if commit:
            ioctl.call(fd, ioctl.BTRFS_IOC_SYNC)
        flags = _quota_flags(fd)
        item = None if flags is None else _item(fd, _INFO_KEY, subvolume_id)
        if flags is None or item is None:
            return None
        _, referenced, _, exclusive, _ = struct.unpack_from("=5Q", item)
        exact = flags & (_STATUS_RESCAN | _STATUS_INCONSISTENT) == 0
        return QgroupUsage(referenced, exclusive, _limit(fd, subvolume_id), exact)


def remove_qgroup(path: str, subvolume_id: int) -> bool:
    """Remove the qgroup that a deleted subvolume left on the btrfs that holds `path`; False when there is
    none.

    Raises OSError: EBUSY while the subvolume is still being cleaned up.
    """
    with _directory(path) as fd:
        try:
            ioctl.call(fd, ioctl.BTRFS_IOC_QGROUP_CREATE, struct.pack("=QQ", 0, subvolume_id))
        except OSError as error:
            if error.errno in (errno.ENOENT, errno.ENOTCONN, errno.EINVAL):
                return False
            raise
        return True


def _quota_flags(fd: int) -> int | None:
    item = _item(fd, _STATUS_KEY, 0)
    if item is None:
        return None
    flags = int(struct.unpack_from("=3Q", item)[2])
    return flags if flags & _STATUS_ON else None


def _limit(fd: int, subvolume_id: int) -> int | None:
    item = _item(fd, _LIMIT_KEY, subvolume_id)
    if item is None:
        return None
    flags, max_referenced = struct.unpack_from("=2Q", item)
    return int(max_referenced) if flags & _LIMIT_MAX_RFER and max_referenced != _NO_LIMIT else None


def _item(fd: int, key_type: int, offset: int) -> bytes | None:
    """One item of the quota tree; None when the item or the whole tree is missing."""
    buffer = bytearray(4096)
    _SEARCH_KEY.pack_into(
        buffer, 0, _QUOTA_TREE, 0, 0, offset, offset, 0, (1 << 64) - 1, key_type, key_type, 1, 0, 0, 0, 0, 0
    )
    try:
        ioctl.call(fd, ioctl.BTRFS_IOC_TREE_SEARCH, buffer)
    except OSError as error:
        if error.errno == errno.ENOENT:
            return None
        raise
    if not _SEARCH_KEY.unpack_from(buffer)[9]:
        return None
    *_, length = _SEARCH_HEADER.unpack_from(buffer, _SEARCH_KEY.size)
    start = _SEARCH_KEY.size + _SEARCH_HEADER.size
    return bytes(buffer[start : start + length])
