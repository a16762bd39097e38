"""Drivers that are wrong about growing volumes."""

from __future__ import annotations

import os

import msgspec

from moorage.spec import messages as m
from moorage.spec.errors import Code
from moorage.spec.types import CapacityRange, NodeCapability, VolumeExpansion
from moorage.testing.mutants.mutant import Call, Reply, mutant


async def _with_range(call: Call, capacity_range: CapacityRange) -> Reply:
    return await call.forward(msgspec.structs.replace(call.request, capacity_range=capacity_range))


@mutant("expansion.grows", on=("ControllerExpandVolume",))
async def says_the_old_size(call: Call) -> Reply:
    """The answer tells a size that is less than what was required."""
    reply = await call.forward()
    if not reply.ok:
        return reply
    answer = call.read(reply, m.ControllerExpandVolumeResponse)
    return Reply.of(msgspec.structs.replace(answer, capacity_bytes=answer.capacity_bytes // 2))


@mutant("expansion.again", on=("ControllerExpandVolume",))
async def refuses_what_is_done(call: Call) -> Reply:
    """A volume that is large enough already is refused."""
    grown = call.memory.setdefault("grown", {})
    wanted_bytes = call.request.capacity_range.required_bytes if call.request.capacity_range else 0
    if 0 < wanted_bytes <= grown.get(call.request.volume_id, 0):
        return Reply.failed(Code.OUT_OF_RANGE, "the new size must be larger than the old one")
    reply = await call.forward()
    if reply.ok:
        grown[call.request.volume_id] = call.read(reply, m.ControllerExpandVolumeResponse).capacity_bytes
    return reply


@mutant("expansion.limit-kept", on=("ControllerExpandVolume",))
async def grows_beyond_the_limit(call: Call) -> Reply:
    """A volume grows to whole mebibytes, the limit notwithstanding."""
    wanted = call.request.capacity_range
    if wanted is None or wanted.required_bytes <= 0 or wanted.limit_bytes != wanted.required_bytes:
        return await call.forward()
    return await _with_range(call, CapacityRange(required_bytes=-(-wanted.required_bytes // (1 << 20)) << 20))


@mutant("expansion.impossible-range", on=("ControllerExpandVolume",))
async def reads_no_limit(call: Call) -> Reply:
    """Only required_bytes is read of a range."""
    wanted = call.request.capacity_range
    if wanted is None or wanted.limit_bytes >= wanted.required_bytes:
        return await call.forward()
    return await _with_range(call, CapacityRange(required_bytes=wanted.required_bytes))


@mutant("expansion.enormous-size", on=("ControllerExpandVolume",))
async def breaks_on_enormous_growth(call: Call) -> Reply:
    """A size that the storage system refuses is an internal error."""
    reply = await call.forward()
    if reply.code in (Code.OUT_OF_RANGE, Code.RESOURCE_EXHAUSTED):
        return Reply.failed(Code.INTERNAL, "resize failed: exit status 1")
    return reply


@mutant("expansion.never-shrinks", on=("ControllerExpandVolume", "NodePublishVolume"))
async def cuts_before_it_refuses(call: Call) -> Reply:
    """A smaller size is refused after the volume was cut to it."""
    cut = call.memory.setdefault("cut", {})
    reply = await call.forward()
    if isinstance(call.request, m.ControllerExpandVolumeRequest):
        wanted = call.request.capacity_range
        if reply.code is Code.OUT_OF_RANGE and wanted is not None and wanted.limit_bytes > 0:
            cut[call.request.volume_id] = wanted.limit_bytes
        return reply
    kept_bytes = cut.pop(call.request.volume_id, None)
    if reply.ok and kept_bytes is not None and call.request.volume_capability.is_block:
        _clear(call.request.target_path, kept_bytes)
    return reply


def _clear(path: str, kept_bytes: int) -> None:
    """Overwrite a device with zeros from `kept_bytes` on."""
    with open(path, "r+b", buffering=0) as device:
        missing = device.seek(0, os.SEEK_END) - kept_bytes
        device.seek(kept_bytes)
        device.write(bytes(missing))
        os.fsync(device.fileno())


@mutant("expansion.size-remembered", on=("CreateVolume",))
async def remembers_the_first_size(call: Call) -> Reply:
    """A name is answered as it was at first, whatever became of the volume."""
    answers = call.memory.setdefault("answers", {})
    reply = await call.forward()
    if not reply.ok:
        return reply
    volume_id = call.read(reply, m.CreateVolumeResponse).volume.volume_id
    first: Reply = answers.setdefault(volume_id, reply)
    return first


@mutant("expansion.node-step-offered", on=("NodeGetCapabilities",))
async def leaves_the_node_step_undeclared(call: Call) -> Reply:
    """The node has to grow the file system and does not declare that it can."""
    reply = await call.forward()
    declared = call.read(reply, m.NodeGetCapabilitiesResponse).capabilities
    return Reply.of(m.NodeGetCapabilitiesResponse(declared - {NodeCapability.EXPAND_VOLUME}))


@mutant("expansion.online", on=("ControllerExpandVolume", "NodePublishVolume", "NodeUnpublishVolume"))
async def grows_only_what_rests(call: Call) -> Reply:
    """ONLINE is declared, and a volume that is in use is refused."""
    used = call.memory.setdefault("used", set())
    if isinstance(call.request, m.ControllerExpandVolumeRequest):
        if call.request.volume_id in used:
            return Reply.failed(Code.FAILED_PRECONDITION, "the volume is in use")
        return await call.forward()
    reply = await call.forward()
    if reply.ok and isinstance(call.request, m.NodePublishVolumeRequest):
        used.add(call.request.volume_id)
    elif reply.ok:
        used.discard(call.request.volume_id)
    return reply


@mutant("expansion.offline", on=("GetPluginCapabilities",))
async def grows_attached_volumes_offline(call: Call) -> Reply:
    """OFFLINE is declared, and a volume that is attached grows all the same."""
    reply = await call.forward()
    declared = call.read(reply, m.GetPluginCapabilitiesResponse)
    return Reply.of(msgspec.structs.replace(declared, volume_expansion=frozenset({VolumeExpansion.OFFLINE})))
