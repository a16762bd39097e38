"""Volume group snapshots: all members cut at one instant, or none exists. See volumes.py for the promise."""

from __future__ import annotations

from msgspec import structs

from moorage.base.faults import declare_step
from moorage.framework.calls import fingerprint
from moorage.framework.core import Core, log
from moorage.framework.snapshots import Snapshots, snapshot_key, snapshot_record
from moorage.framework.store import Intent
from moorage.framework.tags import snapshot_tags
from moorage.framework.translate import may_still_run
from moorage.framework.values import GroupRecord, NewGroupSnapshot, NewSnapshot, SnapshotRecord, VolumeRecord
from moorage.spec import messages as m
from moorage.spec.compatibility import GroupFacts, group_conflict, without_orchestrator_keys
from moorage.spec.errors import AlreadyExists, InvalidArgument, NotFound, Unavailable
from moorage.spec.types import Snapshot, VolumeGroupSnapshot

INTENT = declare_step("framework.group.intent", "the wish for a group snapshot is recorded")
CUT = declare_step("framework.group.cut", "the driver has cut all members")
RECORDED = declare_step("framework.group.recorded", "the group and its members are recorded and the intent erased")
UNDONE = declare_step("framework.group.undone", "a failed group snapshot is undone and its intent erased")
DELETING = declare_step("framework.group.deleting", "the group is marked as being deleted")
FORGOTTEN = declare_step("framework.group.forgotten", "the record of the deleted group is erased")


class Groups:
    """Handlers of the group controller service."""

    def __init__(self, core: Core, snapshots: Snapshots) -> None:
        self._core = core
        self._snapshots = snapshots

    async def create(self, request: m.CreateVolumeGroupSnapshotRequest) -> m.CreateVolumeGroupSnapshotResponse:
        """CreateVolumeGroupSnapshot."""
        if len(set(request.source_volume_ids)) != len(request.source_volume_ids):
            raise InvalidArgument("source_volume_ids names a volume twice; name each volume once")
        return await self._core.calls.run(
            "CreateVolumeGroupSnapshot",
            request,
            lambda: self._create(request),
            exclusive=(f"group snapshot name {request.name!r}",),
            shared=tuple(f"content of volume {volume_id!r}" for volume_id in request.source_volume_ids),
        )

    async def _create(self, request: m.CreateVolumeGroupSnapshotRequest) -> m.CreateVolumeGroupSnapshotResponse:
        core = self._core
        record = await core.store.group_named(request.name)
        if record is not None and record.deleting:
            with core.calls.take("CreateVolumeGroupSnapshot", exclusive=_keys(record)):
                await self._finish_delete(record)
            record = None
        if record is not None:
            facts = GroupFacts(source_volume_ids=record.source_volume_ids, parameters=record.parameters)
            if conflict := group_conflict(facts, request):
                raise AlreadyExists(f"group snapshot name {request.name!r} is taken: {conflict}")
            return m.CreateVolumeGroupSnapshotResponse(group_snapshot=await self._view(record))
        sources = tuple([await core.known_volume(volume_id) for volume_id in request.source_volume_ids])
        intent, new = await self._intend(request)
        record = await self._cut(intent, new, sources)
        return m.CreateVolumeGroupSnapshotResponse(group_snapshot=await self._view(record))

    async def _intend(self, request: m.CreateVolumeGroupSnapshotRequest) -> tuple[Intent, NewGroupSnapshot]:
        core = self._core
        mark = fingerprint(request)
        intent = await core.store.intent("group", request.name)
        if intent is not None and intent.fingerprint != mark:
            await self._undo(intent, cause=None)
            intent = None
        if intent is None:
            group_id = core.store.new_id("group", request.name)
            intent = Intent(
                kind="group",
                name=request.name,
                object_id=group_id,
                fingerprint=mark,
                token=group_id,
                started_at=core.clock.wall_time(),
                member_ids=tuple(
                    core.store.new_id("snapshot", f"{request.name}/{volume_id}")
                    for volume_id in request.source_volume_ids
                ),
            )
            with INTENT:
                await core.store.begin(intent)
        parameters = without_orchestrator_keys(request.parameters)
        members = tuple(
            NewSnapshot(
                snapshot_id=snapshot_id,
                name=_member_name(request.name, volume_id),
                source_volume_id=volume_id,
                parameters=parameters,
                group_snapshot_id=intent.object_id,
                secrets=request.secrets,
                token=snapshot_id,
                tags=snapshot_tags(
                    _member_name(request.name, volume_id), volume_id, parameters, group=intent.object_id
                ),
            )
            for snapshot_id, volume_id in zip(intent.member_ids, request.source_volume_ids, strict=True)
        )
        new = NewGroupSnapshot(
            group_snapshot_id=intent.object_id,
            name=request.name,
            members=members,
            parameters=parameters,
            secrets=request.secrets,
            token=intent.token,
        )
        return intent, new

    async def _cut(self, intent: Intent, new: NewGroupSnapshot, sources: tuple[VolumeRecord, ...]) -> GroupRecord:
        core = self._core
        cut_at = core.clock.wall_time()
        try:
            with CUT:
                made: tuple[Snapshot, ...] | None = await core.controller("create_group_snapshot", new, sources)
        except Exception as cause:
            if may_still_run(cause):
                raise
            await self._undo(intent, cause)
            raise
        snapshots = made or tuple(
            Snapshot(member.snapshot_id, source.volume_id, cut_at, source.capacity_bytes)
            for member, source in zip(new.members, sources, strict=True)
        )
        members = tuple(snapshot_record(a, b) for a, b in zip(new.members, snapshots, strict=True))
        record = GroupRecord(
            group_snapshot_id=new.group_snapshot_id,
            name=new.name,
            source_volume_ids=tuple(source.volume_id for source in sources),
            snapshot_ids=tuple(member.snapshot_id for member in members),
            creation_time=min(member.creation_time for member in members),
            parameters=new.parameters,
        )
        await core.settle(RECORDED, intent, put=(record, *members))
        log.info("group_snapshot.created", group=record.group_snapshot_id, members=len(members))
        return record

    async def _undo(self, intent: Intent, cause: Exception | None) -> None:
        core = self._core
        try:
            for snapshot_id in intent.member_ids:
                half = SnapshotRecord(
                    snapshot_id=snapshot_id,
                    name="",
                    source_volume_id="",
                    creation_time=intent.started_at,
                    ready_to_use=False,
                    group_snapshot_id=intent.object_id,
                    deleting=True,
                )
                await core.controller("delete_snapshot", half)
        except Exception as failure:
            log.warning("group_snapshot.undo_failed", group=intent.object_id, exc_info=failure)
            raise Unavailable(
                f"group snapshot {intent.object_id!r} failed and is not undone yet; repeat the call to try again"
            ) from (cause or failure)
        await core.settle(UNDONE, intent)

    # --- delete and get ---

    async def delete(self, request: m.DeleteVolumeGroupSnapshotRequest) -> m.DeleteVolumeGroupSnapshotResponse:
        """DeleteVolumeGroupSnapshot: the group with all its members; a group that is gone is fine."""
        record = await self._core.store.group(request.group_snapshot_id)
        if record is None:
            return m.DeleteVolumeGroupSnapshotResponse()
        return await self._core.calls.run(
            "DeleteVolumeGroupSnapshot", request, lambda: self._delete(request), exclusive=_keys(record)
        )

    async def _delete(self, request: m.DeleteVolumeGroupSnapshotRequest) -> m.DeleteVolumeGroupSnapshotResponse:
        record = await self._core.store.group(request.group_snapshot_id)
        if record is not None:
            _check_members(record, request.snapshot_ids)
            await self._finish_delete(record)
        return m.DeleteVolumeGroupSnapshotResponse()

    async def _finish_delete(self, record: GroupRecord) -> None:
        core = self._core
        if not record.deleting:
            record = structs.replace(record, deleting=True)
            await core.settle(DELETING, put=(record,))
        for snapshot_id in record.snapshot_ids:
            member = await core.store.snapshot(snapshot_id)
            if member is not None:
                await self._snapshots.finish_delete(member)
        await core.settle(FORGOTTEN, drop=(record,))
        log.info("group_snapshot.deleted", group=record.group_snapshot_id)

    async def get(self, request: m.GetVolumeGroupSnapshotRequest) -> m.GetVolumeGroupSnapshotResponse:
        """GetVolumeGroupSnapshot."""
        record = await self._core.store.group(request.group_snapshot_id)
        if record is None or record.deleting:
            raise NotFound(f"group snapshot {request.group_snapshot_id!r} does not exist")
        _check_members(record, request.snapshot_ids)
        return m.GetVolumeGroupSnapshotResponse(group_snapshot=await self._view(record))

    async def _view(self, record: GroupRecord) -> VolumeGroupSnapshot:
        members = []
        for snapshot_id in record.snapshot_ids:
            member = await self._core.store.snapshot(snapshot_id)
            if member is not None:
                members.append((await self._snapshots.refreshed(member)).as_snapshot())
        return VolumeGroupSnapshot(
            group_snapshot_id=record.group_snapshot_id,
            snapshots=tuple(members),
            creation_time=record.creation_time,
            ready_to_use=all(member.ready_to_use for member in members),
        )


def _member_name(group_name: str, volume_id: str) -> str:
    """A name for a member that no CreateSnapshot can collide with: NUL is banned from names."""
    return f"{group_name}\x00{volume_id}"


def _keys(record: GroupRecord) -> tuple[str, ...]:
    group = f"group snapshot {record.group_snapshot_id!r}"
    return (group, *(snapshot_key(snapshot_id) for snapshot_id in record.snapshot_ids))


def _check_members(record: GroupRecord, snapshot_ids: tuple[str, ...]) -> None:
    if set(snapshot_ids) != set(record.snapshot_ids):
        raise InvalidArgument(
            f"snapshot_ids are not the members of group snapshot {record.group_snapshot_id!r}; pass all of its members"
        )
