"""Drivers that are wrong about CreateSnapshot, DeleteSnapshot and GetSnapshot."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec

from moorage.spec import messages as m
from moorage.spec.errors import Code
from moorage.spec.types import PluginCapability, Snapshot, Topology
from moorage.testing.mutants.mutant import Call, Reply, mutant

ELSEWHERE = Topology({"topology.local.csi.moorage.dev/node": "elsewhere"})


def _changed(call: Call, reply: Reply, **fields: Any) -> Reply:
    """A good answer of CreateSnapshot with other fields; a refusal as it is."""
    if not reply.ok:
        return reply
    snapshot = call.read(reply, m.CreateSnapshotResponse).snapshot
    return Reply.of(m.CreateSnapshotResponse(snapshot=msgspec.structs.replace(snapshot, **fields)))


@mutant("snapshots.replay-same-answer", on=("CreateSnapshot",))
async def dates_replays_anew(call: Call) -> Reply:
    """Each repeated request tells a later creation time."""
    times = call.memory.setdefault("times", {})
    reply = await call.forward()
    if not reply.ok:
        return reply
    made = call.read(reply, m.CreateSnapshotResponse).snapshot.creation_time
    times[call.request.name] = times.get(call.request.name, -1) + 1
    return _changed(call, reply, creation_time=made + timedelta(seconds=times[call.request.name]))


@mutant("snapshots.name-of-other-source", on=("CreateSnapshot",))
async def gives_the_snapshot_of_another_volume(call: Call) -> Reply:
    """A name that is taken is answered with its snapshot, whatever volume it is of."""
    answers: dict[str, Reply] = call.memory.setdefault("answers", {})
    reply = await call.forward()
    if reply.ok:
        answers[call.request.name] = reply
    return answers.get(call.request.name, reply) if reply.code is Code.ALREADY_EXISTS else reply


@mutant("snapshots.parallel-same-name", on=("CreateSnapshot",))
async def cuts_twice_at_once(call: Call) -> Reply:
    """Calls for one name that arrive together cut a snapshot each."""
    running: dict[str, int] = call.memory.setdefault("running", {})
    name = call.request.name
    others = running.get(name, 0)
    running[name] = others + 1
    try:
        if not others:
            return await call.forward()
        return await call.forward(msgspec.structs.replace(call.request, name=f"{name[:120]}-{others}"))
    finally:
        running[name] -= 1


@mutant("snapshots.long-names-differ", on=("CreateSnapshot",))
async def cuts_names_short(call: Call) -> Reply:
    """Of a name only the first 127 bytes count."""
    return await call.forward(msgspec.structs.replace(call.request, name=call.request.name[:127]))


@mutant("snapshots.long-names-differ", on=("CreateSnapshot",))
async def lowers_names(call: Call) -> Reply:
    """Names that differ in case are one name."""
    return await call.forward(msgspec.structs.replace(call.request, name=call.request.name.lower()))


@mutant("snapshots.name-free-after-deletion", on=("CreateSnapshot", "DeleteSnapshot"))
async def remembers_deleted_names(call: Call) -> Reply:
    """The name of a deleted snapshot stays taken."""
    names: dict[str, str] = call.memory.setdefault("names", {})
    if isinstance(call.request, m.CreateSnapshotRequest):
        source = call.request.source_volume_id
        if names.setdefault(call.request.name, source) != source:
            return Reply.failed(Code.ALREADY_EXISTS, "the snapshot name is in use")
    return await call.forward()


@mutant("snapshots.unknown-source-refused", on=("CreateSnapshot",))
async def snapshots_of_nothing(call: Call) -> Reply:
    """A snapshot of a volume that does not exist is answered with OK, as if it were being cut."""
    reply = await call.forward()
    if reply.code is not Code.NOT_FOUND:
        return reply
    source = call.request.source_volume_id
    snapshot = Snapshot(f"snap-of-{source}"[:128], source, datetime.now(UTC), ready_to_use=False)
    return Reply.of(m.CreateSnapshotResponse(snapshot=snapshot))


@mutant("snapshots.unknown-source-not-found", on=("CreateSnapshot",))
async def calls_a_missing_source_internal(call: Call) -> Reply:
    """A source volume that does not exist is an internal error."""
    reply = await call.forward()
    if reply.code is Code.NOT_FOUND:
        return Reply.failed(Code.INTERNAL, "rpc failed: exit status 5")
    return reply


@mutant("snapshots.ready-stays-ready", on=("CreateSnapshot",))
async def is_ready_every_other_time(call: Call) -> Reply:
    """Every second answer for a snapshot says that it is not ready."""
    count = call.memory.setdefault("count", {})
    count[call.request.name] = count.get(call.request.name, 0) + 1
    reply = await call.forward()
    return _changed(call, reply, ready_to_use=False) if count[call.request.name] % 2 == 0 else reply


@mutant("snapshots.creation-time", on=("CreateSnapshot",))
async def tells_local_time(call: Call) -> Reply:
    """The creation time is in local time, two hours from UTC."""
    reply = await call.forward()
    if not reply.ok:
        return reply
    made = call.read(reply, m.CreateSnapshotResponse).snapshot.creation_time
    return _changed(call, reply, creation_time=made + timedelta(hours=2))


@mutant("snapshots.creation-times-in-order", on=("CreateSnapshot",))
async def counts_time_backwards(call: Call) -> Reply:
    """A later snapshot says that it is older."""
    names: list[str] = call.memory.setdefault("names", [])
    reply = await call.forward()
    if not reply.ok:
        return reply
    if call.request.name not in names:
        names.append(call.request.name)
    made = call.read(reply, m.CreateSnapshotResponse).snapshot.creation_time
    return _changed(call, reply, creation_time=made - timedelta(seconds=60 * names.index(call.request.name)))


@mutant("snapshots.size-is-enough", on=("CreateSnapshot",))
async def tells_half_the_size(call: Call) -> Reply:
    """The size of a snapshot is what it takes in the storage, less than a volume made from it must have."""
    reply = await call.forward()
    if not reply.ok:
        return reply
    return _changed(call, reply, size_bytes=call.read(reply, m.CreateSnapshotResponse).snapshot.size_bytes // 2)


@mutant("snapshots.get", on=("GetSnapshot",))
async def gets_the_snapshot_of_another_source(call: Call) -> Reply:
    """GetSnapshot tells another source volume."""
    reply = await call.forward()
    if not reply.ok:
        return reply
    snapshot = call.read(reply, m.GetSnapshotResponse).snapshot
    return Reply.of(m.GetSnapshotResponse(snapshot=msgspec.structs.replace(snapshot, source_volume_id="vol-0")))


@mutant("snapshots.get-unknown", on=("GetSnapshot",))
async def gets_nothing_as_internal_error(call: Call) -> Reply:
    """A snapshot that does not exist is an internal error."""
    reply = await call.forward()
    return Reply.failed(Code.INTERNAL, "no rows in result set") if reply.code is Code.NOT_FOUND else reply


@mutant("snapshots.delete-is-idempotent", on=("DeleteSnapshot",))
async def deletes_once_only(call: Call) -> Reply:
    """DeleteSnapshot of a snapshot that is gone answers NOT_FOUND."""
    listed = await call.forward(m.ListSnapshotsRequest(snapshot_id=call.request.snapshot_id))
    if not call.read_of("ListSnapshots", listed, m.ListSnapshotsResponse).entries:
        return Reply.failed(Code.NOT_FOUND, f"snapshot {call.request.snapshot_id} does not exist")
    return await call.forward()


# --- topology -------------------------------------------------------------------------------------


async def _declaring_places(call: Call) -> Reply:
    """The plugin's capabilities, and topology of snapshots among them."""
    reply = await call.forward()
    found = call.read(reply, m.GetPluginCapabilitiesResponse)
    places = PluginCapability.SNAPSHOT_ACCESSIBILITY_CONSTRAINTS
    return Reply.of(msgspec.structs.replace(found, capabilities=found.capabilities | {places}))


async def _without_requirement(call: Call) -> Reply:
    return await call.forward(msgspec.structs.replace(call.request, accessibility_requirements=None))


@mutant("snapshots.topology-honoured", on=("GetPluginCapabilities", "CreateSnapshot"))
async def cuts_elsewhere(call: Call) -> Reply:
    """Every snapshot is made in one place, whatever place was asked for."""
    if isinstance(call.request, m.GetPluginCapabilitiesRequest):
        return await _declaring_places(call)
    return _changed(call, await _without_requirement(call), accessible_topology=(ELSEWHERE,))


@mutant("snapshots.topology-impossible", on=("GetPluginCapabilities", "CreateSnapshot"))
async def ignores_impossible_places(call: Call) -> Reply:
    """Snapshots are made on this node even when they must be usable somewhere else."""
    if isinstance(call.request, m.GetPluginCapabilitiesRequest):
        return await _declaring_places(call)
    node = await call.forward(m.NodeGetInfoRequest())
    place = call.read_of("NodeGetInfo", node, m.NodeGetInfoResponse).accessible_topology
    return _changed(call, await _without_requirement(call), accessible_topology=(place,))


@mutant("snapshots.topology-undeclared", on=("CreateSnapshot",))
async def tells_a_place_undeclared(call: Call) -> Reply:
    """Snapshots have a topology although the capability for it is not declared."""
    return _changed(call, await call.forward(), accessible_topology=(ELSEWHERE,))
