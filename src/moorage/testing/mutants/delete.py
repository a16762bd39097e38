"""Drivers that are wrong about DeleteVolume."""

from __future__ import annotations

import os

from moorage.host.mount import ensure_unmounted
from moorage.spec import messages as m
from moorage.spec.errors import Code
from moorage.spec.types import CapacityRange
from moorage.testing.mutants.mutant import Call, Reply, mutant


@mutant("delete.unknown-volume", on=("DeleteVolume",))
async def misses_unknown_volumes(call: Call) -> Reply:
    """A volume that never was is not found."""
    made_here = call.request.volume_id.startswith("vol-")
    return await call.forward() if made_here else Reply.failed(Code.NOT_FOUND, "volume not found")


@mutant("delete.twice", on=("DeleteVolume",))
async def misses_deleted_volumes(call: Call) -> Reply:
    """A volume that was deleted is not found when it is to be deleted again."""
    deleted = call.memory.setdefault("deleted", set())
    if call.request.volume_id in deleted:
        return Reply.failed(Code.NOT_FOUND, "volume not found")
    reply = await call.forward()
    if reply.ok:
        deleted.add(call.request.volume_id)
    return reply


@mutant("delete.gone", on=("DeleteVolume", "ValidateVolumeCapabilities"))
async def remembers_deleted_volumes(call: Call) -> Reply:
    """A volume that was deleted is still known."""
    deleted = call.memory.setdefault("deleted", set())
    reply = await call.forward()
    if isinstance(call.request, m.DeleteVolumeRequest):
        if reply.ok:
            deleted.add(call.request.volume_id)
        return reply
    if reply.code is Code.NOT_FOUND and call.request.volume_id in deleted:
        confirmed = m.Confirmed(volume_capabilities=call.request.volume_capabilities)
        return Reply.of(m.ValidateVolumeCapabilitiesResponse(confirmed))
    return reply


@mutant("delete.name-free-again", on=("CreateVolume",))
async def keeps_names_of_deleted_volumes(call: Call) -> Reply:
    """The name of a deleted volume stays taken."""
    ranges = call.memory.setdefault("ranges", {})
    known: CapacityRange | None = ranges.setdefault(call.request.name, call.request.capacity_range)
    if known != call.request.capacity_range:
        return Reply.failed(Code.ALREADY_EXISTS, f"volume {call.request.name} exists")
    return await call.forward()


@mutant("delete.no-old-files", on=("CreateVolume", "DeleteVolume", "NodeUnpublishVolume"))
async def digs_up_deleted_volumes(call: Call) -> Reply:
    """A volume that was used is only marked as deleted, and is what the next volume of its name becomes."""
    made = call.memory.setdefault("made", {})
    used = call.memory.setdefault("used", set())
    buried = call.memory.setdefault("buried", {})
    if isinstance(call.request, m.CreateVolumeRequest) and call.request.name in buried:
        found: Reply = buried.pop(call.request.name)
        return found
    if isinstance(call.request, m.DeleteVolumeRequest) and call.request.volume_id in used:
        used.discard(call.request.volume_id)
        name, answer = made[call.request.volume_id]
        buried[name] = answer
        return Reply.of(m.DeleteVolumeResponse())
    reply = await call.forward()
    if isinstance(call.request, m.CreateVolumeRequest) and reply.ok:
        made[call.read(reply, m.CreateVolumeResponse).volume.volume_id] = call.request.name, reply
    elif isinstance(call.request, m.NodeUnpublishVolumeRequest) and reply.ok:
        used.add(call.request.volume_id)
    return reply


@mutant("delete.attached-volume", on=("DeleteVolume",))
async def deletes_what_is_attached(call: Call) -> Reply:
    """A volume is detached and deleted, whoever has it."""
    reply = await call.forward()
    if reply.code is not Code.FAILED_PRECONDITION:
        return reply
    detached = await call.forward(m.ControllerUnpublishVolumeRequest(call.request.volume_id))
    return await call.forward() if detached.ok else detached


@mutant("delete.refused-leaves-all", on=("DeleteVolume", "NodePublishVolume", "NodeUnpublishVolume"))
async def unmounts_before_it_refuses(call: Call) -> Reply:
    """A volume that is in use is unmounted, and its deletion refused afterwards."""
    targets = call.memory.setdefault("targets", {})
    reply = await call.forward()
    if isinstance(call.request, m.NodePublishVolumeRequest) and reply.ok:
        targets[call.request.volume_id] = call.request.target_path
    elif isinstance(call.request, m.NodeUnpublishVolumeRequest):
        targets.pop(call.request.volume_id, None)
    elif reply.code is Code.FAILED_PRECONDITION and os.path.ismount(target := targets.get(call.request.volume_id, "")):
        ensure_unmounted(target)
    return reply


@mutant("delete.with-snapshots", on=("CreateSnapshot", "DeleteVolume"))
async def deletes_snapshots_with_their_volume(call: Call) -> Reply:
    """A volume takes its snapshots with it when it is deleted."""
    snapshots = call.memory.setdefault("snapshots", {})
    reply = await call.forward()
    if isinstance(call.request, m.CreateSnapshotRequest) and reply.ok:
        snapshot = call.read(reply, m.CreateSnapshotResponse).snapshot
        snapshots.setdefault(snapshot.source_volume_id, []).append(snapshot.snapshot_id)
    elif isinstance(call.request, m.DeleteVolumeRequest) and reply.ok:
        for snapshot_id in snapshots.pop(call.request.volume_id, ()):
            await call.forward(m.DeleteSnapshotRequest(snapshot_id))
    return reply
