"""CreateVolume: the size that was asked for. What counts is the raw size; a file system on it may show less."""

from __future__ import annotations

from moorage.spec import messages as m
from moorage.spec.errors import Code
from moorage.spec.types import CapacityRange, ControllerCapability
from moorage.verify.exchange import Exchange
from moorage.verify.extent import expect_in_range
from moorage.verify.lab import Lab
from moorage.verify.rule import Danger, rule

CREATE = ControllerCapability.CREATE_DELETE_VOLUME

_EXBIBYTE = 1 << 60


def _judge(exchange: Exchange, capacity_range: CapacityRange, *refusals: Code) -> None:
    """Raises Failed unless the volume's size lies in the range, or the answer is one of the refusals."""
    if exchange.ok:
        expect_in_range(exchange.response(m.CreateVolumeResponse).volume, capacity_range, exchange)
    else:
        exchange.refused(*refusals, why="no volume of that size can be made")


@rule(
    "create.required-size",
    section="CapacityRange",
    title="a volume is at least as large as required",
    sends="CreateVolume with the run's size as required_bytes, and with one byte more",
    demands="OK with a capacity_bytes that is no less, or 0 for unknown; OUT_OF_RANGE is legal for the odd size",
    needs=(CREATE,),
    danger=(Danger.CREATES,),
)
async def required_size(lab: Lab) -> None:
    wanted = CapacityRange(required_bytes=lab.settings.size_bytes)
    expect_in_range(await lab.create(capacity_range=wanted), wanted, lab.last)
    odd = CapacityRange(required_bytes=lab.settings.size_bytes + 1)
    _judge(await lab.settle(lab.create_request(capacity_range=odd)), odd, Code.OUT_OF_RANGE)


@rule(
    "create.exact-size",
    section="CapacityRange",
    title="an exact size is kept or refused",
    sends="CreateVolume with limit_bytes equal to required_bytes: the run's size, and one byte more",
    demands="OK with exactly that capacity_bytes (0 for unknown), or OUT_OF_RANGE",
    needs=(CREATE,),
    danger=(Danger.CREATES,),
)
async def exact_size(lab: Lab) -> None:
    for size_bytes in (lab.settings.size_bytes, lab.settings.size_bytes + 1):
        exact = CapacityRange(size_bytes, size_bytes)
        _judge(await lab.settle(lab.create_request(capacity_range=exact)), exact, Code.OUT_OF_RANGE)


@rule(
    "create.limit-only",
    section="CapacityRange",
    title="a limit without a required size is kept",
    sends="CreateVolume with only limit_bytes: the run's size, and one byte",
    demands="OK with a capacity_bytes that is no more (0 for unknown), or OUT_OF_RANGE",
    needs=(CREATE,),
    danger=(Danger.CREATES,),
)
async def limit_only(lab: Lab) -> None:
    for limit_bytes in (lab.settings.size_bytes, 1):
        limited = CapacityRange(limit_bytes=limit_bytes)
        refusals = (Code.OUT_OF_RANGE,) if limit_bytes > 1 else (Code.OUT_OF_RANGE, Code.INVALID_ARGUMENT)
        _judge(await lab.settle(lab.create_request(capacity_range=limited)), limited, *refusals)


@rule(
    "create.enormous-size",
    section="CreateVolume",
    title="a size that no storage has is refused as such",
    sends="CreateVolume with required_bytes of one exbibyte",
    demands="OUT_OF_RANGE or RESOURCE_EXHAUSTED; or OK from a driver that promises it, or that tells no sizes",
    needs=(CREATE,),
    danger=(Danger.CREATES,),
)
async def enormous_size(lab: Lab) -> None:
    wanted = CapacityRange(required_bytes=_EXBIBYTE)
    exchange = await lab.settle(lab.create_request(capacity_range=wanted))
    _judge(exchange, wanted, Code.OUT_OF_RANGE, Code.RESOURCE_EXHAUSTED, Code.INVALID_ARGUMENT)


@rule(
    "create.no-range",
    section="CreateVolume",
    title="a volume can be made without a word about its size",
    sends="CreateVolume without capacity_range, twice",
    demands="OK with one volume: the field is optional and the driver chooses",
    needs=(CREATE,),
    danger=(Danger.CREATES,),
)
async def no_range(lab: Lab) -> None:
    request = lab.create_request(capacity_range=None)
    (await lab.settle(request)).response(m.CreateVolumeResponse)
    (await lab.settle(request)).response(m.CreateVolumeResponse)
