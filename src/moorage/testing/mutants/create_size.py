"""Drivers that are wrong about the size of new volumes."""

from __future__ import annotations

import msgspec

from moorage.spec.errors import Code
from moorage.spec.types import CapacityRange
from moorage.testing.mutants.mutant import Call, Reply, mutant

_MIB = 1 << 20


async def _with_range(call: Call, capacity_range: CapacityRange) -> Reply:
    return await call.forward(msgspec.structs.replace(call.request, capacity_range=capacity_range))


@mutant("create.required-size", on=("CreateVolume",))
async def rounds_sizes_down(call: Call) -> Reply:
    """A size is rounded down to whole mebibytes."""
    wanted = call.request.capacity_range or CapacityRange()
    if wanted.required_bytes < _MIB or wanted.limit_bytes:
        return await call.forward()
    return await _with_range(call, CapacityRange(required_bytes=wanted.required_bytes // _MIB * _MIB))


@mutant("create.exact-size", on=("CreateVolume",))
async def rounds_sizes_beyond_the_limit(call: Call) -> Reply:
    """A size is rounded up to whole mebibytes, the limit notwithstanding."""
    wanted = call.request.capacity_range or CapacityRange()
    if not wanted.required_bytes or wanted.limit_bytes != wanted.required_bytes:
        return await call.forward()
    return await _with_range(call, CapacityRange(required_bytes=-(-wanted.required_bytes // _MIB) * _MIB))


@mutant("create.limit-only", on=("CreateVolume",))
async def prefers_its_default_size(call: Call) -> Reply:
    """A volume without a required size gets the driver's own, which is twice the limit."""
    wanted = call.request.capacity_range or CapacityRange()
    if wanted.required_bytes or not wanted.limit_bytes:
        return await call.forward()
    return await _with_range(call, CapacityRange(required_bytes=2 * wanted.limit_bytes))


@mutant("create.enormous-size", on=("CreateVolume",))
async def breaks_on_enormous_sizes(call: Call) -> Reply:
    """A size that the storage system refuses is an internal error."""
    reply = await call.forward()
    if reply.code in (Code.OUT_OF_RANGE, Code.RESOURCE_EXHAUSTED):
        return Reply.failed(Code.INTERNAL, "OSError: [Errno 27] File too large")
    return reply


@mutant("create.no-range", on=("CreateVolume",))
async def wants_a_size(call: Call) -> Reply:
    """A request without a capacity range is refused."""
    if call.request.capacity_range is None:
        return Reply.failed(Code.INVALID_ARGUMENT, "capacity_range is missing")
    return await call.forward()
