"""Drivers that lose data on the node."""

from __future__ import annotations

import os

from moorage.base.run import run_sync
from moorage.host.mount import bind_mount
from moorage.host.mountinfo import find_mount
from moorage.spec import messages as m
from moorage.spec.errors import Code
from moorage.testing.mutants.behind import as_block_device, is_block
from moorage.testing.mutants.mutant import Call, Reply, mutant

_SIGNATURE = b"LUKS"


@mutant("node.data-survives-republish", on=("NodeUnpublishVolume",))
async def removes_the_target_before_unmounting(call: Call) -> Reply:
    """NodeUnpublishVolume deletes the files at the target and unmounts it then."""
    path = call.request.target_path
    if find_mount(path) is not None and os.path.isdir(path):
        for name in os.listdir(path):
            if os.path.isfile(os.path.join(path, name)):
                os.unlink(os.path.join(path, name))
    return await call.forward()


@mutant("node.volumes-are-separate", on=("NodePublishVolume", "NodeUnpublishVolume"))
async def mounts_the_first_volume_everywhere(call: Call) -> Reply:
    """Every target shows the volume that was published first and is published still."""
    targets = call.memory.setdefault("targets", {})
    path = call.request.target_path
    reply = await call.forward()
    if isinstance(call.request, m.NodeUnpublishVolumeRequest):
        targets.pop(path, None)
    elif reply.ok and not is_block(call.request) and path not in targets:
        if targets:
            bind_mount(next(iter(targets)), path)
        targets[path] = None
    return reply


async def _formatted(call: Call, *, signed: bool | None, fs_type: str) -> Reply:
    """Make a file system on a volume that the correct driver refuses, and stage it then.

    With `signed` only on a volume that begins with a signature, or with none.
    """
    reply = await call.forward()
    if reply.code is not Code.FAILED_PRECONDITION or is_block(call.request):
        return reply
    async with as_block_device(call) as device:
        with open(device, "rb") as file:
            found = file.read(len(_SIGNATURE)) == _SIGNATURE
        if signed in (None, found):
            run_sync([f"mkfs.{fs_type}", "-q", "-F", device])
    return await call.forward()


@mutant("node.other-fs-type-keeps-data", on=("NodeStageVolume",))
async def formats_for_another_file_system(call: Call) -> Reply:
    """A volume with one file system is formatted when another is asked for."""
    if not call.request.volume_capability.mount.fs_type:
        return await call.forward()
    return await _formatted(call, signed=None, fs_type="ext2")


@mutant("node.foreign-signature-kept", on=("NodeStageVolume",))
async def formats_what_it_cannot_mount(call: Call) -> Reply:
    """A volume that holds something else than a file system is formatted."""
    return await _formatted(call, signed=True, fs_type="ext4")


@mutant("node.unknown-data-kept", on=("NodeStageVolume",))
async def formats_what_it_does_not_know(call: Call) -> Reply:
    """A volume without a known signature is formatted, without a look at the rest of it."""
    return await _formatted(call, signed=False, fs_type="ext4")
