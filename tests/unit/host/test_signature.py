"""Recognising what is on a device, and proving that nothing is."""

from __future__ import annotations

import errno
import os
import struct
import uuid
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from moorage.host.probe import EDGE_BYTES, Blank, Content, Unreadable, Unrecognised, probe, probed_areas, wipe
from moorage.host.signature import Known, Unfinished, recognise

MIB = 1 << 20
SIZE = 300 * MIB
UUID = uuid.UUID("01234567-89ab-cdef-0123-456789abcdef")


def image(path: Path, pieces: dict[int, bytes], *, size: int = SIZE) -> str:
    with path.open("wb") as file:
        file.truncate(size)
        for offset, data in pieces.items():
            file.seek(offset)
            file.write(data)
    return str(path)


def ext(compat: int, incompat: int, ro_compat: int) -> bytes:
    block = bytearray(1024)
    struct.pack_into("<I", block, 4, 5000)
    struct.pack_into("<I", block, 24, 2)
    block[56:58] = b"\x53\xef"
    struct.pack_into("<III", block, 92, compat, incompat, ro_compat)
    block[104:120] = UUID.bytes
    block[120:124] = b"data"
    struct.pack_into("<I", block, 0x150, 1)
    return bytes(block)


def xfs(in_progress: int) -> bytes:
    block = bytearray(512)
    block[:4] = b"XFSB"
    struct.pack_into(">IQ", block, 4, 4096, 76800)
    block[32:48] = UUID.bytes
    block[108:111] = b"vol"
    block[126] = in_progress
    return bytes(block)


def btrfs(magic: bytes, flags: int = 1) -> bytes:
    block = bytearray(4096)
    block[0x20:0x30] = UUID.bytes
    struct.pack_into("<Q", block, 0x38, flags)
    block[0x40:0x48] = magic
    struct.pack_into("<Q", block, 0x70, 128 * MIB)
    struct.pack_into("<I", block, 0x90, 4096)
    block[0x12B:0x12E] = b"b-l"
    return bytes(block)


def boot(text: bytes = b"", at: int = 3) -> bytes:
    block = bytearray(512)
    block[at : at + len(text)] = text
    block[510:] = b"\x55\xaa"
    return bytes(block)


E4 = 0x2 | 0x40 | 0x80 | 0x200


@pytest.mark.parametrize(
    ("pieces", "expected"),
    [
        pytest.param({1024: ext(0, 0x2, 1)}, Known("ext2", str(UUID), "data", 5000 * 4096, 4096), id="ext2"),
        pytest.param({1024: ext(4, 0x2, 1)}, Known("ext3", str(UUID), "data", 5000 * 4096, 4096), id="ext3"),
        pytest.param(
            {1024: ext(4, E4, 1)}, Known("ext4", str(UUID), "data", (5000 + (1 << 32)) * 4096, 4096), id="ext4"
        ),
        pytest.param({1024: ext(0, 0x8, 0)}, Known("jbd", str(UUID), "data", 5000 * 4096, 4096), id="ext-journal"),
        pytest.param({0: xfs(0)}, Known("xfs", str(UUID), "vol", 4096 * 76800, 4096), id="xfs"),
        pytest.param(
            {0: xfs(1)}, Unfinished("xfs", "its superblock says that mkfs.xfs has not finished"), id="xfs-unfinished"
        ),
        pytest.param({65536: btrfs(b"_BHRfS_M")}, Known("btrfs", str(UUID), "b-l", 128 * MIB, 4096), id="btrfs"),
        pytest.param(
            {65536: btrfs(b"!BHRfS_M")},
            Unfinished("btrfs", "its superblock says that mkfs.btrfs has not finished"),
            id="btrfs-unfinished",
        ),
        pytest.param(
            {65536: btrfs(b"_BHRfS_M", 1 | 1 << 35)},
            Unfinished("btrfs", "a change of its UUID was interrupted; ensure_uuid finishes it"),
            id="btrfs-changing-uuid",
        ),
        pytest.param({0: b"LUKS\xba\xbe", 168: b"abc"}, Known("crypto_LUKS", "abc", kind="container"), id="luks"),
        pytest.param({512: b"LABELONE" + bytes(16) + b"LVM2 001"}, Known("LVM2_member", kind="container"), id="lvm"),
        pytest.param({4096: b"\xfc\x4e\x2b\xa9"}, Known("linux_raid_member", kind="container"), id="md-1.2"),
        pytest.param({SIZE - 8192: b"\xfc\x4e\x2b\xa9"}, Known("linux_raid_member", kind="container"), id="md-1.0"),
        pytest.param({SIZE - 65536: b"\xfc\x4e\x2b\xa9"}, Known("linux_raid_member", kind="container"), id="md-0.90"),
        pytest.param(
            {131072 + 3072: (0x00BAB10C).to_bytes(8, "little")}, Known("zfs_member", kind="container"), id="zfs"
        ),
        pytest.param(
            {SIZE - 131072: (0x00BAB10C).to_bytes(8, "big")}, Known("zfs_member", kind="container"), id="zfs-last-label"
        ),
        pytest.param(
            {4086: b"SWAPSPACE2", 1036: UUID.bytes, 1052: b"sw"}, Known("swap", str(UUID), "sw", kind="swap"), id="swap"
        ),
        pytest.param({0: boot(b"NTFS    ")}, Known("ntfs"), id="ntfs"),
        pytest.param({0: boot(b"FAT32   ", 82)}, Known("vfat"), id="fat32"),
        pytest.param({0: boot(b"FAT16   ", 54)}, Known("vfat"), id="fat16"),
        pytest.param({0: boot()}, Known("dos", kind="partitions"), id="mbr"),
        pytest.param({0: boot(), 512: b"EFI PART"}, Known("gpt", kind="partitions"), id="gpt-with-protective-mbr"),
        pytest.param({SIZE - 512: b"EFI PART"}, Known("gpt", kind="partitions"), id="gpt-backup-only"),
        pytest.param({4096: b"EFI PART"}, Known("gpt", kind="partitions"), id="gpt-4k-sectors"),
        pytest.param({32769: b"CD001"}, Known("iso9660"), id="iso9660"),
        pytest.param({0: b"hsqs"}, Known("squashfs"), id="squashfs"),
        pytest.param({0: b"x"}, Unrecognised(0), id="one-byte-at-the-start"),
        pytest.param({3 * MIB + 5: b"x"}, Unrecognised(3 * MIB + 5), id="one-byte-in-the-head"),
        pytest.param({SIZE - 1: b"x"}, Unrecognised(SIZE - 1), id="one-byte-at-the-end"),
        pytest.param({128 * MIB + 0x38: b"\x53\xef"}, Unrecognised(128 * MIB + 0x38), id="ext4-backup-superblock"),
        pytest.param({64 * MIB + 0x40: b"_BHRfS_M"}, Unrecognised(64 * MIB + 0x40), id="btrfs-mirror"),
        pytest.param({}, Blank(SIZE), id="blank"),
    ],
)
def test_probe(tmp_path: Path, pieces: dict[int, bytes], expected: Content) -> None:
    assert probe(image(tmp_path / "disk", pieces)) == expected


def test_what_cannot_be_read_is_not_blank(tmp_path: Path) -> None:
    missing, empty = probe(str(tmp_path / "missing")), probe(image(tmp_path / "empty", {}, size=0))
    assert isinstance(missing, Unreadable)
    assert isinstance(empty, Unreadable)
    assert "no size" in empty.reason


def test_an_io_error_is_not_blank(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = image(tmp_path / "disk", {})
    real = os.pread

    def failing(fd: int, length: int, offset: int) -> bytes:
        if offset >= SIZE - EDGE_BYTES:
            raise OSError(errno.EIO, "Input/output error")
        return real(fd, length, offset)

    monkeypatch.setattr(os, "pread", failing)
    found = probe(path)
    assert isinstance(found, Unreadable)
    assert "Input/output error" in found.reason


def test_a_device_that_ends_early_is_not_blank(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = image(tmp_path / "disk", {})
    monkeypatch.setattr(os, "pread", lambda fd, length, offset: b"")
    assert isinstance(probe(path), Unreadable)


@pytest.mark.parametrize("size", [1, 511, 4096, EDGE_BYTES, EDGE_BYTES + 1, 9 * MIB, 300 * MIB, 300 << 30])
def test_probed_areas_stay_inside_and_cover_both_ends(size: int) -> None:
    areas = list(probed_areas(size))
    assert all(offset >= 0 and length > 0 and offset + length <= size for offset, length in areas)
    assert areas[0] == (0, min(size, EDGE_BYTES))
    assert max(offset + length for offset, length in areas) == size


@settings(max_examples=30)
@given(st.integers(1, 20 * MIB), st.binary(min_size=1, max_size=64))
def test_recognising_never_breaks_on_short_or_odd_data(size: int, data: bytes) -> None:
    body = (data * (131072 // len(data) + 1))[: min(size, 131072)]

    def read(offset: int, length: int) -> bytes:
        return body[offset : offset + length]

    recognise(read, size)


def test_wiping_makes_blank(tmp_path: Path) -> None:
    path = image(tmp_path / "disk", {0: b"junk", 1024: ext(4, E4, 1), 64 * MIB: b"x", SIZE - 5: b"y"})
    wipe(path)
    assert probe(path) == Blank(SIZE)
    assert os.stat(path).st_size == SIZE
