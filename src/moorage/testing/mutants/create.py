"""Drivers that are wrong about CreateVolume."""

from __future__ import annotations

import msgspec

from moorage.spec import messages as m
from moorage.spec.errors import Code
from moorage.testing.mutants.mutant import Call, Reply, mutant


@mutant("create.replay-same-answer", on=("CreateVolume",))
async def forgets_the_size(call: Call) -> Reply:
    """The answer to a repeated request says that the size is unknown."""
    reply = await call.forward()
    seen = call.memory.setdefault("names", set())
    if not reply.ok or call.request.name not in seen:
        seen.add(call.request.name)
        return reply
    volume = call.read(reply, m.CreateVolumeResponse).volume
    return Reply.of(m.CreateVolumeResponse(volume=msgspec.structs.replace(volume, capacity_bytes=0)))


@mutant("create.same-name-other-size", on=("CreateVolume",))
async def ignores_the_size_of_the_taken_name(call: Call) -> Reply:
    """A name that is taken is answered with the old volume, whatever size is asked for."""
    answers = call.memory.setdefault("answers", {})
    reply = await call.forward()
    if reply.ok:
        answers[call.request.name] = reply
    if reply.code is Code.ALREADY_EXISTS and call.request.name in answers:
        found: Reply = answers[call.request.name]
        return found
    return reply


@mutant("create.parallel-same-name", on=("CreateVolume",))
async def races_with_itself(call: Call) -> Reply:
    """Calls for one name that arrive together make a volume each."""
    running = call.memory.setdefault("running", {})
    name = call.request.name
    others = running.get(name, 0)
    running[name] = others + 1
    try:
        if not others:
            return await call.forward()
        return await call.forward(msgspec.structs.replace(call.request, name=f"{name}-{others}"))
    finally:
        running[name] -= 1
