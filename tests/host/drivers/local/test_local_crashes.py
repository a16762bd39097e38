"""The local driver alone, killed in the middle of long or delicate work and started again."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys

import pytest
from tests.host.drivers.local.pool_node import MIB, MakeNode, Node

from moorage.framework.values import SnapshotRecord, VolumeRecord
from moorage.host.loop import list_loops

pytestmark = pytest.mark.root

CHILD = """
import sys
from moorage.base.faults import install, load_plan
from moorage.drivers.local import LocalConfig, LocalDriver
driver = LocalDriver(LocalConfig(pool=(sys.argv[1],), node_id="node-a", backend=("image",)))
driver.start()
install(load_plan(sys.argv[2]))
exec(sys.argv[3])
"""
RESTORE = """
from moorage.framework.values import NewVolume, SnapshotRecord
from moorage.spec.types import AccessMode, MountAccess, SnapshotSource, VolumeCapability
from datetime import datetime, UTC
snapshot = SnapshotRecord(snapshot_id="s1", name="", source_volume_id="v1", creation_time=datetime.now(UTC))
driver.restore_snapshot(NewVolume(volume_id="v2", name="name of v2", size_bytes=400 << 20,
    volume_capabilities=(VolumeCapability(AccessMode.SINGLE_NODE_WRITER, MountAccess()),),
    content_source=SnapshotSource("s1")), snapshot)
"""
SNAPSHOT = """
from moorage.framework.values import NewSnapshot, VolumeRecord
driver.create_snapshot(NewSnapshot(snapshot_id="s1", name="", source_volume_id="v1"),
    VolumeRecord(volume_id="v1", name="", capacity_bytes=320 << 20))
"""


def run_killed(node: Node, work: str, *points: str) -> None:
    plan = json.dumps([{"point": point, "action": "kill"} for point in points])
    node.driver.stop()  # a pool has one process at a time
    done = subprocess.run(
        [sys.executable, "-c", CHILD, str(node.pool), plan, work],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == -signal.SIGKILL, done.stderr


@pytest.fixture
def filled(make_node: MakeNode, request: pytest.FixtureRequest) -> tuple[Node, VolumeRecord, SnapshotRecord]:
    pool, fs_type = request.param
    node = make_node(pool, backend=("image",))
    volume = node.create("v1", size_bytes=320 * MIB)
    (node.mount("v1", fs_type) / "file").write_bytes(os.urandom(8 * MIB))
    return node, volume, node.snapshot("s1", volume)


@pytest.mark.parametrize("filled", [("xfs", "xfs"), ("ext4", "xfs"), ("btrfs", "ext4")], indirect=True)
@pytest.mark.parametrize(
    "point",
    [
        "after:local.volume.building",
        "after:local.image.cloned",
        "before:local.image.identified",
        "after:local.image.identified",
        "before:local.volume.placed",
        "after:local.volume.placed",
    ],
)
def test_killed_restore_is_finished_by_the_next_attempt(
    filled: tuple[Node, VolumeRecord, SnapshotRecord], point: str
) -> None:
    node, volume, snapshot = filled
    run_killed(node, RESTORE, point)
    node.again(backend=("image",))
    node.restore("v2", snapshot, size_bytes=400 * MIB)
    assert node.left() == ["snapshots/s1", "volumes/v1", "volumes/v2"]
    fs_type = "ext4" if node.pool.name.startswith("btrfs") else "xfs"
    assert (node.mount("v2", fs_type) / "file").read_bytes() == (node.mounts / "v1" / "file").read_bytes()
    assert [loop for loop in list_loops() if loop.backing_path.startswith(f"{node.pool}/tmp/")] == []
    for volume_id in ("v1", "v2"):
        node.unmount(volume_id)
    node.driver.delete_volume(volume)


@pytest.mark.parametrize("filled", [("xfs", "ext4"), ("ext4", "ext4")], indirect=True)
@pytest.mark.parametrize("point", ["before:local.image.cloned", "before:local.snapshot.placed"])
def test_killed_snapshot_leaves_the_volume_writable_and_nothing_else(
    filled: tuple[Node, VolumeRecord, SnapshotRecord], point: str
) -> None:
    node, volume, snapshot = filled
    node.driver.delete_snapshot(snapshot)
    run_killed(node, SNAPSHOT, point)
    (node.mounts / "v1" / "more").write_text("not frozen")
    node.again(backend=("image",))
    assert node.left() == ["volumes/v1"]
    node.snapshot("s1", volume)
    assert node.left() == ["snapshots/s1", "volumes/v1"]


@pytest.mark.parametrize("filled", [("ext4", "ext4")], indirect=True)
def test_killed_copy_goes_on_after_a_restart(filled: tuple[Node, VolumeRecord, SnapshotRecord]) -> None:
    node, _, snapshot = filled
    run_killed(node, RESTORE, "before:local.image.identified")
    notes = node.pool / "tmp/build-volume-v2/copy.json"
    assert json.loads(notes.read_bytes())["offset_bytes"] == 320 * MIB
    copied = node.pool / "tmp/build-volume-v2/disk.img"
    inode = copied.stat().st_ino
    node.again(backend=("image",))
    node.restore("v2", snapshot, size_bytes=400 * MIB)
    assert node.image("v2").stat().st_ino == inode
    assert not (node.pool / "volumes/v2/copy.json").exists()
    assert (node.mount("v2") / "file").read_bytes() == (node.mounts / "v1" / "file").read_bytes()


@pytest.mark.parametrize("filled", [("xfs", "ext4")], indirect=True)
def test_killed_deletion_is_finished_at_the_next_start(filled: tuple[Node, VolumeRecord, SnapshotRecord]) -> None:
    node, volume, _ = filled
    node.unmount("v1")
    work = "from moorage.framework.values import VolumeRecord\n"
    work += "driver.delete_volume(VolumeRecord(volume_id='v1', name='', capacity_bytes=1))"
    run_killed(node, work, "after:local.volume.retired")
    assert node.left() == ["snapshots/s1", "tmp/trash-volume-v1"]
    node.again(backend=("image",)).delete_volume(volume)
    assert node.left() == ["snapshots/s1"]
