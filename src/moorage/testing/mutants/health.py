"""Drivers that are wrong about health."""

from __future__ import annotations

import msgspec

from moorage.spec import messages as m
from moorage.spec.errors import Code
from moorage.spec.types import (
    HealthEntry,
    StorageBackendHealth,
    StorageHealthStatus,
    VolumeCondition,
    VolumeHealth,
    VolumeHealthStatus,
)
from moorage.testing.mutants.mutant import Call, Reply, mutant

SLOW = HealthEntry(VolumeHealthStatus.DEGRADED, "PathsLost", "one of two paths is down")


def _told(call: Call, health: VolumeHealth) -> Reply:
    """This health as the answer of the controller or of the node."""
    if isinstance(call.request, m.ControllerGetVolumeHealthRequest):
        return Reply.of(m.ControllerGetVolumeHealthResponse(volume_health=health))
    return Reply.of(m.NodeGetVolumeHealthResponse(volume_health=health))


@mutant("health.controller-get", on=("ControllerGetVolumeHealth",))
async def tells_the_health_of_nobody(call: Call) -> Reply:
    """The answer does not say which volume it is about."""
    reply = await call.forward()
    return _told(call, VolumeHealth("")) if reply.ok else reply


@mutant("health.controller-get", on=("ControllerGetVolumeHealth", "ControllerListVolumeHealth"))
async def tells_one_thing_twice(call: Call) -> Reply:
    """One status and reason is told twice for a volume."""
    reply = await call.forward()
    if not reply.ok:
        return reply
    if isinstance(call.request, m.ControllerGetVolumeHealthRequest):
        return _told(call, VolumeHealth(call.request.volume_id, (SLOW, SLOW)))
    return reply


@mutant("health.controller-get-unknown", on=("ControllerGetVolumeHealth",))
async def finds_missing_volumes_healthy(call: Call) -> Reply:
    """Volumes that do not exist are healthy."""
    reply = await call.forward()
    return _told(call, VolumeHealth(call.request.volume_id)) if reply.code is Code.NOT_FOUND else reply


@mutant("health.list", on=("ControllerListVolumeHealth",))
async def lists_the_healthy(call: Call) -> Reply:
    """Healthy volumes are listed as well."""
    reply = await call.forward()
    if not reply.ok:
        return reply
    return Reply.of(m.ControllerListVolumeHealthResponse(entries=(VolumeHealth("vol-healthy"),)))


@mutant("health.list-agrees-with-get", on=("ControllerGetVolumeHealth",))
async def worries_about_one_volume(call: Call) -> Reply:
    """A volume that is asked for is degraded, and the list does not know."""
    reply = await call.forward()
    return _told(call, VolumeHealth(call.request.volume_id, (SLOW,))) if reply.ok else reply


@mutant("health.list-page-size", on=("ControllerListVolumeHealth",))
async def lists_two_for_one(call: Call) -> Reply:
    """A page of the list has two entries for max_entries 1."""
    reply = await call.forward()
    if not reply.ok or call.request.max_entries != 1:
        return reply
    pair = tuple(VolumeHealth(f"vol-{number}", (SLOW,)) for number in range(2))
    return Reply.of(m.ControllerListVolumeHealthResponse(entries=pair))


@mutant("health.list-invalid-token", on=("ControllerListVolumeHealth",))
async def starts_health_again_at_a_bad_token(call: Call) -> Reply:
    """An invalid token is taken for none."""
    reply = await call.forward()
    if reply.code is Code.ABORTED:
        return await call.forward(msgspec.structs.replace(call.request, starting_token=""))
    return reply


@mutant("health.node-get", on=("NodeGetVolumeHealth",))
async def gives_no_reason(call: Call) -> Reply:
    """A published volume is told to be degraded without a reason."""
    reply = await call.forward()
    if not reply.ok or not call.request.volume_publish_path:
        return reply
    return _told(call, VolumeHealth(call.request.volume_id, (HealthEntry(VolumeHealthStatus.DEGRADED),)))


@mutant("health.node-get-never-staged", on=("NodeGetVolumeHealth", "NodeStageVolume"))
async def knows_staged_volumes_only(call: Call) -> Reply:
    """The node does not find volumes that were never staged on it."""
    staged: set[str] = call.memory.setdefault("staged", set())
    if isinstance(call.request, m.NodeStageVolumeRequest):
        staged.add(call.request.volume_id)
    elif call.request.volume_id not in staged:
        return Reply.failed(Code.NOT_FOUND, "the volume is not staged here")
    return await call.forward()


@mutant("health.node-get-unknown", on=("NodeGetVolumeHealth",))
async def finds_missing_volumes_healthy_here(call: Call) -> Reply:
    """Volumes that do not exist are healthy on the node."""
    reply = await call.forward()
    return _told(call, VolumeHealth(call.request.volume_id)) if reply.code is Code.NOT_FOUND else reply


@mutant("health.node-storage", on=("NodeGetStorageHealth",))
async def tells_a_sentence_for_a_reason(call: Call) -> Reply:
    """The reason of a storage problem is a sentence."""
    reply = await call.forward()
    entry = StorageBackendHealth(StorageHealthStatus.STORAGE_DEGRADED, "one of two paths is down")
    return Reply.of(m.NodeGetStorageHealthResponse(backend_health=(entry,))) if reply.ok else reply


@mutant("health.condition-in-list", on=("ListVolumes",))
async def lists_no_condition(call: Call) -> Reply:
    """The list does not tell the condition of volumes."""
    reply = await call.forward()
    if not reply.ok:
        return reply
    page = call.read(reply, m.ListVolumesResponse)
    entries = tuple(
        msgspec.structs.replace(
            entry, status=entry.status and msgspec.structs.replace(entry.status, volume_condition=None)
        )
        for entry in page.entries
    )
    return Reply.of(m.ListVolumesResponse(entries=entries, next_token=page.next_token))


@mutant("health.condition-in-get", on=("ControllerGetVolume",))
async def gets_a_condition_without_message(call: Call) -> Reply:
    """The condition of a volume that is asked for has no message."""
    reply = await call.forward()
    if not reply.ok:
        return reply
    answer = call.read(reply, m.ControllerGetVolumeResponse)
    status = msgspec.structs.replace(answer.status, volume_condition=VolumeCondition(abnormal=False))
    return Reply.of(msgspec.structs.replace(answer, status=status))


@mutant("health.condition-in-stats", on=("NodeGetVolumeStats",))
async def measures_without_condition(call: Call) -> Reply:
    """The statistics of a volume do not tell its condition."""
    reply = await call.forward()
    if not reply.ok:
        return reply
    answer = call.read(reply, m.NodeGetVolumeStatsResponse)
    return Reply.of(msgspec.structs.replace(answer, volume_condition=None))
