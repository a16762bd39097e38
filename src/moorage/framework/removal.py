"""DeleteVolume: from wherever an earlier attempt stopped, and never under a volume that is in use."""

from __future__ import annotations

from msgspec import structs

from moorage.base.faults import declare_step
from moorage.base.operations import afterwards
from moorage.framework.core import Core, log
from moorage.framework.values import VolumeRecord
from moorage.spec import messages as m
from moorage.spec.errors import FailedPrecondition, VolumeInUse

DELETING = declare_step("framework.volume.deleting", "the volume is marked as being deleted")
DELETED = declare_step("framework.volume.deleted", "the driver has deleted the volume")
FORGOTTEN = declare_step("framework.volume.forgotten", "the record of the deleted volume is erased")
KEPT = declare_step("framework.volume.kept", "the mark is taken off a volume that must not be deleted now")


class Removal:
    """Handler of volume deletion."""

    def __init__(self, core: Core) -> None:
        self._core = core

    async def delete(self, request: m.DeleteVolumeRequest) -> m.DeleteVolumeResponse:
        """DeleteVolume; a volume that is gone is fine."""
        return await self._core.calls.run("DeleteVolume", request, lambda: self._delete(request))

    async def _delete(self, request: m.DeleteVolumeRequest) -> m.DeleteVolumeResponse:
        core = self._core
        record = await core.find_volume(request.volume_id)
        if record is None:
            return m.DeleteVolumeResponse()
        if not record.deleting:
            await self._check_unused(record)
        await self.finish(record)
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

    async def finish(self, record: VolumeRecord) -> None:
        """Delete a volume; the caller holds all keys of it. FAILED_PRECONDITION leaves it as it was."""
        await self._core.stint("delete_volume", self._finish, record)

    async def _finish(self, record: VolumeRecord) -> None:
        core = self._core
        begun = record.deleting
        if not begun:
            await core.settle(DELETING, put=(structs.replace(record, deleting=True),))
        try:
            with DELETED:
                await core.controller("delete_volume", structs.replace(record, deleting=True))
        except FailedPrecondition:
            if not begun:
                await core.settle(KEPT, put=(record,))
            raise
        if core.node is not None:
            await core.node.forget(record.volume_id)
        await core.settle(FORGOTTEN, drop=(record,))
        afterwards(lambda: log.info("volume.deleted", volume=record.volume_id))
