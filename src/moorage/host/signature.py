"""Recognises what is on a block device from its superblocks and magic numbers. Pure: bytes come from a
callable.

Recognising is generous, because the only safe use of "nothing was recognised" is together with the proof that
the probed areas are all zero, which `moorage.host.probe` adds. Layouts: the kernel's uapi headers and each
format's published on-disk description.
"""

from __future__ import annotations

import struct
import uuid as uuids
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Literal

Read = Callable[[int, int], bytes]
Kind = Literal["filesystem", "container", "partitions", "swap"]

KIB: Final = 1 << 10
MIB: Final = 1 << 20
BTRFS_SUPERBLOCKS: Final = (64 * KIB, 64 * MIB, 256 << 30)
BTRFS_FLAG_CHANGING_FSID: Final = 1 << 35


@dataclass(frozen=True, slots=True)
class Known:
    """A recognised format. `uuid` and `label` are empty where the format has none or it is not read.

    `size_bytes` is the size the file system gives itself, `block_size` its allocation unit in bytes; both 0
    where not read. `kind` tells file systems from containers (LUKS, LVM, RAID), partition tables and swap.
    """

    fs_type: str
    uuid: str = ""
    label: str = ""
    size_bytes: int = 0
    block_size: int = 0
    kind: Kind = "filesystem"


@dataclass(frozen=True, slots=True)
class Unfinished:
    """A file system whose making (`mkfs`) or rewriting (`btrfstune -u`) was interrupted; not mountable."""

    fs_type: str
    reason: str


Signature = Known | Unfinished

# offset, bytes found there, name, kind; in the order of trust
_MAGICS: Final[tuple[tuple[int, bytes, str, Kind], ...]] = (
    (0, b"LUKS\xba\xbe", "crypto_LUKS", "container"),
    (0x4000, b"SKUL\xba\xbe", "crypto_LUKS", "container"),
    (0, b"verity\0\0", "DM_verity_hash", "container"),
    (0, b"integrt\0", "DM_integrity", "container"),
    (0, b"dmvdo001", "vdo", "container"),
    (0, b"bluestore block device", "ceph_bluestore", "container"),
    (3, b"-FVE-FS-", "BitLocker", "container"),
    (0, b"\xfc\x4e\x2b\xa9", "linux_raid_member", "container"),
    (4096, b"\xfc\x4e\x2b\xa9", "linux_raid_member", "container"),
    (4096 + 24, bytes.fromhex("c68573f64e1a45ca8265f57f48ba6d81"), "bcache", "container"),
    (4096 + 24, bytes.fromhex("c68573f666ce90a9d96a60cf803df7ef"), "bcachefs", "filesystem"),
    (3, b"NTFS    ", "ntfs", "filesystem"),
    (3, b"EXFAT   ", "exfat", "filesystem"),
    (0, b"hsqs", "squashfs", "filesystem"),
    (0, b"\x45\x3d\xcd\x28", "cramfs", "filesystem"),
    (1024, b"\xe2\xe1\xf5\xe0", "erofs", "filesystem"),
    (1024, b"\x10\x20\xf5\xf2", "f2fs", "filesystem"),
    (32768, b"JFS1", "jfs", "filesystem"),
    (65536 + 52, b"ReIsEr", "reiserfs", "filesystem"),
    (32769, b"CD001", "iso9660", "filesystem"),
    (32769, b"BEA01", "udf", "filesystem"),
)


def recognise(read: Read, size_bytes: int) -> Signature | None:
    """What `read(offset, length)` shows, or None.

    `read` returns fewer bytes past the end and may raise OSError.
    """
    for find in (_btrfs, _xfs, _ext, _lvm, _table, _raid_at_end, _zfs, _swap, _partitions):
        found = find(read, size_bytes)
        if found is not None:
            return found
    return None


def _text(raw: bytes) -> str:
    return raw.split(b"\0", 1)[0].decode("utf-8", "replace")


def _ext(read: Read, size_bytes: int) -> Signature | None:
    block = read(1024, 1024)
    if len(block) < 1024 or block[56:58] != b"\x53\xef":
        return None
    compat, incompat, ro_compat = struct.unpack_from("<III", block, 92)
    block_size = 1024 << min(struct.unpack_from("<I", block, 24)[0], 16)
    blocks = struct.unpack_from("<I", block, 4)[0]
    if incompat & 0x80:
        blocks |= struct.unpack_from("<I", block, 0x150)[0] << 32
    if incompat & 0x8:
        name = "jbd"
    elif incompat & ~(0x2 | 0x4 | 0x10) or ro_compat & ~(0x1 | 0x2 | 0x4):
        name = "ext4"
    else:
        name = "ext3" if compat & 0x4 else "ext2"
    identity = str(uuids.UUID(bytes=block[104:120]))
    return Known(name, identity, _text(block[120:136]), blocks * block_size, block_size)


def _xfs(read: Read, size_bytes: int) -> Signature | None:
    block = read(0, 512)
    if block[:4] != b"XFSB" or len(block) < 512:
        return None
    if block[126]:
        return Unfinished("xfs", "its superblock says that mkfs.xfs has not finished")
    block_size, blocks = struct.unpack_from(">IQ", block, 4)
    return Known("xfs", str(uuids.UUID(bytes=block[32:48])), _text(block[108:120]), block_size * blocks, block_size)


def _btrfs(read: Read, size_bytes: int) -> Signature | None:
    block = read(BTRFS_SUPERBLOCKS[0], 4096)
    magic = block[0x40:0x48]
    if magic == b"!BHRfS_M":
        return Unfinished("btrfs", "its superblock says that mkfs.btrfs has not finished")
    if magic != b"_BHRfS_M" or len(block) < 4096:
        return None
    flags = struct.unpack_from("<Q", block, 0x38)[0]
    if flags & BTRFS_FLAG_CHANGING_FSID:
        return Unfinished("btrfs", "a change of its UUID was interrupted; ensure_uuid finishes it")
    total, sector = struct.unpack_from("<Q", block, 0x70)[0], struct.unpack_from("<I", block, 0x90)[0]
    return Known("btrfs", str(uuids.UUID(bytes=block[0x20:0x30])), _text(block[0x12B:0x22B]), total, sector)


def _lvm(read: Read, size_bytes: int) -> Signature | None:
    for sector in range(4):
        block = read(sector * 512, 32)
        if block[:8] == b"LABELONE" and block[24:32] == b"LVM2 001":
            return Known("LVM2_member", kind="container")
    return None


def _table(read: Read, size_bytes: int) -> Signature | None:
    for offset, magic, name, kind in _MAGICS:
        if read(offset, len(magic)) == magic:
            identity = _text(read(168, 40)) if name == "crypto_LUKS" and offset == 0 else ""
            return Known(name, identity, kind=kind)
    return None


def _raid_at_end(read: Read, size_bytes: int) -> Signature | None:
    """Linux RAID superblocks of version 1.0 (8 KiB before the end) and 0.90 (last aligned 64 KiB)."""
    sectors = size_bytes // 512
    for offset in ((sectors - 16 & ~7) * 512, (size_bytes & ~(64 * KIB - 1)) - 64 * KIB):
        if offset > 0 and read(offset, 4) in (b"\xfc\x4e\x2b\xa9", b"\xa9\x2b\x4e\xfc"):
            return Known("linux_raid_member", kind="container")
    return None


def _zfs(read: Read, size_bytes: int) -> Signature | None:
    """Any uberblock in one of the four vdev labels of 256 KiB, two at each end."""
    magic = (0x00BAB10C).to_bytes(8, "little")
    aligned = size_bytes & ~(256 * KIB - 1)
    for label in (0, 256 * KIB, aligned - 512 * KIB, aligned - 256 * KIB):
        if label < 0:
            continue
        ring = read(label + 128 * KIB, 128 * KIB)
        if any(ring[at : at + 8] in (magic, magic[::-1]) for at in range(0, len(ring), KIB)):
            return Known("zfs_member", kind="container")
    return None


def _swap(read: Read, size_bytes: int) -> Signature | None:
    for page in (4 * KIB, 8 * KIB, 16 * KIB, 64 * KIB):
        if read(page - 10, 10) in (b"SWAPSPACE2", b"SWAP-SPACE", b"S1SUSPEND\0", b"S2SUSPEND\0"):
            header = read(1024, 48)
            return Known("swap", str(uuids.UUID(bytes=header[12:28])), _text(header[28:44]), kind="swap")
    return None


def _partitions(read: Read, size_bytes: int) -> Signature | None:
    """FAT shares the boot-sector mark with MBR, so both are told apart here; GPT also by its copy at the end."""
    for sector in (512, 4096):
        for offset in (sector, size_bytes // sector * sector - sector):
            if offset > 0 and read(offset, 8) == b"EFI PART":
                return Known("gpt", kind="partitions")
    boot = read(0, 512)
    if boot[510:512] != b"\x55\xaa":
        return None
    if boot[82:87] == b"FAT32" or boot[54:57] == b"FAT":
        return Known("vfat")
    return Known("dos", kind="partitions")
