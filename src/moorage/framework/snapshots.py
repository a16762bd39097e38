"""CreateSnapshot, DeleteSnapshot, GetSnapshot: the same promise as for volumes, see volumes.py."""

from __future__ import annotations

from contextlib import suppress

from msgspec import structs

from moorage.base.faults import declare_step
from moorage.base.operations import afterwards
from moorage.framework.calls import fingerprint
from moorage.framework.core import Core, log
from moorage.framework.store import Intent
from moorage.framework.tags import snapshot_tags
from moorage.framework.translate import may_still_run
from moorage.framework.values import NewSnapshot, SnapshotRecord, VolumeRecord
from moorage.spec import messages as m
from moorage.spec.compatibility import SnapshotFacts, snapshot_conflict, without_orchestrator_keys
from moorage.spec.errors import (
    AlreadyExists,
    FailedPrecondition,
    Internal,
    InvalidArgument,
    OperationPending,
    ResourceExhausted,
    SnapshotNotFound,
    Unavailable,
    VolumeNotFound,
)
from moorage.spec.locks import snapshot_key
from moorage.spec.topology import describe, matches
from moorage.spec.types import Snapshot

INTENT = declare_step("framework.snapshot.intent", "the wish for a snapshot is recorded")
CUT = declare_step("framework.snapshot.cut", "the driver has cut the snapshot")
RECORDED = declare_step("framework.snapshot.recorded", "the snapshot is recorded and the intent erased")
READY = declare_step("framework.snapshot.ready", "it is recorded that the snapshot became ready")
UNDONE = declare_step("framework.snapshot.undone", "a failed snapshot is undone and its intent erased")
DELETING = declare_step("framework.snapshot.deleting", "the snapshot is marked as being deleted")
DELETED = declare_step("framework.snapshot.deleted", "the driver has deleted the snapshot")
FORGOTTEN = declare_step("framework.snapshot.forgotten", "the record of the deleted snapshot is erased")
KEPT = declare_step("framework.snapshot.kept", "the mark is taken off a snapshot that must not be deleted now")


class Snapshots:
    """Handlers of the snapshot RPCs of the controller service."""

    def __init__(self, core: Core) -> None:
        self._core = core

    async def create(self, request: m.CreateSnapshotRequest) -> m.CreateSnapshotResponse:
        """CreateSnapshot; repeated by the caller until the snapshot is ready to use."""
        return await self._core.calls.run(
            "CreateSnapshot",
            request,
            lambda: self._create(request),
        )

    async def _create(self, request: m.CreateSnapshotRequest) -> m.CreateSnapshotResponse:
        core = self._core
        record = await core.store.snapshot_named(request.name)
        if record is not None and record.deleting:
            with core.calls.take("CreateSnapshot", exclusive=(snapshot_key(record.snapshot_id),)):
                await self.finish_delete(record)
            record = None
        if record is not None:
            facts = SnapshotFacts(
                source_volume_id=record.source_volume_id, accessible_topology=record.accessible_topology
            )
            if conflict := snapshot_conflict(facts, request):
                raise AlreadyExists(f"snapshot name {request.name!r} is taken: {conflict}")
            return m.CreateSnapshotResponse(snapshot=(await refreshed(core, record)).as_snapshot())
        intent = await core.store.intent("snapshot", request.name)
        try:
            source = await core.known_volume(request.source_volume_id)
        except VolumeNotFound as cause:
            if intent is not None:
                await self._undo(intent, cause)
            raise
        begun = await self._continued(request, intent)
        intent, new = self._intend(request, begun)
        record = await core.stint("create_snapshot", self._carry_out, intent, new, source, begun is None)
        return m.CreateSnapshotResponse(snapshot=record.as_snapshot())

    async def _continued(self, request: m.CreateSnapshotRequest, intent: Intent | None) -> Intent | None:
        """The intent of an earlier attempt, if it had the same wish; what another one left is undone."""
        if intent is not None and intent.fingerprint != _mark(request):
            await self._undo(intent, cause=None)
            return None
        return intent

    def _intend(self, request: m.CreateSnapshotRequest, intent: Intent | None) -> tuple[Intent, NewSnapshot]:
        core = self._core
        parameters = without_orchestrator_keys(request.parameters)
        if intent is None:
            snapshot_id = core.store.new_id("snapshot", request.name)
            intent = Intent(
                kind="snapshot",
                name=request.name,
                object_id=snapshot_id,
                fingerprint=_mark(request),
                token=snapshot_id,
                started_at=core.clock.wall_time(),
                snapshots=(
                    SnapshotRecord(
                        snapshot_id=snapshot_id,
                        name=request.name,
                        source_volume_id=request.source_volume_id,
                        creation_time=core.clock.wall_time(),
                        ready_to_use=False,
                        parameters=parameters,
                        deleting=True,
                    ),
                ),
            )
        new = NewSnapshot(
            snapshot_id=intent.object_id,
            name=request.name,
            source_volume_id=request.source_volume_id,
            parameters=parameters,
            requirement=request.accessibility_requirements,
            secrets=request.secrets,
            token=intent.token,
            tags=snapshot_tags(request.name, request.source_volume_id, parameters),
        )
        return intent, new

    async def _carry_out(
        self, intent: Intent, new: NewSnapshot, source: VolumeRecord, is_first: bool
    ) -> SnapshotRecord:
        if is_first:
            await self._core.begin(INTENT, intent)
        return await self._cut(intent, new, source)

    async def _cut(self, intent: Intent, new: NewSnapshot, source: VolumeRecord) -> SnapshotRecord:
        core = self._core
        cut_at = core.clock.wall_time()
        made: Snapshot | None = None
        try:
            with CUT:
                made = await core.controller("create_snapshot", new, source)
        except Exception as cause:
            if isinstance(cause, AlreadyExists):
                await core.settle(UNDONE, intent)
            elif not may_still_run(cause):
                await self._undo(intent, cause)
            raise
        await self._check_own(intent, new, made)
        try:
            snapshot = made or Snapshot(new.snapshot_id, source.volume_id, cut_at, source.capacity_bytes)
            record = snapshot_record(new, snapshot)
            _check_place(new, record)
            core.check_response("CreateSnapshot", m.CreateSnapshotResponse(snapshot=record.as_snapshot()))
        except Exception as cause:
            await self._undo(intent, cause, made)
            raise
        await core.settle(RECORDED, intent, put=(record,))
        afterwards(lambda: log.info("snapshot.created", snapshot=record.snapshot_id, volume=source.volume_id))
        return record

    async def _check_own(self, intent: Intent, new: NewSnapshot, made: Snapshot | None) -> None:
        """A storage system that cuts names short may answer with somebody else's snapshot: hands off it."""
        core = self._core
        if made is None or made.snapshot_id == new.snapshot_id:
            return
        other = await core.store.snapshot(made.snapshot_id)
        if other is not None and other.name != new.name:
            await core.settle(UNDONE, intent)
            raise Internal(
                f"the storage system took snapshot name {new.name!r} for {other.name!r}; the driver must make "
                "names that differ"
            )

    async def _undo(self, intent: Intent, cause: Exception | None, made: Snapshot | None = None) -> None:
        core = self._core
        try:
            for half in intent.snapshots:
                own = structs.replace(half, snapshot_id=made.snapshot_id) if made and made.snapshot_id else half
                await core.controller("delete_snapshot", own)
        except Exception as failure:
            log.warning("snapshot.undo_failed", snapshot=intent.object_id, exc_info=failure)
            raise Unavailable(
                f"snapshot {intent.object_id!r} failed and is not undone yet; repeat the call to try again"
            ) from (cause or failure)
        await core.settle(UNDONE, intent)

    # --- delete ---

    async def delete(self, request: m.DeleteSnapshotRequest) -> m.DeleteSnapshotResponse:
        """DeleteSnapshot; a snapshot that is gone is fine."""
        return await self._core.calls.run(
            "DeleteSnapshot",
            request,
            lambda: self._delete(request),
        )

    async def _delete(self, request: m.DeleteSnapshotRequest) -> m.DeleteSnapshotResponse:
        record = await self._core.store.snapshot(request.snapshot_id)
        if record is None:
            return m.DeleteSnapshotResponse()
        if record.group_snapshot_id and await self._core.store.group(record.group_snapshot_id) is not None:
            raise InvalidArgument(
                f"snapshot {record.snapshot_id!r} belongs to group {record.group_snapshot_id!r}; delete the group"
            )
        await self.finish_delete(record)
        return m.DeleteSnapshotResponse()

    async def finish_delete(self, record: SnapshotRecord) -> None:
        """Delete a snapshot, from wherever an earlier attempt stopped. The caller holds its key.

        FAILED_PRECONDITION leaves it as it was.
        """
        await self._core.stint("delete_snapshot", self._finish_delete, record)

    async def _finish_delete(self, record: SnapshotRecord) -> None:
        core = self._core
        begun = record.deleting
        if not begun:
            await core.settle(DELETING, put=(structs.replace(record, deleting=True),))
        try:
            with DELETED:
                await core.controller("delete_snapshot", structs.replace(record, deleting=True))
        except FailedPrecondition:
            if not begun:
                await core.settle(KEPT, put=(record,))
            raise
        await core.settle(FORGOTTEN, drop=(record,))
        afterwards(lambda: log.info("snapshot.deleted", snapshot=record.snapshot_id))

    async def get(self, request: m.GetSnapshotRequest) -> m.GetSnapshotResponse:
        """GetSnapshot; also one that is not ready yet."""
        record = await self._core.store.snapshot(request.snapshot_id)
        if record is None or record.deleting:
            raise SnapshotNotFound(request.snapshot_id)
        return m.GetSnapshotResponse(snapshot=(await refreshed(self._core, record)).as_snapshot())


def _mark(request: m.CreateSnapshotRequest) -> str:
    """What makes a wish the same wish, as for volumes."""
    bare = structs.replace(request, parameters=without_orchestrator_keys(request.parameters))
    return fingerprint(bare, without=("secrets", "accessibility_requirements"))


async def refreshed(core: Core, record: SnapshotRecord) -> SnapshotRecord:
    """The record, asked again of the driver while it was not ready; readiness never goes back.

    It is written down only when nothing else works with the snapshot: a deletion must not be overwritten.
    """
    if record.ready_to_use or not core.invoke.offers("snapshot_ready"):
        return record
    if not await core.controller("snapshot_ready", record):
        return record
    ready = structs.replace(record, ready_to_use=True)
    with suppress(OperationPending), core.calls.take("snapshot_ready", exclusive=(snapshot_key(record.snapshot_id),)):
        if await core.store.snapshot(record.snapshot_id) == record:
            await core.settle(READY, put=(ready,))
    return ready


def _check_place(new: NewSnapshot, record: SnapshotRecord) -> None:
    if not matches(new.requirement, record.accessible_topology):
        where = " and ".join(map(describe, record.accessible_topology))
        raise ResourceExhausted(
            f"the storage system can give snapshot {new.name!r} only to {where}; allow one of these topologies"
        )


def snapshot_record(new: NewSnapshot, snapshot: Snapshot) -> SnapshotRecord:
    """What the store keeps of a snapshot that the driver has cut."""
    return SnapshotRecord(
        snapshot_id=snapshot.snapshot_id,
        name=new.name,
        source_volume_id=new.source_volume_id,
        creation_time=snapshot.creation_time,
        size_bytes=snapshot.size_bytes,
        ready_to_use=snapshot.ready_to_use,
        parameters=new.parameters,
        group_snapshot_id=new.group_snapshot_id,
        accessible_topology=snapshot.accessible_topology,
    )
