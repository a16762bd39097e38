"""Drivers that are wrong about CreateVolume."""

from __future__ import annotations

import asyncio

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


@mutant("create.replay-in-wider-range", on=("CreateVolume",))
async def compares_ranges_for_equality(call: Call) -> Reply:
    """A name that is taken is refused when the capacity range is not the one of the first request."""
    ranges = call.memory.setdefault("ranges", {})
    reply = await call.forward()
    if reply.ok and ranges.setdefault(call.request.name, call.request.capacity_range) != call.request.capacity_range:
        return Reply.failed(Code.ALREADY_EXISTS, f"volume {call.request.name} exists with another capacity range")
    return reply


@mutant("create.same-name-other-capability", on=("CreateVolume",))
async def ignores_the_use_of_the_taken_name(call: Call) -> Reply:
    """A name that is taken is answered with the old volume, although it cannot be used as asked."""
    first = call.memory.setdefault("first", {})
    reply = await call.forward()
    if reply.ok:
        first[call.request.name] = call.request, reply
    if reply.code is Code.ALREADY_EXISTS and call.request.name in first:
        request, answer = first[call.request.name]
        if request.capacity_range == call.request.capacity_range:
            found: Reply = answer
            return found
    return reply


@mutant("create.parallel-names", on=("CreateVolume",))
async def answers_all_at_once(call: Call) -> Reply:
    """While a volume is made, every other request for one is answered with it."""
    running: asyncio.Task[Reply] | None = call.memory.get("running")
    if running is not None and not running.done():
        return await running
    task = asyncio.create_task(call.forward())
    call.memory["running"] = task
    return await task


@mutant("create.any-legal-name", on=("CreateVolume",))
async def wants_names_for_directories(call: Call) -> Reply:
    """A name that could not be a directory's is refused."""
    if "/" in call.request.name:
        return Reply.failed(Code.INVALID_ARGUMENT, "volume name must not contain a slash")
    return await call.forward()


@mutant("create.longest-name", on=("CreateVolume",))
async def wants_short_names(call: Call) -> Reply:
    """A name that is longer than the storage system's own limit is refused."""
    if len(call.request.name) > 100:
        return Reply.failed(Code.INVALID_ARGUMENT, "volume name is too long")
    return await call.forward()


@mutant("create.similar-names", on=("CreateVolume",))
async def cleans_names_up(call: Call) -> Reply:
    """Names are put into lower case and their odd characters replaced, so that some become the same."""
    clean = "".join(character if character.isalnum() else "-" for character in call.request.name.lower())
    return await call.forward(msgspec.structs.replace(call.request, name=clean))


@mutant("create.unsupported-capability", on=("CreateVolume",))
async def looks_at_the_first_capability(call: Call) -> Reply:
    """Only the first capability is looked at when the others cannot be had."""
    reply = await call.forward()
    if reply.code is not Code.INVALID_ARGUMENT or len(call.request.volume_capabilities) < 2:
        return reply
    first = call.request.volume_capabilities[:1]
    return await call.forward(msgspec.structs.replace(call.request, volume_capabilities=first))


@mutant("create.all-capabilities", on=("CreateVolume",))
async def makes_volumes_for_one_use(call: Call) -> Reply:
    """A volume that was asked for as a mount and as a block device is made for the mount only."""
    first = call.request.volume_capabilities[:1]
    return await call.forward(msgspec.structs.replace(call.request, volume_capabilities=first))


@mutant("create.unknown-parameter", on=("CreateVolume",))
async def breaks_on_unknown_parameters(call: Call) -> Reply:
    """A parameter that the driver does not know is an internal error."""
    reply = await call.forward()
    if reply.code is Code.INVALID_ARGUMENT and call.request.parameters:
        return Reply.failed(Code.INTERNAL, "KeyError")
    return reply


@mutant("create.mutable-parameters", on=("CreateVolume",))
async def takes_mutable_parameters_later_only(call: Call) -> Reply:
    """Mutable parameters are taken by ControllerModifyVolume only."""
    if call.request.mutable_parameters:
        return Reply.failed(Code.INVALID_ARGUMENT, "mutable_parameters are not supported when a volume is created")
    return await call.forward()


@mutant("create.unknown-mutable-parameter", on=("CreateVolume",))
async def drops_unknown_mutable_parameters(call: Call) -> Reply:
    """Mutable parameters that the driver does not know are dropped."""
    reply = await call.forward()
    if reply.code is not Code.INVALID_ARGUMENT or not call.request.mutable_parameters:
        return reply
    return await call.forward(msgspec.structs.replace(call.request, mutable_parameters={}))
