"""GetCapacity: figures that CreateVolume stands by. How much is free changes with what others do, and is not judged."""

from __future__ import annotations

from typing import Final

import msgspec

from moorage.spec import messages as m
from moorage.spec.errors import Code
from moorage.spec.types import CapacityRange, ControllerCapability, PluginCapability
from moorage.verify.exchange import Exchange
from moorage.verify.extent import expect_in_range
from moorage.verify.lab import Lab
from moorage.verify.rule import Danger, Failed, Severity, Skipped, expect, rule
from moorage.verify.unsupported import elsewhere

CREATE = ControllerCapability.CREATE_DELETE_VOLUME
CAPACITY = ControllerCapability.GET_CAPACITY

_MOST_TIMES: Final = 64
"""Volumes of the maximum size are made only up to this many times the run's size: nobody wants to pay for more."""
_MOST_BYTES: Final = (1 << 63) - 1


def _request(lab: Lab) -> m.GetCapacityRequest:
    """The question about volumes as the rules make them."""
    request = m.GetCapacityRequest(volume_capabilities=(lab.capability(),), parameters=lab.settings.parameters)
    if lab.has(PluginCapability.VOLUME_ACCESSIBILITY_CONSTRAINTS):
        return msgspec.structs.replace(request, accessible_topology=lab.peer.node.accessible_topology)
    return request


async def _ask(lab: Lab, request: m.GetCapacityRequest) -> m.GetCapacityResponse:
    return (await lab.settle(request)).response(m.GetCapacityResponse)


def _expect_size_taken(exchange: Exchange, figure: str) -> None:
    """Raises Failed when a size that the driver told was refused for anything but lack of room."""
    if not exchange.ok and exchange.code is not Code.RESOURCE_EXHAUSTED:
        raise Failed(f"CreateVolume refused {figure}, which GetCapacity told: {exchange.described()}", exchange)


@rule(
    "capacity.sound",
    section="GetCapacity",
    title="capacity is told, in figures that can be",
    sends="GetCapacity without any field, and with the capability, parameters and topology of new volumes",
    demands="OK with no negative figure, and a minimum_volume_size that is not above maximum_volume_size",
    needs=(CAPACITY,),
)
async def sound(lab: Lab) -> None:
    for request in (m.GetCapacityRequest(), _request(lab)):
        answer = await _ask(lab, request)
        figures = {
            "available_capacity": answer.available_capacity,
            "maximum_volume_size": answer.maximum_volume_size,
            "minimum_volume_size": answer.minimum_volume_size,
        }
        for name, figure in figures.items():
            expect(figure is None or figure >= 0, f"{name} is {figure}", lab.last)
        least, most = answer.minimum_volume_size, answer.maximum_volume_size
        expect(
            least is None or most is None or least <= most,
            f"minimum_volume_size is {least} and maximum_volume_size {most}",
            lab.last,
        )


@rule(
    "capacity.nothing-elsewhere",
    section="GetCapacity",
    title="there is no room where there is no place",
    sends="GetCapacity with accessible_topology set to a place that does not exist",
    demands="OK with 0, or INVALID_ARGUMENT, or NOT_FOUND",
    severity=Severity.SHOULD,
    needs=(CAPACITY, PluginCapability.VOLUME_ACCESSIBILITY_CONSTRAINTS, "Node"),
)
async def nothing_elsewhere(lab: Lab) -> None:
    exchange = await lab.settle(msgspec.structs.replace(_request(lab), accessible_topology=elsewhere(lab)))
    if not exchange.ok:
        exchange.refused(Code.INVALID_ARGUMENT, Code.NOT_FOUND, why="the place does not exist")
        return
    found_bytes = exchange.response(m.GetCapacityResponse).available_capacity
    expect(found_bytes == 0, f"a place that does not exist has room for {found_bytes} bytes", exchange)


@rule(
    "capacity.maximum-can-be-made",
    section="GetCapacity",
    title="maximum_volume_size is a size that a volume can have",
    sends="CreateVolume with maximum_volume_size as required_bytes, unless it is more than 64 times the run's size",
    demands="anything but a refusal of the size: OK, or RESOURCE_EXHAUSTED for lack of room",
    needs=(CAPACITY, CREATE),
    danger=(Danger.CREATES,),
)
async def maximum_can_be_made(lab: Lab) -> None:
    most_bytes = (await _ask(lab, _request(lab))).maximum_volume_size
    if not most_bytes:
        raise Skipped("the driver tells no maximum_volume_size")
    if most_bytes > _MOST_TIMES * lab.settings.size_bytes:
        raise Skipped(f"a volume of maximum_volume_size ({most_bytes} bytes) is too large to try")
    exchange = await lab.settle(lab.create_request(capacity_range=CapacityRange(required_bytes=most_bytes)))
    _expect_size_taken(exchange, f"maximum_volume_size {most_bytes} as required_bytes")


@rule(
    "capacity.nothing-beyond-maximum",
    section="GetCapacity",
    title="no volume can be larger than maximum_volume_size",
    sends="CreateVolume with twice maximum_volume_size as required_bytes",
    demands="OUT_OF_RANGE or RESOURCE_EXHAUSTED: orchestrators choose a place for a volume by this figure",
    severity=Severity.SHOULD,
    needs=(CAPACITY, CREATE),
    danger=(Danger.CREATES,),
)
async def nothing_beyond_maximum(lab: Lab) -> None:
    most_bytes = (await _ask(lab, _request(lab))).maximum_volume_size
    if not most_bytes or 2 * most_bytes > _MOST_BYTES:
        raise Skipped("the driver tells no maximum_volume_size that could be exceeded")
    larger = CapacityRange(required_bytes=2 * most_bytes)
    exchange = await lab.settle(lab.create_request(capacity_range=larger))
    why = f"maximum_volume_size is {most_bytes}"
    exchange.refused(Code.OUT_OF_RANGE, Code.RESOURCE_EXHAUSTED, why=why)


@rule(
    "capacity.minimum-can-be-made",
    section="GetCapacity",
    title="minimum_volume_size is a size that a volume can have",
    sends="CreateVolume with minimum_volume_size as limit_bytes",
    demands="OK with a volume that is no larger (0 for unknown); RESOURCE_EXHAUSTED for lack of room",
    needs=(CAPACITY, CREATE),
    danger=(Danger.CREATES,),
)
async def minimum_can_be_made(lab: Lab) -> None:
    least_bytes = (await _ask(lab, _request(lab))).minimum_volume_size
    if not least_bytes:
        raise Skipped("the driver tells no minimum_volume_size")
    limited = CapacityRange(limit_bytes=least_bytes)
    exchange = await lab.settle(lab.create_request(capacity_range=limited))
    _expect_size_taken(exchange, f"minimum_volume_size {least_bytes} as limit_bytes")
    if exchange.ok:
        expect_in_range(exchange.response(m.CreateVolumeResponse).volume, limited, exchange)
