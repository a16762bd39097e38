"""Drivers that cannot cope with mounts that somebody else took away."""

from __future__ import annotations

import os
import shutil

from moorage.host.mountinfo import find_mount
from moorage.spec import messages as m
from moorage.testing.mutants.behind import is_block, owe, pay, refused
from moorage.testing.mutants.mutant import Call, Reply, mutant

_PUBLISHED = Reply.of(m.NodePublishVolumeResponse())


@mutant("node.unpublish-after-umount", on=("NodeUnpublishVolume", "DeleteVolume"))
async def insists_on_a_mounted_target(call: Call) -> Reply:
    """NodeUnpublishVolume of a target that is there and not mounted is answered with INTERNAL."""
    if call.rpc.name == "DeleteVolume":
        await pay(call)
        return await call.forward()
    path = call.request.target_path
    if os.path.lexists(path) and find_mount(path) is None:
        owe(call)
        return refused(f"umount: {path}: not mounted")
    return await call.forward()


@mutant("node.unpublish-after-removal", on=("NodeUnpublishVolume", "DeleteVolume"))
async def insists_on_a_target_that_exists(call: Call) -> Reply:
    """NodeUnpublishVolume of a target that is gone is answered with INTERNAL."""
    if call.rpc.name == "DeleteVolume":
        await pay(call)
        return await call.forward()
    path = call.request.target_path
    if not os.path.lexists(path):
        owe(call)
        return refused(f"stat {path}: no such file or directory")
    return await call.forward()


@mutant("node.unstage-after-umount", on=("NodeStageVolume", "NodeUnstageVolume", "DeleteVolume"))
async def insists_on_a_mounted_staging_path(call: Call) -> Reply:
    """NodeUnstageVolume of a file system that is not mounted is answered with INTERNAL."""
    mounted = call.memory.setdefault("mounted", set())
    if call.rpc.name == "DeleteVolume":
        await pay(call)
        return await call.forward()
    path = call.request.staging_target_path
    if isinstance(call.request, m.NodeStageVolumeRequest):
        reply = await call.forward()
        if reply.ok and not is_block(call.request):
            mounted.add(path)
        return reply
    if path in mounted and find_mount(path) is None:
        owe(call)
        return refused(f"umount: {path}: not mounted")
    reply = await call.forward()
    if reply.ok:
        mounted.discard(path)
    return reply


@mutant("node.lost-mount-comes-back", on=("NodePublishVolume", "NodeUnpublishVolume"))
async def trusts_its_memory(call: Call) -> Reply:
    """A target that was published once is taken to be published, mounted or not."""
    targets = call.memory.setdefault("targets", {})
    path = call.request.target_path
    if isinstance(call.request, m.NodeUnpublishVolumeRequest):
        targets.pop(path, None)
        return await call.forward()
    if targets.get(path) == call.request:
        return _PUBLISHED
    reply = await call.forward()
    if reply.ok:
        targets[path] = call.request
    return reply


@mutant("node.unpublish-spares-foreign-data", on=("NodeUnpublishVolume",))
async def removes_the_target_with_everything_in_it(call: Call) -> Reply:
    """A target that is not mounted is removed by rm -rf."""
    path = call.request.target_path
    if find_mount(path) is None and os.path.isdir(path):
        shutil.rmtree(path)
    return await call.forward()
