"""Drivers whose group snapshots do not hold what they should."""

from __future__ import annotations

import asyncio
import hashlib

import msgspec

from moorage.spec import messages as m
from moorage.spec.errors import Code
from moorage.spec.types import Snapshot, VolumeGroupSnapshot
from moorage.testing.mutants.mutant import Call, Reply, mutant


@mutant("groups.members-have-their-content", on=("CreateVolumeGroupSnapshot",))
async def mixes_up_the_sources(call: Call) -> Reply:
    """The members of a group are told with the sources of each other."""
    reply = await call.forward()
    if not reply.ok:
        return reply
    group = call.read(reply, m.CreateVolumeGroupSnapshotResponse).group_snapshot
    sources = [member.source_volume_id for member in group.snapshots]
    mixed = tuple(
        msgspec.structs.replace(member, source_volume_id=source)
        for member, source in zip(group.snapshots, [*sources[1:], sources[0]], strict=True)
    )
    return Reply.of(m.CreateVolumeGroupSnapshotResponse(group_snapshot=msgspec.structs.replace(group, snapshots=mixed)))


@mutant("groups.write-order", on=("CreateVolumeGroupSnapshot", "GetVolumeGroupSnapshot", "DeleteVolumeGroupSnapshot"))
async def cuts_one_after_the_other(call: Call) -> Reply:
    """The members of a group are cut one after the other."""
    groups: dict[str, VolumeGroupSnapshot] = call.memory.setdefault("groups", {})
    request = call.request
    if isinstance(request, m.CreateVolumeGroupSnapshotRequest):
        return await _cut_in_turn(call, request, groups)
    group = groups.get(request.group_snapshot_id)
    if group is None:
        return await call.forward()
    if set(request.snapshot_ids) != {each.snapshot_id for each in group.snapshots}:
        return Reply.failed(Code.INVALID_ARGUMENT, "snapshot_ids are not the members of the group")
    if isinstance(request, m.GetVolumeGroupSnapshotRequest):
        return Reply.of(m.GetVolumeGroupSnapshotResponse(group_snapshot=group))
    for member in group.snapshots:
        await call.forward(m.DeleteSnapshotRequest(snapshot_id=member.snapshot_id))
    del groups[request.group_snapshot_id]
    return Reply.of(m.DeleteVolumeGroupSnapshotResponse())


async def _cut_in_turn(
    call: Call, request: m.CreateVolumeGroupSnapshotRequest, groups: dict[str, VolumeGroupSnapshot]
) -> Reply:
    """Snapshots of the volumes with a pause between them, told as a group."""
    group_id = f"group-{hashlib.sha256(request.name.encode()).hexdigest()[:16]}"
    if known := groups.get(group_id):
        if {each.source_volume_id for each in known.snapshots} != set(request.source_volume_ids):
            return Reply.failed(Code.ALREADY_EXISTS, "the group snapshot has other volumes")
        return Reply.of(m.CreateVolumeGroupSnapshotResponse(group_snapshot=known))
    members: list[Snapshot] = []
    for index, volume_id in enumerate(request.source_volume_ids):
        reply = await call.forward(m.CreateSnapshotRequest(volume_id, f"{request.name[:100]}-{index}"))
        if not reply.ok:
            for made in members:
                await call.forward(m.DeleteSnapshotRequest(snapshot_id=made.snapshot_id))
            return reply
        cut = call.read_of("CreateSnapshot", reply, m.CreateSnapshotResponse).snapshot
        members.append(msgspec.structs.replace(cut, group_snapshot_id=group_id))
        await asyncio.sleep(0.05)
    groups[group_id] = VolumeGroupSnapshot(group_id, tuple(members), members[0].creation_time)
    return Reply.of(m.CreateVolumeGroupSnapshotResponse(group_snapshot=groups[group_id]))
