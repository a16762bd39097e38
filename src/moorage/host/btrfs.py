"""btrfs subvolumes, snapshots and compression by ioctl; limits are in `moorage.host.qgroup`.

Deleting a subvolume removes all that is in it, so `delete_subvolume` takes only what the kernel confirms to
be one.
"""

from __future__ import annotations

import errno
import os
import struct
from dataclasses import dataclass
from typing import Final, Literal

from moorage.host import ioctl

Compression = Literal["none", "lzo", "zlib", "zstd"]

_SUBVOLUME_RDONLY: Final = 2
_FIRST_FREE_OBJECTID: Final = 256
_NOT_A_SUBVOLUME: Final = (errno.EINVAL, errno.ENOTTY, errno.EOPNOTSUPP)
_COMPRESSION_XATTR: Final = "btrfs.compression"


@dataclass(frozen=True, slots=True)
class Subvolume:
    """`subvolume_id` is also the number of its level-0 qgroup; `parent_uuid` is set on snapshots, else empty."""

    subvolume_id: int
    uuid: str
    parent_uuid: str
    readonly: bool


def find_subvolume(path: str) -> Subvolume | None:
    """The subvolume whose root is `path`; None when `path` is missing or anything else. Raises OSError."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP):
            return None
        raise
    try:
        readonly = ioctl.read_u64(fd, ioctl.BTRFS_IOC_SUBVOL_GETFLAGS) & _SUBVOLUME_RDONLY != 0
        info = bytearray(504)
        ioctl.call(fd, ioctl.BTRFS_IOC_GET_SUBVOL_INFO, info)
        return Subvolume(
            subvolume_id=int.from_bytes(info[:8], "little"),
            uuid=_uuid(info[296:312]),
            parent_uuid=_uuid(info[312:328]),
            readonly=readonly,
        )
    except OSError as error:
        if error.errno in _NOT_A_SUBVOLUME:
            return None
        raise
    finally:
        os.close(fd)


def _uuid(raw: bytes | bytearray) -> str:
    text = raw.hex()
    return "-".join((text[:8], text[8:12], text[12:16], text[16:20], text[20:])) if any(raw) else ""


def containing_subvolume_id(path: str) -> int:
    """The id of the subvolume that `path` lies in. Raises OSError, ENOTTY where it is not btrfs."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        buffer = bytearray(4096)
        struct.pack_into("=QQ", buffer, 0, 0, _FIRST_FREE_OBJECTID)
        ioctl.call(fd, ioctl.BTRFS_IOC_INO_LOOKUP, buffer)
        return int.from_bytes(buffer[:8], "little")
    finally:
        os.close(fd)


def ensure_subvolume(path: str) -> bool:
    """Have a subvolume at `path`; False when there is one. Raises OSError: EEXIST when something else is
    there.
    """
    if find_subvolume(path) is not None:
        return False
    _in_parent(path, ioctl.BTRFS_IOC_SUBVOL_CREATE_V2)
    return True


def ensure_snapshot(source: str, target: str, *, readonly: bool) -> bool:
    """Have `target` be a snapshot of the subvolume `source`; False when it is one of exactly that subvolume.

    A snapshot appears whole or not at all. Raises OSError: EEXIST when something else is at `target`, EINVAL
    when `source` is no subvolume.
    """
    origin = find_subvolume(source)
    if origin is None:
        raise OSError(errno.EINVAL, f"{source} is no btrfs subvolume; check the path")
    existing = find_subvolume(target)
    if existing is not None:
        if existing.parent_uuid != origin.uuid or existing.readonly != readonly:
            raise OSError(errno.EEXIST, f"{target} is another subvolume than the wanted snapshot; remove it first")
        return False
    source_fd = os.open(source, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        flags = _SUBVOLUME_RDONLY if readonly else 0
        _in_parent(target, ioctl.BTRFS_IOC_SNAP_CREATE_V2, source_fd=source_fd, flags=flags)
    finally:
        os.close(source_fd)
    return True


def ensure_subvolume_readonly(path: str, readonly: bool) -> bool:
    """Set or clear the read-only flag of the subvolume at `path`; False when it is so. Raises OSError."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        flags = ioctl.read_u64(fd, ioctl.BTRFS_IOC_SUBVOL_GETFLAGS)
        wanted = flags | _SUBVOLUME_RDONLY if readonly else flags & ~_SUBVOLUME_RDONLY
        if wanted == flags:
            return False
        ioctl.call(fd, ioctl.BTRFS_IOC_SUBVOL_SETFLAGS, wanted.to_bytes(8, "little"))
        return True
    finally:
        os.close(fd)


def delete_subvolume(path: str) -> bool:
    """Delete the subvolume at `path` with all it holds; False when nothing is there.

    Raises OSError and deletes nothing: EINVAL when `path` is no subvolume, ENOTEMPTY when it holds another
    one, EBUSY while mounted or exported.
    """
    if find_subvolume(path) is None:
        if not os.path.lexists(path):
            return False
        raise OSError(errno.EINVAL, f"{path} is no btrfs subvolume and is not deleted; check the path")
    _in_parent(path, ioctl.BTRFS_IOC_SNAP_DESTROY)
    return True


def _in_parent(path: str, request: int, *, source_fd: int = 0, flags: int = 0) -> None:
    """One of the ioctls that take a name inside the directory they are called on."""
    parent, name = os.path.split(os.path.abspath(path))
    encoded = os.fsencode(name)
    if request == ioctl.BTRFS_IOC_SNAP_DESTROY:
        argument = struct.pack("=q4088s", 0, encoded)
    else:
        argument = struct.pack("=qQQ4Q4040s", source_fd, 0, flags, 0, 0, 0, 0, encoded)
    parent_fd = os.open(parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        ioctl.call(parent_fd, request, argument)
    except OSError as error:
        raise OSError(error.errno, f"btrfs refused the operation on {path}: {error.strerror}") from None
    finally:
        os.close(parent_fd)


def ensure_compression(path: str, compression: Compression) -> bool:
    """Set how new data of a file, or of files made below a directory, is compressed; False when it is so.

    `none` also stops compression that a mount option asks for. Data already written keeps its form. Raises
    OSError.
    """
    if find_compression(path) == compression:
        return False
    os.setxattr(path, _COMPRESSION_XATTR, compression.encode())
    return True


def find_compression(path: str) -> str | None:
    """The compression property of `path`, None when it has none. Raises OSError."""
    try:
        value = os.getxattr(path, _COMPRESSION_XATTR).decode("ascii")
    except OSError as error:
        if error.errno == errno.ENODATA:
            return None
        raise
    return "none" if value in ("no", "none") else value


def sync(path: str) -> None:
    """Commit the file system that holds `path` and wait; quota figures are exact after it. Raises OSError."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        ioctl.call(fd, ioctl.BTRFS_IOC_SYNC)
    finally:
        os.close(fd)
