"""ControllerExpandVolume and ControllerModifyVolume."""

from __future__ import annotations

from collections.abc import Mapping

from msgspec import structs

from moorage.base.faults import declare_step
from moorage.base.operations import afterwards
from moorage.framework.core import Core, log
from moorage.framework.values import VolumeRecord
from moorage.spec import messages as m
from moorage.spec.capacity import check_result, choose_size
from moorage.spec.compatibility import without_orchestrator_keys
from moorage.spec.errors import Internal, InvalidArgument, OutOfRange, VolumeInUse

GROWN = declare_step("framework.expand.grown", "the driver has grown the volume")
SIZED = declare_step("framework.expand.recorded", "the new size is recorded")
MODIFIED = declare_step("framework.modify.applied", "the driver has applied mutable parameters")
NOTED = declare_step("framework.modify.recorded", "the new mutable parameters are recorded")


class Changes:
    """Handlers of the RPCs that change a volume."""

    def __init__(self, core: Core) -> None:
        self._core = core

    async def expand(self, request: m.ControllerExpandVolumeRequest) -> m.ControllerExpandVolumeResponse:
        """ControllerExpandVolume; never shrinks."""
        return await self._core.calls.run(
            "ControllerExpandVolume",
            request,
            lambda: self._expand(request),
        )

    async def _expand(self, request: m.ControllerExpandVolumeRequest) -> m.ControllerExpandVolumeResponse:
        core, driver = self._core, self._core.driver
        record = await core.known_volume(request.volume_id)
        if request.capacity_range is None:
            raise InvalidArgument("capacity_range is missing")
        if request.volume_capability is not None:
            core.check_capabilities((request.volume_capability,))
        wanted = request.capacity_range
        if wanted.limit_bytes and wanted.limit_bytes < record.capacity_bytes:
            raise OutOfRange(
                f"volume {record.volume_id!r} has {record.capacity_bytes} bytes, more than limit_bytes "
                f"{wanted.limit_bytes}, and cannot shrink"
            )
        if wanted.required_bytes > record.capacity_bytes:
            size = choose_size(
                wanted,
                default_bytes=record.capacity_bytes,
                minimum_bytes=record.capacity_bytes,
                granularity_bytes=driver.granularity_bytes,
                maximum_bytes=driver.maximum_size_bytes,
            )
            if not driver.online_expansion:
                await self._check_offline(record)
            record = await core.stint("expand_volume", self._grow, record, size)
            check_result(wanted, record.capacity_bytes)
        return m.ControllerExpandVolumeResponse(
            capacity_bytes=record.capacity_bytes, node_expansion_required=driver.node_expansion
        )

    async def _grow(self, record: VolumeRecord, size_bytes: int) -> VolumeRecord:
        core = self._core
        with GROWN:
            size = await core.controller("expand_volume", record, size_bytes)
        if not isinstance(size, int) or size < size_bytes:
            raise Internal(f"the driver grew volume {record.volume_id!r} to {size!r} bytes instead of {size_bytes}")
        record = structs.replace(record, capacity_bytes=size)
        await core.settle(SIZED, put=(record,))
        afterwards(lambda: log.info("volume.expanded", volume=record.volume_id, size_bytes=size))
        return record

    async def _check_offline(self, record: VolumeRecord) -> None:
        core = self._core
        places = [a.node_id for a in await core.store.attachments(volume_id=record.volume_id)]
        places += core.here(record.volume_id)
        if places:
            raise VolumeInUse(f"volume {record.volume_id!r} is in use at {places[0]} and grows only while it is not")

    async def modify(self, request: m.ControllerModifyVolumeRequest) -> m.ControllerModifyVolumeResponse:
        """ControllerModifyVolume: all keys are checked before the first is applied."""
        return await self._core.calls.run(
            "ControllerModifyVolume",
            request,
            lambda: self._modify(request),
        )

    async def _modify(self, request: m.ControllerModifyVolumeRequest) -> m.ControllerModifyVolumeResponse:
        core = self._core
        record = await core.known_volume(request.volume_id)
        wanted = without_orchestrator_keys(request.mutable_parameters)
        present = {**record.parameters, **record.mutable_parameters, **record.modified_parameters}
        _, mutable = core.effective_parameters(present, wanted)
        if mutable:
            await core.stint("modify_volume", self._apply, record, mutable)
        return m.ControllerModifyVolumeResponse()

    async def _apply(self, record: VolumeRecord, mutable: Mapping[str, str]) -> None:
        core = self._core
        with MODIFIED:
            await core.controller("modify_volume", record, mutable)
        merged = {**record.modified_parameters, **mutable}
        await core.settle(NOTED, put=(structs.replace(record, modified_parameters=merged),))
        afterwards(lambda: log.info("volume.modified", volume=record.volume_id, keys=sorted(mutable)))
