"""Volume group snapshots: all members or none."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from msgspec import structs
from tests.support.controller import Controller, create, entered, restore

import moorage.framework as csi
from moorage.spec import messages as m
from moorage.spec.errors import AlreadyExists, InvalidArgument, NotFound, OperationPending, Unavailable, VolumeNotFound
from moorage.spec.types import VolumeGroupSnapshot
from moorage.testing.memory import MemoryDriver, TaggedDriver


async def volumes(controller: Controller, *names: str) -> tuple[str, ...]:
    return tuple([(await controller.call(create(name))).volume.volume_id for name in names or ("a", "b", "c")])


async def cut(
    controller: Controller, sources: tuple[str, ...], name: str = "group", **fields: Any
) -> VolumeGroupSnapshot:
    response = await controller.call(m.CreateVolumeGroupSnapshotRequest(name, sources, **fields))
    found: VolumeGroupSnapshot = response.group_snapshot
    return found


def ids(group: VolumeGroupSnapshot) -> tuple[str, ...]:
    return tuple(snapshot.snapshot_id for snapshot in group.snapshots)


@pytest.fixture(params=[MemoryDriver, TaggedDriver], ids=["journal", "tags"])
async def either(request: pytest.FixtureRequest, tmp_path: Path) -> Any:
    async with Controller(tmp_path / "state", driver=request.param) as running:
        yield running


async def test_life_of_a_group(either: Controller) -> None:
    sources = await volumes(either)
    group = await cut(either, sources)
    assert {snapshot.source_volume_id for snapshot in group.snapshots} == set(sources)
    assert {snapshot.group_snapshot_id for snapshot in group.snapshots} == {group.group_snapshot_id}
    assert group.ready_to_use
    assert await cut(either, sources) == group
    assert await cut(either, sources[::-1]) == group
    assert (
        await either.call(m.GetVolumeGroupSnapshotRequest(group.group_snapshot_id, ids(group)[::-1]))
    ).group_snapshot == group
    await either.call(restore("copy", ids(group)[0]))
    listed = (await either.call(m.ListSnapshotsRequest())).entries
    assert {snapshot.snapshot_id for snapshot in listed} == set(ids(group))
    await either.call(m.DeleteVolumeGroupSnapshotRequest(group.group_snapshot_id, ids(group)))
    await either.call(m.DeleteVolumeGroupSnapshotRequest(group.group_snapshot_id, ids(group)))
    assert not either.storage.content.snapshots
    with pytest.raises(NotFound):
        await either.call(m.GetVolumeGroupSnapshotRequest(group.group_snapshot_id, ids(group)))


async def test_another_group_under_the_name(either: Controller) -> None:
    sources = await volumes(either)
    await cut(either, sources, parameters={"note": "a"})
    for other, parameters in ((sources[:2], {"note": "a"}), (sources, {"note": "b"})):
        with pytest.raises(AlreadyExists, match="'group'"):
            await cut(either, other, parameters=parameters)


async def test_a_member_cannot_be_deleted_alone(either: Controller) -> None:
    group = await cut(either, await volumes(either))
    with pytest.raises(InvalidArgument, match="delete the group"):
        await either.call(m.DeleteSnapshotRequest(ids(group)[0]))
    assert set(either.storage.content.snapshots) == set(ids(group))


async def test_lists_of_members_must_match(either: Controller) -> None:
    group = await cut(either, await volumes(either))
    for wrong in (ids(group)[:2], (*ids(group), "more"), ("other", *ids(group)[1:])):
        for request in (
            m.DeleteVolumeGroupSnapshotRequest(group.group_snapshot_id, wrong),
            m.GetVolumeGroupSnapshotRequest(group.group_snapshot_id, wrong),
        ):
            with pytest.raises(InvalidArgument, match="pass all of its members"):
                await either.call(request)
    assert len(either.storage.content.snapshots) == 3


async def test_wrong_sources(either: Controller) -> None:
    a, b = await volumes(either, "a", "b")
    with pytest.raises(VolumeNotFound):
        await cut(either, (a, "none", b))
    with pytest.raises(InvalidArgument, match="twice"):
        await cut(either, (a, b, a))
    assert not either.storage.content.snapshots


async def test_a_group_whose_deletion_stopped_half_way(either: Controller) -> None:
    sources = await volumes(either)
    group = await cut(either, sources)
    either.storage.trouble("delete_snapshot", lambda: None)
    either.storage.fail("delete_snapshot", Unavailable("reboot"))
    delete = m.DeleteVolumeGroupSnapshotRequest(group.group_snapshot_id, ids(group))
    with pytest.raises(Unavailable):
        await either.call(delete)
    assert len(either.storage.content.snapshots) == 2
    await either.restart()
    with pytest.raises(NotFound):
        await either.call(m.GetVolumeGroupSnapshotRequest(group.group_snapshot_id, ids(group)))
    await either.call(delete)
    assert not either.storage.content.snapshots


async def test_a_name_whose_group_is_half_deleted_is_cut_anew(either: Controller) -> None:
    sources = await volumes(either)
    group = await cut(either, sources)
    either.storage.trouble("delete_snapshot", lambda: None)
    either.storage.fail("delete_snapshot", Unavailable("reboot"))
    with pytest.raises(Unavailable):
        await either.call(m.DeleteVolumeGroupSnapshotRequest(group.group_snapshot_id, ids(group)))
    for source in sources:
        either.storage.content.volumes[source].data = "new"
    fresh = await cut(either, sources)
    assert {stored.data for stored in either.storage.content.snapshots.values()} == {"new"}
    assert set(either.storage.content.snapshots) == set(ids(fresh))


class Stops(MemoryDriver):
    """Cuts member by member and may stop in between: the framework makes up for it."""

    def create_group_snapshot(
        self, group: csi.NewGroupSnapshot, sources: tuple[csi.VolumeRecord, ...]
    ) -> tuple[csi.Snapshot, ...]:
        cuts = []
        for member, source in zip(group.members, sources, strict=True):
            made = self.create_snapshot(member, source)
            assert made is not None
            cuts.append(made)
        return tuple(reversed(cuts))


class TaggedStops(Stops, TaggedDriver):
    """The same without a journal."""


@pytest.mark.parametrize("error", [Unavailable("reboot"), csi.ResourceExhausted("full")], ids=repr)
@pytest.mark.parametrize("driver", [Stops, TaggedStops])
async def test_members_are_never_of_two_instants(
    tmp_path: Path, driver: type[MemoryDriver], error: csi.CsiError
) -> None:
    async with Controller(tmp_path / "state", driver=driver) as stops:
        sources = await volumes(stops)
        stops.storage.trouble("create_snapshot", lambda: None)
        stops.storage.fail("create_snapshot", error)
        with pytest.raises(type(error)):
            await cut(stops, sources)
        assert len(stops.storage.content.snapshots) == (0 if error.final else 1)
        await stops.restart()
        group = await cut(stops, sources)
        assert set(stops.storage.content.snapshots) == set(ids(group))
        for snapshot in group.snapshots:
            stored = stops.storage.content.snapshots[snapshot.snapshot_id]
            assert stored.snapshot.source_volume_id == snapshot.source_volume_id


async def test_a_group_that_lost_a_source_is_undone(controller: Controller) -> None:
    sources = await volumes(controller)
    controller.storage.fail("create_group_snapshot", Unavailable("reboot"), after=True)
    with pytest.raises(Unavailable):
        await cut(controller, sources)
    await controller.call(m.DeleteVolumeRequest(sources[1]))
    with pytest.raises(VolumeNotFound):
        await cut(controller, sources)
    assert not controller.storage.content.snapshots


class Incomplete(MemoryDriver):
    """Forgets a member in its answer."""

    def create_group_snapshot(
        self, group: csi.NewGroupSnapshot, sources: tuple[csi.VolumeRecord, ...]
    ) -> tuple[csi.Snapshot, ...] | None:
        made = super().create_group_snapshot(group, sources)
        return made[1:] if made else None


async def test_an_answer_without_all_members_is_rolled_back(tmp_path: Path) -> None:
    async with Controller(tmp_path / "state", driver=Incomplete) as incomplete:
        with pytest.raises(csi.Internal):
            await cut(incomplete, await volumes(incomplete))
        assert not incomplete.storage.content.snapshots
        await incomplete.plugin.stop()
        assert set(await incomplete.rows()) == {"volume"}


class Unutterable(MemoryDriver):
    """Gives its members ids that are too long to be told."""

    def create_group_snapshot(
        self, group: csi.NewGroupSnapshot, sources: tuple[csi.VolumeRecord, ...]
    ) -> tuple[csi.Snapshot, ...] | None:
        long = [structs.replace(member, snapshot_id=member.snapshot_id + 200 * "x") for member in group.members]
        return super().create_group_snapshot(structs.replace(group, members=tuple(long)), sources)


async def test_a_group_that_cannot_be_told_of_is_rolled_back(tmp_path: Path) -> None:
    async with Controller(tmp_path / "state", driver=Unutterable) as unutterable:
        with pytest.raises(csi.Internal, match="snapshot_id"):
            await cut(unutterable, await volumes(unutterable))
        assert not unutterable.storage.content.snapshots
        await unutterable.plugin.stop()
        assert set(await unutterable.rows()) == {"volume"}


class Slow(MemoryDriver):
    """Members become ready one by one."""

    def create_group_snapshot(
        self, group: csi.NewGroupSnapshot, sources: tuple[csi.VolumeRecord, ...]
    ) -> tuple[csi.Snapshot, ...] | None:
        made = super().create_group_snapshot(group, sources) or ()
        return tuple(structs.replace(snapshot, ready_to_use=False) for snapshot in made)

    def snapshot_ready(self, snapshot: csi.SnapshotRecord) -> bool:
        return snapshot.source_volume_id in self.storage.calls


async def test_a_group_is_ready_when_all_members_are(tmp_path: Path) -> None:
    async with Controller(tmp_path / "state", driver=Slow) as slow:
        sources = await volumes(slow)
        for source in sources:
            assert not (await cut(slow, sources)).ready_to_use
            slow.storage.calls[source] += 1
        assert (await cut(slow, sources)).ready_to_use


async def test_sources_cannot_go_while_a_group_is_cut(controller: Controller) -> None:
    sources = await volumes(controller)
    gate = controller.storage.hold("create_group_snapshot")
    cutting = await controller.leave(m.CreateVolumeGroupSnapshotRequest("group", sources))
    await entered(gate)
    for source in sources:
        with pytest.raises(OperationPending, match="CreateVolumeGroupSnapshot"):
            await controller.call(m.DeleteVolumeRequest(source))
    gate.release()
    await cutting


async def test_a_snapshot_may_be_called_like_a_member(either: Controller) -> None:
    (source,) = await volumes(either, "a")
    group = await cut(either, (source,))
    single = await either.call(m.CreateSnapshotRequest(source, f"group/{source}"))
    assert single.snapshot.snapshot_id not in ids(group)
    assert len(either.storage.content.snapshots) == 2


@pytest.mark.parametrize("driver", [MemoryDriver, TaggedDriver], ids=["journal", "tags"])
async def test_what_the_storage_has_already_is_not_undone(tmp_path: Path, driver: type[MemoryDriver]) -> None:
    """The driver says that somebody else has snapshots of these names: they are not ours to delete."""
    async with Controller(tmp_path / "state", driver=driver) as controller:
        sources = await volumes(controller)
        for _ in range(2):
            controller.storage.fail("create_group_snapshot", AlreadyExists("another system cut these snapshots"))
            with pytest.raises(AlreadyExists, match="another system"):
                await cut(controller, sources)
        assert controller.storage.calls["delete_snapshot"] == 0
        group = await cut(controller, sources)
        assert set(controller.storage.content.snapshots) == set(ids(group))
        await controller.plugin.stop()
        assert "intent" not in await controller.rows()


class Short(MemoryDriver):
    """A storage system that takes a member for a snapshot that it has already."""

    def create_group_snapshot(
        self, group: csi.NewGroupSnapshot, sources: tuple[csi.VolumeRecord, ...]
    ) -> tuple[csi.Snapshot, ...] | None:
        made = super().create_group_snapshot(group, sources) or ()
        known = next((stored.snapshot for stored in self.storage.content.snapshots.values()), made[0])
        return (structs.replace(made[0], snapshot_id=known.snapshot_id), *made[1:])


async def test_somebody_elses_snapshot_survives_a_group_that_took_it_for_a_member(tmp_path: Path) -> None:
    async with Controller(tmp_path / "state", driver=Short) as short:
        sources = await volumes(short)
        other = (await short.call(m.CreateSnapshotRequest(sources[0], "other"))).snapshot
        with pytest.raises(csi.Internal, match="'other'"):
            await cut(short, sources)
        assert set(short.storage.content.snapshots) == {other.snapshot_id}
        await short.plugin.stop()
        assert "intent" not in await short.rows()
