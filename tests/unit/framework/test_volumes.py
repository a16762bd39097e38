"""CreateVolume and DeleteVolume: one volume for a name, whatever happens."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from tests.support.controller import (
    BLOCK,
    MIB,
    MOUNT,
    SHARED,
    Controller,
    attach,
    clone,
    create,
    entered,
    restore,
)

import moorage.framework as csi
from moorage.spec import messages as m
from moorage.spec.errors import AlreadyExists, FailedPrecondition, OperationPending, Unavailable, VolumeNotFound
from moorage.spec.types import (
    AccessMode,
    CapacityRange,
    MountAccess,
    SnapshotSource,
    Topology,
    TopologyRequirement,
    VolumeCapability,
    VolumeSource,
)
from moorage.testing.memory import MemoryDriver, MemoryStorage

ZONE_A, ZONE_B = Topology({"zone": "a"}), Topology({"zone": "b"})


async def made(controller: Controller, request: m.CreateVolumeRequest) -> csi.Volume:
    response: m.CreateVolumeResponse = await controller.call(request)
    return response.volume


def flags(*options: str) -> VolumeCapability:
    return VolumeCapability(AccessMode.SINGLE_NODE_WRITER, MountAccess(mount_flags=options))


REPLAYS: list[tuple[str, dict[str, Any], dict[str, Any], bool]] = [
    ("the same again", {}, {}, True),
    ("size is inside a new range", {}, {"capacity_range": CapacityRange(4 * MIB, 16 * MIB)}, True),
    ("no range at all", {}, {"capacity_range": None}, True),
    ("a larger size", {}, {"capacity_range": CapacityRange(9 * MIB)}, False),
    ("a lower ceiling", {}, {"capacity_range": CapacityRange(0, 4 * MIB)}, False),
    ("other parameters", {"parameters": {"tier": "a"}}, {"parameters": {"tier": "b"}}, False),
    ("a parameter is missing", {"parameters": {"tier": "a"}}, {}, False),
    ("a parameter is new", {}, {"parameters": {"tier": "a"}}, False),
    (
        "the orchestrator's own keys differ",
        {"parameters": {"tier": "a", "csi.storage.k8s.io/pvc/name": "x"}},
        {"parameters": {"tier": "a", "csi.storage.k8s.io/pv/name": "y"}},
        True,
    ),
    ("other mutable parameters", {"mutable_parameters": {"iops": "1"}}, {"mutable_parameters": {"iops": "2"}}, False),
    ("secrets were renewed", {"secrets": csi.Secrets(k="old")}, {"secrets": csi.Secrets(k="new")}, True),
    ("other access type", {}, {"volume_capabilities": (BLOCK,)}, False),
    ("one capability less", {"volume_capabilities": (MOUNT, SHARED)}, {"volume_capabilities": (MOUNT,)}, True),
    ("a capability that the volume lacks", {}, {"volume_capabilities": (SHARED,)}, False),
    (
        "other mount flags",
        {"volume_capabilities": (flags("noatime"),)},
        {"volume_capabilities": (flags("ro"),)},
        True,
    ),
    ("a source that it had not", {}, {"volume_content_source": VolumeSource("$source")}, False),
]


@pytest.mark.parametrize(("first", "second", "fits"), [row[1:] for row in REPLAYS], ids=[row[0] for row in REPLAYS])
async def test_a_replay_is_judged_by_compatibility(
    controller: Controller, first: dict[str, Any], second: dict[str, Any], fits: bool
) -> None:
    source = await made(controller, create("source"))
    if second.get("volume_content_source") == VolumeSource("$source"):
        second = {"volume_content_source": VolumeSource(source.volume_id)}
    volume = await made(controller, create(**first))
    if fits:
        assert await made(controller, create(**second)) == volume
    else:
        with pytest.raises(AlreadyExists, match="pvc-1"):
            await made(controller, create(**second))
    assert set(controller.storage.content.volumes) == {source.volume_id, volume.volume_id}


async def test_a_source_is_part_of_the_wish(controller: Controller) -> None:
    first, second = await made(controller, create("a")), await made(controller, create("b"))
    copy = await made(controller, clone("copy", first.volume_id))
    assert copy.content_source == VolumeSource(first.volume_id)
    assert await made(controller, clone("copy", first.volume_id)) == copy
    for other in (clone("copy", second.volume_id), create("copy")):
        with pytest.raises(AlreadyExists):
            await made(controller, other)


class Zoned(MemoryDriver):
    """Has room in two zones, and prefers another one each time it is asked."""

    topology_aware = True
    node_zone = ZONE_A

    def node_info(self) -> csi.NodeInfo:
        return csi.NodeInfo(node_id="node-1", topology=self.node_zone)

    def places(self) -> tuple[Topology, ...]:
        with self.storage.acting("places"):
            return (ZONE_A, ZONE_B) if self.storage.calls["places"] % 2 else (ZONE_B, ZONE_A)

    def create_volume(self, volume: csi.NewVolume) -> None:
        with self.storage.acting("create_volume") as content:
            self._store(content, volume, volume.topology[0].segments["zone"])


async def test_topology_may_grow_but_must_be_met(tmp_path: Path) -> None:
    async with Controller(tmp_path / "state", driver=Zoned) as zoned:
        only_b = TopologyRequirement(requisite=(ZONE_B,))
        volume = await made(zoned, create(accessibility_requirements=only_b))
        assert volume.accessible_topology == (ZONE_B,)
        both = TopologyRequirement(requisite=(ZONE_A, ZONE_B), preferred=(ZONE_A,))
        assert await made(zoned, create(accessibility_requirements=both)) == volume
        with pytest.raises(AlreadyExists):
            await made(zoned, create(accessibility_requirements=TopologyRequirement(requisite=(ZONE_A,))))


async def test_a_replay_keeps_the_place_that_was_chosen(tmp_path: Path) -> None:
    async with Controller(tmp_path / "state", driver=Zoned) as zoned:
        zoned.storage.fail("create_volume", Unavailable("reply lost"), after=True)
        with pytest.raises(Unavailable):
            await made(zoned, create())
        volume = await made(zoned, create())
        (stored,) = zoned.storage.content.volumes.values()
        assert [place.segments["zone"] for place in volume.accessible_topology] == [stored.data]


async def test_parallel_creates_of_one_name_make_one_volume(controller: Controller) -> None:
    volumes = await asyncio.gather(*(made(controller, create()) for _ in range(64)))
    assert len({volume.volume_id for volume in volumes}) == 1
    assert controller.storage.calls["create_volume"] == 1


async def test_parallel_creates_of_many_names(controller: Controller) -> None:
    volumes = await asyncio.gather(*(made(controller, create(f"pvc-{n}")) for n in range(64)))
    assert {volume.volume_id for volume in volumes} == set(controller.storage.content.volumes)
    assert len(volumes) == len(controller.storage.content.volumes) == 64


async def test_identical_calls_join_and_others_are_told_what_runs(controller: Controller) -> None:
    gate = controller.storage.hold("create_volume")
    first, second = await controller.leave(create()), await controller.leave(create())
    await entered(gate)
    with pytest.raises(OperationPending, match="CreateVolume on volume name 'pvc-1'"):
        await made(controller, create(size=9 * MIB))
    gate.release()
    assert await first == await second
    assert controller.storage.calls["create_volume"] == 1


async def test_work_outlives_the_deadline_of_its_caller(controller: Controller) -> None:
    gate = controller.storage.hold("create_volume")
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.05):
            await made(controller, create())
    assert [row.waiters for row in controller.plugin.running()] == [0]
    replay = await controller.leave(create())
    gate.release()
    response: m.CreateVolumeResponse = await replay
    assert set(controller.storage.content.volumes) == {response.volume.volume_id}
    assert controller.storage.calls["create_volume"] == 1


async def test_a_source_cannot_be_deleted_or_grown_during_its_copy(controller: Controller) -> None:
    source = await made(controller, create("source"))
    gate = controller.storage.hold("clone_volume")
    copying = await controller.leave(clone("copy", source.volume_id))
    await entered(gate)
    for request in (
        m.DeleteVolumeRequest(source.volume_id),
        m.ControllerExpandVolumeRequest(source.volume_id, CapacityRange(16 * MIB)),
    ):
        with pytest.raises(OperationPending, match="CreateVolume on volume name 'copy' is running"):
            await controller.call(request)
    second = await made(controller, clone("other copy", source.volume_id))
    gate.release()
    response: m.CreateVolumeResponse = await copying
    assert {source.volume_id, second.volume_id, response.volume.volume_id} == set(controller.storage.content.volumes)


async def test_a_final_error_undoes_and_erases_the_intent(controller: Controller) -> None:
    controller.storage.fail("create_volume", csi.ResourceExhausted("pool full"), after=True)
    with pytest.raises(csi.ResourceExhausted, match="pool full"):
        await made(controller, create())
    assert not controller.storage.content.volumes
    await controller.plugin.stop()
    assert await controller.rows() == {}


@pytest.mark.parametrize(
    "error",
    [
        Unavailable("reboot"),
        TimeoutError("socket"),
        ConnectionResetError(),
        OSError(110, "timed out"),
        OSError(111, ""),
    ],
    ids=repr,
)
async def test_trouble_on_the_way_is_not_final_and_keeps_the_intent(controller: Controller, error: Exception) -> None:
    controller.storage.fail("create_volume", error, after=True)
    with pytest.raises(Unavailable):
        await made(controller, create())
    assert controller.storage.calls["delete_volume"] == 0
    (known,) = controller.storage.content.volumes
    await controller.restart()
    assert (await made(controller, create())).volume_id == known
    await controller.plugin.stop()
    assert set(await controller.rows()) == {"volume"}


async def test_a_defect_of_the_driver_is_undone_and_reported_as_it_is(controller: Controller) -> None:
    controller.storage.fail("create_volume", KeyError("x"), after=True)
    with pytest.raises(KeyError):
        await made(controller, create())
    assert not controller.storage.content.volumes


async def test_a_failed_undo_is_taken_up_by_the_replay(controller: Controller) -> None:
    controller.storage.fail("create_volume", csi.ResourceExhausted("pool full"), after=True)
    controller.storage.fail("delete_volume", csi.Internal("array confused"))
    with pytest.raises(Unavailable, match="not undone yet"):
        await made(controller, create())
    await controller.restart()
    volume = await made(controller, create())
    assert set(controller.storage.content.volumes) == {volume.volume_id}


async def test_another_wish_under_the_name_of_a_half_made_volume_starts_over(controller: Controller) -> None:
    controller.storage.fail("create_volume", Unavailable("reboot"), after=True)
    with pytest.raises(Unavailable):
        await made(controller, create())
    volume = await made(controller, create(size=16 * MIB))
    assert [stored.size_bytes for stored in controller.storage.content.volumes.values()] == [16 * MIB]
    assert set(controller.storage.content.volumes) == {volume.volume_id}


async def test_new_keys_of_the_orchestrator_do_not_start_a_creation_over(controller: Controller) -> None:
    controller.storage.fail("create_volume", Unavailable("reboot"), after=True)
    with pytest.raises(Unavailable):
        await made(controller, create(parameters={"csi.storage.k8s.io/pvc/name": "a"}))
    await made(controller, create(parameters={"csi.storage.k8s.io/pvc/name": "b"}))
    assert controller.storage.calls["delete_volume"] == 0


async def test_a_half_made_copy_is_undone_when_its_source_is_gone(controller: Controller) -> None:
    source = await made(controller, create("source"))
    controller.storage.fail("clone_volume", Unavailable("reboot"), after=True)
    with pytest.raises(Unavailable):
        await made(controller, clone("copy", source.volume_id))
    await controller.call(m.DeleteVolumeRequest(source.volume_id))
    with pytest.raises(VolumeNotFound):
        await made(controller, clone("copy", source.volume_id))
    assert not controller.storage.content.volumes
    await controller.plugin.stop()
    assert await controller.rows() == {}


class Picky(MemoryDriver):
    """Knows one parameter."""

    def check_parameters(self, parameters: Mapping[str, str], mutable: Mapping[str, str]) -> None:
        if set(parameters) - {"tier"}:
            raise csi.InvalidArgument("only parameter tier is known")


async def test_a_refusal_leaves_nothing_of_an_earlier_attempt(tmp_path: Path) -> None:
    async with Controller(tmp_path / "state", driver=Picky) as picky:
        picky.storage.fail("create_volume", Unavailable("reboot"), after=True)
        with pytest.raises(Unavailable):
            await made(picky, create())
        with pytest.raises(csi.InvalidArgument):
            await made(picky, create(parameters={"colour": "red"}))
        assert not picky.storage.content.volumes


async def test_a_refusal_costs_nothing(tmp_path: Path) -> None:
    async with Controller(tmp_path / "state", driver=Picky) as picky:
        with pytest.raises(csi.InvalidArgument):
            await made(picky, create(parameters={"colour": "red"}))
        assert not picky.storage.calls


class Rounding(MemoryDriver):
    """A storage system that gives twice what was asked for, under ids of its own."""

    def create_volume(self, volume: csi.NewVolume) -> csi.Volume:
        with self.storage.acting("create_volume") as content:
            fresh = f"array-{volume.name}"
            self._store(content, csi.NewVolume(volume_id=fresh, name="", size_bytes=2 * volume.size_bytes), "")
            return csi.Volume(fresh, 2 * volume.size_bytes)


async def test_a_wrong_size_is_rolled_back(tmp_path: Path) -> None:
    async with Controller(tmp_path / "state", driver=Rounding) as rounding:
        with pytest.raises(csi.OutOfRange):
            await made(rounding, create(capacity_range=CapacityRange(8 * MIB, 8 * MIB)))
        assert not rounding.storage.content.volumes
        assert (await made(rounding, create())).capacity_bytes == 16 * MIB
        await rounding.call(m.DeleteVolumeRequest("array-pvc-1"))
        assert not rounding.storage.content.volumes


class Longwinded(MemoryDriver):
    """Returns what the specification does not allow."""

    def create_volume(self, volume: csi.NewVolume) -> csi.Volume:
        super().create_volume(volume)
        return csi.Volume(volume.volume_id, volume.size_bytes, {"hint": "x" * 5000})


async def test_an_answer_that_cannot_be_sent_is_rolled_back(tmp_path: Path) -> None:
    async with Controller(tmp_path / "state", driver=Longwinded) as longwinded:
        with pytest.raises(csi.Internal, match="volume_context"):
            await made(longwinded, create())
        assert not longwinded.storage.content.volumes


@pytest.mark.parametrize(
    ("wanted", "size"),
    [
        (CapacityRange(8 * MIB, 8 * MIB), 8 * MIB),
        (CapacityRange(12 * MIB), 12 * MIB),
        (CapacityRange(4 * MIB), None),
        (CapacityRange(0, 4 * MIB), None),
        (None, 8 * MIB),
        (CapacityRange(0, 16 * MIB), 8 * MIB),
    ],
    ids=str,
)
async def test_a_copy_is_never_smaller_than_its_source(
    controller: Controller, wanted: CapacityRange | None, size: int | None
) -> None:
    source = await made(controller, create("source", volume_capabilities=(BLOCK,)))
    cut = await controller.call(m.CreateSnapshotRequest(source.volume_id, "snap"))
    for request in (clone("copy", source.volume_id), restore("restored", cut.snapshot.snapshot_id)):
        asked = m.CreateVolumeRequest(
            request.name, (BLOCK,), capacity_range=wanted, volume_content_source=request.volume_content_source
        )
        if size is None:
            with pytest.raises(csi.OutOfRange):
                await made(controller, asked)
        else:
            assert (await made(controller, asked)).capacity_bytes == size


async def test_a_copy_has_the_data_of_its_source(controller: Controller) -> None:
    source = await made(controller, create("source"))
    stored = controller.storage.content.volumes
    stored[source.volume_id].data = "old"
    cut = await controller.call(m.CreateSnapshotRequest(source.volume_id, "snap"))
    stored[source.volume_id].data = "new"
    copy = await made(controller, clone("copy", source.volume_id))
    restored = await made(controller, restore("restored", cut.snapshot.snapshot_id))
    assert restored.content_source == SnapshotSource(cut.snapshot.snapshot_id)
    assert (stored[copy.volume_id].data, stored[restored.volume_id].data) == ("new", "old")


async def test_mutable_parameters_override_the_others(tmp_path: Path) -> None:
    seen: list[Mapping[str, str]] = []

    class Watched(MemoryDriver):
        def create_volume(self, volume: csi.NewVolume) -> None:
            seen.append(volume.parameters)

    async with Controller(tmp_path / "state", driver=Watched) as watched:
        await made(
            watched,
            create(
                parameters={"tier": "slow", "csi.storage.k8s.io/pvc/name": "x"}, mutable_parameters={"tier": "fast"}
            ),
        )
    assert seen == [{"tier": "fast"}]


# --- delete ---


async def test_delete_is_repeatable_and_frees_the_name(controller: Controller) -> None:
    first = await made(controller, create())
    for _ in range(2):
        assert await controller.call(m.DeleteVolumeRequest(first.volume_id)) == m.DeleteVolumeResponse()
    second = await made(controller, create(size=16 * MIB))
    assert second.volume_id != first.volume_id
    await controller.call(m.DeleteVolumeRequest(first.volume_id))
    assert set(controller.storage.content.volumes) == {second.volume_id}
    assert await controller.call(m.DeleteVolumeRequest("never/was")) == m.DeleteVolumeResponse()


async def test_a_published_volume_is_not_deleted(controller: Controller) -> None:
    volume = await made(controller, create())
    await controller.call(attach(volume.volume_id))
    with pytest.raises(FailedPrecondition, match="node-1"):
        await controller.call(m.DeleteVolumeRequest(volume.volume_id))
    await controller.call(m.ControllerUnpublishVolumeRequest(volume.volume_id, "node-1"))
    await controller.call(m.DeleteVolumeRequest(volume.volume_id))
    assert not controller.storage.content.volumes


class Chained(MemoryDriver):
    """Snapshots need their volume."""

    snapshots_outlive_volumes = False


@pytest.mark.parametrize("driver", [MemoryDriver, Chained])
async def test_delete_of_a_volume_with_snapshots(tmp_path: Path, driver: type[MemoryDriver]) -> None:
    async with Controller(tmp_path / "state", driver=driver) as controller:
        volume = await made(controller, create())
        cut = await controller.call(m.CreateSnapshotRequest(volume.volume_id, "snap"))
        delete = m.DeleteVolumeRequest(volume.volume_id)
        if driver is Chained:
            with pytest.raises(FailedPrecondition, match="1 snapshot"):
                await controller.call(delete)
            assert await made(controller, create()) == volume
            await controller.call(m.DeleteSnapshotRequest(cut.snapshot.snapshot_id))
            await controller.call(delete)
        else:
            await controller.call(delete)
            restored = await made(controller, restore("again", cut.snapshot.snapshot_id))
            assert restored.capacity_bytes == 8 * MIB


async def test_a_half_way_delete_hides_the_volume_and_is_resumed(controller: Controller) -> None:
    volume = await made(controller, create())
    controller.storage.fail("delete_volume", Unavailable("reboot"))
    with pytest.raises(Unavailable):
        await controller.call(m.DeleteVolumeRequest(volume.volume_id))
    await controller.restart()
    for request in (attach(volume.volume_id), m.ControllerGetVolumeRequest(volume.volume_id)):
        with pytest.raises(VolumeNotFound):
            await controller.call(request)
    assert (await controller.call(m.ListVolumesRequest())).entries == ()
    await controller.call(m.DeleteVolumeRequest(volume.volume_id))
    assert not controller.storage.content.volumes


async def test_a_name_whose_volume_is_half_deleted_is_made_anew(controller: Controller) -> None:
    volume = await made(controller, create())
    controller.storage.fail("delete_volume", Unavailable("reboot"))
    with pytest.raises(Unavailable):
        await controller.call(m.DeleteVolumeRequest(volume.volume_id))
    fresh = await made(controller, create())
    assert set(controller.storage.content.volumes) == {fresh.volume_id}
    assert fresh.volume_id != volume.volume_id


async def test_a_volume_that_the_storage_will_not_delete_stays_usable(controller: Controller) -> None:
    volume = await made(controller, create())
    controller.storage.fail("delete_volume", FailedPrecondition("a backup is running"))
    with pytest.raises(FailedPrecondition, match="backup"):
        await controller.call(m.DeleteVolumeRequest(volume.volume_id))
    assert await made(controller, create()) == volume
    await controller.call(attach(volume.volume_id))


async def test_a_name_cannot_be_made_while_its_volume_is_being_deleted(controller: Controller) -> None:
    volume = await made(controller, create())
    gate = controller.storage.hold("delete_volume")
    deleting = await controller.leave(m.DeleteVolumeRequest(volume.volume_id))
    await entered(gate)
    with pytest.raises(OperationPending, match="DeleteVolume"):
        await made(controller, create())
    gate.release()
    await deleting


async def test_two_names_that_the_storage_takes_for_one_are_refused(tmp_path: Path) -> None:
    class Truncating(MemoryDriver):
        def create_volume(self, volume: csi.NewVolume) -> csi.Volume:
            short = volume.name[:8]
            with self.storage.acting("create_volume") as content:
                self._store(content, csi.NewVolume(volume_id=short, name="", size_bytes=volume.size_bytes), "")
            return csi.Volume(short, volume.size_bytes)

    async with Controller(tmp_path / "state", driver=Truncating) as truncating:
        volume = await made(truncating, create("volume-a-1"))
        with pytest.raises(csi.Internal, match="volume-a-1"):
            await made(truncating, create("volume-a-2"))
        assert set(truncating.storage.content.volumes) == {volume.volume_id}


# --- questions ---


@pytest.mark.parametrize(
    ("asked", "confirmed"),
    [
        ({}, True),
        ({"volume_capabilities": (BLOCK,)}, False),
        ({"volume_capabilities": (MOUNT, BLOCK)}, False),
        ({"parameters": {"tier": "a"}}, True),
        ({"parameters": {"tier": "b"}}, False),
        ({"parameters": {"tier": "a", "csi.storage.k8s.io/pvc/name": "x"}}, True),
        ({"volume_context": {"storage.kubernetes.io/csiProvisionerIdentity": "x"}}, True),
    ],
    ids=str,
)
async def test_validation_confirms_only_what_holds(
    controller: Controller, asked: dict[str, Any], confirmed: bool
) -> None:
    volume = await made(controller, create(parameters={"tier": "a"}))
    request = m.ValidateVolumeCapabilitiesRequest(volume.volume_id, **{"volume_capabilities": (MOUNT,), **asked})
    response = await controller.call(request)
    if confirmed:
        assert response.confirmed.volume_capabilities == request.volume_capabilities
        assert response.confirmed.parameters == request.parameters
    else:
        assert response.confirmed is None
        assert response.message


async def test_questions_about_a_missing_volume(controller: Controller) -> None:
    for request in (
        m.ValidateVolumeCapabilitiesRequest("none", (MOUNT,)),
        m.ControllerGetVolumeRequest("none"),
        m.ControllerExpandVolumeRequest("none", CapacityRange(1)),
        m.ControllerModifyVolumeRequest("none", {"a": "b"}),
        attach("none"),
        clone("x", "none"),
    ):
        with pytest.raises(VolumeNotFound, match="'none'"):
            await controller.call(request)


async def test_get_tells_where_a_volume_is_published(controller: Controller) -> None:
    volume = await made(controller, create(volume_capabilities=(SHARED,)))
    for node in ("node-2", "node-1"):
        await controller.call(attach(volume.volume_id, node, volume_capability=SHARED))
    answer = await controller.call(m.ControllerGetVolumeRequest(volume.volume_id))
    assert answer == m.ControllerGetVolumeResponse(volume, m.VolumeStatus(("node-1", "node-2")))


class Static(MemoryDriver):
    """Has volumes that were made by hand."""

    def find_volume(self, volume_id: str) -> csi.VolumeRecord | None:
        stored = self.storage.content.volumes.get(volume_id)
        if stored is None:
            return None
        return csi.VolumeRecord(volume_id=volume_id, name="", capacity_bytes=stored.size_bytes)


async def test_volumes_made_by_hand_can_be_used_and_deleted(tmp_path: Path) -> None:
    storage = MemoryStorage()
    wishes = [csi.NewVolume(volume_id=name, name=name, size_bytes=8 * MIB) for name in ("hand-1", "hand-2", "hand-3")]
    for wish in wishes:
        MemoryDriver(storage=storage).create_volume(wish)
    async with Controller(tmp_path / "state", driver=Static, storage=storage) as static:
        await static.call(attach("hand-1"))
        for volume_id in ("hand-2", "hand-3"):
            storage.fail("delete_volume", Unavailable("reboot"))
            with pytest.raises(Unavailable, match="reboot"):
                await static.call(m.DeleteVolumeRequest(volume_id))
        for volume_id in ("hand-1", "hand-3"):
            await static.call(m.ControllerUnpublishVolumeRequest(volume_id))
            expand = m.ControllerExpandVolumeRequest(volume_id, CapacityRange(16 * MIB))
            if volume_id == "hand-1":
                assert (await static.call(expand)).capacity_bytes == 16 * MIB
        for wish in wishes:
            await static.call(m.DeleteVolumeRequest(wish.volume_id))
        assert not storage.content.volumes


async def test_minimum_size_is_that_of_the_file_system(controller: Controller) -> None:
    xfs = VolumeCapability(AccessMode.SINGLE_NODE_WRITER, MountAccess("xfs"))
    volume = await made(controller, create(size=MIB, volume_capabilities=(xfs,)))
    assert volume.capacity_bytes >= 300 * MIB
    with pytest.raises(csi.OutOfRange):
        await made(controller, create("small", volume_capabilities=(xfs,), capacity_range=CapacityRange(MIB, 2 * MIB)))
    assert len(controller.storage.content.volumes) == 1
