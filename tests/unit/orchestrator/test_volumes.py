"""The commands on volumes, with records on a real disk and a driver in memory."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from msgspec.structs import replace
from tests.unit.orchestrator.memory_driver import Fault, MemoryDriver, OrchestratorKilled
from tests.unit.orchestrator.setting import BLOCK, MIB, Desk, a_desk, a_wish, declared

from moorage.orchestrator.model import OrchestratorError, Presence
from moorage.orchestrator.volumes import NewVolume
from moorage.spec import errors
from moorage.spec.types import AccessMode, MountAccess, VolumeCapability


@pytest.fixture
async def desk(tmp_path: Path) -> Desk:
    desk = a_desk(tmp_path)
    await desk.register()
    desk.driver.called.clear()
    return desk


async def test_create_mount_unmount_delete_leave_nothing(desk: Desk, tmp_path: Path) -> None:
    await desk.volumes.create(a_wish())
    volume = await desk.volumes.mount("data", str(tmp_path / "a"))
    assert [m.path for m in volume.actual.mounts] == [str(tmp_path / "a")]
    await desk.volumes.unmount("data")
    await desk.volumes.delete("data")
    assert desk.driver.volumes == {}
    assert await desk.volumes.all() == []
    assert list((tmp_path / "orchestrator" / "locks").iterdir()) == []


async def test_every_command_may_be_repeated(desk: Desk) -> None:
    await desk.volumes.create(a_wish())
    await desk.volumes.create(a_wish())
    await desk.volumes.mount("data", "/a")
    await desk.volumes.mount("data", "/a")
    await desk.volumes.expand("data", 128 * MIB)
    await desk.volumes.expand("data", 128 * MIB)
    await desk.volumes.unmount("data")
    await desk.volumes.unmount("data")
    await desk.volumes.delete("data")
    await desk.volumes.delete("data")
    changing = [rpc for rpc in desk.notes.calls if rpc != "NodeGetInfo"]
    assert len(changing) == len(set(changing))


async def test_records_survive_the_process(desk: Desk, tmp_path: Path) -> None:
    capability = VolumeCapability(AccessMode.MULTI_NODE_MULTI_WRITER, MountAccess("xfs", ("noatime",), "100"))
    wish = NewVolume(
        name="data",
        driver="memory",
        capability=capability,
        size_bytes=5,
        limit_bytes=1 << 40,
        parameters={"tier": "gold"},
    )
    made = await desk.volumes.create(wish)
    read = await a_desk(tmp_path, desk.driver).volumes.get("data")
    assert read == made
    assert read.capability == capability
    assert read.actual.volume_context == {"made": "here"}


async def test_a_different_wish_under_the_same_name_is_refused(desk: Desk) -> None:
    await desk.volumes.create(a_wish())
    with pytest.raises(OrchestratorError, match="another capacity range"):
        await desk.volumes.create(a_wish(size_bytes=128 * MIB))


async def test_a_create_that_finally_fails_leaves_no_record(desk: Desk) -> None:
    desk.driver.faults.append(Fault("CreateVolume", "before", errors.ResourceExhausted("the pool is full")))
    with pytest.raises(OrchestratorError, match="RESOURCE_EXHAUSTED: the pool is full"):
        await desk.volumes.create(a_wish())
    assert await desk.volumes.all() == []


async def test_a_killed_create_goes_on_under_the_same_request_name(desk: Desk, tmp_path: Path) -> None:
    desk.driver.faults.append(Fault("CreateVolume", "after", OrchestratorKilled()))
    with pytest.raises(OrchestratorKilled):
        await desk.volumes.create(a_wish())
    successor = a_desk(tmp_path, desk.driver)
    assert (await successor.volumes.get("data")).actual.created is Presence.UNCERTAIN
    await successor.volumes.create(a_wish())
    assert len(desk.driver.volumes) == 1


async def test_a_killed_create_can_be_deleted_without_knowing_the_id(desk: Desk, tmp_path: Path) -> None:
    desk.driver.faults.append(Fault("CreateVolume", "after", OrchestratorKilled()))
    with pytest.raises(OrchestratorKilled):
        await desk.volumes.create(a_wish())
    await a_desk(tmp_path, desk.driver).volumes.delete("data")
    assert desk.driver.volumes == {}


async def test_a_killed_create_that_can_no_longer_succeed_can_be_deleted(desk: Desk) -> None:
    desk.driver.faults.append(Fault("CreateVolume", "before", OrchestratorKilled()))
    with pytest.raises(OrchestratorKilled):
        await desk.volumes.create(a_wish())
    desk.driver.faults.append(Fault("CreateVolume", "before", errors.SnapshotNotFound("its source")))
    await desk.volumes.delete("data")
    assert await desk.volumes.all() == []


@pytest.mark.parametrize("rpc", ["ControllerPublishVolume", "NodeStageVolume", "NodePublishVolume"])
async def test_a_mount_that_finally_fails_is_undone(desk: Desk, rpc: str) -> None:
    await desk.volumes.create(a_wish())
    desk.driver.faults.append(Fault(rpc, "after", errors.Internal("mount said no")))
    with pytest.raises(OrchestratorError, match=f"{rpc} .* INTERNAL: mount said no"):
        await desk.volumes.mount("data", "/a")
    (stored,) = desk.driver.volumes.values()
    assert (stored.attached, stored.staged, stored.published) == (set(), set(), {})
    assert (await desk.volumes.get("data")).desired.mounts == ()


async def test_a_mount_without_final_answer_stays_wanted_and_is_resumed(desk: Desk) -> None:
    await desk.volumes.create(a_wish())
    desk.driver.faults += [Fault("NodeStageVolume", "after", errors.DeadlineExceeded("slow"))] * 99
    with pytest.raises(OrchestratorError, match="run the same command again"):
        await desk.volumes.mount("data", "/a")
    desk.driver.faults.clear()
    await desk.volumes.reconcile()
    assert "/a" in desk.driver.mounts


async def test_a_failed_expansion_is_no_longer_wanted(desk: Desk) -> None:
    await desk.volumes.create(a_wish())
    desk.driver.faults.append(Fault("ControllerExpandVolume", "before", errors.OutOfRange("too large")))
    with pytest.raises(OrchestratorError, match="OUT_OF_RANGE"):
        await desk.volumes.expand("data", 1 << 50)
    assert (await desk.volumes.get("data")).desired.size_bytes == 0


@pytest.mark.parametrize(
    ("act", "says"),
    [
        pytest.param(lambda v: v.delete("data"), "mounted at /a", id="delete-mounted"),
        pytest.param(lambda v: v.forget("data"), "in use on this machine", id="forget-mounted"),
        pytest.param(lambda v: v.expand("data", 1), "cannot shrink", id="shrink"),
        pytest.param(lambda v: v.mount("data", "/"), "root directory", id="mount-at-root"),
        pytest.param(lambda v: v.mount("other", "/b"), "no volume 'other'", id="unknown-volume"),
        pytest.param(lambda v: v.unmount("/nowhere"), "no volume is mounted at", id="unmount-elsewhere"),
        pytest.param(lambda v: v.create(a_wish("../up")), "not allowed", id="bad-name"),
    ],
)
async def test_what_would_be_unsafe_or_senseless_is_refused(desk: Desk, act: object, says: str) -> None:
    await desk.volumes.create(a_wish())
    await desk.volumes.mount("data", "/a")
    before = await desk.volumes.get("data")
    assert callable(act)
    with pytest.raises(OrchestratorError, match=says):
        await act(desk.volumes)
    assert await desk.volumes.get("data") == before


async def test_one_path_holds_one_volume(desk: Desk) -> None:
    await desk.volumes.create(a_wish())
    await desk.volumes.create(a_wish("more"))
    await desk.volumes.mount("data", "/a")
    with pytest.raises(OrchestratorError, match="volume 'data' is mounted at /a"):
        await desk.volumes.mount("more", "/a")


async def test_unmount_by_path_leaves_other_places_alone(desk: Desk) -> None:
    await desk.volumes.create(a_wish())
    await desk.volumes.mount("data", "/a")
    await desk.volumes.mount("data", "/b", readonly=True)
    await desk.volumes.unmount("/a")
    (stored,) = desk.driver.volumes.values()
    assert stored.published == {"/b": True}


async def test_reader_only_volumes_are_mounted_readonly(desk: Desk) -> None:
    reader = VolumeCapability(AccessMode.MULTI_NODE_READER_ONLY)
    await desk.volumes.create(replace(a_wish(), capability=reader))
    await desk.volumes.mount("data", "/a")
    (stored,) = desk.driver.volumes.values()
    assert stored.published == {"/a": True}


async def test_reconcile_restores_all_mounts_after_a_reboot_although_one_volume_fails(desk: Desk) -> None:
    for name in ("data", "more"):
        await desk.volumes.create(a_wish(name))
        await desk.volumes.mount(name, f"/{name}")
    desk.driver.reboot()
    desk.machine.boot = "boot-2"
    lost = await desk.volumes.get("more")
    assert lost.actual.mounts[0].presence is Presence.UNCERTAIN
    desk.driver.faults.append(Fault("NodeStageVolume", "before", errors.Internal("no device")))
    results = await desk.volumes.reconcile()
    assert [bool(result.problem) for result in results] == [True, False]
    assert "no device" in results[0].problem
    assert desk.driver.mounts >= {"/more"}
    assert [result.problem for result in await desk.volumes.reconcile()] == ["", ""]
    assert desk.driver.mounts >= {"/data", "/more"}


async def test_two_commands_on_one_volume_come_one_after_the_other(desk: Desk, tmp_path: Path) -> None:
    other = a_desk(tmp_path, desk.driver)
    await desk.volumes.create(a_wish())
    paths = ["/a", "/b", "/c", "/d"]
    await asyncio.gather(*((desk if i % 2 else other).volumes.mount("data", path) for i, path in enumerate(paths)))
    (stored,) = desk.driver.volumes.values()
    assert set(stored.published) == set(paths)
    assert any("waiting for another command" in note for note in desk.notes.notes + other.notes.notes)


async def test_many_volumes_are_made_at_once_by_several_processes(desk: Desk, tmp_path: Path) -> None:
    desks = [desk, *(a_desk(tmp_path, desk.driver) for _ in range(3))]
    await asyncio.gather(*(desks[i % 4].volumes.create(a_wish(f"v{i}")) for i in range(12)))
    assert len(desk.driver.volumes) == 12
    assert len(await desk.volumes.all()) == 12


async def test_an_imported_volume_is_mounted_like_any_other_and_forgotten_without_deletion(desk: Desk) -> None:
    made = await desk.volumes.create(a_wish())
    await desk.volumes.forget("data")
    assert len(desk.driver.volumes) == 1
    await desk.volumes.import_volume(a_wish("mine"), volume_id=made.actual.volume_id, volume_context={"made": "here"})
    await desk.volumes.mount("mine", "/a")
    assert "/a" in desk.driver.mounts
    await desk.volumes.unmount("mine")
    await desk.volumes.delete("mine")
    assert desk.driver.volumes == {}


async def test_importing_what_does_not_exist_is_refused(desk: Desk) -> None:
    with pytest.raises(OrchestratorError, match="NOT_FOUND"):
        await desk.volumes.import_volume(a_wish("mine"), volume_id="nothing", volume_context={})
    assert await desk.volumes.all() == []


async def test_block_volumes_travel_the_same_road(desk: Desk) -> None:
    await desk.volumes.create(replace(a_wish(), capability=BLOCK))
    volume = await desk.volumes.mount("data", "/dev-data")
    assert volume.capability.is_block
    assert "/dev-data" in desk.driver.mounts


async def test_secrets_are_read_for_each_call_and_never_recorded(tmp_path: Path) -> None:
    desk = a_desk(tmp_path / "state")
    await desk.register()
    file = tmp_path / "secrets.json"
    file.write_text('{"CreateVolume": {"token": "canary-7731"}, "NodeStageVolume": {"key": "canary-4410"}}')
    await desk.volumes.create(replace(a_wish(), secrets_file=str(file)))
    await desk.volumes.mount("data", "/a")
    sent = [getattr(request, "secrets", {}) for request in desk.driver.requests]
    assert {"token": "canary-7731"} in sent
    assert {"key": "canary-4410"} in sent
    for path in (tmp_path / "state").rglob("*"):
        assert not path.is_file() or b"canary" not in path.read_bytes()


async def test_without_its_secrets_file_a_volume_says_what_is_missing(desk: Desk, tmp_path: Path) -> None:
    with pytest.raises(OrchestratorError, match=r"secrets file .*gone\.json cannot be read"):
        await desk.volumes.create(replace(a_wish(), secrets_file=str(tmp_path / "gone.json")))


async def test_an_unknown_driver_is_named_with_the_command_that_helps(tmp_path: Path) -> None:
    with pytest.raises(OrchestratorError, match="moorage volume drivers add"):
        await a_desk(tmp_path).volumes.create(a_wish())


async def test_a_growth_that_the_node_refuses_blocks_no_mount(desk: Desk) -> None:
    await desk.volumes.create(a_wish())
    await desk.volumes.mount("data", "/a")
    desk.driver.faults.append(Fault("NodeExpandVolume", "before", errors.FailedPrecondition("not mounted")))
    with pytest.raises(OrchestratorError, match="FAILED_PRECONDITION: not mounted"):
        await desk.volumes.expand("data", 128 * MIB)
    await desk.volumes.mount("data", "/b")
    assert desk.driver.mounts >= {"/a", "/b"}
    (stored,) = desk.driver.volumes.values()
    assert (stored.size_bytes, stored.node_size_bytes) == (128 * MIB, 0)
    await desk.volumes.unmount("data")
    await desk.volumes.mount("data", "/a")
    assert stored.node_size_bytes == 128 * MIB


async def test_a_growth_that_fails_while_mounting_leaves_the_volume_mounted_with_a_remark(desk: Desk) -> None:
    await desk.volumes.create(a_wish())
    await desk.volumes.expand("data", 128 * MIB)
    desk.driver.faults.append(Fault("NodeExpandVolume", "before", errors.Internal("resize2fs failed")))
    await desk.volumes.mount("data", "/a")
    assert "/a" in desk.driver.mounts
    assert any("resize2fs failed" in note for note in desk.notes.notes)


async def test_asking_for_the_same_size_again_tries_the_node_again(desk: Desk) -> None:
    await desk.volumes.create(a_wish())
    await desk.volumes.mount("data", "/a")
    desk.driver.faults.append(Fault("NodeExpandVolume", "before", errors.Internal("hiccup")))
    with pytest.raises(OrchestratorError, match="hiccup"):
        await desk.volumes.expand("data", 128 * MIB)
    await desk.volumes.expand("data", 128 * MIB)
    (stored,) = desk.driver.volumes.values()
    assert stored.node_size_bytes == 128 * MIB


async def test_a_growth_asked_for_again_shows_the_true_size_meanwhile(desk: Desk) -> None:
    await desk.volumes.create(a_wish())
    await desk.volumes.mount("data", "/a")
    for turn in range(2):
        desk.driver.faults.append(Fault("NodeExpandVolume", "before", errors.OutOfRange("beyond the node's limit")))
        with pytest.raises(OrchestratorError, match="beyond the node's limit"):
            await desk.volumes.expand("data", 128 * MIB)
        assert (await desk.volumes.get("data")).actual.capacity_bytes == 128 * MIB, turn
    for rpc in ("ControllerExpandVolume", "NodeExpandVolume"):  # whichever comes first
        desk.driver.faults.append(Fault(rpc, "before", OrchestratorKilled()))
    with pytest.raises(OrchestratorKilled):
        await desk.volumes.expand("data", 128 * MIB)
    assert (await desk.volumes.get("data")).actual.capacity_bytes == 128 * MIB


@pytest.mark.parametrize("error", [errors.OutOfRange("no room"), errors.FailedPrecondition("not now")])
@pytest.mark.parametrize("by_controller", [True, False])
async def test_a_growth_that_was_refused_without_staging_is_tried_at_the_next_mount(
    tmp_path: Path, by_controller: bool, error: errors.CsiError
) -> None:
    capable = declared("create", *(["expand"] if by_controller else []), node_expands=True)
    desk = a_desk(tmp_path, driver=MemoryDriver(capable))
    await desk.register()
    await desk.volumes.create(a_wish())
    await desk.volumes.mount("data", "/a")
    desk.driver.faults.append(Fault("NodeExpandVolume", "before", error))
    with pytest.raises(OrchestratorError, match=error.message):
        await desk.volumes.expand("data", 128 * MIB)
    (stored,) = desk.driver.volumes.values()
    await desk.volumes.mount("data", "/b")
    assert stored.node_size_bytes == 0, "another place is no new start"
    if by_controller:  # else the volume is as large as before, and nobody wants it larger any more
        await desk.volumes.unmount("data")
        await desk.volumes.mount("data", "/a")
    else:
        await desk.volumes.expand("data", 128 * MIB)
    assert stored.node_size_bytes == 128 * MIB
    assert (await desk.volumes.get("data")).actual.capacity_bytes == 128 * MIB


async def test_a_refused_growth_of_a_driver_that_grows_on_the_node_only_is_an_error_each_time(tmp_path: Path) -> None:
    desk = a_desk(tmp_path, driver=MemoryDriver(declared("create", "stage", node_expands=True)))
    await desk.register()
    await desk.volumes.create(a_wish())
    await desk.volumes.mount("data", "/a")
    for _ in range(2):
        desk.driver.faults.append(Fault("NodeExpandVolume", "before", errors.OutOfRange("no room")))
        with pytest.raises(OrchestratorError, match="no room"):
            await desk.volumes.expand("data", 128 * MIB)
    await desk.volumes.expand("data", 128 * MIB)
    (stored,) = desk.driver.volumes.values()
    assert stored.node_size_bytes == 128 * MIB


async def test_a_command_cancelled_at_any_moment_leaves_the_records_open_to_the_next(desk: Desk) -> None:
    for turns in range(12):
        task = asyncio.create_task(desk.volumes.create(a_wish(f"v{turns}")))
        for _ in range(turns):
            await asyncio.sleep(0.001)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        async with asyncio.timeout(5):
            await desk.volumes.create(a_wish(f"v{turns}"))
