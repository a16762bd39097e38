"""Drivers that are wrong about raw block volumes."""

from __future__ import annotations

import os
import stat

import msgspec

from moorage.base.run import run_sync
from moorage.host.mount import bind_mount
from moorage.host.mountinfo import find_mount
from moorage.spec import messages as m
from moorage.testing.mutants.behind import is_block
from moorage.testing.mutants.mutant import Call, Reply, mutant


@mutant("node.block-device", on=("NodePublishVolume", "NodeUnpublishVolume"))
async def publishes_a_file_for_a_device(call: Call) -> Reply:
    """The target path of a block volume is a regular file."""
    made = call.memory.setdefault("made", set())
    path = call.request.target_path
    if isinstance(call.request, m.NodePublishVolumeRequest):
        if not is_block(call.request):
            return await call.forward()
        with open(path, "ab"):
            made.add(path)
        return Reply.of(m.NodePublishVolumeResponse())
    if path in made:
        made.discard(path)
        os.unlink(path)
    return await call.forward()


@mutant("node.block-size", on=("CreateVolume",))
async def tells_more_than_the_device_has(call: Call) -> Reply:
    """CreateVolume tells a capacity that counts what the driver needs for itself."""
    reply = await call.forward()
    if not reply.ok:
        return reply
    volume = call.read(reply, m.CreateVolumeResponse).volume
    more = msgspec.structs.replace(volume, capacity_bytes=volume.capacity_bytes + 4096)
    return Reply.of(m.CreateVolumeResponse(volume=more))


@mutant("node.block-bytes", on=("NodeStageVolume", "NodePublishVolume"))
async def formats_block_volumes(call: Call) -> Reply:
    """A block volume gets a file system when it is published for the first time after staging."""
    staged = call.memory.setdefault("staged", set())
    reply = await call.forward()
    request = call.request
    if not reply.ok or not is_block(request):
        return reply
    if isinstance(request, m.NodeStageVolumeRequest):
        staged.add(request.volume_id)
    elif request.volume_id in staged and not request.readonly:
        staged.discard(request.volume_id)
        run_sync(["mkfs.ext4", "-q", "-F", request.target_path])
    return reply


@mutant("node.block-volumes-are-separate", on=("NodePublishVolume", "NodeUnpublishVolume"))
async def publishes_the_first_device_everywhere(call: Call) -> Reply:
    """Every target shows the device that was published first and is published still."""
    targets = call.memory.setdefault("targets", {})
    path = call.request.target_path
    was_there = find_mount(path) is not None
    reply = await call.forward()
    if isinstance(call.request, m.NodeUnpublishVolumeRequest):
        targets.pop(path, None)
    elif reply.ok and is_block(call.request) and not was_there:
        if targets:
            bind_mount(next(iter(targets)), path)
        targets[path] = None
    return reply


@mutant("node.block-device-is-private", on=("NodePublishVolume", "NodeUnpublishVolume"))
async def opens_the_device_to_everybody(call: Call) -> Reply:
    """The device at the target path can be read and written by every user."""
    modes = call.memory.setdefault("modes", {})
    path = call.request.target_path
    if isinstance(call.request, m.NodeUnpublishVolumeRequest):
        if path in modes:
            os.chmod(path, modes.pop(path))
        return await call.forward()
    reply = await call.forward()
    if reply.ok and is_block(call.request) and path not in modes:
        modes[path] = stat.S_IMODE(os.stat(path).st_mode)
        os.chmod(path, 0o666)
    return reply
