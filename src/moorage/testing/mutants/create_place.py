"""Drivers that put volumes in the wrong place."""

from __future__ import annotations

import msgspec

from moorage.spec import messages as m
from moorage.spec.errors import Code
from moorage.spec.types import Topology, TopologyRequirement
from moorage.testing.mutants.mutant import Call, Reply, mutant


@mutant("create.within-requisite", on=("CreateVolume",))
async def says_another_place(call: Call) -> Reply:
    """The answer names a place that is none of the requisite ones."""
    reply = await call.forward()
    if not reply.ok:
        return reply
    volume = call.read(reply, m.CreateVolumeResponse).volume
    places = tuple(Topology(dict.fromkeys(place.segments, "zone-b")) for place in volume.accessible_topology)
    return Reply.of(m.CreateVolumeResponse(msgspec.structs.replace(volume, accessible_topology=places)))


@mutant("create.any-of-requisite", on=("CreateVolume",))
async def tries_the_first_place_only(call: Call) -> Reply:
    """Only the first requisite topology is tried."""
    wanted = call.request.accessibility_requirements
    if wanted is None:
        return await call.forward()
    first = TopologyRequirement(wanted.requisite[:1], wanted.preferred[:1])
    return await call.forward(msgspec.structs.replace(call.request, accessibility_requirements=first))


@mutant("create.impossible-place", on=("CreateVolume",))
async def falls_back_to_anywhere(call: Call) -> Reply:
    """A volume that fits nowhere where it may be is put somewhere else."""
    reply = await call.forward()
    if reply.code is not Code.RESOURCE_EXHAUSTED:
        return reply
    return await call.forward(msgspec.structs.replace(call.request, accessibility_requirements=None))


@mutant("create.same-name-other-place", on=("CreateVolume",))
async def ignores_the_place_of_the_taken_name(call: Call) -> Reply:
    """A name that is taken is answered with the old volume, wherever it was asked for."""
    first = call.memory.setdefault("first", {})
    reply = await call.forward()
    if reply.ok:
        first[call.request.name] = call.request, reply
    if reply.code is Code.ALREADY_EXISTS and call.request.name in first:
        request, answer = first[call.request.name]
        if request.accessibility_requirements != call.request.accessibility_requirements:
            found: Reply = answer
            return found
    return reply
