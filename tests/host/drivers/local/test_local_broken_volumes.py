"""Snapshots and clones of volumes whose file system stopped working, and copies that a pool has no room for."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from fcntl import ioctl
from pathlib import Path
from struct import pack
from typing import NoReturn

import pytest
from tests.host.drivers.local.pool_node import MIB, MakeNode, Node, run
from tests.host.drivers.local.test_local_snapshots import group_of

from moorage.drivers.local import use
from moorage.framework.values import VolumeRecord
from moorage.host.copy import allocated_bytes
from moorage.spec.errors import FailedPrecondition, OperationPending, ResourceExhausted

pytestmark = pytest.mark.root

_EXT4_SHUTDOWN = 0x8004587D
_NO_FLUSH = pack("=I", 2)


def shut_down(point: Path) -> None:
    """What the kernel does when it cannot write the journal: the file system refuses everything from now on."""
    fd = os.open(point, os.O_RDONLY)
    try:
        ioctl(fd, _EXT4_SHUTDOWN, _NO_FLUSH)
    finally:
        os.close(fd)


def abort(point: Path) -> None:
    """What ext4 does after an error: read-only until it is checked."""
    run("mount", "-o", "remount,abort", str(point))


stops = pytest.mark.parametrize(
    ("fs_type", "stop"),
    [
        pytest.param("ext4", shut_down, id="ext4-shut-down"),
        pytest.param("ext4", abort, id="ext4-read-only"),
        pytest.param("xfs", shut_down, id="xfs-shut-down"),
    ],
)


@stops
@pytest.mark.parametrize("node", ["xfs", "ext4"], indirect=True)
def test_cut_of_a_broken_file_system_is_refused_for_good_and_leaves_nothing(
    node: Node, fs_type: str, stop: Callable[[Path], None]
) -> None:
    volume = node.create("v1", size_bytes=320 * MIB)
    live = node.mount("v1", fs_type)
    (live / "file").write_bytes(b"x" * MIB)
    stop(live)
    for _ in range(2):
        with pytest.raises(FailedPrecondition, match=rf"'v1' at {live} is broken .*stage it again"):
            node.snapshot("s1", volume)
        assert node.left() == ["volumes/v1"]
    with pytest.raises(FailedPrecondition, match="is broken"):
        node.clone("v2", volume)
    node.unmount("v1")
    node.mount("v1", fs_type)
    node.snapshot("s1", volume)
    assert "snapshots/s1" in node.left()


def test_group_names_the_member_that_is_broken(make_node: MakeNode) -> None:
    node = make_node("xfs")
    volumes = [node.create(name) for name in ("v1", "v2")]
    for name in ("v1", "v2"):
        node.mount(name)
    shut_down(node.mounts / "v2")
    with pytest.raises(FailedPrecondition, match="volume 'v2' at"):
        node.driver.create_group_snapshot(group_of(*volumes), tuple(volumes))
    assert node.left() == ["volumes/v1", "volumes/v2"]


@pytest.mark.parametrize("number", [errno.EIO, errno.EROFS], ids=["EIO", "EROFS"])
def test_cut_of_a_volume_that_is_unmounted_meanwhile_is_to_be_repeated(
    make_node: MakeNode, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    node = make_node("xfs")
    volume = node.create("v1")
    node.mount("v1")

    def lost(points: list[str], *, max_s: float) -> NoReturn:
        node.unmount("v1")
        raise OSError(number, "the device went away")

    with monkeypatch.context() as patched:
        patched.setattr(use, "frozen", lost)
        with pytest.raises(OperationPending, match="being unstaged"):
            node.snapshot("s1", volume)
    node.snapshot("s1", volume)


def test_undo_removes_what_a_killed_attempt_left_aside(make_node: MakeNode) -> None:
    node = make_node("ext4")
    snapshot = node.snapshot("s1", node.create("v1"))
    node.driver.delete_snapshot(snapshot)
    build = node.pool / "tmp" / "build-snapshot-s1"
    build.mkdir()
    (build / "disk.img").write_bytes(bytes(MIB))
    (build / "copy.json").write_text("{}")
    node.driver.delete_snapshot(snapshot)
    assert node.left() == ["volumes/v1"]


def fill(node: Node, *, left_bytes: int) -> None:
    run("sync", "-f", str(node.pool))
    stats = os.statvfs(node.pool)
    with (node.pool / "ballast").open("wb") as file:
        os.posix_fallocate(file.fileno(), 0, stats.f_bavail * stats.f_frsize - left_bytes)


def full_volume(node: Node, volume_id: str) -> VolumeRecord:
    volume = node.create(volume_id, size_bytes=64 * MIB)
    with node.image(volume_id).open("r+b") as file:
        file.write(os.urandom(32 * MIB))
    return volume


def test_copy_that_does_not_fit_is_refused_before_writers_are_held(
    make_node: MakeNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    node = make_node("ext4")
    volume = full_volume(node, "v1")
    snapshot = node.snapshot("s1", volume)
    fill(node, left_bytes=24 * MIB)
    with monkeypatch.context() as patched:
        patched.setattr("moorage.drivers.local.image.held", lambda *_, **__: pytest.fail("writers were held"))
        with pytest.raises(ResourceExhausted, match="too full for a copy of v1: it takes 33554432 bytes"):
            node.snapshot("s2", volume)
        with pytest.raises(ResourceExhausted, match="too full for a copy of v1"):
            node.clone("v2", volume)
        with pytest.raises(ResourceExhausted, match="too full for a copy of s1"):
            node.restore("v3", snapshot)
    assert "snapshots/s2" not in node.left()
    assert "tmp/build-snapshot-s2" not in node.left()
    (node.pool / "ballast").unlink()
    node.snapshot("s2", volume)


def test_copies_of_a_group_must_fit_together(make_node: MakeNode) -> None:
    node = make_node("ext4")
    volumes = [full_volume(node, name) for name in ("v1", "v2")]
    fill(node, left_bytes=48 * MIB)
    with pytest.raises(ResourceExhausted, match="it takes 67108864 bytes"):
        node.driver.create_group_snapshot(group_of(*volumes), tuple(volumes))
    assert node.left() == ["volumes/v1", "volumes/v2"]
    node.snapshot("s1", volumes[0])


def test_space_that_is_only_reserved_is_not_asked_for(make_node: MakeNode) -> None:
    node = make_node("ext4")
    volume = node.create("v1", size_bytes=64 * MIB, parameters={"allocation": "reserved"})
    assert allocated_bytes(str(node.image("v1"))) >= 64 * MIB
    fill(node, left_bytes=24 * MIB)
    node.snapshot("s1", volume)
