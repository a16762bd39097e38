"""Gives a cloned file system its own UUID, so that it can be mounted beside its source.

The wanted UUID is an argument, which makes the change repeatable: the same call after kill -9 finishes it or
finds it done. ext and xfs use their tools. For btrfs only the superblocks are rewritten, as `btrfstune -M`
does with its metadata_uuid feature, because that tool cannot resume an interrupted change and newer kernels
refuse the half-way state (seen with btrfs-progs 6.2); mirrors are written first and the primary, 4 KiB in one
write, last.
"""

from __future__ import annotations

import errno
import hashlib
import os
import stat
import struct
import uuid as uuids
from typing import Final

from moorage.base.run import run_sync
from moorage.host.filesystem import FilesystemError, check_filesystem, minimum_bytes, replay_journal
from moorage.host.probe import probe, read_exactly
from moorage.host.signature import BTRFS_FLAG_CHANGING_FSID, BTRFS_SUPERBLOCKS, Known, Unfinished

_SUPER_BYTES: Final = 4096
_FLAG_CHANGING_FSID_V2: Final = 1 << 36
_INCOMPAT_METADATA_UUID: Final = 1 << 10
_CRC32C, _SHA256, _BLAKE2 = 0, 2, 3


def ensure_uuid(device: str, fs_type: str, uuid: str, *, timeout_s: float = 3600.0) -> bool:
    """Give the unmounted file system on `device` the UUID `uuid`; False when it has it.

    ext and btrfs also work on an image file; do that for btrfs, because the kernel registers every attached
    device by UUID. Raises OSError (EBUSY while mounted), FilesystemError, CommandError or ValueError.
    """
    minimum_bytes(fs_type)
    wanted = str(uuids.UUID(uuid))
    _refuse_if_used(device)
    content = probe(device)
    if isinstance(content, Known) and content.fs_type == fs_type and content.uuid == wanted:
        return False
    if content.__class__ not in (Known, Unfinished) or getattr(content, "fs_type", "") != fs_type:
        raise FilesystemError(f"{device} holds no {fs_type} file system; its UUID is not changed")
    if fs_type == "btrfs":
        if isinstance(content, Unfinished):
            run_sync(["btrfstune", "-f", "-u", device], timeout_s=timeout_s)
        change_btrfs_uuid(device, uuids.UUID(wanted))
    elif fs_type == "xfs":
        replay_journal(device, fs_type)
        run_sync(["xfs_admin", "-U", wanted, device], timeout_s=timeout_s)
    else:
        _change_ext_uuid(device, fs_type, wanted, timeout_s=timeout_s)
    after = probe(device)  # xfs_admin ends with status 0 even where it refused
    if not isinstance(after, Known) or after.uuid != wanted:
        raise FilesystemError(f"the UUID of the {fs_type} file system on {device} did not change; check it by hand")
    return True


def _refuse_if_used(device: str) -> None:
    """A block device in use cannot be opened exclusively; for a file, O_EXCL without O_CREAT has no meaning."""
    exclusive = os.O_EXCL if stat.S_ISBLK(os.stat(device).st_mode) else 0
    try:
        os.close(os.open(device, os.O_RDWR | os.O_CLOEXEC | exclusive))
    except OSError as error:
        if error.errno == errno.EBUSY:
            raise OSError(errno.EBUSY, f"{device} is in use; unmount it before changing its UUID") from None
        raise


def _change_ext_uuid(device: str, fs_type: str, uuid: str, *, timeout_s: float) -> None:
    """With a checksum seed this is one write.

    Without it tune2fs rewrites all checksums and wants a full check.
    """
    check_filesystem(device, fs_type, timeout_s=timeout_s)
    done = run_sync(["tune2fs", "-U", uuid, device], timeout_s=timeout_s, check=False)
    if done.returncode:
        check_filesystem(device, fs_type, full=True, timeout_s=timeout_s)
        run_sync(["tune2fs", "-U", uuid, device], timeout_s=timeout_s)


def change_btrfs_uuid(device: str, uuid: uuids.UUID) -> None:
    """Rewrite the superblocks of a single-device btrfs. Raises FilesystemError or OSError."""
    fd = os.open(device, os.O_RDWR | os.O_CLOEXEC)
    try:
        size_bytes = os.lseek(fd, 0, os.SEEK_END)
        places = [offset for offset in BTRFS_SUPERBLOCKS if offset + _SUPER_BYTES <= size_bytes]
        changed: list[tuple[int, bytes]] = []
        for offset in places:
            block = read_exactly(fd, offset, length=_SUPER_BYTES)
            if block[0x40:0x48] == b"_BHRfS_M" and struct.unpack_from("<Q", block, 0x30)[0] == offset:
                changed.append((offset, with_btrfs_uuid(block, uuid)))
        if not changed or changed[0][0] != BTRFS_SUPERBLOCKS[0]:
            raise FilesystemError(f"{device} has no btrfs superblock; its UUID is not changed")
        for offset, block in reversed(changed):
            if os.pwrite(fd, block, offset) != _SUPER_BYTES:
                raise OSError(errno.EIO, f"{device}: short write of a superblock; check the storage behind it")
            os.fsync(fd)
    finally:
        os.close(fd)


def with_btrfs_uuid(block: bytes, uuid: uuids.UUID) -> bytes:
    """The superblock `block` with `uuid` as its visible UUID; tree blocks keep the one they were made with.
    Pure.

    Raises FilesystemError when the superblock is damaged, or describes what this change does not fit.
    """
    if btrfs_checksum(block) != block[: len(btrfs_checksum(block))]:
        raise FilesystemError("the checksum of a btrfs superblock is wrong; run `btrfs check` on the device")
    flags, devices = struct.unpack_from("<Q", block, 0x38)[0], struct.unpack_from("<Q", block, 0x88)[0]
    if devices != 1 or flags & BTRFS_FLAG_CHANGING_FSID:
        raise FilesystemError("this btrfs has several devices or an unfinished UUID change; run `btrfstune -u` on it")
    edited = bytearray(block)
    incompat = struct.unpack_from("<Q", block, 0xBC)[0]
    original = block[0x23B:0x24B] if incompat & _INCOMPAT_METADATA_UUID else block[0x20:0x30]
    same = uuid.bytes == original
    incompat = incompat & ~_INCOMPAT_METADATA_UUID if same else incompat | _INCOMPAT_METADATA_UUID
    edited[0x20:0x30] = uuid.bytes
    edited[0x23B:0x24B] = bytes(16) if same else original
    struct.pack_into("<Q", edited, 0xBC, incompat)
    struct.pack_into("<Q", edited, 0x38, flags & ~_FLAG_CHANGING_FSID_V2)
    digest = btrfs_checksum(bytes(edited))
    edited[: len(digest)] = digest
    return bytes(edited)


def btrfs_checksum(block: bytes) -> bytes:
    """Checksum of a superblock by the algorithm it names.

    Pure. Raises FilesystemError for one not known here.
    """
    kind = struct.unpack_from("<H", block, 0xC4)[0]
    body = block[32:]
    if kind == _CRC32C:
        return crc32c(body).to_bytes(4, "little")
    if kind == _SHA256:
        return hashlib.sha256(body).digest()
    if kind == _BLAKE2:
        return hashlib.blake2b(body, digest_size=32).digest()
    raise FilesystemError(f"btrfs checksum type {kind} is not supported here; use `btrfstune -M` on the device")


def _crc_entry(byte: int) -> int:
    value = byte
    for _ in range(8):
        value = value >> 1 ^ (0x82F63B78 if value & 1 else 0)
    return value


_CRC_TABLE: Final = tuple(_crc_entry(byte) for byte in range(256))


def crc32c(data: bytes) -> int:
    """CRC-32C (Castagnoli) of `data`. Pure."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc = crc >> 8 ^ _CRC_TABLE[(crc ^ byte) & 0xFF]
    return crc ^ 0xFFFFFFFF
