"""Drivers that are wrong about the sources of new volumes."""

from __future__ import annotations

import msgspec

from moorage.spec import messages as m
from moorage.spec.errors import Code
from moorage.testing.mutants.mutant import Call, Reply, mutant


@mutant("create.missing-source", on=("CreateVolume",))
async def makes_an_empty_volume_of_nothing(call: Call) -> Reply:
    """A source that does not exist gives an empty volume."""
    reply = await call.forward()
    if reply.code is not Code.NOT_FOUND:
        return reply
    return await call.forward(msgspec.structs.replace(call.request, volume_content_source=None))


@mutant("create.source-echoed", on=("CreateVolume",))
async def forgets_the_source(call: Call) -> Reply:
    """The answer does not say what the volume was made from."""
    reply = await call.forward()
    if not reply.ok:
        return reply
    volume = call.read(reply, m.CreateVolumeResponse).volume
    return Reply.of(m.CreateVolumeResponse(msgspec.structs.replace(volume, content_source=None)))


@mutant("create.same-name-other-source", on=("CreateVolume",))
async def ignores_the_source_of_the_taken_name(call: Call) -> Reply:
    """A name that is taken is answered with the old volume, whatever content was asked for."""
    first = call.memory.setdefault("first", {})
    reply = await call.forward()
    if reply.ok:
        first[call.request.name] = call.request, reply
    if reply.code is Code.ALREADY_EXISTS and call.request.name in first:
        request, answer = first[call.request.name]
        if request.volume_content_source != call.request.volume_content_source:
            found: Reply = answer
            return found
    return reply


@mutant("create.smaller-than-source", on=("CreateVolume",))
async def stretches_a_range_that_is_too_small(call: Call) -> Reply:
    """A volume from a source gets the size of the source, although less was asked for."""
    reply = await call.forward()
    if reply.code is not Code.OUT_OF_RANGE or call.request.volume_content_source is None:
        return reply
    return await call.forward(msgspec.structs.replace(call.request, capacity_range=None))


@mutant("create.source-range-kept", on=("CreateVolume",))
async def keeps_the_size_of_the_source(call: Call) -> Reply:
    """A volume from a source has the size of the source, although more was asked for."""
    if call.request.volume_content_source is None:
        return await call.forward()
    return await call.forward(msgspec.structs.replace(call.request, capacity_range=None))
