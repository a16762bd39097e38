"""Drivers whose figures of capacity are wrong."""

from __future__ import annotations

import msgspec

from moorage.spec import messages as m
from moorage.spec.errors import Code
from moorage.testing.mutants.mutant import Call, Reply, mutant


async def _with_figures(call: Call, *, maximum_bytes: int | None = None, minimum_bytes: int | None = None) -> Reply:
    """The right answer with other limits of one volume."""
    reply = await call.forward()
    if not reply.ok:
        return reply
    answer = call.read(reply, m.GetCapacityResponse)
    return Reply.of(
        msgspec.structs.replace(
            answer,
            maximum_volume_size=maximum_bytes or answer.maximum_volume_size,
            minimum_volume_size=minimum_bytes or answer.minimum_volume_size,
        )
    )


@mutant("capacity.sound", on=("GetCapacity",))
async def forgets_what_it_promised(call: Call) -> Reply:
    """What was promised beyond the storage's size makes the capacity negative."""
    reply = await call.forward()
    answer = call.read(reply, m.GetCapacityResponse)
    return Reply.of(msgspec.structs.replace(answer, available_capacity=-answer.available_capacity))


@mutant("capacity.nothing-elsewhere", on=("GetCapacity",))
async def has_the_same_room_everywhere(call: Call) -> Reply:
    """The place that is asked for is left out of account."""
    return await call.forward(msgspec.structs.replace(call.request, accessible_topology=None))


@mutant("capacity.maximum-can-be-made", on=("GetCapacity", "CreateVolume"))
async def refuses_its_maximum(call: Call) -> Reply:
    """A volume of the maximum size is refused, and only a smaller one made."""
    if isinstance(call.request, m.CreateVolumeRequest):
        required_bytes = call.request.capacity_range.required_bytes if call.request.capacity_range else 0
        maximum_bytes = call.memory.setdefault("maximum_bytes", 4 * required_bytes)
        if required_bytes >= maximum_bytes:
            return Reply.failed(Code.OUT_OF_RANGE, f"volumes must be smaller than {maximum_bytes} bytes")
        return await call.forward()
    return await _with_figures(call, maximum_bytes=call.memory.get("maximum_bytes"))


@mutant("capacity.nothing-beyond-maximum", on=("GetCapacity", "CreateVolume"))
async def exceeds_its_maximum(call: Call) -> Reply:
    """The maximum size that is told is not the one that is kept."""
    if isinstance(call.request, m.CreateVolumeRequest):
        if call.request.capacity_range:
            call.memory.setdefault("maximum_bytes", 4 * call.request.capacity_range.required_bytes)
        return await call.forward()
    return await _with_figures(call, maximum_bytes=call.memory.get("maximum_bytes"))


@mutant("capacity.minimum-can-be-made", on=("GetCapacity",))
async def tells_too_small_a_minimum(call: Call) -> Reply:
    """The minimum size that is told is one that no volume can have."""
    return await _with_figures(call, minimum_bytes=512)
