"""Snapshots asked for and volumes made from them, in a size that suits every driver."""

from __future__ import annotations

from moorage.spec import messages as m
from moorage.spec.errors import Code
from moorage.spec.types import CapacityRange, Snapshot, SnapshotSource, Volume, VolumeCapability
from moorage.verify.lab import Lab
from moorage.verify.use import Use

__all__ = ["restore", "restore_request", "snapshot_in_use", "snapshot_request"]


def snapshot_request(lab: Lab, volume_id: str, name: str = "") -> m.CreateSnapshotRequest:
    """The request for a snapshot of this volume, by default with a name that nothing else has."""
    return m.CreateSnapshotRequest(
        source_volume_id=volume_id,
        name=name or lab.name("snap"),
        parameters=lab.settings.snapshot_parameters,
    )


def restore_request(
    lab: Lab, snapshot: Snapshot, source: Volume, *, capability: VolumeCapability | None = None, size_bytes: int = 0
) -> m.CreateVolumeRequest:
    """The request for a volume of a snapshot, no smaller than the snapshot says, its source is, and `size_bytes`."""
    size_bytes = max(snapshot.size_bytes, source.capacity_bytes or lab.settings.size_bytes, size_bytes)
    return lab.create_request(
        volume_capabilities=(capability or lab.capability(),),
        capacity_range=CapacityRange(required_bytes=size_bytes),
        volume_content_source=SnapshotSource(snapshot.snapshot_id),
    )


async def restore(
    lab: Lab, snapshot: Snapshot, source: Volume, *, capability: VolumeCapability | None = None
) -> Volume:
    """A volume made of this snapshot. Raises Failed when the driver does not make it."""
    request = restore_request(lab, snapshot, source, capability=capability)
    return (await lab.settle(request)).response(m.CreateVolumeResponse).volume


async def snapshot_in_use(lab: Lab, use: Use) -> tuple[Snapshot, Use]:
    """A snapshot of a volume while it is published, and the volume in use.

    A driver may refuse that with FAILED_PRECONDITION; the volume is then taken from the node and brought back,
    to another target, after the cut. Raises Failed.
    """
    request = snapshot_request(lab, use.volume.volume_id)
    exchange = await lab.settle(request)
    if exchange.code is not Code.FAILED_PRECONDITION:
        return await lab.snapshot(use.volume.volume_id, name=request.name), use
    await use.end()
    snapshot = await lab.snapshot(use.volume.volume_id, name=request.name)
    return snapshot, await lab.use(use.volume, use.capability)
