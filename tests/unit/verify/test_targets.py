"""What is seen and tried at target paths, as far as that needs no root and no mount."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moorage.host.mountinfo import MountEntry, parse_mountinfo_line
from moorage.verify.targets import block_number, is_whole_file_system, long_path, write_refused

LINE = "36 35 {device} {root} /target rw,noatime master:1 - {fs_type} /dev/root rw,errors=continue"


def mount(root: str, fs_type: str, device: str = "98:0") -> MountEntry:
    return parse_mountinfo_line(LINE.format(device=device, root=root, fs_type=fs_type).encode())


@pytest.mark.parametrize(
    ("entry", "whole"),
    [
        pytest.param(mount("/", "ext4"), True, id="own-ext4"),
        pytest.param(mount("/", "xfs"), True, id="own-xfs"),
        pytest.param(mount("/volumes/a", "ext4"), False, id="directory-of-the-hosts-ext4"),
        pytest.param(mount("/volumes/a", "btrfs", "0:42"), False, id="subvolume"),
        pytest.param(mount("/", "nfs4", "0:51"), False, id="nfs-export"),
        pytest.param(mount("/", "tmpfs", "0:52"), False, id="tmpfs"),
    ],
)
def test_only_a_disk_file_system_seen_from_its_root_is_whole(entry: MountEntry, whole: bool) -> None:
    assert is_whole_file_system(entry) is whole


def test_only_a_block_device_has_a_block_number(tmp_path: Path) -> None:
    assert block_number("/dev/null") is None
    assert block_number(str(tmp_path)) is None


def test_a_writable_directory_takes_a_write_and_is_left_empty(tmp_path: Path) -> None:
    assert write_refused(str(tmp_path)) is False
    assert os.listdir(tmp_path) == []


def test_a_write_to_a_device_is_taken_back(tmp_path: Path) -> None:
    device = tmp_path / "device"
    device.write_bytes(b"kept" * 2048)
    assert write_refused(str(device)) is False
    assert device.read_bytes() == b"kept" * 2048


def test_a_directory_where_nobody_can_create_files_refuses() -> None:
    assert write_refused("/sys") is True


def test_trouble_that_is_no_refusal_is_raised(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        write_refused(str(tmp_path / "gone"))


@given(size_bytes=st.integers(1, 4000), directory=st.sampled_from(["/r", "/run/verify/länger", "/" + "x" * 150]))
def test_a_long_path_has_the_size_asked_for_and_names_that_fit(size_bytes: int, directory: str) -> None:
    path = long_path(directory, size_bytes=size_bytes, last="target")
    shortest = len(os.fsencode(f"{directory}/target"))
    assert len(os.fsencode(path)) == max(size_bytes, shortest)
    assert path.startswith(f"{directory}/")
    assert all(0 < len(name) <= 255 for name in path.split("/")[1:])
