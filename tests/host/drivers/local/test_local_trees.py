"""Volumes kept as btrfs subvolumes and as plain directories."""

from __future__ import annotations

import errno
import os
import shutil
import stat
from datetime import UTC, datetime
from pathlib import Path

import pytest
from tests.host.drivers.local.pool_node import MIB, RAW, MakeNode, run

from moorage.framework.source import Directory
from moorage.framework.values import NewGroupSnapshot, NewSnapshot, NodeVolume, SnapshotRecord
from moorage.host.btrfs import find_compression, find_subvolume
from moorage.spec.errors import FailedPrecondition, InvalidArgument, OutOfRange, VolumeInUse
from moorage.spec.types import UsageUnit

pytestmark = pytest.mark.root

KINDS = [pytest.param("btrfs", (), id="subvolume"), pytest.param("ext4", ("directory",), id="directory")]
on_every_kind = pytest.mark.parametrize(("fs_type", "backend"), KINDS)


def fill(root: Path) -> None:
    """One of everything that a tree can hold."""
    (root / "sub" / "deeper").mkdir(parents=True)
    (root / "file").write_bytes(b"content")
    os.chown(root / "file", 1234, 4321)
    (root / "file").chmod(0o4750)
    os.setxattr(root / "file", "user.note", b"attribute")
    os.link(root / "file", root / "sub" / "hard")
    os.symlink("/etc/passwd", root / "link")
    os.mkfifo(root / "pipe", 0o640)
    os.mknod(root / "null", 0o600 | stat.S_IFCHR, os.makedev(1, 3))
    with (root / "sparse").open("wb") as file:
        file.truncate(64 * MIB)
        file.seek(32 * MIB)
        file.write(b"island")
    (root / "sub").chmod(0o3771)
    os.utime(root / "sub" / "deeper", ns=(10**18, 10**18))


def assert_filled(root: Path) -> None:
    info = (root / "file").stat()
    assert (info.st_uid, info.st_gid, stat.S_IMODE(info.st_mode), info.st_nlink) == (1234, 4321, 0o4750, 2)
    assert (root / "file").read_bytes() == b"content"
    assert os.getxattr(root / "file", "user.note") == b"attribute"
    assert (root / "sub" / "hard").stat().st_ino == info.st_ino
    assert os.readlink(root / "link") == "/etc/passwd"
    assert stat.S_ISFIFO((root / "pipe").lstat().st_mode)
    assert (root / "null").lstat().st_rdev == os.makedev(1, 3)
    sparse = (root / "sparse").stat()
    assert sparse.st_size == 64 * MIB
    assert sparse.st_blocks * 512 < MIB
    with (root / "sparse").open("rb") as file:
        file.seek(32 * MIB)
        assert file.read(6) == b"island"
    assert stat.S_IMODE((root / "sub").stat().st_mode) == 0o3771
    assert (root / "sub" / "deeper").stat().st_mtime_ns == 10**18


@on_every_kind
def test_snapshot_and_clone_keep_everything_a_tree_can_hold(
    make_node: MakeNode, fs_type: str, backend: tuple[str, ...]
) -> None:
    node = make_node(fs_type, backend=backend)
    volume = node.create("v1", size_bytes=64 * MIB)
    live = node.mount("v1")
    fill(live)
    snapshot = node.snapshot("s1", volume)
    shutil.rmtree(live / "sub")
    (live / "file").write_bytes(b"changed")
    node.restore("v2", snapshot, size_bytes=96 * MIB)
    assert_filled(node.mount("v2"))
    fill_again = node.restore("v3", snapshot)
    node.clone("v4", fill_again)
    assert_filled(node.mount("v4"))
    (node.mounts / "v2" / "new").write_text("a restored volume is writable")


@on_every_kind
def test_everything_can_be_deleted(make_node: MakeNode, fs_type: str, backend: tuple[str, ...]) -> None:
    node = make_node(fs_type, backend=backend)
    volume = node.create("v1", size_bytes=64 * MIB)
    fill(node.mount("v1"))
    snapshot = node.snapshot("s1", volume)
    with pytest.raises(VolumeInUse, match="mounted at"):
        node.driver.delete_volume(volume)
    assert_filled(node.mounts / "v1")
    node.unmount("v1")
    for _ in range(2):
        node.driver.delete_volume(volume)
        node.driver.delete_snapshot(snapshot)
    assert node.left() == []


@on_every_kind
def test_root_directory_gets_its_owner_and_mode(make_node: MakeNode, fs_type: str, backend: tuple[str, ...]) -> None:
    node = make_node(fs_type, backend=backend)
    node.create("v1", parameters={"uid": "1000", "gid": "2000", "mode": "2770"})
    info = node.mount("v1").stat()
    assert (info.st_uid, info.st_gid, stat.S_IMODE(info.st_mode)) == (1000, 2000, 0o2770)
    node.create("v2")
    assert stat.S_IMODE(node.mount("v2").stat().st_mode) == 0o755


@on_every_kind
def test_usage_is_the_volumes_own(make_node: MakeNode, fs_type: str, backend: tuple[str, ...]) -> None:
    node = make_node(fs_type, backend=backend)
    node.create("v1", size_bytes=64 * MIB)
    live = node.mount("v1")
    (live / "file").write_bytes(os.urandom(8 * MIB))
    run("sync", "-f", str(live))
    usage = {entry.unit: entry for entry in node.driver.node_usage("v1", str(live))}
    found = usage[UsageUnit.BYTES]
    assert found.total == 64 * MIB
    assert 8 * MIB <= found.used < 9 * MIB
    assert found.available == found.total - found.used


@on_every_kind
def test_block_and_image_settings_are_for_images(make_node: MakeNode, fs_type: str, backend: tuple[str, ...]) -> None:
    node = make_node(fs_type, backend=backend)
    volume = node.create("v1")
    snapshot = node.snapshot("s1", volume)
    with pytest.raises(InvalidArgument, match="raw block"):
        node.restore("v2", snapshot, capability=RAW)
    with pytest.raises(InvalidArgument, match="readAheadKiB"):
        node.driver.modify_volume(volume, {"readAheadKiB": "256"})
    with pytest.raises(FailedPrecondition, match="image snapshots only"):
        node.driver.allocated_blocks(snapshot, 0)
    member = NewSnapshot(snapshot_id="g", name="g", source_volume_id="v1", group_snapshot_id="g1")
    with pytest.raises(FailedPrecondition, match="held still"):
        node.driver.create_group_snapshot(
            NewGroupSnapshot(group_snapshot_id="g1", name="g1", members=(member,)), (volume,)
        )
    node.create("raw", capability=RAW)
    assert node.image("raw").exists()
    assert node.left() == ["snapshots/s1", "volumes/raw", "volumes/v1"]


def test_subvolume_holds_its_limit_and_grows(make_node: MakeNode) -> None:
    node = make_node("btrfs")
    volume = node.create("v1", size_bytes=16 * MIB)
    live = node.mount("v1")
    with pytest.raises(OSError, match="quota") as caught:
        _write_synced(live / "big", 24 * MIB)
    assert caught.value.errno == errno.EDQUOT
    (live / "big").unlink()
    run("sync", "-f", str(live))
    node.driver.expand_volume(volume, 64 * MIB)
    _write_synced(live / "big", 24 * MIB)


def _write_synced(path: Path, size_bytes: int) -> None:
    with path.open("wb", buffering=0) as file:
        for _ in range(size_bytes // MIB):
            file.write(os.urandom(MIB))
        os.fsync(file.fileno())


def test_restored_subvolume_has_its_own_limit(make_node: MakeNode) -> None:
    node = make_node("btrfs")
    snapshot = node.snapshot("s1", node.create("v1", size_bytes=16 * MIB))
    node.restore("v2", snapshot, size_bytes=48 * MIB)
    _write_synced(node.mount("v2") / "big", 32 * MIB)
    with pytest.raises(OSError, match="quota"):
        _write_synced(node.mount("v1") / "big", 32 * MIB)


def test_content_that_does_not_fit_the_new_limit_is_refused(make_node: MakeNode) -> None:
    node = make_node("btrfs")
    volume = node.create("v1", size_bytes=32 * MIB)
    _write_synced(node.mount("v1") / "big", 24 * MIB)
    run("sync", "-f", str(node.pool))
    with pytest.raises(OutOfRange, match="does not fit"):
        node.clone("v2", volume, size_bytes=16 * MIB)


def test_compression_is_a_property_of_the_subvolume(make_node: MakeNode) -> None:
    node = make_node("btrfs")
    volume = node.create("v1", parameters={"compression": "zstd"})
    data = node.pool / "volumes/v1/data"
    assert find_compression(str(data)) == "zstd"
    node.driver.modify_volume(volume, {"compression": "none"})
    assert find_compression(str(data)) == "none"


def test_subvolumes_that_a_user_made_inside_go_with_the_volume(make_node: MakeNode) -> None:
    node = make_node("btrfs")
    volume = node.create("v1", size_bytes=64 * MIB)
    live = node.mount("v1")
    run("btrfs", "-q", "subvolume", "create", str(live / "inner"))
    (live / "inner" / "file").write_text("x")
    run("btrfs", "-q", "subvolume", "snapshot", "-r", str(live / "inner"), str(live / "inner" / "frozen"))
    snapshot = node.snapshot("s1", volume)
    node.unmount("v1")
    node.driver.delete_volume(volume)
    node.driver.delete_snapshot(snapshot)
    assert node.left() == []


def test_tree_snapshot_across_pools_is_copied(make_node: MakeNode) -> None:
    node = make_node("btrfs")
    other = make_node("ext4")
    both = type(node.driver)(
        type(node.driver.config)(
            pool=(str(node.pool), f"second={other.pool}"), node_id="node-a", backend=("directory",)
        )
    )
    for single in (node, other):
        single.driver.stop()
    both.start()
    node.driver = other.driver = both
    volume = node.create("v1", size_bytes=64 * MIB)
    fill(node.mount("v1"))
    snapshot = node.snapshot("s1", volume)
    node.restore("v2", snapshot, parameters={"pool": "second"})
    source = both.node_source(NodeVolume(volume_id="v2", volume_capability=volume.volume_capabilities[0]))
    assert isinstance(source, Directory)
    assert source.path.is_relative_to(other.pool)
    assert_filled(source.path)


def test_directory_tree_may_be_deeper_than_python_recursion(make_node: MakeNode) -> None:
    node = make_node("ext4", backend=("directory",))
    volume = node.create("v1")
    fd = os.open(node.pool / "volumes/v1/data", os.O_RDONLY)
    for _ in range(2000):
        os.mkdir("d", dir_fd=fd)
        inner = os.open("d", os.O_RDONLY, dir_fd=fd)
        os.close(fd)
        fd = inner
    os.close(fd)
    with pytest.raises(FailedPrecondition, match="deeper than"):
        node.snapshot("s1", volume)
    node.driver.delete_volume(volume)
    node.driver.delete_snapshot(_gone(volume.volume_id))
    assert node.left() == []


def _gone(volume_id: str) -> SnapshotRecord:
    return SnapshotRecord(snapshot_id="s1", name="", source_volume_id=volume_id, creation_time=datetime.now(UTC))


def test_subvolume_is_a_subvolume_and_its_snapshot_read_only(make_node: MakeNode) -> None:
    node = make_node("btrfs")
    node.snapshot("s1", node.create("v1"))
    volume, snapshot = (find_subvolume(str(node.pool / home / "data")) for home in ("volumes/v1", "snapshots/s1"))
    assert volume is not None
    assert snapshot is not None
    assert (volume.readonly, snapshot.readonly) == (False, True)
