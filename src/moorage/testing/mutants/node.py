"""Drivers that are wrong about publishing on the node."""

from __future__ import annotations

import os

import msgspec

from moorage.host.mount import bind_mount
from moorage.host.mountinfo import find_mount
from moorage.spec import messages as m
from moorage.spec.errors import Code
from moorage.testing.mutants.behind import is_block, owe, pay, refused, volume_is_known, with_mount
from moorage.testing.mutants.mutant import Call, Reply, mutant

_UNPUBLISHED = Reply.of(m.NodeUnpublishVolumeResponse())


@mutant("node.info", on=("NodeGetInfo",))
async def has_a_negative_limit(call: Call) -> Reply:
    """A node without a limit tells -1."""
    found = call.read(await call.forward(), m.NodeGetInfoResponse)
    return Reply.of(msgspec.structs.replace(found, max_volumes_per_node=-1))


@mutant("node.info-topology", on=("NodeGetInfo",))
async def does_not_say_where_the_node_is(call: Call) -> Reply:
    """A driver with topology tells none of the node."""
    found = call.read(await call.forward(), m.NodeGetInfoResponse)
    return Reply.of(msgspec.structs.replace(found, accessible_topology=None))


@mutant("node.target-is-a-mount", on=("NodePublishVolume", "NodeUnpublishVolume"))
async def publishes_an_empty_directory(call: Call) -> Reply:
    """A target directory is made and nothing is mounted there."""
    made = call.memory.setdefault("made", set())
    path = call.request.target_path
    if isinstance(call.request, m.NodePublishVolumeRequest):
        if is_block(call.request):
            return await call.forward()
        os.makedirs(path, exist_ok=True)
        made.add(path)
        return Reply.of(m.NodePublishVolumeResponse())
    if path not in made:
        return await call.forward()
    made.discard(path)
    for name in os.listdir(path) if os.path.isdir(path) else ():
        os.unlink(os.path.join(path, name))
    if os.path.isdir(path):
        os.rmdir(path)
    return _UNPUBLISHED


@mutant("node.unpublish-removes-target", on=("NodePublishVolume", "NodeUnpublishVolume"))
async def leaves_the_target_behind(call: Call) -> Reply:
    """NodeUnpublishVolume unmounts the target and does not remove it."""
    blocks = call.memory.setdefault("blocks", set())
    path = call.request.target_path
    reply = await call.forward()
    if isinstance(call.request, m.NodePublishVolumeRequest):
        if is_block(call.request):
            blocks.add(path)
    elif reply.ok and path not in blocks and os.path.isdir(os.path.dirname(path)):
        os.makedirs(path, exist_ok=True)
    return reply


@mutant("node.publish-twice", on=("NodePublishVolume", "NodeUnpublishVolume", "NodeUnstageVolume"))
async def mounts_again_at_every_call(call: Call) -> Reply:
    """A repeated NodePublishVolume stacks a mount on the first, and NodeUnpublishVolume takes one of them away."""
    layers = call.memory.setdefault("layers", {})
    if call.rpc.name == "NodeUnstageVolume":
        await pay(call)
        return await call.forward()
    path = call.request.target_path
    if call.rpc.name == "NodeUnpublishVolume":
        if layers.pop(path, 0):
            owe(call)
            return _UNPUBLISHED
        return await call.forward()
    was_there = find_mount(path) is not None
    reply = await call.forward()
    if reply.ok and was_there:
        bind_mount(path, path)
        layers[path] = layers.get(path, 0) + 1
    return reply


@mutant("node.unpublish-twice", on=("NodePublishVolume", "NodeUnpublishVolume"))
async def fails_to_unpublish_what_is_not_published(call: Call) -> Reply:
    """NodeUnpublishVolume of a target that is not published is answered with INTERNAL."""
    targets = call.memory.setdefault("targets", set())
    path = call.request.target_path
    if call.rpc.name == "NodePublishVolume":
        targets.add(path)
        return await call.forward()
    if path not in targets:
        return refused(f"{path} is not mounted")
    reply = await call.forward()
    if reply.ok:
        targets.discard(path)
    return reply


@mutant("node.unpublish-other-target", on=("NodePublishVolume", "NodeUnpublishVolume"))
async def unpublishes_the_volume_everywhere(call: Call) -> Reply:
    """NodeUnpublishVolume goes by the volume and not by the target path."""
    targets = call.memory.setdefault("targets", {}).setdefault(call.request.volume_id, set())
    if call.rpc.name == "NodePublishVolume":
        targets.add(call.request.target_path)
        return await call.forward()
    for path in targets - {call.request.target_path}:
        await call.forward(msgspec.structs.replace(call.request, target_path=path))
    targets.clear()
    return await call.forward()


@mutant("node.unpublish-unknown-volume", on=("NodeUnpublishVolume", "NodeUnstageVolume"))
async def fails_to_unpublish_an_unknown_volume(call: Call) -> Reply:
    """NodeUnpublishVolume of a volume that does not exist is answered with INTERNAL."""
    return await call.forward() if await volume_is_known(call) else refused("the volume cannot be looked up")


@mutant("node.unknown-volume", on=("NodeStageVolume", "NodePublishVolume"))
async def fails_to_stage_an_unknown_volume(call: Call) -> Reply:
    """A volume that does not exist is answered with INTERNAL."""
    reply = await call.forward()
    return refused("mount: exit status 32") if reply.code is Code.NOT_FOUND else reply


@mutant("node.publish-without-staging-path", on=("NodeStageVolume", "NodePublishVolume"))
async def knows_the_staging_path_itself(call: Call) -> Reply:
    """A missing staging_target_path is filled in from memory."""
    known = call.memory.setdefault("known", {})
    request = call.request
    if call.rpc.name == "NodeStageVolume":
        known[request.volume_id] = request.staging_target_path
        return await call.forward()
    path = request.staging_target_path or known.get(request.volume_id, "")
    return await call.forward(msgspec.structs.replace(request, staging_target_path=path))


@mutant("node.unsupported-capability", on=("ControllerPublishVolume", "NodeStageVolume", "NodePublishVolume"))
async def ignores_the_file_system_in_use(call: Call) -> Reply:
    """A file system that CreateVolume refuses is replaced by the usual one when the volume is used."""
    return await call.forward(with_mount(call.request, fs_type=""))
