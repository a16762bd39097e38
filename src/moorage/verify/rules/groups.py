"""Volume group snapshots: all members of one instant, or none; deleted as a whole."""

from __future__ import annotations

import msgspec

from moorage.spec import messages as m
from moorage.spec.errors import Code
from moorage.spec.types import ControllerCapability, VolumeGroupSnapshot
from moorage.verify.copies import restore
from moorage.verify.group_snapshots import (
    GROUP_NEEDS,
    cut_group,
    delete_request,
    get_request,
    group_request,
    member_ids,
    new_volumes,
    ready_group,
)
from moorage.verify.lab import Lab
from moorage.verify.listings import eventually, snapshots_of, wait_listed, walk
from moorage.verify.rule import Danger, Severity, expect, rule

SNAPSHOT = ControllerCapability.CREATE_DELETE_SNAPSHOT
LIST = ControllerCapability.LIST_SNAPSHOTS


# --- what is made ---------------------------------------------------------------------------------


@rule(
    "groups.one-member-for-each-volume",
    section="CreateVolumeGroupSnapshot",
    title="a group has one snapshot of each volume",
    sends="CreateVolumeGroupSnapshot of three volumes",
    demands="three members with ids of their own, one of each volume, each with the group's id",
    needs=GROUP_NEEDS,
    danger=(Danger.CREATES,),
)
async def one_member_for_each_volume(lab: Lab) -> None:
    request = group_request(lab, await new_volumes(lab, 3))
    group = await cut_group(lab, request)
    sources = sorted(member.source_volume_id for member in group.snapshots)
    wanted = sorted(request.source_volume_ids)
    expect(sources == wanted, f"the members are snapshots of {sources}, and {wanted} were asked for", lab.last)
    expect(len(set(member_ids(group))) == 3, f"the members have the ids {member_ids(group)}", lab.last)
    for member in group.snapshots:
        told = member.group_snapshot_id
        text = f"a member names group {told!r}, and the group is {group.group_snapshot_id!r}"
        expect(told == group.group_snapshot_id, text, lab.last)


@rule(
    "groups.readiness",
    section="CreateVolumeGroupSnapshot",
    title="a group is ready when all of its members are, and stays ready",
    sends="CreateVolumeGroupSnapshot until the group is ready, then three times more",
    demands="no answer with ready_to_use for the group and not for a member; ready in each answer after the first",
    needs=GROUP_NEEDS,
    danger=(Danger.CREATES,),
)
async def readiness(lab: Lab) -> None:
    request = group_request(lab, await new_volumes(lab))
    await ready_group(lab, request)
    for _ in range(3):
        group = await cut_group(lab, request)
        expect(group.ready_to_use, "ready_to_use was true in an answer before and is false again", lab.last)
        waiting = [member.snapshot_id for member in group.snapshots if not member.ready_to_use]
        expect(not waiting, f"the group is ready to use and its members {waiting} are not", lab.last)


@rule(
    "groups.replay-same-answer",
    section="CreateVolumeGroupSnapshot",
    title="the same request twice gives the same group",
    sends="CreateVolumeGroupSnapshot twice with equal fields",
    demands="OK both times, with the same id, the same members and the same creation time",
    needs=GROUP_NEEDS,
    danger=(Danger.CREATES,),
)
async def replay_same_answer(lab: Lab) -> None:
    request = group_request(lab, await new_volumes(lab))
    first = await cut_group(lab, request)
    _expect_same(await cut_group(lab, request), first, "the first answer", lab)


@rule(
    "groups.replay-in-other-order",
    section="CreateVolumeGroupSnapshot",
    title="the order of the volumes does not make another group",
    sends="CreateVolumeGroupSnapshot, then again with the volumes the other way round",
    demands="OK both times, with the same group",
    severity=Severity.SHOULD,
    needs=GROUP_NEEDS,
    danger=(Danger.CREATES,),
)
async def replay_in_other_order(lab: Lab) -> None:
    request = group_request(lab, await new_volumes(lab))
    first = await cut_group(lab, request)
    turned = msgspec.structs.replace(request, source_volume_ids=request.source_volume_ids[::-1])
    _expect_same(await cut_group(lab, turned), first, "the answer for the other order", lab)


def _expect_same(told: VolumeGroupSnapshot, made: VolumeGroupSnapshot, before: str, lab: Lab) -> None:
    for name, says, was in (
        ("group_snapshot_id", told.group_snapshot_id, made.group_snapshot_id),
        ("creation_time", told.creation_time, made.creation_time),
        ("the set of snapshots", sorted(member_ids(told)), sorted(member_ids(made))),
        ("ready_to_use", told.ready_to_use or not made.ready_to_use, True),
    ):
        expect(says == was, f"{name} is {says}, and was {was} in {before}", lab.last)


@rule(
    "groups.name-of-other-volumes",
    section="CreateVolumeGroupSnapshot",
    title="a name that belongs to a group of other volumes is refused",
    sends="CreateVolumeGroupSnapshot of two volumes, then with the same name of one of them and a third",
    demands="ALREADY_EXISTS",
    needs=GROUP_NEEDS,
    danger=(Danger.CREATES,),
)
async def name_of_other_volumes(lab: Lab) -> None:
    first, second, third = await new_volumes(lab, 3)
    request = group_request(lab, [first, second])
    await cut_group(lab, request)
    others = msgspec.structs.replace(request, source_volume_ids=(second.volume_id, third.volume_id))
    exchange = await lab.settle(others)
    exchange.refused(Code.ALREADY_EXISTS, why="the name belongs to a group snapshot of other volumes")


@rule(
    "groups.failure-leaves-nothing",
    section="CreateVolumeGroupSnapshot",
    title="a group that cannot be made leaves no snapshots behind",
    sends="CreateVolumeGroupSnapshot of a volume and of one that does not exist; ListSnapshots of the volume",
    demands="a final error, and no snapshot of the volume",
    needs=(*GROUP_NEEDS, LIST),
    danger=(Danger.CREATES,),
)
async def failure_leaves_nothing(lab: Lab) -> None:
    (volume,) = await new_volumes(lab, 1)
    request = m.CreateVolumeGroupSnapshotRequest(
        name=lab.name("group"), source_volume_ids=(volume.volume_id, lab.name("no-such-volume"))
    )
    exchange = await lab.settle(request)
    expect(not exchange.ok, "a group snapshot was made although one of its volumes does not exist", exchange)
    expect(exchange.final, f"the answer for a volume that does not exist is {exchange.described()}", exchange)
    left = (await walk(lab, snapshots_of(volume.volume_id))).ids
    expect(not left, f"the group was refused, and snapshots {list(left)} of the other volume are there", lab.last)


@rule(
    "groups.members-are-listed",
    section="ListSnapshots",
    title="the members of a group are listed as snapshots of their volumes",
    sends="CreateVolumeGroupSnapshot, then ListSnapshots of each volume",
    demands="each member is there within 5 s, and names this group or none",
    needs=(*GROUP_NEEDS, LIST),
    danger=(Danger.CREATES,),
)
async def members_are_listed(lab: Lab) -> None:
    group = await ready_group(lab, group_request(lab, await new_volumes(lab)))
    for member in group.snapshots:
        told = await wait_listed(lab, snapshots_of(member.source_volume_id), member.snapshot_id)
        text = f"the list tells group {told.group_snapshot_id!r} of a member of {group.group_snapshot_id!r}"
        expect(told.group_snapshot_id in ("", group.group_snapshot_id), text, lab.last)


# --- get ------------------------------------------------------------------------------------------


@rule(
    "groups.get",
    section="GetVolumeGroupSnapshot",
    title="a group can be asked for by its id",
    sends="CreateVolumeGroupSnapshot, then GetVolumeGroupSnapshot with its members",
    demands="OK with the same members and creation time",
    needs=GROUP_NEEDS,
    danger=(Danger.CREATES,),
)
async def get(lab: Lab) -> None:
    group = await ready_group(lab, group_request(lab, await new_volumes(lab)))
    told = (await lab.settle(get_request(group))).response(m.GetVolumeGroupSnapshotResponse).group_snapshot
    _expect_same(told, group, "the answer of CreateVolumeGroupSnapshot", lab)


@rule(
    "groups.get-unknown",
    section="GetVolumeGroupSnapshot",
    title="a group that does not exist is not found",
    sends="GetVolumeGroupSnapshot with ids that nothing has, and with those of a group that was deleted",
    demands="NOT_FOUND",
    needs=GROUP_NEEDS,
    danger=(Danger.CREATES,),
)
async def get_unknown(lab: Lab) -> None:
    unknown = m.GetVolumeGroupSnapshotRequest(lab.name("no-such-group"), (lab.name("no-such-snapshot"),))
    (await lab.settle(unknown)).refused(Code.NOT_FOUND, why="no group snapshot has this id")
    group = await ready_group(lab, group_request(lab, await new_volumes(lab)))
    (await lab.settle(delete_request(group))).response(m.DeleteVolumeGroupSnapshotResponse)
    (await lab.settle(get_request(group))).refused(Code.NOT_FOUND, why="the group snapshot was deleted")


@rule(
    "groups.get-mismatch",
    section="GetVolumeGroupSnapshot",
    title="snapshot ids that are not the members are refused",
    sends="GetVolumeGroupSnapshot with one of two members, and with a strange id as well",
    demands="INVALID_ARGUMENT",
    severity=Severity.SHOULD,
    needs=GROUP_NEEDS,
    danger=(Danger.CREATES,),
)
async def get_mismatch(lab: Lab) -> None:
    group = await ready_group(lab, group_request(lab, await new_volumes(lab)))
    for ids in (member_ids(group)[:1], (*member_ids(group), lab.name("no-such-snapshot"))):
        exchange = await lab.settle(m.GetVolumeGroupSnapshotRequest(group.group_snapshot_id, ids))
        exchange.refused(Code.INVALID_ARGUMENT, why="snapshot_ids are not the members of the group")


# --- delete ---------------------------------------------------------------------------------------


@rule(
    "groups.delete-removes-members",
    section="DeleteVolumeGroupSnapshot",
    title="a group is deleted with all of its members",
    sends="CreateVolumeGroupSnapshot, DeleteVolumeGroupSnapshot, then ListSnapshots of each volume",
    demands="OK, and no snapshot of the volumes after 5 s",
    needs=(*GROUP_NEEDS, LIST),
    danger=(Danger.CREATES,),
)
async def delete_removes_members(lab: Lab) -> None:
    group = await ready_group(lab, group_request(lab, await new_volumes(lab)))
    (await lab.settle(delete_request(group))).response(m.DeleteVolumeGroupSnapshotResponse)
    for member in group.snapshots:
        listable = snapshots_of(member.source_volume_id)

        async def gone(listable: object = listable, source: str = member.source_volume_id) -> bool:
            return not (await walk(lab, snapshots_of(source))).ids

        expect(
            await eventually(gone), f"the group was deleted and its member {member.snapshot_id!r} is there", lab.last
        )


@rule(
    "groups.delete-is-idempotent",
    section="DeleteVolumeGroupSnapshot",
    title="deleting a group that is gone is fine",
    sends="DeleteVolumeGroupSnapshot with ids that nothing has; CreateVolumeGroupSnapshot, then delete it twice",
    demands="OK each time",
    needs=GROUP_NEEDS,
    danger=(Danger.CREATES,),
)
async def delete_is_idempotent(lab: Lab) -> None:
    unknown = m.DeleteVolumeGroupSnapshotRequest(lab.name("no-such-group"), (lab.name("no-such-snapshot"),))
    (await lab.settle(unknown)).response(m.DeleteVolumeGroupSnapshotResponse)
    group = await ready_group(lab, group_request(lab, await new_volumes(lab)))
    for _ in range(2):
        (await lab.settle(delete_request(group))).response(m.DeleteVolumeGroupSnapshotResponse)


@rule(
    "groups.delete-mismatch",
    section="DeleteVolumeGroupSnapshot",
    title="a group is not deleted with snapshot ids that are not its members",
    sends="DeleteVolumeGroupSnapshot with one of two members, and with a snapshot that is not of the group as well",
    demands="INVALID_ARGUMENT; the group and the other snapshot are still there",
    severity=Severity.SHOULD,
    needs=(*GROUP_NEEDS, SNAPSHOT),
    danger=(Danger.CREATES,),
)
async def delete_mismatch(lab: Lab) -> None:
    volumes = await new_volumes(lab)
    stranger = await lab.snapshot(volumes[0].volume_id)
    group = await ready_group(lab, group_request(lab, volumes))
    for ids in (member_ids(group)[:1], (*member_ids(group), stranger.snapshot_id)):
        exchange = await lab.settle(m.DeleteVolumeGroupSnapshotRequest(group.group_snapshot_id, ids))
        exchange.refused(Code.INVALID_ARGUMENT, why="snapshot_ids are not the members of the group")
    told = (await lab.settle(get_request(group))).response(m.GetVolumeGroupSnapshotResponse).group_snapshot
    _expect_same(told, group, "the answer of CreateVolumeGroupSnapshot, before deletions that were refused", lab)
    await restore(lab, stranger, volumes[0])


@rule(
    "groups.member-alone",
    section="DeleteSnapshot",
    title="a member of a group is deleted by itself, or refused and left alone",
    sends="CreateVolumeGroupSnapshot, DeleteSnapshot of one member, GetVolumeGroupSnapshot",
    demands="OK or INVALID_ARGUMENT; after INVALID_ARGUMENT the group has all of its members",
    needs=(*GROUP_NEEDS, SNAPSHOT),
    danger=(Danger.CREATES,),
)
async def member_alone(lab: Lab) -> None:
    group = await ready_group(lab, group_request(lab, await new_volumes(lab)))
    exchange = await lab.settle(m.DeleteSnapshotRequest(snapshot_id=member_ids(group)[0]))
    exchange.refused(Code.OK, Code.INVALID_ARGUMENT, why="the snapshot is a member of a group")
    if not exchange.ok:
        told = (await lab.settle(get_request(group))).response(m.GetVolumeGroupSnapshotResponse).group_snapshot
        _expect_same(told, group, "the answer of CreateVolumeGroupSnapshot, before DeleteSnapshot was refused", lab)
