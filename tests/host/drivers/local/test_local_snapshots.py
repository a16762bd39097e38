"""Snapshots, restores, group snapshots and changed blocks of image volumes."""

from __future__ import annotations

import os
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path

import pytest
from tests.host.drivers.local.pool_node import (
    MIB,
    RAW,
    MakeNode,
    Node,
    on_every_pool,
    on_reflink_pools,
    run,
    snapshot_record,
)

from moorage.framework.values import ChangedBlocks, NewGroupSnapshot, NewSnapshot, SnapshotRecord, VolumeRecord
from moorage.host.copy import allocated_bytes
from moorage.host.loop import list_loops
from moorage.spec.errors import FailedPrecondition, OutOfRange, SnapshotNotFound

pytestmark = pytest.mark.root


def group_of(*volumes: VolumeRecord) -> NewGroupSnapshot:
    members = tuple(
        NewSnapshot(
            snapshot_id=f"g1-{volume.volume_id}",
            name=f"group\x00{volume.volume_id}",
            source_volume_id=volume.volume_id,
            group_snapshot_id="g1",
        )
        for volume in volumes
    )
    return NewGroupSnapshot(group_snapshot_id="g1", name="group", members=members)


def blocks(found: ChangedBlocks) -> list[tuple[int, int]]:
    assert isinstance(found.blocks, list)
    return [(block.byte_offset, block.size_bytes) for block in found.blocks]


@on_every_pool
def test_snapshot_is_of_the_moment_and_read_only(node: Node) -> None:
    volume = node.create("v1")
    live = node.mount("v1")
    (live / "file").write_text("before")
    begun = datetime.now(UTC)
    snapshot = node.snapshot("s1", volume)
    assert begun <= snapshot.creation_time <= datetime.now(UTC)
    assert snapshot.size_bytes == volume.capacity_bytes
    (live / "file").write_text("after")
    image = node.pool / "snapshots" / "s1" / "disk.img"
    assert image.stat().st_mode & 0o777 == 0o400
    node.restore("v2", snapshot)
    assert (node.mount("v2") / "file").read_text() == "before"


@on_every_pool
def test_snapshot_repeated_is_the_first_one(node: Node) -> None:
    volume = node.create("v1")
    first = node.snapshot("s1", volume)
    (node.mount("v1") / "file").write_text("later")
    assert node.snapshot("s1", volume).creation_time == first.creation_time


@on_every_pool
def test_snapshot_outlives_its_volume(node: Node) -> None:
    volume = node.create("v1")
    (node.mount("v1") / "file").write_text("kept")
    snapshot = node.snapshot("s1", volume)
    node.unmount("v1")
    node.driver.delete_volume(volume)
    node.restore("v2", snapshot)
    assert (node.mount("v2") / "file").read_text() == "kept"
    node.driver.delete_snapshot(snapshot)
    node.driver.delete_snapshot(snapshot)
    assert node.left() == ["volumes/v2"]
    with pytest.raises(SnapshotNotFound):
        node.restore("v3", snapshot)


@on_every_pool
def test_snapshots_of_one_volume_may_be_taken_together(node: Node) -> None:
    volume = node.create("v1")
    (node.mount("v1") / "file").write_text("x")
    with ThreadPoolExecutor(4) as threads:
        made = list(threads.map(lambda number: node.snapshot(f"s{number}", volume), range(8)))
    assert len({snapshot.snapshot_id for snapshot in made}) == 8
    (node.mounts / "v1" / "file").write_text("writable")


@on_reflink_pools
def test_snapshot_of_a_full_volume_takes_no_space(node: Node) -> None:
    volume = node.create("v1", size_bytes=128 * MIB)
    live = node.mount("v1")
    (live / "file").write_bytes(os.urandom(96 * MIB))
    run("sync", "-f", str(live))
    run("sync", "-f", str(node.pool))
    used = node.driver._pools.default.stats().used_bytes
    node.snapshot("s1", volume)
    assert node.driver._pools.default.stats().used_bytes - used < 8 * MIB


def test_empty_space_of_a_snapshot_stays_empty_where_blocks_are_copied(make_node: MakeNode) -> None:
    node = make_node("ext4")
    snapshot = node.snapshot("s1", node.create("v1", size_bytes=256 * MIB))
    node.restore("v2", snapshot)
    for image in (node.pool / "snapshots/s1/disk.img", node.image("v2")):
        assert allocated_bytes(str(image)) < MIB


@on_reflink_pools
def test_snapshot_of_a_raw_device_in_use_has_what_was_written_before(node: Node) -> None:
    volume = node.create("v1", size_bytes=16 * MIB, capability=RAW)
    data = os.urandom(MIB)
    with open(node.attach_raw("v1"), "r+b") as file:
        file.write(data)
        file.flush()
        snapshot = node.snapshot("s1", volume)
    assert (node.pool / "snapshots/s1/disk.img").read_bytes()[:MIB] == data
    assert snapshot.size_bytes == 16 * MIB


def test_raw_device_in_use_is_not_copied_while_it_may_be_written(make_node: MakeNode) -> None:
    node = make_node("ext4")
    volume = node.create("v1", size_bytes=16 * MIB, capability=RAW)
    node.attach_raw("v1")
    with pytest.raises(FailedPrecondition, match="raw block device"):
        node.snapshot("s1", volume)
    node.detach("v1")
    node.driver.delete_snapshot(snapshot_record(node.driver.create_snapshot(_wish("s1", volume), volume)))
    assert node.left() == ["volumes/v1"]


def _wish(snapshot_id: str, volume: VolumeRecord) -> NewSnapshot:
    return NewSnapshot(snapshot_id=snapshot_id, name=snapshot_id, source_volume_id=volume.volume_id)


@on_every_pool
def test_group_is_cut_at_one_instant(node: Node) -> None:
    """A writer numbers its writes over all members in turn: no member may be ahead of one written before it."""
    volumes = [node.create(f"v{number}", size_bytes=24 * MIB) for number in range(3)]
    points = [node.mount(volume.volume_id) for volume in volumes]
    begun, stop = threading.Event(), threading.Event()
    writer = threading.Thread(target=_write_in_turn, args=(points, begun, stop))
    writer.start()
    try:
        assert begun.wait(30.0)
        made = node.driver.create_group_snapshot(group_of(*volumes), tuple(volumes))
    finally:
        stop.set()
        writer.join()
    assert {snapshot.creation_time for snapshot in made} == {made[0].creation_time}
    assert [snapshot.group_snapshot_id for snapshot in made] == ["g1"] * 3
    counts = []
    for number, snapshot in enumerate(made):
        node.restore(f"r{number}", snapshot_record(snapshot))
        counts.append(int((node.mount(f"r{number}") / "count").read_text()))
    assert counts[0] - 1 <= counts[2] <= counts[1] <= counts[0]
    assert node.driver.create_group_snapshot(group_of(*volumes), tuple(volumes)) == made


def _write_in_turn(points: list[Path], begun: threading.Event, stop: threading.Event) -> None:
    count = 0
    while not stop.is_set():
        count += 1
        for point in points:
            fd = os.open(point / "count", os.O_WRONLY | os.O_CREAT, 0o600)
            os.pwrite(fd, b"%08d" % count, 0)
            os.fsync(fd)
            os.close(fd)
        begun.set()


def test_group_with_a_raw_device_in_use_is_refused_and_leaves_nothing(make_node: MakeNode) -> None:
    node = make_node("xfs")
    volumes = [node.create("v1"), node.create("v2", capability=RAW)]
    node.attach_raw("v2")
    with pytest.raises(FailedPrecondition, match="raw block device"):
        node.driver.create_group_snapshot(group_of(*volumes), tuple(volumes))
    node.detach("v2")
    assert node.left() == ["volumes/v1", "volumes/v2"]
    assert len(node.driver.create_group_snapshot(group_of(*volumes), tuple(volumes))) == 2


def test_group_that_fails_half_way_leaves_nothing(make_node: MakeNode, monkeypatch: pytest.MonkeyPatch) -> None:
    node = make_node("xfs")
    volumes = [node.create("v1"), node.create("v2")]
    layout = node.driver._pools.default.layout
    publish = type(layout).publish

    def fail_for_the_second(self: object, kind: str, object_id: str) -> Path:
        if object_id == "g1-v2":
            raise OSError(5, "injected")
        return publish(layout, "snapshot", object_id)

    monkeypatch.setattr(type(layout), "publish", fail_for_the_second)
    with pytest.raises(OSError, match="injected"):
        node.driver.create_group_snapshot(group_of(*volumes), tuple(volumes))
    assert node.left() == ["volumes/v1", "volumes/v2"]


# --- changed blocks ---


def _write_at(node: Node, volume_id: str, *ranges: tuple[int, bytes]) -> None:
    device = node.attach_raw(volume_id)
    fd = os.open(device, os.O_RDWR)
    try:
        for offset, data in ranges:
            os.pwrite(fd, data, offset)
        os.fsync(fd)
    finally:
        os.close(fd)
    node.detach(volume_id)


@on_reflink_pools
def test_changed_blocks_cover_exactly_what_was_written(node: Node) -> None:
    volume = node.create("v1", size_bytes=64 * MIB, capability=RAW)
    _write_at(node, "v1", (0, os.urandom(MIB)), (32 * MIB, os.urandom(MIB)))
    base = node.snapshot("s1", volume)
    _write_at(node, "v1", (32 * MIB, os.urandom(4096)), (48 * MIB, os.urandom(8192)))
    target = node.snapshot("s2", volume)
    assert blocks(node.driver.allocated_blocks(base, 0)) == [(0, MIB), (32 * MIB, MIB)]
    found = node.driver.changed_blocks(base, target, 0)
    assert found.volume_capacity_bytes == 64 * MIB
    assert blocks(found) == [(32 * MIB, 4096), (48 * MIB, 8192)]
    assert blocks(node.driver.changed_blocks(base, base, 0)) == []
    assert blocks(node.driver.changed_blocks(base, target, 32 * MIB + 4096)) == [(48 * MIB, 8192)]


@on_reflink_pools
def test_changed_blocks_rebuild_the_target_from_the_base(node: Node) -> None:
    volume = node.create("v1", size_bytes=48 * MIB)
    live = node.mount("v1")
    for number in range(20):
        (live / f"file{number}").write_bytes(os.urandom(200_000))
    base = node.snapshot("s1", volume)
    for number in range(0, 20, 3):
        (live / f"file{number}").write_bytes(os.urandom(150_000))
    (live / "file1").unlink()
    target = node.snapshot("s2", volume)
    content = bytearray((node.pool / "snapshots/s1/disk.img").read_bytes())
    wanted = (node.pool / "snapshots/s2/disk.img").read_bytes()
    for offset, length in blocks(node.driver.changed_blocks(base, target, 0)):
        content[offset : offset + length] = wanted[offset : offset + length]
    assert bytes(content) == wanted
    emptied = bytearray(len(wanted))
    for offset, length in blocks(node.driver.allocated_blocks(target, 0)):
        emptied[offset : offset + length] = wanted[offset : offset + length]
    assert bytes(emptied) == wanted


@on_reflink_pools
def test_changed_blocks_stay_inside_a_volume_of_odd_size(node: Node) -> None:
    volume = node.create("v1", size_bytes=MIB + 512, capability=RAW)
    _write_at(node, "v1", (MIB, b"x" * 512))
    snapshot = node.snapshot("s1", volume)
    assert blocks(node.driver.allocated_blocks(snapshot, 0)) == [(MIB, 512)]
    with pytest.raises(OutOfRange):
        node.driver.allocated_blocks(snapshot, MIB + 513)


def test_changed_blocks_need_shared_blocks(make_node: MakeNode) -> None:
    node = make_node("ext4")
    volume = node.create("v1", size_bytes=8 * MIB, capability=RAW)
    _write_at(node, "v1", (MIB, os.urandom(4096)))
    base, target = node.snapshot("s1", volume), node.snapshot("s2", volume)
    assert blocks(node.driver.allocated_blocks(base, 0)) == [(MIB, 4096)]
    with pytest.raises(FailedPrecondition, match="reflink"):
        node.driver.changed_blocks(base, target, 0)


def test_nothing_is_attached_after_snapshots_and_restores(make_node: MakeNode) -> None:
    node = make_node("xfs")
    volume = node.create("v1")
    snapshots: list[SnapshotRecord] = [node.snapshot(f"s{number}", volume) for number in range(2)]
    node.restore("v2", snapshots[0])
    assert [loop for loop in list_loops() if loop.backing_path.startswith(str(node.pool))] == []
