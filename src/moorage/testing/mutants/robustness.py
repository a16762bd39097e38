"""Drivers that lose track of calls that were cut off, and that leave things behind."""

from __future__ import annotations

import asyncio
import os
import subprocess

import msgspec

from moorage.spec import messages as m
from moorage.spec.types import Snapshot, Volume
from moorage.testing.mutants.mutant import Call, Reply, mutant
from moorage.testing.mutants.place import bind_mount, unmount


@mutant("robustness.cancelled-create", on=("CreateVolume", "Probe"))
async def begins_anew_when_cut_off(call: Call) -> Reply:
    """When the caller goes away, what was made stays behind, and the next call begins with another volume."""
    lost = call.memory.setdefault("lost", set())
    tasks = call.memory.setdefault("tasks", [])
    if not isinstance(call.request, m.CreateVolumeRequest):
        for volume_id in list(lost):
            await call.forward(m.DeleteVolumeRequest(volume_id))
            lost.discard(volume_id)
        return await call.forward()
    try:
        return await call.forward()
    except asyncio.CancelledError:
        tasks.append(asyncio.ensure_future(_make_and_lose(call, lost)))
        raise


async def _make_and_lose(call: Call, lost: set[str]) -> None:
    reply = await call.forward(msgspec.structs.replace(call.request, name=f"lost-{call.request.name}"[:128]))
    if reply.ok:
        lost.add(call.read(reply, m.CreateVolumeResponse).volume.volume_id)


@mutant("robustness.cancelled-snapshot", on=("CreateSnapshot",))
async def cuts_twice_when_cut_off(call: Call) -> Reply:
    """A call that was cut off has the next one cut a snapshot of its own."""
    cut_off = call.memory.setdefault("cut off", set())
    name = call.request.name
    try:
        if name in cut_off:
            cut_off.discard(name)
            return await call.forward(msgspec.structs.replace(call.request, name=f"again-{name}"[:128]))
        return await call.forward()
    except asyncio.CancelledError:
        cut_off.add(name)
        raise


_NODE_CALLS = ("NodeStageVolume", "NodePublishVolume", "NodeUnpublishVolume", "NodeUnstageVolume")


@mutant("robustness.cancelled-node-calls", on=_NODE_CALLS)
async def mounts_once_more_after_a_cut(call: Call) -> Reply:
    """After a call that was cut off, the next NodePublishVolume mounts a second time over the first."""
    cut_off = call.memory.setdefault("cut off", set())
    stacked = call.memory.setdefault("stacked", set())
    volume_id, target = call.request.volume_id, getattr(call.request, "target_path", "")
    if isinstance(call.request, m.NodeUnpublishVolumeRequest) and target in stacked:
        unmount(target)
        stacked.discard(target)
    try:
        reply = await call.forward()
    except asyncio.CancelledError:
        cut_off.add(volume_id)
        raise
    if isinstance(call.request, m.NodePublishVolumeRequest) and reply.ok and volume_id in cut_off:
        cut_off.discard(volume_id)
        bind_mount(target, target)
        stacked.add(target)
    return reply


@mutant("robustness.leaked-descriptors", on=("CreateVolume",))
async def never_closes_a_file(call: Call) -> Reply:
    """Every CreateVolume opens a file that nobody closes."""
    call.memory.setdefault("open", []).append(os.open("/dev/null", os.O_RDONLY))
    return await call.forward()


@mutant("robustness.leaked-descriptors", on=("DeleteVolume",))
async def leaves_zombies(call: Call) -> Reply:
    """Every DeleteVolume runs a program and never waits for its end."""
    call.memory.setdefault("children", []).append(subprocess.Popen(["true"]))
    return await call.forward()


@mutant("robustness.leaked-mounts", on=("NodePublishVolume",))
async def never_unmounts_its_own_mount(call: Call) -> Reply:
    """Every NodePublishVolume mounts something beside the target, where it stays until the suite takes it away."""
    reply = await call.forward()
    place = f"{call.request.target_path}.lost"
    if reply.ok and not os.path.exists(place):
        os.mkdir(place)
        bind_mount(place, place)
    return reply


@mutant("robustness.listed-volumes-left", on=("DeleteVolume", "ListVolumes"))
async def lists_the_deleted_volumes(call: Call) -> Reply:
    """Deleted volumes stay in the list."""
    deleted = call.memory.setdefault("deleted", [])
    reply = await call.forward()
    if isinstance(call.request, m.DeleteVolumeRequest):
        if reply.ok and call.request.volume_id.startswith("vol-"):
            deleted.append(call.request.volume_id)
        return reply
    if not reply.ok:
        return reply
    page = call.read(reply, m.ListVolumesResponse)
    ghosts = tuple(m.ListedVolume(Volume(volume_id), m.VolumeStatus()) for volume_id in deleted)
    return Reply.of(msgspec.structs.replace(page, entries=page.entries + ghosts))


@mutant("robustness.listed-snapshots-left", on=("CreateSnapshot", "DeleteSnapshot", "ListSnapshots"))
async def lists_the_deleted_snapshots(call: Call) -> Reply:
    """Deleted snapshots stay in the list."""
    known: dict[str, Snapshot] = call.memory.setdefault("known", {})
    deleted: dict[str, Snapshot] = call.memory.setdefault("deleted", {})
    reply = await call.forward()
    if not reply.ok:
        return reply
    if isinstance(call.request, m.CreateSnapshotRequest):
        snapshot = call.read(reply, m.CreateSnapshotResponse).snapshot
        known[snapshot.snapshot_id] = snapshot
    elif isinstance(call.request, m.DeleteSnapshotRequest):
        deleted |= {name: known.pop(name) for name in [call.request.snapshot_id] if name in known}
    else:
        page = call.read(reply, m.ListSnapshotsResponse)
        return Reply.of(msgspec.structs.replace(page, entries=page.entries + tuple(deleted.values())))
    return reply
