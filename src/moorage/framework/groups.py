"""Volume group snapshots: all members cut at one instant, or none exists. See volumes.py for the promise."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from msgspec import structs

from moorage.base.faults import declare_step
from moorage.base.operations import afterwards
from moorage.framework.calls import fingerprint
from moorage.framework.core import Core, log
from moorage.framework.snapshots import Snapshots, refreshed, snapshot_record
from moorage.framework.store import Intent
from moorage.framework.tags import snapshot_tags
from moorage.framework.translate import may_still_run
from moorage.framework.values import GroupRecord, NewGroupSnapshot, NewSnapshot, SnapshotRecord, VolumeRecord
from moorage.spec import messages as m
from moorage.spec.compatibility import GroupFacts, group_conflict, without_orchestrator_keys
from moorage.spec.errors import AlreadyExists, Internal, InvalidArgument, NotFound, Unavailable, VolumeNotFound
from moorage.spec.locks import group_key, snapshot_key
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
        intent = await core.store.intent("group", request.name)
        try:
            sources = tuple([await core.known_volume(volume_id) for volume_id in request.source_volume_ids])
        except VolumeNotFound as cause:
            if intent is not None:
                await self._undo(intent, cause)
            raise
        intent, new = await self._intend(request, intent)
        record = await core.stint("create_group_snapshot", self._cut, intent, new, sources)
        return m.CreateVolumeGroupSnapshotResponse(group_snapshot=await self._view(record))

    async def _intend(
        self, request: m.CreateVolumeGroupSnapshotRequest, intent: Intent | None
    ) -> tuple[Intent, NewGroupSnapshot]:
        core = self._core
        parameters = without_orchestrator_keys(request.parameters)
        mark = fingerprint(structs.replace(request, parameters=parameters))
        if intent is not None and intent.fingerprint != mark:
            await self._undo(intent, cause=None)
            intent = None
        if intent is None:
            intent = self._new_intent(request, mark, parameters)
            await core.begin(INTENT, intent)
        size = len(request.source_volume_ids)
        members = tuple(
            NewSnapshot(
                snapshot_id=half.snapshot_id,
                name=half.name,
                source_volume_id=half.source_volume_id,
                parameters=parameters,
                group_snapshot_id=intent.object_id,
                secrets=request.secrets,
                token=half.snapshot_id,
                tags=snapshot_tags(
                    half.name, half.source_volume_id, parameters, group=intent.object_id, group_size=size
                ),
            )
            for half in intent.snapshots
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

    def _new_intent(self, request: m.CreateVolumeGroupSnapshotRequest, mark: str, parameters: dict[str, str]) -> Intent:
        core = self._core
        group_id, now = core.store.new_id("group", request.name), core.clock.wall_time()
        return Intent(
            kind="group",
            name=request.name,
            object_id=group_id,
            fingerprint=mark,
            token=group_id,
            started_at=now,
            snapshots=tuple(
                SnapshotRecord(
                    snapshot_id=core.store.new_id("snapshot", _member_name(request.name, volume_id)),
                    name=_member_name(request.name, volume_id),
                    source_volume_id=volume_id,
                    creation_time=now,
                    ready_to_use=False,
                    parameters=parameters,
                    group_snapshot_id=group_id,
                    deleting=True,
                )
                for volume_id in request.source_volume_ids
            ),
        )

    async def _cut(self, intent: Intent, new: NewGroupSnapshot, sources: tuple[VolumeRecord, ...]) -> GroupRecord:
        core = self._core
        cut_at = core.clock.wall_time()
        made: tuple[Snapshot, ...] | None = None
        try:
            with CUT:
                made = await core.controller("create_group_snapshot", new, sources)
            by_source = {snapshot.source_volume_id: snapshot for snapshot in made or _as_asked(new, sources, cut_at)}
            if set(by_source) != {source.volume_id for source in sources}:
                raise Internal("the driver cut snapshots of other volumes than the group has; this is its defect")
            members = tuple(snapshot_record(member, by_source[member.source_volume_id]) for member in new.members)
            record = _record(new, members)
            group = _group_of(record, [member.as_snapshot() for member in members])
            core.check_response("CreateVolumeGroupSnapshot", m.CreateVolumeGroupSnapshotResponse(group_snapshot=group))
            await self._check_own(new, members)
        except AlreadyExists:  # there are such snapshots, and they are somebody else's
            await core.settle(UNDONE, intent)
            raise
        except Exception as cause:
            if not may_still_run(cause):
                await self._undo(intent, cause, made or ())
            raise
        await core.settle(RECORDED, intent, put=(record, *members))
        afterwards(lambda: log.info("group_snapshot.created", group=record.group_snapshot_id, members=len(members)))
        return record

    async def _check_own(self, new: NewGroupSnapshot, members: Sequence[SnapshotRecord]) -> None:
        """A storage system that cuts names short may give somebody else's snapshot as a member. Raises Internal."""
        for wish, member in zip(new.members, members, strict=True):
            if member.snapshot_id != wish.snapshot_id and (other := await self._other(member.snapshot_id, wish.name)):
                raise Internal(
                    f"the storage system took a member of group {new.name!r} for snapshot {other!r}; the driver must "
                    "make names that differ"
                )

    async def _other(self, snapshot_id: str, name: str) -> str | None:
        """The name of the snapshot of this id when that is not the one of this name."""
        known = await self._core.store.snapshot(snapshot_id)
        return known.name if known is not None and known.name != name else None

    async def _undo(self, intent: Intent, cause: Exception | None, made: tuple[Snapshot, ...] = ()) -> None:
        """Delete what this group's creation made, and nothing else."""
        core = self._core
        own_ids = {snapshot.source_volume_id: snapshot.snapshot_id for snapshot in made}
        try:
            for half in intent.snapshots:
                given = own_ids.get(half.source_volume_id)
                if given and given != half.snapshot_id and await self._other(given, half.name) is None:
                    await core.controller("delete_snapshot", structs.replace(half, snapshot_id=given))
                else:
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
            "DeleteVolumeGroupSnapshot", request, lambda: self._delete(request), also=_keys(record)
        )

    async def _delete(self, request: m.DeleteVolumeGroupSnapshotRequest) -> m.DeleteVolumeGroupSnapshotResponse:
        record = await self._core.store.group(request.group_snapshot_id)
        if record is not None:
            if not record.deleting or not set(record.snapshot_ids) <= set(request.snapshot_ids):
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
        for snapshot_id in sorted(record.snapshot_ids):
            member = await self._core.store.snapshot(snapshot_id)
            if member is not None:
                members.append((await refreshed(self._core, member)).as_snapshot())
        return _group_of(record, members)


def _record(new: NewGroupSnapshot, members: Sequence[SnapshotRecord]) -> GroupRecord:
    return GroupRecord(
        group_snapshot_id=new.group_snapshot_id,
        name=new.name,
        source_volume_ids=tuple(member.source_volume_id for member in members),
        snapshot_ids=tuple(member.snapshot_id for member in members),
        creation_time=min(member.creation_time for member in members),
        parameters=new.parameters,
    )


def _group_of(record: GroupRecord, members: Sequence[Snapshot]) -> VolumeGroupSnapshot:
    return VolumeGroupSnapshot(
        group_snapshot_id=record.group_snapshot_id,
        snapshots=tuple(members),
        creation_time=record.creation_time,
        ready_to_use=all(member.ready_to_use for member in members),
    )


def _as_asked(new: NewGroupSnapshot, sources: tuple[VolumeRecord, ...], cut_at: datetime) -> tuple[Snapshot, ...]:
    return tuple(
        Snapshot(member.snapshot_id, source.volume_id, cut_at, source.capacity_bytes)
        for member, source in zip(new.members, sources, strict=True)
    )


def _member_name(group_name: str, volume_id: str) -> str:
    """A name for a member that no CreateSnapshot can collide with: NUL is banned from names."""
    return f"{group_name}\x00{volume_id}"


def _keys(record: GroupRecord) -> tuple[str, ...]:
    return (group_key(record.group_snapshot_id), *map(snapshot_key, record.snapshot_ids))


def _check_members(record: GroupRecord, snapshot_ids: tuple[str, ...]) -> None:
    if set(snapshot_ids) != set(record.snapshot_ids):
        raise InvalidArgument(
            f"snapshot_ids are not the members of group snapshot {record.group_snapshot_id!r}; pass all of its members"
        )
