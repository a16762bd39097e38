"""Drivers that grow volumes wrongly on the node."""

from __future__ import annotations

import msgspec

from moorage.spec import messages as m
from moorage.spec.errors import Code
from moorage.testing.mutants.mutant import Call, Reply, mutant


async def _told_only(call: Call, *, block: bool) -> Reply:
    """OK for volumes of this kind, without doing anything."""
    capability, size = call.request.volume_capability, call.request.capacity_range
    if capability is None or capability.is_block != block or size is None:
        return await call.forward()
    return Reply.of(m.NodeExpandVolumeResponse(size.required_bytes))


@mutant("expansion.mount-grows", on=("NodeExpandVolume",))
async def leaves_file_systems_small(call: Call) -> Reply:
    """The node says that a file system has grown, and does nothing."""
    return await _told_only(call, block=False)


@mutant("expansion.mount-grows", on=("ControllerExpandVolume",))
async def needs_no_node_step(call: Call) -> Reply:
    """The controller says that the node has nothing to do, and the file system stays as it is."""
    reply = await call.forward()
    if not reply.ok:
        return reply
    answer = call.read(reply, m.ControllerExpandVolumeResponse)
    return Reply.of(msgspec.structs.replace(answer, node_expansion_required=False))


@mutant("expansion.block-grows", on=("NodeExpandVolume",))
async def leaves_devices_small(call: Call) -> Reply:
    """The node says that a device has grown, and does nothing."""
    return await _told_only(call, block=True)


@mutant("expansion.node-without-growth", on=("NodeExpandVolume",))
async def wants_a_range_on_the_node(call: Call) -> Reply:
    """The node refuses a request without a capacity range, which is optional."""
    if call.request.capacity_range is None:
        return Reply.failed(Code.INVALID_ARGUMENT, "capacity_range is missing")
    return await call.forward()


@mutant("expansion.node-at-staging-path", on=("NodeExpandVolume",))
async def knows_target_paths_only(call: Call) -> Reply:
    """A staging path is no path of a volume."""
    if call.request.volume_path == call.request.staging_target_path:
        return Reply.failed(Code.NOT_FOUND, f"no volume is published at {call.request.volume_path}")
    return await call.forward()


@mutant("expansion.node-unknown-volume", on=("NodeExpandVolume",))
async def grows_what_is_not_there(call: Call) -> Reply:
    """A volume that is not on the node has grown, it is said."""
    reply = await call.forward()
    return Reply.of(m.NodeExpandVolumeResponse()) if reply.code is Code.NOT_FOUND else reply
