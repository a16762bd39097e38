"""Drivers that are wrong about volume group snapshots."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import msgspec

from moorage.spec import messages as m
from moorage.spec.errors import Code
from moorage.spec.types import Snapshot, VolumeGroupSnapshot
from moorage.testing.mutants.mutant import Call, Reply, mutant


def _group(call: Call, reply: Reply) -> VolumeGroupSnapshot:
    """The group in a good answer of CreateVolumeGroupSnapshot or GetVolumeGroupSnapshot."""
    if isinstance(call.request, m.CreateVolumeGroupSnapshotRequest):
        return call.read(reply, m.CreateVolumeGroupSnapshotResponse).group_snapshot
    return call.read(reply, m.GetVolumeGroupSnapshotResponse).group_snapshot


def _changed(call: Call, reply: Reply, **fields: Any) -> Reply:
    """A good answer with other fields of the group; a refusal as it is."""
    if not reply.ok:
        return reply
    group = msgspec.structs.replace(_group(call, reply), **fields)
    if isinstance(call.request, m.CreateVolumeGroupSnapshotRequest):
        return Reply.of(m.CreateVolumeGroupSnapshotResponse(group_snapshot=group))
    return Reply.of(m.GetVolumeGroupSnapshotResponse(group_snapshot=group))


async def _real_members(call: Call) -> tuple[str, ...] | None:
    """The members of the group that a request with wrong ids names, learnt from when it was made."""
    members: dict[str, tuple[str, ...]] = call.memory.setdefault("members", {})
    return members.get(call.request.group_snapshot_id)


def _remember(call: Call, reply: Reply) -> None:
    if reply.ok:
        group = _group(call, reply)
        members = call.memory.setdefault("members", {})
        members[group.group_snapshot_id] = tuple(each.snapshot_id for each in group.snapshots)


@mutant("groups.one-member-for-each-volume", on=("CreateVolumeGroupSnapshot",))
async def tells_members_without_their_group(call: Call) -> Reply:
    """The members do not name the group that they belong to."""
    reply = await call.forward()
    if not reply.ok:
        return reply
    snapshots = _group(call, reply).snapshots
    return _changed(call, reply, snapshots=tuple(msgspec.structs.replace(s, group_snapshot_id="") for s in snapshots))


@mutant("groups.one-member-for-each-volume", on=("CreateVolumeGroupSnapshot",))
async def tells_two_members_of_three(call: Call) -> Reply:
    """The last member of a group is left out of the answer."""
    reply = await call.forward()
    return _changed(call, reply, snapshots=_group(call, reply).snapshots[:2]) if reply.ok else reply


@mutant("groups.readiness", on=("CreateVolumeGroupSnapshot",))
async def is_ready_before_its_members(call: Call) -> Reply:
    """The group is told to be ready although its members are not."""
    reply = await call.forward()
    if not reply.ok:
        return reply
    snapshots = _group(call, reply).snapshots
    return _changed(call, reply, snapshots=tuple(msgspec.structs.replace(s, ready_to_use=False) for s in snapshots))


@mutant("groups.replay-same-answer", on=("CreateVolumeGroupSnapshot",))
async def dates_groups_anew(call: Call) -> Reply:
    """Each repeated request tells a later creation time of the group."""
    count = call.memory.setdefault("count", {})
    reply = await call.forward()
    if not reply.ok:
        return reply
    count[call.request.name] = count.get(call.request.name, -1) + 1
    made = _group(call, reply).creation_time
    return _changed(call, reply, creation_time=made + timedelta(seconds=count[call.request.name]))


@mutant("groups.replay-in-other-order", on=("CreateVolumeGroupSnapshot",))
async def minds_the_order(call: Call) -> Reply:
    """The same volumes in another order are taken for other volumes."""
    orders = call.memory.setdefault("orders", {})
    request = call.request
    if orders.setdefault(request.name, request.source_volume_ids) != request.source_volume_ids:
        return Reply.failed(Code.ALREADY_EXISTS, "the group snapshot has other volumes")
    return await call.forward()


@mutant("groups.name-of-other-volumes", on=("CreateVolumeGroupSnapshot",))
async def gives_the_group_of_other_volumes(call: Call) -> Reply:
    """A name that is taken is answered with its group, whatever volumes it is of."""
    answers: dict[str, Reply] = call.memory.setdefault("answers", {})
    reply = await call.forward()
    if reply.ok:
        answers[call.request.name] = reply
    return answers.get(call.request.name, reply) if reply.code is Code.ALREADY_EXISTS else reply


@mutant("groups.failure-leaves-nothing", on=("CreateVolumeGroupSnapshot", "DeleteVolume"))
async def leaves_half_a_group(call: Call) -> Reply:
    """When a volume of a group is missing, the snapshots of the others are left behind."""
    left: dict[str, str] = call.memory.setdefault("left", {})
    if isinstance(call.request, m.DeleteVolumeRequest):
        if snapshot_id := left.pop(call.request.volume_id, ""):
            await call.forward(m.DeleteSnapshotRequest(snapshot_id=snapshot_id))
        return await call.forward()
    reply = await call.forward()
    if reply.code is Code.NOT_FOUND:
        for volume_id in call.request.source_volume_ids:
            cut = await call.forward(m.CreateSnapshotRequest(volume_id, f"{call.request.name[:100]}-half"))
            if cut.ok:
                snapshot = call.read_of("CreateSnapshot", cut, m.CreateSnapshotResponse).snapshot
                left[volume_id] = snapshot.snapshot_id
    return reply


@mutant("groups.members-are-listed", on=("ListSnapshots",))
async def lists_no_members(call: Call) -> Reply:
    """Snapshots that belong to a group are not listed."""
    reply = await call.forward()
    if not reply.ok:
        return reply
    page = call.read(reply, m.ListSnapshotsResponse)
    alone: tuple[Snapshot, ...] = tuple(entry for entry in page.entries if not entry.group_snapshot_id)
    return Reply.of(m.ListSnapshotsResponse(entries=alone, next_token=page.next_token))


@mutant("groups.get", on=("GetVolumeGroupSnapshot",))
async def gets_one_member(call: Call) -> Reply:
    """GetVolumeGroupSnapshot tells the first member only."""
    reply = await call.forward()
    return _changed(call, reply, snapshots=_group(call, reply).snapshots[:1]) if reply.ok else reply


@mutant("groups.get-unknown", on=("GetVolumeGroupSnapshot",))
async def gets_missing_groups_as_internal_error(call: Call) -> Reply:
    """A group that does not exist is an internal error."""
    reply = await call.forward()
    return Reply.failed(Code.INTERNAL, "no rows in result set") if reply.code is Code.NOT_FOUND else reply


@mutant("groups.get-mismatch", on=("CreateVolumeGroupSnapshot", "GetVolumeGroupSnapshot"))
async def gets_without_looking_at_members(call: Call) -> Reply:
    """GetVolumeGroupSnapshot ignores the snapshot ids."""
    reply = await call.forward()
    if isinstance(call.request, m.CreateVolumeGroupSnapshotRequest):
        _remember(call, reply)
    elif reply.code is Code.INVALID_ARGUMENT and (members := await _real_members(call)):
        return await call.forward(msgspec.structs.replace(call.request, snapshot_ids=members))
    return reply


@mutant("groups.delete-removes-members", on=("CreateVolumeGroupSnapshot", "DeleteVolumeGroupSnapshot", "DeleteVolume"))
async def forgets_members(call: Call) -> Reply:
    """A group is deleted and its snapshots stay."""
    groups: dict[str, VolumeGroupSnapshot] = call.memory.setdefault("groups", {})
    if isinstance(call.request, m.CreateVolumeGroupSnapshotRequest):
        reply = await call.forward()
        if reply.ok:
            group = _group(call, reply)
            groups[group.group_snapshot_id] = group
        return reply
    if isinstance(call.request, m.DeleteVolumeGroupSnapshotRequest):
        return Reply.of(m.DeleteVolumeGroupSnapshotResponse())
    for key, group in list(groups.items()):
        if call.request.volume_id in {each.source_volume_id for each in group.snapshots}:
            members = tuple(each.snapshot_id for each in group.snapshots)
            await call.forward(m.DeleteVolumeGroupSnapshotRequest(key, members))
            del groups[key]
    return await call.forward()


@mutant("groups.delete-is-idempotent", on=("CreateVolumeGroupSnapshot", "DeleteVolumeGroupSnapshot"))
async def deletes_groups_once_only(call: Call) -> Reply:
    """DeleteVolumeGroupSnapshot of a group that is gone answers NOT_FOUND."""
    known: set[str] = call.memory.setdefault("known", set())
    if isinstance(call.request, m.DeleteVolumeGroupSnapshotRequest):
        if call.request.group_snapshot_id not in known:
            return Reply.failed(Code.NOT_FOUND, "the group snapshot does not exist")
        reply = await call.forward()
        if reply.ok:
            known.discard(call.request.group_snapshot_id)
        return reply
    reply = await call.forward()
    if reply.ok:
        known.add(_group(call, reply).group_snapshot_id)
    return reply


@mutant("groups.delete-mismatch", on=("CreateVolumeGroupSnapshot", "DeleteVolumeGroupSnapshot"))
async def deletes_without_looking_at_members(call: Call) -> Reply:
    """DeleteVolumeGroupSnapshot ignores the snapshot ids."""
    reply = await call.forward()
    if isinstance(call.request, m.CreateVolumeGroupSnapshotRequest):
        _remember(call, reply)
    elif reply.code is Code.INVALID_ARGUMENT and (members := await _real_members(call)):
        return await call.forward(msgspec.structs.replace(call.request, snapshot_ids=members))
    return reply


@mutant("groups.member-alone", on=("DeleteSnapshot",))
async def fails_at_a_member(call: Call) -> Reply:
    """DeleteSnapshot of a member of a group is an internal error."""
    reply = await call.forward()
    if reply.code is Code.INVALID_ARGUMENT:
        return Reply.failed(Code.INTERNAL, "snapshot has dependants")
    return reply
