"""CreateVolume, DeleteVolume and what asks about volumes.

The promise kept here: after any number of crashes, lost replies and replays there is exactly one
volume of a name, or none. The order is always: intent recorded, driver called, result recorded
with the intent erased in the same commit; a final error undoes what was made, then erases the
intent; while something may still exist only a code that is not final is answered.
"""

from __future__ import annotations

from msgspec import structs

from moorage.base.faults import declare_step
from moorage.framework.calls import fingerprint
from moorage.framework.core import Core, log
from moorage.framework.sizing import minimum_bytes
from moorage.framework.store import Intent
from moorage.framework.tags import volume_tags
from moorage.framework.translate import may_still_run
from moorage.framework.values import NewVolume, SnapshotRecord, VolumeRecord
from moorage.spec import messages as m
from moorage.spec.capacity import choose_size
from moorage.spec.compatibility import VolumeFacts, volume_conflict, without_orchestrator_keys
from moorage.spec.errors import (
    AlreadyExists,
    FailedPrecondition,
    Internal,
    InvalidArgument,
    OutOfRange,
    ResourceExhausted,
    Unavailable,
    VolumeInUse,
)
from moorage.spec.topology import choose, matches
from moorage.spec.types import CapacityRange, SnapshotSource, Topology, Volume, VolumeSource

INTENT = declare_step("framework.volume.intent", "the wish for a volume is recorded")
MADE = declare_step("framework.volume.made", "the driver has made the volume")
RECORDED = declare_step("framework.volume.recorded", "the volume is recorded and the intent erased")
UNDONE = declare_step("framework.volume.undone", "a failed creation is undone and its intent erased")
DELETING = declare_step("framework.volume.deleting", "the volume is marked as being deleted")
DELETED = declare_step("framework.volume.deleted", "the driver has deleted the volume")
FORGOTTEN = declare_step("framework.volume.forgotten", "the record of the deleted volume is erased")


class Volumes:
    """Handlers of the volume RPCs of the controller service."""

    def __init__(self, core: Core) -> None:
        self._core = core

    # --- create ---

    async def create(self, request: m.CreateVolumeRequest) -> m.CreateVolumeResponse:
        """CreateVolume."""
        core = self._core
        core.check_capabilities(request.volume_capabilities)
        self._check_source(request)
        core.effective_parameters(request.parameters, request.mutable_parameters)
        return await core.calls.run(
            "CreateVolume",
            request,
            lambda: self._create(request),
            exclusive=(f"volume name {request.name!r}",),
            shared=_source_keys(request),
        )

    async def _create(self, request: m.CreateVolumeRequest) -> m.CreateVolumeResponse:
        store = self._core.store
        record = await store.volume_named(request.name)
        if record is not None and record.deleting:
            with self._core.calls.take("CreateVolume", exclusive=_delete_keys(record.volume_id)):
                await self._finish_delete(record)
            record = None
        if record is not None:
            if conflict := volume_conflict(_facts(record), request):
                raise AlreadyExists(f"volume name {request.name!r} is taken: {conflict}")
            return m.CreateVolumeResponse(volume=record.as_volume())
        intent, new, source = await self._intend(request)
        record = await self._make(request, intent, new, source)
        return m.CreateVolumeResponse(volume=record.as_volume())

    async def _intend(
        self, request: m.CreateVolumeRequest
    ) -> tuple[Intent, NewVolume, SnapshotRecord | VolumeRecord | None]:
        """Everything that can refuse the wish is asked before the intent is recorded."""
        core = self._core
        source = await self._source(request)
        mark = fingerprint(request, without=("secrets", "accessibility_requirements"))
        new = self._wish(request, await self._places(request), source)
        intent = await core.store.intent("volume", request.name)
        if intent is not None and intent.fingerprint != mark:
            await self._undo(intent, structs.replace(new, volume_id=intent.object_id), cause=None)
            intent = None
        if intent is None:
            volume_id = core.store.new_id("volume", request.name)
            intent = Intent(
                kind="volume",
                name=request.name,
                object_id=volume_id,
                fingerprint=mark,
                token=volume_id,
                started_at=core.clock.wall_time(),
            )
            with INTENT:
                await core.store.begin(intent)
        new = structs.replace(new, volume_id=intent.object_id, token=intent.token)
        tags = volume_tags(_record(request, new, _as_asked(new)))
        return intent, structs.replace(new, tags=tags), source

    def _wish(
        self,
        request: m.CreateVolumeRequest,
        places: tuple[Topology, ...],
        source: SnapshotRecord | VolumeRecord | None,
    ) -> NewVolume:
        driver = self._core.driver
        merged, mutable = self._core.effective_parameters(request.parameters, request.mutable_parameters)
        wanted = request.capacity_range or CapacityRange()
        floor = _content_bytes(source)
        if wanted.limit_bytes and wanted.limit_bytes < floor:
            raise OutOfRange(
                f"the source holds {floor} bytes, more than limit_bytes {wanted.limit_bytes}: raise the limit"
            )
        if wanted.required_bytes and wanted.required_bytes < floor:
            raise OutOfRange(f"the source holds {floor} bytes, more than required_bytes {wanted.required_bytes}")
        size = choose_size(
            wanted,
            default_bytes=max(floor, driver.default_size_bytes) if source is None else floor,
            minimum_bytes=max(floor, minimum_bytes(driver, request.volume_capabilities)),
            granularity_bytes=driver.granularity_bytes,
            maximum_bytes=driver.maximum_size_bytes,
        )
        return NewVolume(
            volume_id="",
            name=request.name,
            size_bytes=size,
            capacity_range=wanted,
            volume_capabilities=request.volume_capabilities,
            parameters=merged,
            mutable_parameters=mutable,
            content_source=request.volume_content_source,
            requirement=request.accessibility_requirements,
            topology=places,
            secrets=request.secrets,
        )

    async def _places(self, request: m.CreateVolumeRequest) -> tuple[Topology, ...]:
        core = self._core
        if not core.driver.topology_aware:
            return ()
        available: tuple[Topology, ...] | None = None
        if core.invoke.offers("places"):
            available = await core.controller("places")
        return choose(request.accessibility_requirements, available)

    async def _source(self, request: m.CreateVolumeRequest) -> SnapshotRecord | VolumeRecord | None:
        match request.volume_content_source:
            case SnapshotSource(snapshot_id):
                snapshot = await self._core.known_snapshot(snapshot_id)
                if not snapshot.ready_to_use:
                    raise Unavailable(f"snapshot {snapshot_id!r} is not ready to use yet; repeat the call later")
                return snapshot
            case VolumeSource(volume_id):
                return await self._core.known_volume(volume_id)
            case _:
                return None

    def _check_source(self, request: m.CreateVolumeRequest) -> None:
        if isinstance(request.volume_content_source, SnapshotSource) and not self._core.invoke.offers(
            "restore_snapshot"
        ):
            raise InvalidArgument(f"{self._core.driver.name} cannot restore snapshots; leave volume_content_source out")

    async def _make(
        self,
        request: m.CreateVolumeRequest,
        intent: Intent,
        new: NewVolume,
        source: SnapshotRecord | VolumeRecord | None,
    ) -> VolumeRecord:
        core = self._core
        try:
            with MADE:
                made = await self._call_driver(new, source)
            record = _record(request, new, _completed(made or _as_asked(new), new))
            self._check_made(new, record)
        except Exception as cause:
            if may_still_run(cause):
                raise
            await self._undo(intent, new, cause)
            raise
        await core.settle(RECORDED, intent, put=(record,))
        log.info("volume.created", volume=record.volume_id, size_bytes=record.capacity_bytes)
        return record

    async def _call_driver(self, new: NewVolume, source: SnapshotRecord | VolumeRecord | None) -> Volume | None:
        made: Volume | None
        if isinstance(source, SnapshotRecord):
            made = await self._core.controller("restore_snapshot", new, source)
        elif isinstance(source, VolumeRecord):
            made = await self._core.controller("clone_volume", new, source)
        else:
            made = await self._core.controller("create_volume", new)
        return made

    def _check_made(self, new: NewVolume, record: VolumeRecord) -> None:
        """What the storage system really gave must be what was asked for."""
        if not record.volume_id:
            raise Internal("the driver returned a volume without an id; this is a defect of the driver")
        if record.capacity_bytes and not new.capacity_range.contains(record.capacity_bytes):
            raise OutOfRange(
                f"the storage system gave {record.capacity_bytes} bytes, outside of the range that was asked for"
            )
        if record.accessible_topology and not matches(new.requirement, record.accessible_topology):
            raise ResourceExhausted("the storage system put the volume where it may not be; no allowed place has room")

    async def _undo(self, intent: Intent, new: NewVolume, cause: Exception | None) -> None:
        """Delete what a creation made, then erase its intent; not final while that fails."""
        core = self._core
        try:
            await core.controller("delete_volume", _half_made(new))
        except Exception as failure:
            log.warning("volume.undo_failed", volume=new.volume_id, error=type(failure).__name__, exc_info=failure)
            raise Unavailable(
                f"creation of volume {new.volume_id!r} failed and is not undone yet; repeat the call to try again"
            ) from (cause or failure)
        await core.settle(UNDONE, intent)

    # --- delete ---

    async def delete(self, request: m.DeleteVolumeRequest) -> m.DeleteVolumeResponse:
        """DeleteVolume; a volume that is gone is fine."""
        return await self._core.calls.run(
            "DeleteVolume", request, lambda: self._delete(request), exclusive=_delete_keys(request.volume_id)
        )

    async def _delete(self, request: m.DeleteVolumeRequest) -> m.DeleteVolumeResponse:
        core = self._core
        record = await core.find_volume(request.volume_id)
        if record is None:
            return m.DeleteVolumeResponse()
        if not record.deleting:
            await self._check_unused(record)
        await self._finish_delete(record)
        return m.DeleteVolumeResponse()

    async def _check_unused(self, record: VolumeRecord) -> None:
        core = self._core
        if nodes := sorted(a.node_id for a in await core.store.attachments(volume_id=record.volume_id)):
            raise VolumeInUse(f"volume {record.volume_id!r} is published to {', '.join(nodes)}; unpublish it first")
        if paths := core.here(record.volume_id):
            raise VolumeInUse(f"volume {record.volume_id!r} is in use at {paths[0]}; unpublish and unstage it first")
        if not core.driver.snapshots_outlive_volumes:
            snapshots = await core.store.snapshots(source_volume_id=record.volume_id)
            if snapshots:
                raise FailedPrecondition(
                    f"volume {record.volume_id!r} has {len(snapshots)} snapshots that cannot outlive it; "
                    "delete them first"
                )

    async def _finish_delete(self, record: VolumeRecord) -> None:
        core = self._core
        if not record.deleting:
            record = structs.replace(record, deleting=True)
            await core.settle(DELETING, put=(record,))
        with DELETED:
            await core.controller("delete_volume", record)
        await core.settle(FORGOTTEN, drop=(record,))
        log.info("volume.deleted", volume=record.volume_id)

    # --- questions ---

    async def validate(self, request: m.ValidateVolumeCapabilitiesRequest) -> m.ValidateVolumeCapabilitiesResponse:
        """ValidateVolumeCapabilities."""
        record = await self._core.known_volume(request.volume_id)
        for capability in request.volume_capabilities:
            reason = self._core.driver.supports(capability)
            if reason is None and record.volume_capabilities:
                reason = _access_type_reason(record, capability.is_block)
            if reason:
                return m.ValidateVolumeCapabilitiesResponse(message=reason)
        return m.ValidateVolumeCapabilitiesResponse(
            confirmed=m.Confirmed(
                volume_context=request.volume_context,
                volume_capabilities=request.volume_capabilities,
                parameters=request.parameters,
                mutable_parameters=request.mutable_parameters,
            )
        )

    async def get(self, request: m.ControllerGetVolumeRequest) -> m.ControllerGetVolumeResponse:
        """ControllerGetVolume."""
        record = await self._core.known_volume(request.volume_id)
        attached = await self._core.store.attachments(volume_id=record.volume_id)
        nodes = tuple(sorted(a.node_id for a in attached))
        return m.ControllerGetVolumeResponse(volume=record.as_volume(), status=m.VolumeStatus(published_node_ids=nodes))


def _source_keys(request: m.CreateVolumeRequest) -> tuple[str, ...]:
    match request.volume_content_source:
        case SnapshotSource(snapshot_id):
            return (f"snapshot {snapshot_id!r}",)
        case VolumeSource(volume_id):
            return (f"content of volume {volume_id!r}",)
        case _:
            return ()


def _delete_keys(volume_id: str) -> tuple[str, ...]:
    return (f"volume {volume_id!r}", f"content of volume {volume_id!r}", f"volume {volume_id!r} on this node")


def _content_bytes(source: SnapshotRecord | VolumeRecord | None) -> int:
    match source:
        case SnapshotRecord(size_bytes=size):
            return size
        case VolumeRecord(capacity_bytes=size):
            return size
        case _:
            return 0


def _facts(record: VolumeRecord) -> VolumeFacts:
    return VolumeFacts(
        capacity_bytes=record.capacity_bytes,
        volume_capabilities=record.volume_capabilities,
        parameters=record.parameters,
        mutable_parameters=record.mutable_parameters,
        content_source=record.content_source,
        accessible_topology=record.accessible_topology,
    )


def _completed(volume: Volume, new: NewVolume) -> Volume:
    """The driver's answer with the framework's share: content source echoed, topology filled in."""
    return structs.replace(
        volume,
        content_source=new.content_source,
        accessible_topology=volume.accessible_topology or new.topology,
    )


def _as_asked(new: NewVolume) -> Volume:
    return Volume(new.volume_id, new.size_bytes)


def _record(request: m.CreateVolumeRequest, new: NewVolume, volume: Volume) -> VolumeRecord:
    return VolumeRecord(
        volume_id=volume.volume_id,
        name=new.name,
        capacity_bytes=volume.capacity_bytes,
        volume_capabilities=new.volume_capabilities,
        parameters=without_orchestrator_keys(request.parameters),
        mutable_parameters=new.mutable_parameters,
        volume_context=volume.volume_context,
        content_source=new.content_source,
        accessible_topology=volume.accessible_topology,
    )


def _half_made(new: NewVolume) -> VolumeRecord:
    """What is known of a volume whose creation did not end: enough for `delete_volume`."""
    return VolumeRecord(
        volume_id=new.volume_id,
        name=new.name,
        capacity_bytes=new.size_bytes,
        volume_capabilities=new.volume_capabilities,
        parameters=new.parameters,
        deleting=True,
    )


def _access_type_reason(record: VolumeRecord, block: bool) -> str | None:
    if any(capability.is_block == block for capability in record.volume_capabilities):
        return None
    return f"the volume was created for {'mounted' if block else 'raw block'} access"
