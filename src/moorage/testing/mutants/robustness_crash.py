"""Drivers that a crash leaves with something half-done, or with nothing that they still know."""

from __future__ import annotations

from datetime import timedelta

import msgspec

from moorage.spec import messages as m
from moorage.spec.errors import Code
from moorage.testing.mutants.mutant import Call, Reply, mutant
from moorage.testing.mutants.place import backend_pid, from_before_restart, unmount


@mutant("robustness.state-survives-restart", on=("CreateVolume",))
async def forgets_its_volumes(call: Call) -> Reply:
    """Names are kept in memory: after a restart, every name is new."""
    answered = call.memory.setdefault("answered", set())
    request = call.request
    if request.name in answered and from_before_restart(call, request.name):
        return await call.forward(msgspec.structs.replace(request, name=f"{backend_pid(call)}-{request.name}"[:128]))
    from_before_restart(call, request.name)
    reply = await call.forward()
    if reply.ok:
        answered.add(request.name)
    return reply


@mutant("robustness.mounts-survive-restart", on=("NodePublishVolume", "NodeUnpublishVolume", "Probe"))
async def takes_its_mounts_with_it(call: Call) -> Reply:
    """The driver serves its mounts itself: when it dies, they are gone."""
    targets = call.memory.setdefault("targets", set())
    for target in list(targets):
        if from_before_restart(call, target):
            unmount(target)
            targets.discard(target)
    reply = await call.forward()
    if isinstance(call.request, m.NodePublishVolumeRequest) and reply.ok:
        from_before_restart(call, call.request.target_path)
        targets.add(call.request.target_path)
    elif isinstance(call.request, m.NodeUnpublishVolumeRequest):
        targets.discard(call.request.target_path)
    return reply


@mutant("robustness.unpublish-after-restart", on=("NodePublishVolume", "NodeUnpublishVolume", "NodeUnstageVolume"))
async def knows_nothing_of_older_mounts(call: Call) -> Reply:
    """What was published before a restart is unpublished with OK, and stays mounted."""
    waiting = call.memory.setdefault("waiting", {})
    request = call.request
    if isinstance(request, m.NodeUnpublishVolumeRequest) and from_before_restart(call, request.target_path):
        waiting[request.volume_id] = request
        return Reply.of(m.NodeUnpublishVolumeResponse())
    if isinstance(request, m.NodePublishVolumeRequest):
        from_before_restart(call, request.target_path)
    elif isinstance(request, m.NodeUnstageVolumeRequest) and request.volume_id in waiting:
        await call.forward(waiting.pop(request.volume_id))
    return await call.forward()


@mutant("robustness.killed-create", on=("CreateVolume",))
async def stumbles_over_half_a_volume(call: Call) -> Reply:
    """What an interrupted CreateVolume has left is in the way of the next one."""
    if not from_before_restart(call, call.request.name):
        return await call.forward()
    reply = await call.forward()
    if reply.ok:
        await call.forward(m.DeleteVolumeRequest(call.read(reply, m.CreateVolumeResponse).volume.volume_id))
    return Reply.failed(Code.INTERNAL, "mkdir: File exists")


@mutant("robustness.killed-delete", on=("DeleteVolume",))
async def misses_what_it_deleted(call: Call) -> Reply:
    """An interrupted DeleteVolume is answered with NOT_FOUND when it is repeated."""
    again = from_before_restart(call, call.request.volume_id)
    reply = await call.forward()
    return Reply.failed(Code.NOT_FOUND, "there is no such volume") if again else reply


@mutant("robustness.killed-attach", on=("ControllerPublishVolume",))
async def attaches_with_a_new_session(call: Call) -> Reply:
    """publish_context names a session of the process that answers."""
    reply = await call.forward()
    if not reply.ok:
        return reply
    context = call.read(reply, m.ControllerPublishVolumeResponse).publish_context
    return Reply.of(m.ControllerPublishVolumeResponse({**context, "session": str(backend_pid(call))}))


@mutant("robustness.killed-publish", on=("NodeStageVolume", "NodePublishVolume"))
async def stumbles_over_half_a_mount(call: Call) -> Reply:
    """A mount that was interrupted cannot be repeated."""
    request = call.request
    path = request.target_path if isinstance(request, m.NodePublishVolumeRequest) else request.staging_target_path
    if from_before_restart(call, (call.rpc.name, path)):
        return Reply.failed(Code.INTERNAL, f"{path}: Device or resource busy")
    return await call.forward()


@mutant("robustness.killed-unpublish", on=("NodeUnpublishVolume", "NodeUnstageVolume"))
async def stumbles_over_half_an_unmount(call: Call) -> Reply:
    """An unmount that was interrupted fails when it is repeated."""
    request = call.request
    path = request.target_path if isinstance(request, m.NodeUnpublishVolumeRequest) else request.staging_target_path
    again = from_before_restart(call, (call.rpc.name, path))
    reply = await call.forward()
    return Reply.failed(Code.INTERNAL, f"{path}: not mounted") if again else reply


@mutant("robustness.killed-snapshot", on=("CreateSnapshot",))
async def stamps_a_snapshot_anew(call: Call) -> Reply:
    """After a restart, a snapshot's creation time is the time of the answer."""
    again = from_before_restart(call, call.request.name)
    reply = await call.forward()
    if not again or not reply.ok:
        return reply
    asked = call.memory["asked"] = call.memory.get("asked", 0) + 1
    snapshot = call.read(reply, m.CreateSnapshotResponse).snapshot
    later = snapshot.creation_time + timedelta(seconds=asked)
    return Reply.of(m.CreateSnapshotResponse(msgspec.structs.replace(snapshot, creation_time=later)))


@mutant("robustness.killed-expand", on=("ControllerExpandVolume",))
async def grows_by_half_after_a_restart(call: Call) -> Reply:
    """Growth that was interrupted counts as done at the size that it had reached."""
    again = from_before_restart(call, call.request.volume_id)
    reply = await call.forward()
    if not again or not reply.ok:
        return reply
    grown = call.read(reply, m.ControllerExpandVolumeResponse)
    return Reply.of(msgspec.structs.replace(grown, capacity_bytes=grown.capacity_bytes * 3 // 4))


@mutant("robustness.crash-points", on=("CreateVolume", "DeleteVolume"))
async def cannot_delete_what_is_older_than_itself(call: Call) -> Reply:
    """A volume whose making began before a crash is refused to be deleted."""
    names = call.memory.setdefault("names", {})
    if isinstance(call.request, m.CreateVolumeRequest):
        from_before_restart(call, call.request.name)
        reply = await call.forward()
        if reply.ok:
            names[call.read(reply, m.CreateVolumeResponse).volume.volume_id] = call.request.name
        return reply
    name = names.get(call.request.volume_id, call.request.volume_id)
    again = from_before_restart(call, name)
    reply = await call.forward()
    return Reply.failed(Code.INTERNAL, "the volume is in an inconsistent state") if again else reply
