"""Performing steps: what is recorded when, which errors are repeated, and what is left after a failure."""

from __future__ import annotations

import pytest
from msgspec.structs import replace
from tests.unit.orchestrator.memory_driver import Fault, MemoryDriver, OrchestratorKilled
from tests.unit.orchestrator.setting import (
    JumpingClock,
    MemoryMachine,
    MemoryStore,
    a_volume,
    an_executor,
    declared,
)

from moorage.orchestrator.calling import CallFailed, CallUnfinished
from moorage.orchestrator.model import Desired, Mount, Presence, VolumeRecord
from moorage.orchestrator.plan import Refused
from moorage.spec import errors
from moorage.spec.capabilities import Declared

UP = ["CreateVolume", "ControllerPublishVolume", "NodeStageVolume", "NodePublishVolume"]
DOWN = ["NodeUnpublishVolume", "NodeUnstageVolume", "ControllerUnpublishVolume", "DeleteVolume"]


def wanting(volume: VolumeRecord, *paths: str, exists: bool = True) -> VolumeRecord:
    return replace(volume, desired=Desired(exists=exists, mounts=tuple(Mount(path) for path in paths)))


async def test_a_whole_life_leaves_nothing() -> None:
    driver, store = MemoryDriver(), MemoryStore()
    machine = MemoryMachine(driver)
    executor = an_executor(driver, store, machine=machine)
    volume = await executor.converge(wanting(a_volume(), "/a"))
    assert driver.called == UP
    assert machine.staging == {"/base/staging/data"}
    assert machine.parents == ["/a"]
    volume = await executor.converge(wanting(volume))
    await executor.converge(wanting(volume, exists=False))
    assert driver.called == UP + DOWN
    assert (driver.volumes, store.volumes, machine.staging) == ({}, {}, set())


@pytest.mark.parametrize("rpc", UP + DOWN)
@pytest.mark.parametrize("when", ["before", "after"])
async def test_after_being_killed_in_any_call_the_same_wish_converges(rpc: str, when: str) -> None:
    driver, store = MemoryDriver(), MemoryStore()
    fault = Fault(rpc, "before" if when == "before" else "after", OrchestratorKilled())
    driver.faults.append(fault)
    for wish in (wanting(a_volume(), "/a"), wanting(a_volume()), wanting(a_volume(), exists=False)):
        volume = replace(store.volumes.get("data", wish), desired=wish.desired)
        try:
            await an_executor(driver, store).converge(volume)
        except OrchestratorKilled:
            await an_executor(driver, store).converge(store.volumes["data"])
    assert driver.faults == []
    assert driver.volumes == {}
    assert store.volumes == {}


@pytest.mark.parametrize(
    "error",
    [
        errors.Aborted("busy"),
        errors.Cancelled("gone"),
        errors.DeadlineExceeded("slow"),
        errors.Unavailable("restarting"),
    ],
    ids=lambda error: str(error.code.name),
)
async def test_errors_that_are_not_final_are_repeated_with_growing_pauses(error: errors.CsiError) -> None:
    driver, clock = MemoryDriver(), JumpingClock()
    driver.faults += [Fault("CreateVolume", "after", error)] * 3
    await an_executor(driver, MemoryStore(), clock=clock).converge(a_volume())
    assert driver.called == ["CreateVolume"] * 4
    assert clock.naps == [1, 2, 4]


@pytest.mark.parametrize(
    "error",
    [errors.ResourceExhausted("full"), errors.Internal("bug"), errors.AlreadyExists("other"), errors.OutOfRange("big")],
    ids=lambda error: str(error.code.name),
)
async def test_a_final_error_stops_at_once_and_a_failed_create_leaves_no_trace(error: errors.CsiError) -> None:
    driver, store = MemoryDriver(), MemoryStore()
    driver.faults.append(Fault("CreateVolume", "before", error))
    with pytest.raises(CallFailed, match=f"CreateVolume of volume 'data' failed with {error.code.name}"):
        await an_executor(driver, store).converge(a_volume())
    assert driver.called == ["CreateVolume"]
    assert store.volumes["data"].actual.created is Presence.ABSENT


async def test_when_the_time_is_up_the_volume_is_remembered_as_perhaps_created() -> None:
    driver, store, clock = MemoryDriver(), MemoryStore(), JumpingClock()
    driver.faults += [Fault("CreateVolume", "after", errors.DeadlineExceeded("slow"))] * 50
    with pytest.raises(CallUnfinished, match="run the same command again"):
        await an_executor(driver, store, clock=clock).converge(a_volume())
    assert clock.now_s <= 100
    assert store.volumes["data"].actual.created is Presence.UNCERTAIN
    driver.faults.clear()
    await an_executor(driver, store).converge(wanting(store.volumes["data"], exists=False))
    assert driver.volumes == {}


async def test_a_refused_deletion_keeps_the_volume_wanted() -> None:
    driver, store = MemoryDriver(), MemoryStore()
    volume = await an_executor(driver, store).converge(a_volume())
    driver.faults.append(Fault("DeleteVolume", "before", errors.VolumeInUse("it has snapshots")))
    with pytest.raises(CallFailed, match="it has snapshots"):
        await an_executor(driver, store).converge(wanting(volume, exists=False))
    kept = store.volumes["data"]
    assert (kept.desired.exists, kept.actual.created) == (True, Presence.PRESENT)


@pytest.mark.parametrize("rpc", DOWN)
async def test_undoing_what_the_driver_no_longer_knows_is_done(rpc: str) -> None:
    driver, store = MemoryDriver(), MemoryStore()
    volume = await an_executor(driver, store).converge(wanting(a_volume(), "/a"))
    driver.faults.append(Fault(rpc, "after", errors.VolumeNotFound("id-data-1")))
    volume = await an_executor(driver, store).converge(wanting(volume))
    await an_executor(driver, store).converge(wanting(volume, exists=False))
    assert store.volumes == {}


async def test_not_found_from_unpublish_is_not_believed_while_the_path_is_mounted() -> None:
    driver, store = MemoryDriver(), MemoryStore()
    volume = await an_executor(driver, store).converge(wanting(a_volume(), "/a"))
    driver.faults.append(Fault("NodeUnpublishVolume", "before", errors.VolumeNotFound("id-data-1")))
    with pytest.raises(CallFailed, match="NOT_FOUND"):
        await an_executor(driver, store).converge(wanting(volume))
    assert store.volumes["data"].actual.mounts


async def test_the_guard_stands_in_front_of_every_call() -> None:
    driver, store = MemoryDriver(), MemoryStore()
    volume = await an_executor(driver, store).converge(wanting(a_volume(), "/a"))
    with pytest.raises(Refused, match="mounted at /a"):
        await an_executor(driver, store).converge(wanting(volume, exists=False))
    assert driver.called == UP


async def test_expansion_of_a_mounted_volume_reaches_the_node() -> None:
    driver, store = MemoryDriver(), MemoryStore()
    volume = await an_executor(driver, store).converge(wanting(a_volume(), "/a"))
    larger = replace(volume, desired=replace(volume.desired, size_bytes=128 << 20))
    after = await an_executor(driver, store).converge(larger)
    assert driver.called[len(UP) :] == ["ControllerExpandVolume", "NodeExpandVolume"]
    assert after.actual.capacity_bytes == 128 << 20
    assert driver.volumes["id-data-1"].node_size_bytes == 128 << 20


async def test_expansion_of_an_unmounted_volume_reaches_the_node_with_the_next_mount() -> None:
    driver, store = MemoryDriver(), MemoryStore()
    volume = await an_executor(driver, store).converge(a_volume())
    volume = await an_executor(driver, store).converge(
        replace(volume, desired=replace(volume.desired, size_bytes=128 << 20))
    )
    await an_executor(driver, store).converge(replace(volume, desired=replace(volume.desired, mounts=(Mount("/a"),))))
    assert driver.called == [
        "CreateVolume",
        "ControllerExpandVolume",
        "ControllerPublishVolume",
        "NodeStageVolume",
        "NodeExpandVolume",
        "NodePublishVolume",
    ]


async def test_nomad_probes_repeats_unpublish_and_publishes_before_it_leaves() -> None:
    driver, store = MemoryDriver(), MemoryStore()
    machine = MemoryMachine(driver)
    volume = await an_executor(driver, store, machine=machine, nomad_order=True).converge(wanting(a_volume(), "/a"))
    assert machine.staging == {"/base/staging/default/data/rw-file-system-single-node-writer"}
    volume = await an_executor(driver, store, nomad_order=True).converge(wanting(volume, "/b"))
    volume = await an_executor(driver, store, nomad_order=True).converge(wanting(volume))
    calls = [rpc for rpc in driver.called if rpc != "Probe"]
    assert calls == [
        *UP,
        "NodePublishVolume",
        *["NodeUnpublishVolume"] * 2,
        *["NodeUnpublishVolume"] * 2,
        "NodeUnstageVolume",
        *["ControllerUnpublishVolume"] * 2,
    ]
    assert driver.called.count("Probe") >= 2 * len(set(calls))
    assert "GetCapacity" not in driver.called


async def test_nomad_takes_a_mount_point_for_a_finished_publish() -> None:
    driver, store = MemoryDriver(), MemoryStore()
    volume = await an_executor(driver, store, nomad_order=True).converge(wanting(a_volume(), "/a"))
    forgotten = replace(volume, actual=replace(volume.actual, mounts=(), staged=Presence.UNCERTAIN))
    driver.called.clear()
    again = await an_executor(driver, store, nomad_order=True).converge(forgotten)
    assert driver.called == []
    assert again.actual.mounts[0].presence is Presence.PRESENT


@pytest.mark.parametrize(
    ("capabilities", "calls"),
    [
        pytest.param(declared("create"), ["CreateVolume", "NodePublishVolume"], id="publish-only"),
        pytest.param(
            declared("create", "stage"), ["CreateVolume", "NodeStageVolume", "NodePublishVolume"], id="no-attach"
        ),
    ],
)
async def test_drivers_that_declare_less_get_fewer_calls(capabilities: Declared, calls: list[str]) -> None:
    driver = MemoryDriver(capabilities)
    await an_executor(driver, MemoryStore()).converge(wanting(a_volume(), "/a"))
    assert driver.called == calls


async def test_a_deletion_that_broke_down_is_still_wanted() -> None:
    driver, store = MemoryDriver(), MemoryStore()
    volume = await an_executor(driver, store).converge(a_volume())
    driver.faults.append(Fault("DeleteVolume", "after", errors.Internal("lost the connection to the pool")))
    with pytest.raises(CallFailed, match="lost the connection"):
        await an_executor(driver, store).converge(wanting(volume, exists=False))
    kept = store.volumes["data"]
    assert (kept.desired.exists, kept.actual.created) == (False, Presence.UNCERTAIN)
    await an_executor(driver, store).converge(kept)
    assert store.volumes == {}
