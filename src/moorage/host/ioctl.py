"""ioctl numbers and the layouts of their arguments, as the kernel's uapi headers define them.

Pure: packing, unpacking and arithmetic, plus `call`, which gives errno a sentence. Layouts are those of
64-bit little-endian Linux (amd64, arm64).
"""

from __future__ import annotations

import fcntl
import os
import struct
from dataclasses import dataclass
from typing import Final

_WRITE: Final = 1
_READ: Final = 2


def _number(direction: int, type_: int, nr: int, size: int) -> int:
    """asm-generic/ioctl.h: two bits of direction, fourteen of size, eight of type, eight of number."""
    return direction << 30 | size << 16 | type_ << 8 | nr


# linux/loop.h
LOOP_CLR_FD: Final = 0x4C01
LOOP_GET_STATUS64: Final = 0x4C05
LOOP_SET_CAPACITY: Final = 0x4C07
LOOP_SET_DIRECT_IO: Final = 0x4C08
LOOP_CONFIGURE: Final = 0x4C0A
LOOP_CTL_GET_FREE: Final = 0x4C82
LO_FLAGS_READ_ONLY: Final = 1
LO_FLAGS_DIRECT_IO: Final = 16

# linux/fs.h
BLKROGET: Final = _number(0, 0x12, 94, 0)
BLKFLSBUF: Final = _number(0, 0x12, 97, 0)
BLKSSZGET: Final = _number(0, 0x12, 104, 0)
BLKGETSIZE64: Final = _number(_READ, 0x12, 114, 8)
FICLONE: Final = _number(_WRITE, 0x94, 9, 4)
FICLONERANGE: Final = _number(_WRITE, 0x94, 13, 32)
FIFREEZE: Final = _number(_READ | _WRITE, ord("X"), 119, 4)
FITHAW: Final = _number(_READ | _WRITE, ord("X"), 120, 4)
FITRIM: Final = _number(_READ | _WRITE, ord("X"), 121, 24)
FS_IOC_FIEMAP: Final = _number(_READ | _WRITE, ord("f"), 11, 32)
EXT4_IOC_RESIZE_FS: Final = _number(_WRITE, ord("f"), 16, 8)

# linux/btrfs.h
BTRFS_IOC_RESIZE: Final = _number(_WRITE, 0x94, 3, 4096)
BTRFS_IOC_SYNC: Final = _number(0, 0x94, 8, 0)
BTRFS_IOC_SNAP_DESTROY: Final = _number(_WRITE, 0x94, 15, 4096)
BTRFS_IOC_TREE_SEARCH: Final = _number(_READ | _WRITE, 0x94, 17, 4096)
BTRFS_IOC_INO_LOOKUP: Final = _number(_READ | _WRITE, 0x94, 18, 4096)
BTRFS_IOC_SNAP_CREATE_V2: Final = _number(_WRITE, 0x94, 23, 4096)
BTRFS_IOC_SUBVOL_CREATE_V2: Final = _number(_WRITE, 0x94, 24, 4096)
BTRFS_IOC_SUBVOL_GETFLAGS: Final = _number(_READ, 0x94, 25, 8)
BTRFS_IOC_SUBVOL_SETFLAGS: Final = _number(_WRITE, 0x94, 26, 8)
BTRFS_IOC_QUOTA_CTL: Final = _number(_READ | _WRITE, 0x94, 40, 16)
BTRFS_IOC_QGROUP_CREATE: Final = _number(_WRITE, 0x94, 42, 16)
BTRFS_IOC_QGROUP_LIMIT: Final = _number(_READ, 0x94, 43, 48)
BTRFS_IOC_QUOTA_RESCAN_WAIT: Final = _number(0, 0x94, 46, 0)
BTRFS_IOC_GET_SUBVOL_INFO: Final = _number(_READ, 0x94, 60, 504)

_LOOP_INFO64: Final = struct.Struct("=QQQQQIIII64s64s32sQQ")
_LOOP_CONFIG_HEAD: Final = struct.Struct("=II")
LOOP_INFO64_SIZE: Final = _LOOP_INFO64.size
LOOP_CONFIG_SIZE: Final = _LOOP_CONFIG_HEAD.size + _LOOP_INFO64.size + 8 * 8


@dataclass(frozen=True, slots=True)
class LoopInfo:
    """`struct loop_info64`: the backing file's device number (kernel encoding) and inode, and the set-up."""

    device: int
    inode: int
    offset: int
    size_limit: int
    number: int
    flags: int
    file_name: bytes


def unpack_loop_info(data: bytes) -> LoopInfo:
    """Read a `struct loop_info64` as LOOP_GET_STATUS64 fills it in."""
    device, inode, _, offset, limit, number, _, _, flags, name, *_ = _LOOP_INFO64.unpack(data)
    return LoopInfo(device, inode, offset, limit, number, flags, name.split(b"\0", 1)[0])


def pack_loop_config(fd: int, *, block_size: int, flags: int, file_name: str) -> bytes:
    """A `struct loop_config` for the whole file behind `fd`; the name is informational and cut at 63 bytes."""
    name = os.fsencode(file_name)[:63]
    info = _LOOP_INFO64.pack(0, 0, 0, 0, 0, 0, 0, 0, flags, name, b"", b"", 0, 0)
    return _LOOP_CONFIG_HEAD.pack(fd, block_size) + info + bytes(64)


def encode_device(device: int) -> int:
    """A `st_dev` in the kernel's `new_encode_dev` form, which LOOP_GET_STATUS64 reports."""
    major, minor = os.major(device), os.minor(device)
    return (minor & 0xFF) | major << 8 | (minor & ~0xFF) << 12


def call(fd: int, request: int, argument: int | bytes | bytearray = 0) -> int:
    """fcntl.ioctl; a `bytearray` is updated in place. Raises OSError."""
    if isinstance(argument, bytearray):
        return int(fcntl.ioctl(fd, request, argument, True))
    if isinstance(argument, bytes):
        return int(fcntl.ioctl(fd, request, bytearray(argument), True))  # immutable ones are limited to 1 KiB
    return fcntl.ioctl(fd, request, argument)


def read_u64(fd: int, request: int) -> int:
    """An ioctl that stores one unsigned 64-bit number. Raises OSError."""
    buffer = bytearray(8)
    call(fd, request, buffer)
    return int.from_bytes(buffer, "little")


def read_u32(fd: int, request: int) -> int:
    """An ioctl that stores one `int`. Raises OSError."""
    buffer = bytearray(4)
    call(fd, request, buffer)
    return int.from_bytes(buffer, "little")
