"""Drivers whose clones are wrong."""

from __future__ import annotations

import asyncio

import msgspec

from moorage.spec import messages as m
from moorage.spec.types import VolumeSource
from moorage.testing.mutants.mutant import Call, Reply, mutant

_COPYING_S = 0.5


def _source_of(call: Call) -> str:
    """The id of the volume to be cloned, empty for any other request."""
    source = getattr(call.request, "volume_content_source", None)
    return source.volume_id if isinstance(source, VolumeSource) else ""


async def _empty(call: Call, name: str) -> Reply:
    """A volume without content, said to be a clone."""
    source = call.request.volume_content_source
    reply = await call.forward(msgspec.structs.replace(call.request, name=name, volume_content_source=None))
    if not reply.ok:
        return reply
    volume = call.read(reply, m.CreateVolumeResponse).volume
    return Reply.of(m.CreateVolumeResponse(msgspec.structs.replace(volume, content_source=source)))


@mutant("create.larger-clone-shows", on=("CreateVolume",))
async def says_that_the_clone_is_larger(call: Call) -> Reply:
    """A clone is as large as its source, and said to be as large as was asked for."""
    wanted = call.request.capacity_range
    if not _source_of(call) or wanted is None:
        return await call.forward()
    reply = await call.forward(msgspec.structs.replace(call.request, capacity_range=None))
    if not reply.ok:
        return reply
    volume = call.read(reply, m.CreateVolumeResponse).volume
    size_bytes = max(volume.capacity_bytes, wanted.required_bytes)
    return Reply.of(m.CreateVolumeResponse(msgspec.structs.replace(volume, capacity_bytes=size_bytes)))


@mutant("create.clone-content", on=("CreateVolume",))
async def clones_nothing(call: Call) -> Reply:
    """A clone is empty."""
    return await _empty(call, call.request.name) if _source_of(call) else await call.forward()


@mutant("create.clone-independent", on=("CreateVolume",))
async def shares_the_source(call: Call) -> Reply:
    """A clone is its source under another name."""
    volumes = call.memory.setdefault("volumes", {})
    if call.request.volume_content_source and (source := volumes.get(_source_of(call))):
        clone = msgspec.structs.replace(source, content_source=call.request.volume_content_source)
        return Reply.of(m.CreateVolumeResponse(clone))
    reply = await call.forward()
    if reply.ok:
        volume = call.read(reply, m.CreateVolumeResponse).volume
        volumes[volume.volume_id] = volume
    return reply


@mutant("create.clone-outlives-source", on=("CreateVolume", "DeleteVolume"))
async def deletes_clones_with_their_source(call: Call) -> Reply:
    """A volume takes its clones with it when it is deleted."""
    clones = call.memory.setdefault("clones", {})
    if isinstance(call.request, m.DeleteVolumeRequest):
        for clone_id in clones.pop(call.request.volume_id, ()):
            await call.forward(m.DeleteVolumeRequest(clone_id))
        return await call.forward()
    reply = await call.forward()
    if reply.ok and (source_id := _source_of(call)):
        clone = call.read(reply, m.CreateVolumeResponse).volume
        clones.setdefault(source_id, []).append(clone.volume_id)
    return reply


@mutant("create.clone-answered-when-whole", on=("CreateVolume",))
async def knows_clones_before_they_are_whole(call: Call) -> Reply:
    """A request for a clone that is being copied is answered with what there is of it."""
    copying = call.memory.setdefault("copying", {})
    if not _source_of(call):
        return await call.forward()
    name = call.request.name
    if name in copying:
        copying[name].cancel()
        return await _empty(call, name)
    copying[name] = asyncio.create_task(_copied(call))
    try:
        return await asyncio.shield(copying[name])
    finally:
        if copying[name].done():
            del copying[name]


async def _copied(call: Call) -> Reply:
    await asyncio.sleep(_COPYING_S)
    return await call.forward()
