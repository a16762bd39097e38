"""What `moorage local check`, `repair` and `import` find in a pool."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
from tests.host.drivers.local.pool_node import MIB, MakeNode, Node

from moorage.drivers.local.findings import Finding
from moorage.drivers.local.importing import import_records
from moorage.drivers.local.inspection import check
from moorage.drivers.local.layout import locked
from moorage.drivers.local.mending import Repair, repair
from moorage.drivers.local.pool import Pool
from moorage.framework.values import NewGroupSnapshot, NewSnapshot
from moorage.host.loop import attach, detach, list_loops

pytestmark = pytest.mark.root


def pool_of(node: Node) -> Pool:
    return node.driver._pools.default


def problems(found: tuple[Finding, ...]) -> list[tuple[str, str, bool]]:
    return sorted((finding.problem, finding.object_id, finding.repairable) for finding in found)


def test_healthy_pool_in_use_has_no_findings(make_node: MakeNode) -> None:
    node = make_node("xfs")
    volume = node.create("v1")
    node.mount("v1")
    node.snapshot("s1", volume)
    assert check([pool_of(node)], known_volumes={"v1"}, known_snapshots={"s1"}) == ()


def test_everything_that_is_wrong_is_found_and_told_what_to_do(make_node: MakeNode) -> None:
    node = make_node("xfs")
    volume = node.create("v1")
    node.snapshot("s1", volume)
    node.create("short")
    node.create("unread")
    os.truncate(node.image("short"), MIB)
    (node.pool / "volumes/unread/volume.json").write_text("{")
    (node.pool / "snapshots/s1/disk.img").unlink()
    (node.pool / "volumes/not an id").mkdir()
    (node.pool / "tmp/build-volume-half").mkdir()
    (node.pool / "tmp/trash-snapshot-old").mkdir()
    found = check([pool_of(node)], known_volumes={"short", "unread", "gone"}, known_snapshots=set())
    assert problems(found) == [
        ("damaged", "s1", False),
        ("damaged", "short", False),
        ("damaged", "unread", False),
        ("foreign", "", False),
        ("missing", "gone", False),
        ("unfinished", "", True),
        ("unfinished", "half", True),
        ("unknown", "s1", False),
        ("unknown", "v1", False),
    ]
    assert all(finding.text for finding in found)


def test_loop_devices_that_nobody_uses_are_found(make_node: MakeNode, tmp_path: Path) -> None:
    node = make_node("xfs")
    node.create("mounted")
    node.mount("mounted")
    node.create("idle")
    idle = attach(str(node.image("idle")), direct_io=False)
    build = node.pool / "tmp/build-volume-half"
    build.mkdir()
    (build / "disk.img").write_bytes(bytes(MIB))
    half = attach(str(build / "disk.img"), direct_io=False)
    try:
        found = check([pool_of(node)])
        loops = {finding.path: finding.repairable for finding in found if finding.problem == "loop"}
        assert loops == {idle.path: False, half.path: True}
        done = repair([pool_of(node)])
        assert done == (Repair(f"removed {build}"),)
    finally:
        detach(idle.path, expected_backing=idle.backing)
    assert [loop for loop in list_loops() if loop.backing_path.startswith(f"{node.pool}/tmp/")] == []
    assert node.left() == ["volumes/idle", "volumes/mounted"]


def test_loop_device_on_a_removed_file_is_detached(make_node: MakeNode) -> None:
    node = make_node("xfs")
    node.create("v1")
    device = attach(str(node.image("v1")), direct_io=False)
    node.image("v1").unlink()
    assert [finding.path for finding in check([pool_of(node)]) if finding.problem == "loop"] == [device.path]
    assert repair([pool_of(node)]) == (Repair(f"detached {device.path}"),)
    assert [loop for loop in list_loops() if loop.backing == device.backing] == []


def test_repair_leaves_alone_what_a_driver_works_on(make_node: MakeNode) -> None:
    node = make_node("xfs")
    build = node.pool / "tmp/build-volume-busy"
    build.mkdir()
    with locked(build):
        done = repair([pool_of(node)])
        assert [(repair.done, "alone" in repair.text) for repair in done] == [(False, True)]
        assert build.exists()
    repair([pool_of(node)])
    assert node.left() == []


def test_journal_can_be_made_again_from_the_pool(make_node: MakeNode) -> None:
    node = make_node("btrfs")
    image = node.create("v1", parameters={"backend": "image", "readAheadKiB": "64"})
    tree = node.create("v2")
    cut = node.snapshot("s1", tree)
    node.clone("v3", image)
    (node.pool / "volumes/v2/volume.json").write_text("{")
    found = import_records([pool_of(node)])
    assert [record.volume_id for record in found.volumes] == ["v1", "v3"]
    assert found.volumes[0] == node.driver.find_volume("v1")
    assert found.volumes[0].name == "name of v1"
    assert [(record.snapshot_id, record.creation_time) for record in found.snapshots] == [("s1", cut.creation_time)]
    assert problems(found.findings) == [("damaged", "v2", False)]


def test_group_that_was_never_finished_is_not_imported_as_one(make_node: MakeNode) -> None:
    node = make_node("xfs")
    volumes = (node.create("v1"), node.create("v2"))
    members = tuple(
        NewSnapshot(
            snapshot_id=f"g1-{volume.volume_id}",
            name=f"group\x00{volume.volume_id}",
            source_volume_id=volume.volume_id,
            group_snapshot_id="g1",
        )
        for volume in volumes
    )
    node.driver.create_group_snapshot(NewGroupSnapshot(group_snapshot_id="g1", name="group", members=members), volumes)
    whole = import_records([pool_of(node)])
    assert [group.snapshot_ids for group in whole.groups] == [("g1-v1", "g1-v2")]
    assert whole.findings == ()
    shutil.rmtree(node.pool / "snapshots/g1-v2")  # what a crash between two renames leaves, the other way round
    partial = import_records([pool_of(node)])
    assert (partial.groups, partial.snapshots) == ((), ())
    assert "1 of 2 members" in partial.findings[0].text
