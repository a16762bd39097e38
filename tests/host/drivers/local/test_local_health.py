"""What is told of volumes and pools that are not well."""

from __future__ import annotations

import os

import pytest
from tests.host.drivers.local.pool_node import MIB, MakeNode, run

from moorage.spec.errors import ResourceExhausted, Unavailable
from moorage.spec.types import StorageHealthStatus, VolumeHealthStatus

pytestmark = pytest.mark.root


def test_truncated_image_is_data_loss(make_node: MakeNode) -> None:
    node = make_node("xfs")
    volume = node.create("v1")
    assert node.driver.volume_health(volume) == ()
    os.truncate(node.image("v1"), MIB)
    (entry,) = node.driver.volume_health(volume)
    assert entry.status is VolumeHealthStatus.DATA_LOSS
    assert str(MIB) in entry.message
    assert node.driver.node_volume_health("v1") == (entry,)


def test_lost_image_is_inaccessible(make_node: MakeNode) -> None:
    node = make_node("xfs")
    volume = node.create("v1")
    node.image("v1").unlink()
    assert [entry.status for entry in node.driver.volume_health(volume)] == [VolumeHealthStatus.INACCESSIBLE]


@pytest.mark.parametrize(
    ("fs_type", "stop"),
    [
        pytest.param("ext4", ("mount", "-o", "remount,abort"), id="ext4"),
        pytest.param("xfs", ("xfs_io", "-x", "-c", "shutdown"), id="xfs"),
    ],
)
def test_file_system_that_the_kernel_stopped_is_inaccessible(
    make_node: MakeNode, fs_type: str, stop: tuple[str, ...]
) -> None:
    node = make_node("xfs")
    volume = node.create("v1", size_bytes=320 * MIB)
    live = node.mount("v1", fs_type)
    assert node.driver.volume_health(volume) == ()
    run(*stop, str(live))
    (entry,) = node.driver.volume_health(volume)
    assert entry.status is VolumeHealthStatus.INACCESSIBLE
    assert entry.reason == "FilesystemStopped"


def test_nearly_full_pool_degrades_its_volumes(make_node: MakeNode) -> None:
    node = make_node("ext4")
    volume = node.create("v1")
    stats = node.driver._pools.default.stats()
    with (node.pool / "ballast").open("wb") as file:
        os.posix_fallocate(file.fileno(), 0, stats.available_bytes - 8 * MIB)
    assert [entry.status for entry in node.driver.volume_health(volume)] == [VolumeHealthStatus.DEGRADED]
    assert [entry.status for entry in node.driver.node_storage_health()] == [StorageHealthStatus.STORAGE_DEGRADED]
    (node.pool / "ballast").unlink()
    assert node.driver.node_storage_health() == ()


def test_read_only_pool_is_unreachable_and_refuses_in_a_sentence(make_node: MakeNode) -> None:
    node = make_node("ext4")
    volume = node.create("v1")
    run("mount", "-o", "remount,ro", str(node.pool))
    try:
        assert not node.driver.probe()
        assert [entry.status for entry in node.driver.node_storage_health()] == [
            StorageHealthStatus.STORAGE_UNREACHABLE
        ]
        with pytest.raises(Unavailable, match="repair it"):
            node.create("v2")
        with pytest.raises(Unavailable, match="cannot be deleted"):
            node.driver.delete_volume(volume)
    finally:
        run("mount", "-o", "remount,rw", str(node.pool))
    assert node.driver.probe()
    node.driver.delete_volume(volume)


def test_full_pool_refuses_a_snapshot_and_leaves_nothing_of_it(make_node: MakeNode) -> None:
    node = make_node("ext4")
    volume = node.create("v1", size_bytes=64 * MIB)
    (node.mount("v1") / "file").write_bytes(os.urandom(32 * MIB))
    run("sync")
    with (node.pool / "ballast").open("wb") as file:
        os.posix_fallocate(file.fileno(), 0, node.driver._pools.default.stats().available_bytes - 8 * MIB)
    with pytest.raises(ResourceExhausted, match="full"):
        node.snapshot("s1", volume)
    (node.mounts / "v1" / "more").write_text("not frozen")
    (node.pool / "ballast").unlink()
    node.snapshot("s1", volume)
    assert node.left() == ["snapshots/s1", "volumes/v1"]
