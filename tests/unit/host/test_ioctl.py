"""Numbers and layouts against the kernel's uapi headers (printed by a C program on amd64)."""

from __future__ import annotations

import os

import pytest

from moorage.host import ioctl


@pytest.mark.parametrize(
    ("name", "number"),
    [
        ("LOOP_CTL_GET_FREE", 0x4C82),
        ("LOOP_CONFIGURE", 0x4C0A),
        ("LOOP_CLR_FD", 0x4C01),
        ("LOOP_GET_STATUS64", 0x4C05),
        ("LOOP_SET_CAPACITY", 0x4C07),
        ("LOOP_SET_DIRECT_IO", 0x4C08),
        ("BLKROGET", 0x125E),
        ("BLKSSZGET", 0x1268),
        ("BLKFLSBUF", 0x1261),
        ("BLKGETSIZE64", 0x80081272),
        ("FICLONE", 0x40049409),
        ("FICLONERANGE", 0x4020940D),
        ("FIFREEZE", 0xC0045877),
        ("FITHAW", 0xC0045878),
        ("FITRIM", 0xC0185879),
        ("FS_IOC_FIEMAP", 0xC020660B),
        ("EXT4_IOC_RESIZE_FS", 0x40086610),
        ("BTRFS_IOC_RESIZE", 0x50009403),
        ("BTRFS_IOC_SYNC", 0x9408),
        ("BTRFS_IOC_SNAP_DESTROY", 0x5000940F),
        ("BTRFS_IOC_TREE_SEARCH", 0xD0009411),
        ("BTRFS_IOC_INO_LOOKUP", 0xD0009412),
        ("BTRFS_IOC_SNAP_CREATE_V2", 0x50009417),
        ("BTRFS_IOC_SUBVOL_CREATE_V2", 0x50009418),
        ("BTRFS_IOC_SUBVOL_GETFLAGS", 0x80089419),
        ("BTRFS_IOC_SUBVOL_SETFLAGS", 0x4008941A),
        ("BTRFS_IOC_QUOTA_CTL", 0xC0109428),
        ("BTRFS_IOC_QGROUP_CREATE", 0x4010942A),
        ("BTRFS_IOC_QGROUP_LIMIT", 0x8030942B),
        ("BTRFS_IOC_QUOTA_RESCAN_WAIT", 0x942E),
        ("BTRFS_IOC_GET_SUBVOL_INFO", 0x81F8943C),
        ("LOOP_INFO64_SIZE", 232),
        ("LOOP_CONFIG_SIZE", 304),
    ],
)
def test_numbers(name: str, number: int) -> None:
    assert getattr(ioctl, name) == number


def test_the_guard_script_uses_the_same_thaw() -> None:
    from moorage.host import watchdog

    assert watchdog.FITHAW == ioctl.FITHAW


def test_a_loop_configuration_carries_what_the_status_reports() -> None:
    packed = ioctl.pack_loop_config(7, block_size=4096, flags=ioctl.LO_FLAGS_DIRECT_IO, file_name="/x/" + "y" * 80)
    assert len(packed) == ioctl.LOOP_CONFIG_SIZE
    assert packed[:8] == (7).to_bytes(4, "little") + (4096).to_bytes(4, "little")
    info = ioctl.unpack_loop_info(packed[8 : 8 + ioctl.LOOP_INFO64_SIZE])
    assert info.flags == ioctl.LO_FLAGS_DIRECT_IO
    assert info.offset == info.size_limit == 0
    assert info.file_name == b"/x/" + b"y" * 60


@pytest.mark.parametrize("pair", [(7, 0), (8, 255), (259, 256), (0, 70000), (4095, 1048575)])
def test_device_numbers_survive_the_kernel_encoding(pair: tuple[int, int]) -> None:
    from moorage.host.loop import _decode_device

    device = os.makedev(*pair)
    assert _decode_device(ioctl.encode_device(device)) == device
