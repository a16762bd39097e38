"""Drivers that give more rights, or another mount, than was asked for."""

from __future__ import annotations

from typing import Any

import msgspec

from moorage.host.mount import ensure_readonly
from moorage.spec.types import AccessMode
from moorage.testing.mutants.behind import is_block, with_mount
from moorage.testing.mutants.mutant import Call, Reply, mutant

_IN_USE = ("NodeStageVolume", "NodePublishVolume")


@mutant("node.readonly-refuses-writes", on=("NodePublishVolume",))
async def mounts_for_writing(call: Call) -> Reply:
    """The readonly flag of NodePublishVolume is ignored for mounted volumes."""
    readonly = call.request.readonly and is_block(call.request)
    return await call.forward(msgspec.structs.replace(call.request, readonly=readonly))


@mutant("node.block-readonly-refuses-writes", on=("NodePublishVolume",))
async def binds_a_device_node_read_only(call: Call) -> Reply:
    """The node of a writable device is bound read-only, which keeps nobody from writing to the device."""
    request = call.request
    if not request.readonly or not is_block(request):
        return await call.forward()
    reply = await call.forward(msgspec.structs.replace(request, readonly=False))
    if reply.ok:
        ensure_readonly(request.target_path, readonly=True)
    return reply


@mutant("node.reader-only-refuses-writes", on=_IN_USE)
async def takes_readers_for_writers(call: Call) -> Reply:
    """The node looks at the readonly flag alone, and not at the access mode."""
    readers = {
        AccessMode.SINGLE_NODE_READER_ONLY: AccessMode.SINGLE_NODE_WRITER,
        AccessMode.MULTI_NODE_READER_ONLY: AccessMode.MULTI_NODE_MULTI_WRITER,
    }
    capability = call.request.volume_capability
    mode = readers.get(capability.access_mode, capability.access_mode)
    changed = msgspec.structs.replace(capability, access_mode=mode)
    return await call.forward(msgspec.structs.replace(call.request, volume_capability=changed))


def _without_flags(request: Any, *dropped: str) -> Any:
    kept = tuple(flag for flag in request.volume_capability.mount.mount_flags if flag not in dropped)
    return with_mount(request, mount_flags=kept)


@mutant("node.ro-flag-refuses-writes", on=_IN_USE)
async def drops_the_flag_ro(call: Call) -> Reply:
    """The mount flag ro is not passed on."""
    return await call.forward(_without_flags(call.request, "ro"))


@mutant("node.fs-type-applied", on=_IN_USE)
async def makes_the_usual_file_system(call: Call) -> Reply:
    """Whatever fs_type says, the driver's default is made."""
    return await call.forward(with_mount(call.request, fs_type="ext4"))


@mutant("node.mount-flags-applied", on=_IN_USE)
async def drops_the_mount_flags(call: Call) -> Reply:
    """Mount flags other than ro are not passed on."""
    given = call.request.volume_capability.mount.mount_flags
    return await call.forward(_without_flags(call.request, *(flag for flag in given if flag != "ro")))


@mutant("node.mount-group", on=_IN_USE)
async def drops_the_mount_group(call: Call) -> Reply:
    """VOLUME_MOUNT_GROUP is declared, and volume_mount_group ignored."""
    return await call.forward(with_mount(call.request, volume_mount_group=""))
