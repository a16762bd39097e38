"""CreateVolume.

The promise kept here: after any number of crashes, lost replies and replays there is exactly one
volume of a name, or none. The order is always: intent recorded, driver called, result recorded
with the intent erased in the same commit; a final error undoes what was made, then erases the
intent; while something may still exist only a code that is not final is answered.
"""

from __future__ import annotations

from typing import TypeAlias

from msgspec import structs

from moorage.base.faults import declare_step
from moorage.base.operations import afterwards
from moorage.framework.calls import fingerprint
from moorage.framework.core import Core, log
from moorage.framework.removal import Removal
from moorage.framework.sizing import minimum_bytes
from moorage.framework.snapshots import refreshed
from moorage.framework.states import BackendTags
from moorage.framework.store import Intent
from moorage.framework.tags import volume_tags
from moorage.framework.translate import may_still_run
from moorage.framework.values import NewVolume, SnapshotRecord, VolumeRecord
from moorage.spec import messages as m
from moorage.spec.capacity import choose_size
from moorage.spec.compatibility import VolumeFacts, volume_conflict, without_orchestrator_keys
from moorage.spec.errors import (
    AlreadyExists,
    CsiError,
    Internal,
    InvalidArgument,
    OutOfRange,
    ResourceExhausted,
    Unavailable,
)
from moorage.spec.locks import whole_volume
from moorage.spec.topology import choose, matches
from moorage.spec.types import (
    CapacityRange,
    MountAccess,
    SnapshotSource,
    Topology,
    Volume,
    VolumeCapability,
    VolumeSource,
)

INTENT = declare_step("framework.volume.intent", "the wish for a volume is recorded")
MADE = declare_step("framework.volume.made", "the driver has made the volume")
RECORDED = declare_step("framework.volume.recorded", "the volume is recorded and the intent erased")
UNDONE = declare_step("framework.volume.undone", "a failed creation is undone and its intent erased")

Origin: TypeAlias = SnapshotRecord | VolumeRecord | None


class Volumes:
    """Handler of volume creation."""

    def __init__(self, core: Core) -> None:
        self._core = core
        self._removal = Removal(core)

    async def create(self, request: m.CreateVolumeRequest) -> m.CreateVolumeResponse:
        """CreateVolume."""
        core = self._core
        refusal = self._refusal(request)
        if refusal is not None and await core.store.intent("volume", request.name) is None:
            raise refusal
        return await core.calls.run(
            "CreateVolume",
            request,
            lambda: self._create(request, refusal),
        )

    def _refusal(self, request: m.CreateVolumeRequest) -> CsiError | None:
        """Why this driver can make no such volume, whatever exists already."""
        core = self._core
        try:
            core.check_capabilities(request.volume_capabilities)
            core.effective_parameters(request.parameters, request.mutable_parameters)
        except CsiError as error:
            return error
        restores = isinstance(request.volume_content_source, SnapshotSource)
        if restores and not core.invoke.offers("restore_snapshot"):
            return InvalidArgument(f"{core.driver.name} cannot restore snapshots; leave volume_content_source out")
        return None

    async def _create(self, request: m.CreateVolumeRequest, refusal: CsiError | None) -> m.CreateVolumeResponse:
        store = self._core.store
        record = await store.volume_named(request.name)
        if record is not None and record.deleting:
            with self._core.calls.take("CreateVolume", exclusive=whole_volume(record.volume_id)):
                await self._removal.finish(record)
            record = None
        if record is not None:
            if conflict := volume_conflict(_facts(record), request):
                raise AlreadyExists(f"volume name {request.name!r} is taken: {conflict}")
            return m.CreateVolumeResponse(volume=record.as_volume())
        begun, new, source = await self._wished(request, refusal)
        intent = begun or self._intent(request, new)
        new = self._named(request, intent, new)
        record = await self._core.stint(_method(source), self._carry_out, request, intent, new, source, begun is None)
        return m.CreateVolumeResponse(volume=record.as_volume())

    async def _wished(
        self, request: m.CreateVolumeRequest, refusal: CsiError | None
    ) -> tuple[Intent | None, NewVolume, Origin]:
        """Everything that can refuse the wish is asked before an intent is recorded.

        What is left of an earlier attempt is undone when the wish is another one now, or is refused; when it is
        the same one, its intent is returned.
        """
        core = self._core
        intent = await core.store.intent("volume", request.name)
        try:
            if refusal is not None:
                raise refusal
            source = await self._source(request)
            new = self._wish(request, await self._places(request), source)
        except Exception as cause:
            if intent is not None and not may_still_run(cause):
                await self._undo(intent, cause)
            raise
        if intent is not None and not _continues(intent, _mark(request), new):
            await self._undo(intent, cause=None)
            intent = None
        return intent, new, source

    def _intent(self, request: m.CreateVolumeRequest, new: NewVolume) -> Intent:
        core = self._core
        volume_id = core.store.new_id("volume", request.name)
        return Intent(
            kind="volume",
            name=request.name,
            object_id=volume_id,
            fingerprint=_mark(request),
            token=volume_id,
            started_at=core.clock.wall_time(),
            volume=_half_made(request, structs.replace(new, volume_id=volume_id)),
        )

    def _named(self, request: m.CreateVolumeRequest, intent: Intent, new: NewVolume) -> NewVolume:
        """The wish with what its intent fixes: id, token and place."""
        begun = intent.volume
        new = structs.replace(
            new,
            volume_id=intent.object_id,
            token=intent.token,
            topology=begun.accessible_topology if begun is not None else new.topology,
        )
        if isinstance(self._core.driver.state, BackendTags):
            new = structs.replace(new, tags=volume_tags(_record(request, new, _as_asked(new))))
        return new

    def _wish(
        self,
        request: m.CreateVolumeRequest,
        places: tuple[Topology, ...],
        source: Origin,
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

    async def _source(self, request: m.CreateVolumeRequest) -> Origin:
        match request.volume_content_source:
            case SnapshotSource(snapshot_id):
                snapshot = await refreshed(self._core, await self._core.known_snapshot(snapshot_id))
                if not snapshot.ready_to_use:
                    raise Unavailable(f"snapshot {snapshot_id!r} is not ready to use yet; repeat the call later")
                return snapshot
            case VolumeSource(volume_id):
                return await self._core.known_volume(volume_id)
            case _:
                return None

    async def _carry_out(
        self, request: m.CreateVolumeRequest, intent: Intent, new: NewVolume, source: Origin, is_first: bool
    ) -> VolumeRecord:
        if is_first:
            await self._core.begin(INTENT, intent)
        return await self._make(request, intent, new, source)

    async def _make(
        self, request: m.CreateVolumeRequest, intent: Intent, new: NewVolume, source: Origin
    ) -> VolumeRecord:
        core = self._core
        made: Volume | None = None
        try:
            with MADE:
                made = await self._call_driver(new, source)
        except Exception as cause:
            if isinstance(cause, AlreadyExists):
                await core.settle(UNDONE, intent)
            elif not may_still_run(cause):
                await self._undo(intent, cause, made)
            raise
        await self._check_own(intent, new, made)
        try:
            record = _record(request, new, _completed(made or _as_asked(new), new))
            self._check_made(new, record, own=made is None)
        except Exception as cause:
            await self._undo(intent, cause, made)
            raise
        await core.settle(RECORDED, intent, put=(record,))
        afterwards(lambda: log.info("volume.created", volume=record.volume_id, size_bytes=record.capacity_bytes))
        return record

    async def _call_driver(self, new: NewVolume, source: Origin) -> Volume | None:
        made: Volume | None
        if source is None:
            made = await self._core.controller(_method(source), new)
        else:
            made = await self._core.controller(_method(source), new, source)
        return made

    async def _check_own(self, intent: Intent, new: NewVolume, made: Volume | None) -> None:
        """A storage system that cuts names short may answer with somebody else's volume: hands off it."""
        core = self._core
        if made is None or made.volume_id == new.volume_id:
            return
        other = await core.store.volume(made.volume_id)
        if other is not None and other.name != new.name:
            await core.settle(UNDONE, intent)
            raise Internal(
                f"the storage system took volume name {new.name!r} for {other.name!r}; the driver must make "
                "names that differ"
            )

    def _check_made(self, new: NewVolume, record: VolumeRecord, *, own: bool) -> None:
        """What the storage system really gave must be what was asked for, and fit into an answer.

        `own`: the driver said nothing of it, so that all but the topology is of the framework's own making.
        """
        if record.capacity_bytes and not new.capacity_range.contains(record.capacity_bytes):
            raise OutOfRange(
                f"the storage system gave {record.capacity_bytes} bytes, outside of the range that was asked for"
            )
        if record.accessible_topology and not matches(new.requirement, record.accessible_topology):
            raise ResourceExhausted("the storage system put the volume where it may not be; no allowed place has room")
        if not own or self._core.driver.topology_aware:
            self._core.check_response("CreateVolume", m.CreateVolumeResponse(volume=record.as_volume()))

    async def _undo(self, intent: Intent, cause: Exception | None, made: Volume | None = None) -> None:
        """Delete what a creation made, then erase its intent; not final while that fails."""
        core = self._core
        if not core.store.undoes:
            return
        half = intent.volume or VolumeRecord(volume_id=intent.object_id, name=intent.name, capacity_bytes=0)
        if made is not None and made.volume_id:
            half = structs.replace(half, volume_id=made.volume_id, volume_context=made.volume_context)
        try:
            await core.controller("delete_volume", half)
        except Exception as failure:
            log.warning("volume.undo_failed", volume=half.volume_id, error=type(failure).__name__, exc_info=failure)
            raise Unavailable(
                f"creation of volume {half.volume_id!r} failed and is not undone yet; repeat the call to try again"
            ) from (cause or failure)
        await core.settle(UNDONE, intent)


def _method(source: Origin) -> str:
    """The method of the driver that makes a volume from this source."""
    match source:
        case SnapshotRecord():
            return "restore_snapshot"
        case VolumeRecord():
            return "clone_volume"
        case _:
            return "create_volume"


def _mark(request: m.CreateVolumeRequest) -> str:
    """What makes a wish the same wish: neither where the nodes are now nor what the orchestrator adds."""
    bare = structs.replace(
        request,
        parameters=without_orchestrator_keys(request.parameters),
        mutable_parameters=without_orchestrator_keys(request.mutable_parameters),
    )
    return fingerprint(bare, without=("secrets", "accessibility_requirements"))


def _continues(intent: Intent, mark: str, new: NewVolume) -> bool:
    """Whether what was begun is what is wished for now: the same size, at a place that is still allowed."""
    begun = intent.volume
    return (
        intent.fingerprint == mark
        and begun is not None
        and begun.capacity_bytes == new.size_bytes
        and matches(new.requirement, begun.accessible_topology)
    )


def _content_bytes(source: Origin) -> int:
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
        volume_capabilities=tuple(map(_without_flags, new.volume_capabilities)),
        parameters=without_orchestrator_keys(request.parameters),
        mutable_parameters=new.mutable_parameters,
        volume_context=volume.volume_context,
        content_source=new.content_source,
        accessible_topology=volume.accessible_topology,
    )


def _without_flags(capability: VolumeCapability) -> VolumeCapability:
    """Mount flags belong to a mount, not to the volume, and may be secret: they are not kept."""
    access = capability.access_type
    if not isinstance(access, MountAccess):
        return capability
    return structs.replace(capability, access_type=structs.replace(access, mount_flags=()))


def _half_made(request: m.CreateVolumeRequest, new: NewVolume) -> VolumeRecord:
    """What is known of a volume whose creation has not ended: enough for `delete_volume`."""
    asked = structs.replace(_as_asked(new), accessible_topology=new.topology)
    return structs.replace(_record(request, new, asked), deleting=True)
