"""CreateSnapshot, DeleteSnapshot, GetSnapshot."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from msgspec import structs
from tests.support.controller import MIB, Controller, create, entered, restore

import moorage.framework as csi
from moorage.spec import messages as m
from moorage.spec.errors import (
    AlreadyExists,
    FailedPrecondition,
    OperationPending,
    ResourceExhausted,
    SnapshotNotFound,
    Unavailable,
    VolumeNotFound,
)
from moorage.spec.types import TopologyRequirement
from moorage.testing.memory import MemoryDriver


class Slow(MemoryDriver):
    """Snapshots are cut at once and ready later: when `storage.calls["process"]` is counted up."""

    def create_snapshot(self, snapshot: csi.NewSnapshot, source: csi.VolumeRecord) -> csi.Snapshot | None:
        made = super().create_snapshot(snapshot, source)
        return structs.replace(made, ready_to_use=False) if made is not None else None

    def snapshot_ready(self, snapshot: csi.SnapshotRecord) -> bool:
        with self.storage.acting("snapshot_ready"):
            return self.storage.calls["process"] > 0


async def volume(controller: Controller, name: str = "source") -> str:
    response: m.CreateVolumeResponse = await controller.call(create(name))
    return response.volume.volume_id


async def cut(controller: Controller, volume_id: str, name: str = "snap", **fields: Any) -> csi.Snapshot:
    response: m.CreateSnapshotResponse = await controller.call(m.CreateSnapshotRequest(volume_id, name, **fields))
    return response.snapshot


async def test_a_replay_answers_the_same_snapshot(controller: Controller) -> None:
    source, other = await volume(controller), await volume(controller, "other")
    first = await cut(controller, source)
    assert (first.source_volume_id, first.size_bytes, first.ready_to_use) == (source, 8 * MIB, True)
    assert await cut(controller, source, parameters={"note": "another"}) == first
    with pytest.raises(AlreadyExists, match=r"'snap'.*"):
        await cut(controller, other)
    assert set(controller.storage.content.snapshots) == {first.snapshot_id}


async def test_parallel_calls_cut_once(controller: Controller) -> None:
    source = await volume(controller)
    snapshots = await asyncio.gather(*(cut(controller, source) for _ in range(64)))
    assert len({snapshot.snapshot_id for snapshot in snapshots}) == 1
    assert controller.storage.calls["create_snapshot"] == 1


async def test_readiness_is_polled_and_never_goes_back(tmp_path: Path) -> None:
    async with Controller(tmp_path / "state", driver=Slow) as slow:
        source = await volume(slow)
        assert not (await cut(slow, source)).ready_to_use
        assert not (await cut(slow, source)).ready_to_use
        (listed,) = (await slow.call(m.ListSnapshotsRequest())).entries
        assert not listed.ready_to_use
        with pytest.raises(Unavailable, match="not ready"):
            await slow.call(restore("early", listed.snapshot_id))
        slow.storage.calls["process"] += 1
        await slow.call(restore("in time", listed.snapshot_id))
        assert (await slow.call(m.GetSnapshotRequest(listed.snapshot_id))).snapshot.ready_to_use
        slow.storage.calls["process"] = 0
        assert (await cut(slow, source)).ready_to_use
        await slow.restart()
        assert (await cut(slow, source)).ready_to_use


async def test_a_question_never_brings_a_deleted_snapshot_back(tmp_path: Path) -> None:
    async with Controller(tmp_path / "state", driver=Slow) as slow:
        snapshot = await cut(slow, await volume(slow))
        slow.storage.calls["process"] += 1
        gate = slow.storage.hold("snapshot_ready")
        asking = await slow.leave(m.GetSnapshotRequest(snapshot.snapshot_id))
        await entered(gate)
        await slow.call(m.DeleteSnapshotRequest(snapshot.snapshot_id))
        gate.release()
        await asking
        with pytest.raises(SnapshotNotFound):
            await slow.call(m.GetSnapshotRequest(snapshot.snapshot_id))
        assert (await slow.call(m.ListSnapshotsRequest())).entries == ()


async def test_delete_is_repeatable_and_frees_the_name(controller: Controller) -> None:
    source = await volume(controller)
    first = await cut(controller, source)
    for snapshot_id in (first.snapshot_id, first.snapshot_id, "never/was"):
        assert await controller.call(m.DeleteSnapshotRequest(snapshot_id)) == m.DeleteSnapshotResponse()
    second = await cut(controller, source)
    assert second.snapshot_id != first.snapshot_id
    assert set(controller.storage.content.snapshots) == {second.snapshot_id}


async def test_a_half_way_delete_is_resumed_by_the_next_create(controller: Controller) -> None:
    source = await volume(controller)
    first = await cut(controller, source)
    controller.storage.fail("delete_snapshot", Unavailable("reboot"))
    with pytest.raises(Unavailable):
        await controller.call(m.DeleteSnapshotRequest(first.snapshot_id))
    with pytest.raises(SnapshotNotFound):
        await controller.call(restore("copy", first.snapshot_id))
    await controller.restart()
    second = await cut(controller, source)
    assert set(controller.storage.content.snapshots) == {second.snapshot_id}


async def test_a_snapshot_that_is_in_use_stays_as_it_was(controller: Controller) -> None:
    snapshot = await cut(controller, await volume(controller))
    controller.storage.fail("delete_snapshot", FailedPrecondition("a copy is running"))
    with pytest.raises(FailedPrecondition, match="copy"):
        await controller.call(m.DeleteSnapshotRequest(snapshot.snapshot_id))
    assert (await controller.call(m.GetSnapshotRequest(snapshot.snapshot_id))).snapshot == snapshot


async def test_a_snapshot_is_not_deleted_while_it_is_restored(controller: Controller) -> None:
    snapshot = await cut(controller, await volume(controller))
    gate = controller.storage.hold("restore_snapshot")
    restoring = await controller.leave(restore("copy", snapshot.snapshot_id))
    await entered(gate)
    with pytest.raises(OperationPending, match="CreateVolume on volume name 'copy' is running"):
        await controller.call(m.DeleteSnapshotRequest(snapshot.snapshot_id))
    gate.release()
    await restoring
    await controller.call(m.DeleteSnapshotRequest(snapshot.snapshot_id))


async def test_a_volume_is_not_deleted_while_it_is_cut(controller: Controller) -> None:
    source = await volume(controller)
    gate = controller.storage.hold("create_snapshot")
    cutting = await controller.leave(m.CreateSnapshotRequest(source, "snap"))
    await entered(gate)
    with pytest.raises(OperationPending, match="CreateSnapshot on snapshot name 'snap' is running"):
        await controller.call(m.DeleteVolumeRequest(source))
    gate.release()
    await cutting


Trouble = Callable[[Controller], None]


@pytest.mark.parametrize("restarted", [False, True])
@pytest.mark.parametrize("again", ["same", "other parameters"])
async def test_a_cut_without_a_reply_is_found_by_the_replay(
    controller: Controller, *, restarted: bool, again: str
) -> None:
    source = await volume(controller)
    controller.storage.fail("create_snapshot", Unavailable("reboot"), after=True)
    with pytest.raises(Unavailable):
        await cut(controller, source)
    if restarted:
        await controller.restart()
    snapshot = await cut(controller, source, parameters={} if again == "same" else {"note": "x"})
    assert set(controller.storage.content.snapshots) == {snapshot.snapshot_id}
    assert controller.storage.calls["delete_snapshot"] == (0 if again == "same" else 1)
    await controller.plugin.stop()
    assert set(await controller.rows()) == {"volume", "snapshot"}


async def test_a_final_error_undoes_and_a_failed_undo_is_repeated(controller: Controller) -> None:
    source = await volume(controller)
    controller.storage.fail("create_snapshot", csi.ResourceExhausted("full"), after=True, times=2)
    controller.storage.fail("delete_snapshot", csi.Internal("confused"))
    with pytest.raises(Unavailable, match="not undone yet"):
        await cut(controller, source)
    with pytest.raises(csi.ResourceExhausted):
        await cut(controller, source)
    assert not controller.storage.content.snapshots
    await controller.plugin.stop()
    assert set(await controller.rows()) == {"volume"}


async def test_a_half_cut_snapshot_goes_when_its_volume_is_gone(controller: Controller) -> None:
    source = await volume(controller)
    controller.storage.fail("create_snapshot", Unavailable("reboot"), after=True)
    with pytest.raises(Unavailable):
        await cut(controller, source)
    await controller.call(m.DeleteVolumeRequest(source))
    with pytest.raises(VolumeNotFound):
        await cut(controller, source)
    assert not controller.storage.content.snapshots
    await controller.plugin.stop()
    assert await controller.rows() == {}


class OwnIds(MemoryDriver):
    """Snapshots get the storage system's own ids, one of which nobody can be told."""

    def create_snapshot(self, snapshot: csi.NewSnapshot, source: csi.VolumeRecord) -> csi.Snapshot | None:
        fresh = structs.replace(snapshot, snapshot_id="own " + "x" * (200 if snapshot.name == "long" else 8))
        return super().create_snapshot(fresh, source)


async def test_a_snapshot_that_cannot_be_told_of_is_deleted(tmp_path: Path) -> None:
    async with Controller(tmp_path / "state", driver=OwnIds) as own:
        source = await volume(own)
        with pytest.raises(csi.Internal, match="snapshot_id"):
            await cut(own, source, "long")
        assert not own.storage.content.snapshots
        assert (await cut(own, source, "short")).snapshot_id == "own xxxxxxxx"


async def test_two_names_that_the_storage_takes_for_one_snapshot_are_refused(tmp_path: Path) -> None:
    async with Controller(tmp_path / "state", driver=OwnIds) as own:
        source = await volume(own)
        first = await cut(own, source, "one")
        with pytest.raises(csi.Internal, match="took snapshot name 'two' for 'one'"):
            await cut(own, source, "two")
        assert set(own.storage.content.snapshots) == {first.snapshot_id}
        assert await cut(own, source, "one") == first


async def test_missing_objects(controller: Controller) -> None:
    with pytest.raises(VolumeNotFound, match="'none'"):
        await cut(controller, "none")
    with pytest.raises(SnapshotNotFound, match="'none'"):
        await controller.call(m.GetSnapshotRequest("none"))
    with pytest.raises(SnapshotNotFound, match="'none'"):
        await controller.call(restore("copy", "none"))


HERE, ELSEWHERE = csi.Topology({"zone": "a"}), csi.Topology({"zone": "b"})


class Zoned(MemoryDriver):
    """All snapshots are in one zone, whatever is asked for."""

    topology_aware = True
    snapshot_topology = True

    def node_info(self) -> csi.NodeInfo:
        return csi.NodeInfo(node_id="node-1", topology=HERE)

    def create_snapshot(self, snapshot: csi.NewSnapshot, source: csi.VolumeRecord) -> csi.Snapshot | None:
        made = super().create_snapshot(snapshot, source)
        return structs.replace(made, accessible_topology=(HERE,)) if made is not None else None


async def test_a_snapshot_that_cannot_be_used_where_it_must_is_undone(tmp_path: Path) -> None:
    async with Controller(tmp_path / "state", driver=Zoned) as zoned:
        source = await volume(zoned)
        with pytest.raises(ResourceExhausted, match="zone: a"):
            await cut(zoned, source, accessibility_requirements=TopologyRequirement(requisite=(ELSEWHERE,)))
        assert not zoned.storage.content.snapshots
        wanted = TopologyRequirement(requisite=(HERE, ELSEWHERE), preferred=(ELSEWHERE,))
        made = await cut(zoned, source, accessibility_requirements=wanted)
        assert made.accessible_topology == (HERE,)
        assert await cut(zoned, source, accessibility_requirements=TopologyRequirement(preferred=(ELSEWHERE,))) == made
