"""CreateSnapshot, DeleteSnapshot, GetSnapshot: one name, one snapshot, and what is told of it."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Final

import msgspec

from moorage.spec import messages as m
from moorage.spec.errors import Code
from moorage.spec.topology import overlaps
from moorage.spec.types import (
    CapacityRange,
    ControllerCapability,
    PluginCapability,
    Snapshot,
    Topology,
    TopologyRequirement,
)
from moorage.verify.copies import restore_request, snapshot_request
from moorage.verify.lab import Lab
from moorage.verify.rule import Danger, Severity, Skipped, expect, rule
from moorage.verify.together import together

CREATE = ControllerCapability.CREATE_DELETE_VOLUME
SNAPSHOT = ControllerCapability.CREATE_DELETE_SNAPSHOT
GET = ControllerCapability.GET_SNAPSHOT
PLACES = PluginCapability.SNAPSHOT_ACCESSIBILITY_CONSTRAINTS

CLOCK_TOLERANCE: Final = timedelta(minutes=10)
"""How far the clocks of a storage system and of this machine may be apart."""
_REPLAYS: Final = 5
_LONGEST_NAME_BYTES: Final = 128


async def _cut(lab: Lab, request: m.CreateSnapshotRequest) -> Snapshot:
    return (await lab.settle(request)).response(m.CreateSnapshotResponse).snapshot


# --- names ----------------------------------------------------------------------------------------


@rule(
    "snapshots.replay-same-answer",
    section="CreateSnapshot",
    title="the same request twice gives the same snapshot",
    sends="CreateSnapshot twice with equal fields",
    demands="both answers are OK with the same id, source, creation time and size",
    needs=(CREATE, SNAPSHOT),
    danger=(Danger.CREATES,),
)
async def replay_same_answer(lab: Lab) -> None:
    request = snapshot_request(lab, (await lab.create()).volume_id)
    first, again = await _cut(lab, request), await _cut(lab, request)
    for name in ("snapshot_id", "source_volume_id", "creation_time"):
        told, before = getattr(again, name), getattr(first, name)
        expect(told == before, f"{name} was {before} in the first answer and {told} in the second", lab.last)
    same = not first.size_bytes or not again.size_bytes or first.size_bytes == again.size_bytes
    expect(same, f"size_bytes was {first.size_bytes} at first and {again.size_bytes} then", lab.last)
    source = request.source_volume_id
    expect(first.source_volume_id == source, f"the answer names volume {first.source_volume_id!r} as source", lab.last)


@rule(
    "snapshots.name-of-other-source",
    section="CreateSnapshot",
    title="a name that belongs to a snapshot of another volume is refused",
    sends="CreateSnapshot of two volumes with one name",
    demands="ALREADY_EXISTS for the second",
    needs=(CREATE, SNAPSHOT),
    danger=(Danger.CREATES,),
)
async def name_of_other_source(lab: Lab) -> None:
    first, second = await lab.create(), await lab.create()
    request = snapshot_request(lab, first.volume_id)
    await _cut(lab, request)
    exchange = await lab.settle(msgspec.structs.replace(request, source_volume_id=second.volume_id))
    exchange.refused(Code.ALREADY_EXISTS, why="the name belongs to a snapshot of another volume")


@rule(
    "snapshots.parallel-same-name",
    section="CreateSnapshot",
    title="equal requests at the same time give one snapshot",
    sends="CreateSnapshot eight times at once with equal fields",
    demands="each is OK or ABORTED, and all that are OK name one snapshot",
    needs=(CREATE, SNAPSHOT),
    danger=(Danger.CREATES,),
)
async def parallel_same_name(lab: Lab) -> None:
    request = snapshot_request(lab, (await lab.create()).volume_id)
    exchanges = await asyncio.gather(*(lab.call(request) for _ in range(8)))
    ids = {(await _cut(lab, request)).snapshot_id}
    for exchange in exchanges:
        exchange.refused(Code.OK, Code.ABORTED, why="a call for the same snapshot was pending")
        if exchange.ok:
            ids.add(exchange.response(m.CreateSnapshotResponse).snapshot.snapshot_id)
    expect(len(ids) == 1, f"one name gave {len(ids)} snapshots when asked for at once", lab.last)


@rule(
    "snapshots.long-names-differ",
    section="CreateSnapshot",
    title="names of 128 bytes that differ in the last one, or in case only, are different names",
    sends="CreateSnapshot of four volumes with four such names",
    demands="OK with four ids",
    needs=(CREATE, SNAPSHOT),
    danger=(Danger.CREATES,),
)
async def long_names_differ(lab: Lab) -> None:
    stem = lab.name("snap").ljust(_LONGEST_NAME_BYTES - 1, "x")
    volumes = await together(lab.create() for _ in range(4))
    ids: dict[str, str] = {}
    for volume, end in zip(volumes, "abAB", strict=True):
        found = await _cut(lab, snapshot_request(lab, volume.volume_id, stem + end))
        expect(found.snapshot_id not in ids, f"two names gave one snapshot, {found.snapshot_id!r}", lab.last)
        ids[found.snapshot_id] = end


@rule(
    "snapshots.name-free-after-deletion",
    section="CreateSnapshot",
    title="the name of a snapshot that was deleted can be used again",
    sends="CreateSnapshot, DeleteSnapshot, CreateSnapshot of another volume with the same name",
    demands="OK, with the other volume as source",
    needs=(CREATE, SNAPSHOT),
    danger=(Danger.CREATES,),
)
async def name_free_after_deletion(lab: Lab) -> None:
    first, second = await lab.create(), await lab.create()
    request = snapshot_request(lab, first.volume_id)
    await lab.delete_snapshot((await _cut(lab, request)).snapshot_id)
    again = await _cut(lab, msgspec.structs.replace(request, source_volume_id=second.volume_id))
    source = again.source_volume_id
    expect(
        source == second.volume_id, f"the new snapshot names {source!r} as source, not the volume asked for", lab.last
    )


# --- sources --------------------------------------------------------------------------------------


@rule(
    "snapshots.unknown-source-refused",
    section="CreateSnapshot",
    title="there is no snapshot of a volume that does not exist",
    sends="CreateSnapshot with a source_volume_id that no volume has, and with that of a deleted volume",
    demands="a final error",
    needs=(CREATE, SNAPSHOT),
    danger=(Danger.CREATES,),
)
async def unknown_source_refused(lab: Lab) -> None:
    volume = await lab.create()
    await lab.delete(volume.volume_id)
    for volume_id in (lab.name("no-such-volume"), volume.volume_id):
        exchange = await lab.settle(snapshot_request(lab, volume_id))
        expect(not exchange.ok, f"a snapshot was made of volume {volume_id!r}, which does not exist", exchange)
        expect(exchange.final, f"the answer for a volume that does not exist is {exchange.described()}", exchange)


@rule(
    "snapshots.unknown-source-not-found",
    section="CreateSnapshot",
    title="a source volume that does not exist is told as not found",
    sends="CreateSnapshot with a source_volume_id that no volume has",
    demands="NOT_FOUND",
    severity=Severity.SHOULD,
    needs=(CREATE, SNAPSHOT),
    danger=(Danger.CREATES,),
)
async def unknown_source_not_found(lab: Lab) -> None:
    exchange = await lab.settle(snapshot_request(lab, lab.name("no-such-volume")))
    exchange.refused(Code.NOT_FOUND, why="the source volume does not exist")


# --- what is told ---------------------------------------------------------------------------------


@rule(
    "snapshots.ready-stays-ready",
    section="CreateSnapshot",
    title="a snapshot that was ready to use stays ready to use",
    sends="CreateSnapshot until the snapshot is ready, then five times more",
    demands="ready_to_use in each answer",
    needs=(CREATE, SNAPSHOT),
    danger=(Danger.CREATES,),
)
async def ready_stays_ready(lab: Lab) -> None:
    request = snapshot_request(lab, (await lab.create()).volume_id)
    await lab.snapshot(request.source_volume_id, name=request.name)
    for _ in range(_REPLAYS):
        found = await _cut(lab, request)
        expect(found.ready_to_use, "ready_to_use was true in an answer before and is false again", lab.last)


@rule(
    "snapshots.creation-time",
    section="CreateSnapshot",
    title="the creation time is the time at which the snapshot was cut",
    sends="CreateSnapshot",
    demands="creation_time is between the call and its answer, give or take ten minutes, in UTC",
    severity=Severity.SHOULD,
    needs=(CREATE, SNAPSHOT),
    danger=(Danger.CREATES,),
)
async def creation_time(lab: Lab) -> None:
    volume = await lab.create()
    before = datetime.now(UTC)
    told = (await _cut(lab, snapshot_request(lab, volume.volume_id))).creation_time
    after = datetime.now(UTC)
    text = f"creation_time is {told:%Y-%m-%d %H:%M:%S} UTC, and it is {after:%Y-%m-%d %H:%M:%S} UTC here"
    expect(before - CLOCK_TOLERANCE <= told <= after + CLOCK_TOLERANCE, text, lab.last)


@rule(
    "snapshots.creation-times-in-order",
    section="CreateSnapshot",
    title="a snapshot that was cut later does not say that it is older",
    sends="CreateSnapshot three times, one after the other, with different names",
    demands="three ids, and no creation_time before the one of an earlier snapshot",
    needs=(CREATE, SNAPSHOT),
    danger=(Danger.CREATES,),
)
async def creation_times_in_order(lab: Lab) -> None:
    volume = await lab.create()
    snapshots = [await lab.snapshot(volume.volume_id) for _ in range(3)]
    ids = {snapshot.snapshot_id for snapshot in snapshots}
    expect(len(ids) == 3, f"three names gave {len(ids)} snapshots", lab.last)
    times = [snapshot.creation_time for snapshot in snapshots]
    expect(times == sorted(times), f"the creation times are, in the order of the calls, {', '.join(map(str, times))}")


@rule(
    "snapshots.size-is-enough",
    section="CreateSnapshot",
    title="the size that is told of a snapshot is enough for a volume made from it",
    sends="CreateSnapshot, then CreateVolume from it with required_bytes equal to the snapshot's size_bytes",
    demands="OK, with a volume that is not smaller",
    needs=(CREATE, SNAPSHOT),
    danger=(Danger.CREATES,),
)
async def size_is_enough(lab: Lab) -> None:
    volume = await lab.create()
    snapshot = await lab.snapshot(volume.volume_id)
    if not snapshot.size_bytes:
        raise Skipped("the driver does not tell the size of snapshots")
    wanted = CapacityRange(required_bytes=snapshot.size_bytes)
    request = msgspec.structs.replace(restore_request(lab, snapshot, volume), capacity_range=wanted)
    restored = (await lab.settle(request)).response(m.CreateVolumeResponse).volume
    size_bytes = restored.capacity_bytes
    text = f"the volume has {size_bytes} bytes, and the snapshot it is made from {snapshot.size_bytes}"
    expect(not size_bytes or size_bytes >= snapshot.size_bytes, text, lab.last)


@rule(
    "snapshots.get",
    section="GetSnapshot",
    title="a snapshot can be asked for by its id",
    sends="CreateSnapshot, then GetSnapshot",
    demands="OK, with the source, creation time, size and readiness that CreateSnapshot answered",
    needs=(CREATE, SNAPSHOT, GET),
    danger=(Danger.CREATES,),
)
async def get(lab: Lab) -> None:
    made = await lab.snapshot((await lab.create()).volume_id)
    exchange = await lab.settle(m.GetSnapshotRequest(snapshot_id=made.snapshot_id))
    told = exchange.response(m.GetSnapshotResponse).snapshot
    for name in ("snapshot_id", "source_volume_id", "creation_time", "ready_to_use"):
        says, answered = getattr(told, name), getattr(made, name)
        expect(says == answered, f"{name} is {says}, and CreateSnapshot answered {answered}", exchange)
    same = not told.size_bytes or not made.size_bytes or told.size_bytes == made.size_bytes
    expect(same, f"size_bytes is {told.size_bytes}, and CreateSnapshot answered {made.size_bytes}", exchange)


@rule(
    "snapshots.get-unknown",
    section="GetSnapshot",
    title="a snapshot that does not exist is not found",
    sends="GetSnapshot with an id that no snapshot has, and with that of a snapshot that was deleted",
    demands="NOT_FOUND",
    needs=(CREATE, SNAPSHOT, GET),
    danger=(Danger.CREATES,),
)
async def get_unknown(lab: Lab) -> None:
    exchange = await lab.settle(m.GetSnapshotRequest(snapshot_id=lab.name("no-such-snapshot")))
    exchange.refused(Code.NOT_FOUND, why="no snapshot has this id")
    snapshot = await lab.snapshot((await lab.create()).volume_id)
    await lab.delete_snapshot(snapshot.snapshot_id)
    exchange = await lab.settle(m.GetSnapshotRequest(snapshot_id=snapshot.snapshot_id))
    exchange.refused(Code.NOT_FOUND, why="the snapshot was deleted")


@rule(
    "snapshots.delete-is-idempotent",
    section="DeleteSnapshot",
    title="deleting a snapshot that is gone is fine",
    sends="DeleteSnapshot with an id that no snapshot has; CreateSnapshot, DeleteSnapshot twice",
    demands="OK each time",
    needs=(CREATE, SNAPSHOT),
    danger=(Danger.CREATES,),
)
async def delete_is_idempotent(lab: Lab) -> None:
    await lab.delete_snapshot(lab.name("no-such-snapshot"))
    snapshot = await lab.snapshot((await lab.create()).volume_id)
    await lab.delete_snapshot(snapshot.snapshot_id)
    await lab.delete_snapshot(snapshot.snapshot_id)


# --- where snapshots are (CSI 1.13, alpha) --------------------------------------------------------


def _node_place(lab: Lab) -> Topology:
    place = lab.peer.node.accessible_topology
    if place is None:
        raise Skipped("NodeGetInfo tells no topology, so there is no place to ask for")
    return place


@rule(
    "snapshots.topology-honoured",
    section="CreateSnapshot",
    title="a snapshot is usable where it was asked to be",
    sends="CreateSnapshot with the node's topology as accessibility_requirements, twice",
    demands="OK both times with one id; accessible_topology is empty or holds the node's",
    needs=(CREATE, SNAPSHOT, PLACES, "Node"),
    danger=(Danger.CREATES,),
)
async def topology_honoured(lab: Lab) -> None:
    place = _node_place(lab)
    wanted = TopologyRequirement(requisite=(place,), preferred=(place,))
    request = snapshot_request(lab, (await lab.create()).volume_id)
    request = msgspec.structs.replace(request, accessibility_requirements=wanted)
    first, again = await _cut(lab, request), await _cut(lab, request)
    expect(first.snapshot_id == again.snapshot_id, "the same request twice gave two snapshots", lab.last)
    _expect_usable(first, place, lab)


def _expect_usable(snapshot: Snapshot, place: Topology, lab: Lab) -> None:
    told = snapshot.accessible_topology
    text = f"accessible_topology is {[dict(t.segments) for t in told]}, and {dict(place.segments)} was asked for"
    expect(not told or any(overlaps(each, place) for each in told), text, lab.last)


@rule(
    "snapshots.topology-impossible",
    section="CreateSnapshot",
    title="a snapshot is not promised for a place where it cannot be used",
    sends="CreateSnapshot with a topology of the node's keys and values that exist nowhere",
    demands="an error, or a snapshot that says it is usable there",
    needs=(CREATE, SNAPSHOT, PLACES, "Node"),
    danger=(Danger.CREATES,),
)
async def topology_impossible(lab: Lab) -> None:
    nowhere = Topology(dict.fromkeys(_node_place(lab).segments, "no-such-place"))
    request = snapshot_request(lab, (await lab.create()).volume_id)
    request = msgspec.structs.replace(request, accessibility_requirements=TopologyRequirement(requisite=(nowhere,)))
    exchange = await lab.settle(request)
    if exchange.ok:
        _expect_usable(exchange.response(m.CreateSnapshotResponse).snapshot, nowhere, lab)


@rule(
    "snapshots.topology-undeclared",
    section="CreateSnapshot",
    title="a driver without SNAPSHOT_ACCESSIBILITY_CONSTRAINTS tells no topology of snapshots",
    sends="CreateSnapshot",
    demands="accessible_topology is empty",
    needs=(CREATE, SNAPSHOT),
    danger=(Danger.CREATES,),
)
async def topology_undeclared(lab: Lab) -> None:
    if lab.has(PLACES):
        raise Skipped("the driver declares SNAPSHOT_ACCESSIBILITY_CONSTRAINTS")
    found = await _cut(lab, snapshot_request(lab, (await lab.create()).volume_id))
    expect(not found.accessible_topology, "accessible_topology is set, and the capability is not declared", lab.last)
