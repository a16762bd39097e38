"""Snapshots, groups, restore and clone, with records on a real disk and a driver in memory."""

from __future__ import annotations

from pathlib import Path

import pytest
from msgspec.structs import replace
from tests.unit.orchestrator.memory_driver import Fault, MemoryDriver, OrchestratorKilled
from tests.unit.orchestrator.setting import Desk, a_desk, a_wish, declared

from moorage.orchestrator.model import OrchestratorError, VolumeRecord
from moorage.orchestrator.queries import Queries
from moorage.spec import errors
from moorage.spec.types import SnapshotSource


@pytest.fixture
async def desk(tmp_path: Path) -> Desk:
    desk = a_desk(tmp_path)
    await desk.register()
    return desk


async def volume_of(desk: Desk, name: str = "data") -> VolumeRecord:
    return await desk.volumes.create(a_wish(name))


async def test_a_snapshot_is_cut_restored_and_deleted(desk: Desk) -> None:
    snapshot = await desk.snapshots.create(await volume_of(desk), "monday", parameters={})
    assert snapshot.ready
    restored = await desk.volumes.create(replace(a_wish("copy"), source=SnapshotSource(snapshot.snapshot_id)))
    assert desk.driver.volumes[restored.actual.volume_id].request.volume_content_source == SnapshotSource(
        snapshot.snapshot_id
    )
    await desk.snapshots.delete("monday")
    await desk.snapshots.delete("monday")
    assert desk.driver.snapshots == {}
    assert await desk.snapshots.all() == []


async def test_a_snapshot_that_is_not_ready_is_asked_about_until_it_is(desk: Desk) -> None:
    desk.driver.polls_until_ready = 3
    snapshot = await desk.snapshots.create(await volume_of(desk), "monday", parameters={})
    assert snapshot.ready
    assert desk.driver.called.count("CreateSnapshot") == 4
    assert desk.notes.notes == ["snapshot 'monday' is not ready yet"] * 3


async def test_a_snapshot_that_never_gets_ready_is_kept_and_can_be_waited_for(desk: Desk) -> None:
    desk.driver.polls_until_ready = 10**6
    with pytest.raises(OrchestratorError, match="not ready after 100 s; run the same command again"):
        await desk.snapshots.create(await volume_of(desk), "monday", parameters={})
    assert not (await desk.snapshots.get("monday")).ready
    desk.driver.polls_until_ready = 0
    assert (await desk.snapshots.ready("monday")).ready


@pytest.mark.parametrize("when", ["before", "after"])
async def test_a_killed_snapshot_command_leaves_what_can_be_repeated_or_deleted(desk: Desk, when: str) -> None:
    volume = await volume_of(desk)
    desk.driver.faults.append(Fault("CreateSnapshot", "before" if when == "before" else "after", OrchestratorKilled()))
    with pytest.raises(OrchestratorKilled):
        await desk.snapshots.create(volume, "monday", parameters={})
    await desk.snapshots.create(volume, "monday", parameters={})
    assert len(desk.driver.snapshots) == 1
    desk.driver.faults.append(Fault("DeleteSnapshot", "after", OrchestratorKilled()))
    with pytest.raises(OrchestratorKilled):
        await desk.snapshots.delete("monday")
    await desk.snapshots.delete("monday")
    assert desk.driver.snapshots == {}
    assert await desk.snapshots.all() == []


async def test_a_snapshot_of_unknown_id_is_looked_up_before_it_is_deleted(desk: Desk) -> None:
    desk.driver.faults.append(Fault("CreateSnapshot", "after", OrchestratorKilled()))
    with pytest.raises(OrchestratorKilled):
        await desk.snapshots.create(await volume_of(desk), "monday", parameters={})
    await desk.snapshots.delete("monday")
    assert desk.driver.snapshots == {}


async def test_a_snapshot_that_fails_for_good_leaves_no_record(desk: Desk) -> None:
    volume = await volume_of(desk)
    desk.driver.faults.append(Fault("CreateSnapshot", "before", errors.ResourceExhausted("no space")))
    with pytest.raises(OrchestratorError, match="no space"):
        await desk.snapshots.create(volume, "monday", parameters={})
    assert await desk.snapshots.all() == []


@pytest.mark.parametrize("kind", ["snapshot", "group"])
async def test_a_cut_without_answer_can_be_deleted_after_its_volume(desk: Desk, kind: str) -> None:
    volume = await volume_of(desk)
    rpc = "CreateSnapshot" if kind == "snapshot" else "CreateVolumeGroupSnapshot"
    desk.driver.faults.append(Fault(rpc, "before", OrchestratorKilled()))
    if kind == "snapshot":
        with pytest.raises(OrchestratorKilled):
            await desk.snapshots.create(volume, "monday", parameters={})
    else:
        with pytest.raises(OrchestratorKilled):
            await desk.groups.create([volume], "monday", parameters={})
    await desk.volumes.delete("data")
    desk.driver.faults.append(Fault(rpc, "before", errors.VolumeNotFound(volume.actual.volume_id)))
    await (desk.snapshots if kind == "snapshot" else desk.groups).delete("monday")
    assert (await desk.snapshots.all(), await desk.groups.all()) == ([], [])
    assert "its volume is gone" in desk.notes.notes[-1]


async def test_a_snapshot_in_use_stays(desk: Desk) -> None:
    await desk.snapshots.create(await volume_of(desk), "monday", parameters={})
    desk.driver.faults.append(Fault("DeleteSnapshot", "before", errors.FailedPrecondition("in use")))
    with pytest.raises(OrchestratorError, match="in use"):
        await desk.snapshots.delete("monday")
    assert (await desk.snapshots.get("monday")).wanted


async def test_a_name_stands_for_one_snapshot(desk: Desk) -> None:
    await desk.snapshots.create(await volume_of(desk), "monday", parameters={})
    with pytest.raises(OrchestratorError, match="is of volume 'data'"):
        await desk.snapshots.create(await volume_of(desk, "more"), "monday", parameters={})


async def test_a_group_has_members_that_go_with_it(desk: Desk) -> None:
    volumes = [await volume_of(desk, "left"), await volume_of(desk, "right")]
    desk.driver.polls_until_ready = 4
    group = await desk.groups.create(volumes, "both", parameters={})
    assert group.ready
    assert desk.driver.called.count("CreateVolumeGroupSnapshot") == 1
    assert desk.driver.called.count("GetVolumeGroupSnapshot") >= 1
    assert [s.name for s in await desk.snapshots.all()] == ["both-left", "both-right"]
    with pytest.raises(OrchestratorError, match="belongs to group 'both'"):
        await desk.snapshots.delete("both-left")
    await desk.groups.delete("both")
    await desk.groups.delete("both")
    assert (desk.driver.snapshots, await desk.snapshots.all(), await desk.groups.all()) == ({}, [], [])


@pytest.mark.parametrize("rpc", ["CreateVolumeGroupSnapshot", "DeleteVolumeGroupSnapshot"])
async def test_a_killed_group_command_is_repeated(desk: Desk, rpc: str) -> None:
    volumes = [await volume_of(desk, "left"), await volume_of(desk, "right")]
    desk.driver.faults.append(Fault(rpc, "after", OrchestratorKilled()))

    async def use_and_delete() -> None:
        await desk.groups.create(volumes, "both", parameters={})
        await desk.groups.delete("both")

    with pytest.raises(OrchestratorKilled):
        await use_and_delete()
    await desk.groups.delete("both")
    assert (desk.driver.snapshots, await desk.snapshots.all(), await desk.groups.all()) == ({}, [], [])


async def test_drivers_without_snapshots_are_told_so(tmp_path: Path) -> None:
    desk = a_desk(tmp_path, MemoryDriver(declared("create", "stage")))
    await desk.register()
    volume = await volume_of(desk)
    with pytest.raises(OrchestratorError, match="does not offer snapshots"):
        await desk.snapshots.create(volume, "monday", parameters={})
    with pytest.raises(OrchestratorError, match="does not offer group snapshots"):
        await desk.groups.create([volume], "both", parameters={})
    with pytest.raises(OrchestratorError, match="does not tell its capacity"):
        await Queries(desk.workspace).capacity("memory", parameters={})


async def test_stats_are_those_of_the_published_path(desk: Desk) -> None:
    await volume_of(desk)
    with pytest.raises(OrchestratorError, match="is not mounted"):
        await Queries(desk.workspace).stats(await desk.volumes.get("data"))
    await desk.volumes.mount("data", "/a")
    answer = await Queries(desk.workspace).stats(await desk.volumes.get("data"))
    assert answer.usage[0].total == 64 << 20
