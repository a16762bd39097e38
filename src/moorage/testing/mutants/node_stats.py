"""Drivers that tell wrong figures of their volumes."""

from __future__ import annotations

import os

import msgspec

from moorage.host.mount import bind_mount
from moorage.host.mountinfo import find_mount
from moorage.spec import messages as m
from moorage.spec.errors import Code
from moorage.spec.types import UsageUnit
from moorage.testing.mutants.behind import host_usage, is_block, refused, volume_is_known
from moorage.testing.mutants.mutant import Call, Reply, mutant

_STATS = ("NodeGetVolumeStats",)
_WITH_TARGETS = ("NodeGetVolumeStats", "NodePublishVolume", "NodeUnpublishVolume")


def _changed(call: Call, reply: Reply, **fields: int) -> Reply:
    """The same answer with other figures of bytes."""
    if not reply.ok:
        return reply
    usage = [
        msgspec.structs.replace(entry, **fields) if entry.unit is UsageUnit.BYTES else entry
        for entry in call.read(reply, m.NodeGetVolumeStatsResponse).usage
    ]
    return Reply.of(m.NodeGetVolumeStatsResponse(usage=tuple(usage)))


@mutant("node.stats-plausible", on=_STATS)
async def has_less_than_nothing_left(call: Call) -> Reply:
    """What is available is negative, as reserved blocks were taken off twice."""
    return _changed(call, await call.forward(), available=-4096)


@mutant("node.stats-told", on=_STATS)
async def tells_no_figures(call: Call) -> Reply:
    """The answer has no usage."""
    reply = await call.forward()
    return Reply.of(m.NodeGetVolumeStatsResponse()) if reply.ok else reply


def _total(call: Call, reply: Reply) -> int:
    usage = call.read(reply, m.NodeGetVolumeStatsResponse).usage
    return next((entry.total for entry in usage if entry.unit is UsageUnit.BYTES), 0)


@mutant("node.stats-total", on=_STATS)
async def counts_blocks_of_the_wrong_size(call: Call) -> Reply:
    """The total is a multiple of the real one: blocks were counted in the wrong unit."""
    reply = await call.forward()
    return _changed(call, reply, total=8 * _total(call, reply)) if reply.ok else reply


@mutant("node.stats-not-the-hosts", on=_WITH_TARGETS)
async def tells_the_file_system_around_the_volume(call: Call) -> Reply:
    """A target is a directory of a larger file system, and the total is what the larger one has."""
    reply = await call.forward()
    request = call.request
    if not reply.ok or isinstance(request, m.NodeUnpublishVolumeRequest):
        return reply
    if isinstance(request, m.NodePublishVolumeRequest):
        inside = os.path.join(request.target_path, "volume")
        if not is_block(request) and not request.readonly and not os.path.isdir(inside):
            os.mkdir(inside)
            bind_mount(inside, request.target_path)
        return reply
    return host_usage("/")


@mutant("node.stats-follow-writes", on=_STATS)
async def never_counts_what_is_used(call: Call) -> Reply:
    """What is used is told once and for all."""
    return _changed(call, await call.forward(), used=4096)


@mutant("node.stats-block", on=_STATS)
async def asks_the_file_system_for_a_device(call: Call) -> Reply:
    """For a block volume the file system that holds the device node is told."""
    reply = await call.forward()
    path = call.request.volume_path
    return host_usage(path) if reply.ok and not os.path.isdir(path) else reply


@mutant("node.stats-staging-path", on=("NodeGetVolumeStats", "NodeStageVolume"))
async def knows_only_target_paths(call: Call) -> Reply:
    """The staging path is answered with NOT_FOUND."""
    staged = call.memory.setdefault("staged", set())
    if isinstance(call.request, m.NodeStageVolumeRequest):
        staged.add(call.request.staging_target_path)
    elif call.request.volume_path in staged:
        return refused("the volume is not published there", Code.NOT_FOUND)
    return await call.forward()


@mutant("node.stats-after-unpublish", on=_STATS)
async def tells_figures_from_memory(call: Call) -> Reply:
    """A target that was unpublished still has the figures of its last time."""
    last = call.memory.setdefault("last", {})
    key = (call.request.volume_id, call.request.volume_path)
    reply = await call.forward()
    if reply.ok:
        last[key] = reply
    found: Reply = last.get(key, reply) if reply.code is Code.NOT_FOUND else reply
    return found


@mutant("node.stats-unknown-volume", on=_STATS)
async def blames_the_caller_for_an_unknown_volume(call: Call) -> Reply:
    """A volume that does not exist is answered with INVALID_ARGUMENT."""
    reply = await call.forward()
    if reply.code is Code.NOT_FOUND and not await volume_is_known(call):
        return refused("the volume id is not valid", Code.INVALID_ARGUMENT)
    return reply


async def _where_published(call: Call) -> tuple[Reply, set[str]]:
    """The right answer, and the targets that are published as far as the driver was told."""
    targets: set[str] = call.memory.setdefault("targets", set())
    reply = await call.forward()
    if reply.ok and call.rpc.name == "NodePublishVolume":
        targets.add(call.request.target_path)
    elif call.rpc.name == "NodeUnpublishVolume":
        targets.discard(call.request.target_path)
    return reply, targets


@mutant("node.stats-wrong-path", on=_WITH_TARGETS)
async def measures_any_directory(call: Call) -> Reply:
    """A directory that was never a target of the volume has figures, too."""
    reply, targets = await _where_published(call)
    if isinstance(call.request, m.NodeGetVolumeStatsRequest) and reply.code is Code.NOT_FOUND:
        path = call.request.volume_path
        if path not in targets and os.path.isdir(path) and await volume_is_known(call):
            return host_usage(path)
    return reply


@mutant("node.stats-other-volume", on=_STATS)
async def measures_any_mount(call: Call) -> Reply:
    """The figures are those of what is mounted at the path, whichever volume it is."""
    reply = await call.forward()
    path = call.request.volume_path
    if reply.code is Code.NOT_FOUND and find_mount(path) is not None and await volume_is_known(call):
        return host_usage(path)
    return reply


@mutant("node.stats-after-umount", on=_WITH_TARGETS)
async def measures_the_host_when_the_mount_is_gone(call: Call) -> Reply:
    """A target that lost its mount has the figures of the file system below it."""
    reply, targets = await _where_published(call)
    if isinstance(call.request, m.NodeGetVolumeStatsRequest) and reply.code is Code.NOT_FOUND:
        path = call.request.volume_path
        if path in targets and os.path.isdir(path):
            return host_usage(path)
    return reply
