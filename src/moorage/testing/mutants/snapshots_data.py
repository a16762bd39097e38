"""Drivers whose snapshots do not hold what they should."""

from __future__ import annotations

import msgspec

from moorage.spec import messages as m
from moorage.spec.types import CapacityRange, Snapshot, SnapshotSource, VolumeSource
from moorage.testing.mutants.mutant import Call, Reply, mutant


async def _snapshots(call: Call, *, source: str = "", snapshot_id: str = "") -> tuple[Snapshot, ...]:
    """What the correct driver lists under these filters."""
    reply = await call.forward(m.ListSnapshotsRequest(source_volume_id=source, snapshot_id=snapshot_id))
    return call.read_of("ListSnapshots", reply, m.ListSnapshotsResponse).entries


def _is_restore(call: Call) -> bool:
    request = call.request
    return isinstance(request, m.CreateVolumeRequest) and isinstance(request.volume_content_source, SnapshotSource)


async def _as_restored(call: Call, request: m.CreateVolumeRequest) -> Reply:
    """The answer to another request, with the content source of this one."""
    reply = await call.forward(request)
    if not reply.ok:
        return reply
    volume = call.read_of("CreateVolume", reply, m.CreateVolumeResponse).volume
    source = call.request.volume_content_source
    return Reply.of(m.CreateVolumeResponse(volume=msgspec.structs.replace(volume, content_source=source)))


@mutant("snapshots.restore-has-content", on=("CreateVolume",))
async def restores_nothing(call: Call) -> Reply:
    """A volume made from a snapshot is empty."""
    if not _is_restore(call):
        return await call.forward()
    return await _as_restored(call, msgspec.structs.replace(call.request, volume_content_source=None))


@mutant("snapshots.point-in-time", on=("CreateVolume",))
async def restores_the_present(call: Call) -> Reply:
    """A volume made from a snapshot holds what its source holds now."""
    if not _is_restore(call):
        return await call.forward()
    found = await _snapshots(call, snapshot_id=call.request.volume_content_source.snapshot_id)
    source = VolumeSource(found[0].source_volume_id)
    return await _as_restored(call, msgspec.structs.replace(call.request, volume_content_source=source))


@mutant("snapshots.restores-are-independent", on=("CreateVolume",))
async def restores_one_volume_for_all(call: Call) -> Reply:
    """A second volume made from a snapshot is the first one."""
    names: dict[str, str] = call.memory.setdefault("names", {})
    if not _is_restore(call):
        return await call.forward()
    name = names.setdefault(call.request.volume_content_source.snapshot_id, call.request.name)
    return await call.forward(msgspec.structs.replace(call.request, name=name))


@mutant("snapshots.outlives-source", on=("DeleteVolume",))
async def deletes_snapshots_with_the_volume(call: Call) -> Reply:
    """The snapshots of a volume are deleted with it."""
    for snapshot in await _snapshots(call, source=call.request.volume_id):
        await call.forward(m.DeleteSnapshotRequest(snapshot_id=snapshot.snapshot_id))
    return await call.forward()


@mutant("snapshots.delete-keeps-others", on=("DeleteSnapshot",))
async def breaks_the_chain(call: Call) -> Reply:
    """Newer snapshots are lost when an older one, on which they build, is deleted."""
    found = await _snapshots(call, snapshot_id=call.request.snapshot_id)
    for other in await _snapshots(call, source=found[0].source_volume_id) if found else ():
        if other.creation_time >= found[0].creation_time:
            await call.forward(m.DeleteSnapshotRequest(snapshot_id=other.snapshot_id))
    return await call.forward()


@mutant("snapshots.delete-keeps-restored", on=("CreateVolume", "DeleteSnapshot"))
async def takes_restored_volumes_along(call: Call) -> Reply:
    """Volumes made from a snapshot are lost when it is deleted."""
    children: dict[str, list[str]] = call.memory.setdefault("children", {})
    reply = await call.forward()
    if reply.ok and _is_restore(call):
        volume = call.read(reply, m.CreateVolumeResponse).volume
        children.setdefault(call.request.volume_content_source.snapshot_id, []).append(volume.volume_id)
    elif isinstance(call.request, m.DeleteSnapshotRequest):
        for volume_id in children.pop(call.request.snapshot_id, ()):
            await call.forward(m.DeleteVolumeRequest(volume_id=volume_id))
    return reply


@mutant("snapshots.restore-larger-shows", on=("CreateVolume",))
async def restores_at_the_old_size(call: Call) -> Reply:
    """A volume made larger than its snapshot has the snapshot's size, and says otherwise."""
    if not _is_restore(call):
        return await call.forward()
    (snapshot,) = await _snapshots(call, snapshot_id=call.request.volume_content_source.snapshot_id)
    exact = CapacityRange(required_bytes=snapshot.size_bytes)
    reply = await call.forward(msgspec.structs.replace(call.request, capacity_range=exact))
    if not reply.ok:
        return reply
    volume = call.read(reply, m.CreateVolumeResponse).volume
    told = max(volume.capacity_bytes, call.request.capacity_range.required_bytes)
    return Reply.of(m.CreateVolumeResponse(volume=msgspec.structs.replace(volume, capacity_bytes=told)))
