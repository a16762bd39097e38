"""The fakes keep the contracts of the real verbs (the real ones are tested with root)."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from moorage.host.ports import HOST_LOOPS, HOST_MOUNTS, Loops, MountTable
from moorage.testing.host import FakeLoops, FakeMountTable


def test_fakes_and_modules_fit_the_protocols() -> None:
    tables: list[MountTable] = [HOST_MOUNTS, FakeMountTable()]
    loops: list[Loops] = [HOST_LOOPS, FakeLoops()]
    assert all(table.find_mount("/") is not None for table in tables)
    assert all(isinstance(loop.list_loops(), list) for loop in loops)


def test_the_life_of_a_published_volume() -> None:
    table = FakeMountTable()
    assert table.ensure_mounted("/dev/loop0", "/stage", fs_type="ext4") is True
    assert table.ensure_mounted("/dev/loop0", "/stage", fs_type="ext4") is False
    assert table.ensure_bind_mounted("/stage", "/pod/mount", readonly=True) is True
    assert table.ensure_bind_mounted("/stage", "/pod/mount", readonly=True) is False
    published = table.find_mount("/pod/mount/")
    assert published is not None
    assert (published.readonly, published.fs_type, published.source) == (True, "ext4", "/dev/loop0")
    assert table.ensure_bind_mounted("/stage", "/pod/mount", readonly=False) is True
    assert [entry.mount_point for entry in table.mounts_below("/pod")] == ["/pod/mount"]
    assert table.ensure_unmounted("/pod/mount") is True
    assert table.ensure_unmounted("/pod/mount") is False
    assert table.find_mount("/pod/mount") is None


def test_conflicts_and_busy_mounts() -> None:
    table = FakeMountTable()
    table.ensure_mounted("/dev/loop0", "/stage", fs_type="ext4")
    with pytest.raises(OSError, match="unmount it first") as caught:
        table.ensure_mounted("/dev/loop1", "/stage", fs_type="ext4")
    assert caught.value.errno == errno.EEXIST
    table.ensure_mounted("/dev/loop1", "/stage/inner", fs_type="ext4")
    with pytest.raises(OSError, match="below it") as caught:
        table.ensure_unmounted("/stage")
    assert caught.value.errno == errno.EBUSY
    assert table.ensure_unmounted("/stage", lazy=True) is True
    assert table.find_mount("/stage/inner") is None


def test_a_planned_failure_happens_once() -> None:
    table = FakeMountTable()
    table.failures["/stage"] = OSError(errno.EIO, "planned")
    with pytest.raises(OSError, match="planned"):
        table.ensure_mounted("/dev/loop0", "/stage", fs_type="xfs")
    assert table.ensure_mounted("/dev/loop0", "/stage", fs_type="xfs") is True


def test_loops(tmp_path: Path) -> None:
    loops, image, other = FakeLoops(), tmp_path / "image", tmp_path / "other"
    image.write_bytes(bytes(4096))
    other.write_bytes(bytes(8192))
    device = loops.attach(str(image))
    assert loops.attach(str(image)) == device == loops.find_loop(str(image))
    assert loops.attach(str(other)).path != device.path
    with pytest.raises(OSError, match="detach that device first"):
        loops.attach(str(image), readonly=True)
    os.truncate(image, 8192)
    assert loops.attach(str(image)).size_bytes == 8192
    assert loops.detach(device.path, expected_backing=str(other)) is False
    loops.busy.add(device.path)
    with pytest.raises(OSError, match="still in use"):
        loops.detach(device.path, expected_backing=str(image))
    loops.busy.clear()
    assert loops.detach(device.path, expected_backing=str(image)) is True
    assert [found.path for found in loops.list_loops()] == ["/dev/loop1"]
