"""What only asks: lists with pages and filters, one volume, its capabilities, its health, capacity."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from moorage.framework.condition import condition_of
from moorage.framework.core import Core
from moorage.framework.health_asks import AT_ONCE, Entries, HealthAsks
from moorage.framework.sizing import minimum_bytes
from moorage.framework.snapshots import refreshed
from moorage.framework.values import Capacity, CapacityQuery, VolumeRecord
from moorage.spec import messages as m
from moorage.spec.compatibility import parameter_conflict, without_orchestrator_keys
from moorage.spec.errors import VolumeNotFound
from moorage.spec.paging import decode_token, position_of, take_page
from moorage.spec.types import VolumeHealth


class Listing:
    """Handlers of the controller service that change nothing."""

    def __init__(self, core: Core) -> None:
        self._core = core
        self._asks = HealthAsks(core)

    async def volumes(self, request: m.ListVolumesRequest) -> m.ListVolumesResponse:
        """ListVolumes."""
        records = [r for r in await self._core.store.volumes() if not r.deleting and not r.ephemeral]
        page, token = take_page(
            [(record.volume_id, record) for record in records],
            max_entries=request.max_entries,
            starting_token=request.starting_token,
            kind="volume",
        )
        nodes: dict[str, list[str]] = {}
        for attachment in await self._core.store.attachments() if page else ():
            nodes.setdefault(attachment.volume_id, []).append(attachment.node_id)
        entries = [
            m.ListedVolume(volume=record.as_volume(), status=_status(nodes.get(record.volume_id, ()), health))
            for record, health in await self._healths(page)
        ]
        return m.ListVolumesResponse(entries=tuple(entries), next_token=token)

    async def snapshots(self, request: m.ListSnapshotsRequest) -> m.ListSnapshotsResponse:
        """ListSnapshots; both filters together must hold."""
        store = self._core.store
        if request.snapshot_id:
            one = await store.snapshot(request.snapshot_id)
            records = [one] if one is not None else []
            if request.source_volume_id:
                records = [r for r in records if r.source_volume_id == request.source_volume_id]
        else:
            records = list(await store.snapshots(source_volume_id=request.source_volume_id))
        page, token = take_page(
            [(record.snapshot_id, record) for record in records if not record.deleting],
            max_entries=request.max_entries,
            starting_token=request.starting_token,
            kind="snapshot",
        )
        entries = tuple([(await refreshed(self._core, record)).as_snapshot() for record in page])
        return m.ListSnapshotsResponse(entries=entries, next_token=token)

    async def get(self, request: m.ControllerGetVolumeRequest) -> m.ControllerGetVolumeResponse:
        """ControllerGetVolume."""
        record = await self._core.known_volume(request.volume_id)
        attached = await self._core.store.attachments(volume_id=record.volume_id)
        nodes = [attachment.node_id for attachment in attached]
        for _, health in await self._healths([record]):
            return m.ControllerGetVolumeResponse(volume=record.as_volume(), status=_status(nodes, health))
        raise VolumeNotFound(record.volume_id)

    async def _healths(self, records: Sequence[VolumeRecord]) -> list[tuple[VolumeRecord, Entries | None]]:
        """The records with what is wrong with them, None where that is not known; without those now gone."""
        if not self._core.invoke.offers("volume_health"):
            return [(record, None) for record in records]
        told = await self._asks.all(records)
        return [(record, told[record.volume_id]) for record in records if record.volume_id in told]

    async def validate(self, request: m.ValidateVolumeCapabilitiesRequest) -> m.ValidateVolumeCapabilitiesResponse:
        """ValidateVolumeCapabilities."""
        record = await self._core.known_volume(request.volume_id)
        for capability in request.volume_capabilities:
            reason = self._core.driver.supports(capability) or _access_type_reason(record, capability.is_block)
            if reason:
                return m.ValidateVolumeCapabilitiesResponse(message=reason)
        if reason := _other_volume_reason(record, request):
            return m.ValidateVolumeCapabilitiesResponse(message=f"volume {record.volume_id!r} is another one: {reason}")
        return m.ValidateVolumeCapabilitiesResponse(
            confirmed=m.Confirmed(
                volume_context=request.volume_context,
                volume_capabilities=request.volume_capabilities,
                parameters=request.parameters,
                mutable_parameters=request.mutable_parameters,
            )
        )

    async def capacity(self, request: m.GetCapacityRequest) -> m.GetCapacityResponse:
        """GetCapacity; nothing is available for capabilities that the driver does not have."""
        if any(self._core.driver.supports(capability) for capability in request.volume_capabilities):
            return m.GetCapacityResponse(available_capacity=0)
        query = CapacityQuery(
            volume_capabilities=request.volume_capabilities,
            parameters=without_orchestrator_keys(request.parameters),
            topology=request.accessible_topology,
        )
        found: Capacity = await self._core.controller("capacity", query)
        least = found.minimum_volume_bytes
        if least is not None:
            least = max(least, minimum_bytes(self._core.driver, request.volume_capabilities))
        return m.GetCapacityResponse(
            available_capacity=max(0, found.available_bytes),
            maximum_volume_size=found.maximum_volume_bytes,
            minimum_volume_size=least,
        )

    async def health(self, request: m.ControllerGetVolumeHealthRequest) -> m.ControllerGetVolumeHealthResponse:
        """ControllerGetVolumeHealth."""
        record = await self._core.known_volume(request.volume_id)
        entries = await self._asks.one(record)
        return m.ControllerGetVolumeHealthResponse(
            volume_health=VolumeHealth(volume_id=record.volume_id, health_statuses=entries)
        )

    async def unhealthy(self, request: m.ControllerListVolumeHealthRequest) -> m.ControllerListVolumeHealthResponse:
        """ControllerListVolumeHealth: the volumes that have something wrong. No more are asked than a page needs."""
        start = decode_token(request.starting_token, "health") if request.starting_token else b""
        records = [r for r in await self._core.store.volumes() if not r.deleting and not r.ephemeral]
        records = sorted(
            (r for r in records if position_of(r.volume_id) > start), key=lambda r: position_of(r.volume_id)
        )
        found: list[tuple[str, VolumeHealth]] = []
        step = AT_ONCE if request.max_entries else max(1, len(records))
        for first in range(0, len(records), step):
            for record, health in await self._healths(records[first : first + step]):
                if health:
                    found.append((record.volume_id, VolumeHealth(record.volume_id, health)))
            if 0 < request.max_entries < len(found):
                break
        page, token = take_page(
            found, max_entries=request.max_entries, starting_token=request.starting_token, kind="health"
        )
        return m.ControllerListVolumeHealthResponse(entries=tuple(page), next_token=token)


def _status(nodes: Iterable[str], health: Entries | None) -> m.VolumeStatus:
    """Where a volume is attached, and its condition for orchestrators that speak CSI 1.12 or older."""
    condition = None if health is None else condition_of(health)
    return m.VolumeStatus(published_node_ids=tuple(sorted(nodes)), volume_condition=condition)


def _access_type_reason(record: VolumeRecord, block: bool) -> str | None:
    if not record.volume_capabilities or any(each.is_block == block for each in record.volume_capabilities):
        return None
    return f"the volume was created for {'mounted' if block else 'raw block'} access"


def _other_volume_reason(record: VolumeRecord, request: m.ValidateVolumeCapabilitiesRequest) -> str | None:
    """What the request says of the volume and is not so; of a volume made by hand too little is known."""
    if not record.name:
        return None
    for key, value in record.volume_context.items() if request.volume_context else ():
        if request.volume_context.get(key) != value:
            return f"its volume_context has another value of key {key!r}"
    checks = (
        ("parameters", record.parameters, request.parameters),
        ("mutable_parameters", record.mutable_parameters, request.mutable_parameters),
    )
    conflicts = (parameter_conflict(field, has, told) for field, has, told in checks if told)
    return next((conflict for conflict in conflicts if conflict), None)
