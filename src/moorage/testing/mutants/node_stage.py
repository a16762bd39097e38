"""Drivers that are wrong about staging."""

from __future__ import annotations

import os

from moorage.host.mount import bind_mount, ensure_unmounted
from moorage.host.mountinfo import find_mount
from moorage.spec import messages as m
from moorage.spec.errors import Code
from moorage.testing.mutants.behind import owe, pay, refused
from moorage.testing.mutants.mutant import Call, Reply, mutant

_STAGED = Reply.of(m.NodeStageVolumeResponse())
_UNSTAGED = Reply.of(m.NodeUnstageVolumeResponse())


@mutant("node.stage-twice", on=("NodeStageVolume", "NodeUnstageVolume", "DeleteVolume"))
async def mounts_the_staging_path_again(call: Call) -> Reply:
    """A repeated NodeStageVolume stacks a mount on the first, and NodeUnstageVolume takes one of them away."""
    layers = call.memory.setdefault("layers", {})
    if call.rpc.name == "DeleteVolume":
        await pay(call)
        return await call.forward()
    path = call.request.staging_target_path
    if call.rpc.name == "NodeUnstageVolume":
        if layers.pop(path, 0):
            owe(call)
            return _UNSTAGED
        return await call.forward()
    was_there = find_mount(path) is not None
    reply = await call.forward()
    if reply.ok and was_there:
        bind_mount(path, path)
        layers[path] = layers.get(path, 0) + 1
    return reply


@mutant("node.unstage-twice", on=("NodeStageVolume", "NodeUnstageVolume"))
async def fails_to_unstage_what_is_not_staged(call: Call) -> Reply:
    """NodeUnstageVolume of a path that is not staged is answered with INTERNAL."""
    staged = call.memory.setdefault("staged", set())
    path = call.request.staging_target_path
    if call.rpc.name == "NodeStageVolume":
        staged.add(path)
        return await call.forward()
    if path not in staged:
        return refused(f"{path} is not mounted")
    reply = await call.forward()
    if reply.ok:
        staged.discard(path)
    return reply


@mutant("node.unstage-undoes-staging", on=("NodeUnstageVolume", "NodeStageVolume", "DeleteVolume"))
async def leaves_the_staging_mount(call: Call) -> Reply:
    """NodeUnstageVolume says OK and leaves the mount where it is."""
    if call.rpc.name == "NodeUnstageVolume":
        owe(call)
        return _UNSTAGED
    await pay(call)
    return await call.forward()


@mutant("node.unstage-keeps-directory", on=("NodeUnstageVolume",))
async def removes_the_staging_directory(call: Call) -> Reply:
    """NodeUnstageVolume removes the staging directory."""
    reply = await call.forward()
    path = call.request.staging_target_path
    if reply.ok and os.path.isdir(path) and not os.listdir(path):
        os.rmdir(path)
    return reply


@mutant("node.stage-other-capability", on=("NodeStageVolume",))
async def staged_is_staged(call: Call) -> Reply:
    """A volume that is staged already is OK, whatever the capability says now."""
    reply = await call.forward()
    return _STAGED if reply.code is Code.ALREADY_EXISTS else reply


@mutant("node.publish-before-stage", on=("NodePublishVolume", "NodeUnpublishVolume"))
async def publishes_what_is_at_the_staging_path(call: Call) -> Reply:
    """The staging path is bound at the target, whether a volume is staged there or not."""
    bound = call.memory.setdefault("bound", set())
    request = call.request
    if isinstance(request, m.NodeUnpublishVolumeRequest):
        if request.target_path in bound:
            bound.discard(request.target_path)
            ensure_unmounted(request.target_path)
            os.rmdir(request.target_path)
            return Reply.of(m.NodeUnpublishVolumeResponse())
        return await call.forward()
    reply = await call.forward()
    staging = request.staging_target_path
    if reply.code is not Code.FAILED_PRECONDITION or not os.path.isdir(staging) or find_mount(staging) is not None:
        return reply
    os.mkdir(request.target_path)
    bind_mount(staging, request.target_path)
    bound.add(request.target_path)
    return Reply.of(m.NodePublishVolumeResponse())
