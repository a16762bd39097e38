"""ControllerExpandVolume: volumes grow, and never anything else."""

from __future__ import annotations

from moorage.spec import messages as m
from moorage.spec.errors import Code
from moorage.spec.types import (
    CapacityRange,
    ControllerCapability,
    NodeCapability,
    Volume,
    VolumeExpansion,
)
from moorage.verify.content import Pattern
from moorage.verify.exchange import Exchange
from moorage.verify.lab import Lab
from moorage.verify.rule import Danger, Facility, Severity, Skipped, expect, rule

CREATE = ControllerCapability.CREATE_DELETE_VOLUME
EXPAND = ControllerCapability.EXPAND_VOLUME
ATTACH = ControllerCapability.PUBLISH_UNPUBLISH_VOLUME

_EXBIBYTE = 1 << 60


def _request(lab: Lab, volume: Volume, capacity_range: CapacityRange) -> m.ControllerExpandVolumeRequest:
    return m.ControllerExpandVolumeRequest(volume.volume_id, capacity_range, volume_capability=lab.capability())


def _growth(lab: Lab, volume: Volume) -> CapacityRange:
    """The run's expanded size, or a little more for a volume that is as large already."""
    return CapacityRange(required_bytes=max(lab.settings.expanded_bytes, volume.capacity_bytes + 1))


async def _grown(lab: Lab, volume: Volume) -> m.ControllerExpandVolumeResponse:
    exchange = await lab.settle(_request(lab, volume, _growth(lab, volume)))
    return exchange.response(m.ControllerExpandVolumeResponse)


def _expect_no_less(exchange: Exchange, least_bytes: int) -> None:
    found_bytes = exchange.response(m.ControllerExpandVolumeResponse).capacity_bytes
    expect(found_bytes >= least_bytes, f"capacity_bytes is {found_bytes}, less than {least_bytes}", exchange)


@rule(
    "expansion.grows",
    section="ControllerExpandVolume",
    title="a volume grows to the size that is required",
    sends="ControllerExpandVolume with the run's expanded size as required_bytes",
    demands="OK with a capacity_bytes that is no less",
    needs=(CREATE, EXPAND),
    danger=(Danger.CREATES,),
)
async def grows(lab: Lab) -> None:
    volume = await lab.create()
    wanted = _growth(lab, volume)
    _expect_no_less(await lab.settle(_request(lab, volume, wanted)), wanted.required_bytes)


@rule(
    "expansion.again",
    section="ControllerExpandVolume",
    title="a volume that is large enough already is answered with its size",
    sends="ControllerExpandVolume, the same again, and with half of the volume's first size as required_bytes",
    demands="OK each time, with the size that it has",
    severity=Severity.SHOULD,
    needs=(CREATE, EXPAND),
    danger=(Danger.CREATES,),
)
async def again(lab: Lab) -> None:
    volume = await lab.create()
    size_bytes = (await _grown(lab, volume)).capacity_bytes
    less = CapacityRange(required_bytes=max(1, lab.settings.size_bytes // 2))
    for capacity_range in (_growth(lab, volume), less):
        _expect_no_less(await lab.settle(_request(lab, volume, capacity_range)), size_bytes)


@rule(
    "expansion.limit-kept",
    section="CapacityRange",
    title="a volume does not grow beyond the limit",
    sends="ControllerExpandVolume with limit_bytes equal to required_bytes: the run's expanded size and one byte more",
    demands="OK with a capacity_bytes within the limit, or OUT_OF_RANGE",
    needs=(CREATE, EXPAND),
    danger=(Danger.CREATES,),
)
async def limit_kept(lab: Lab) -> None:
    volume = await lab.create()
    for size_bytes in (lab.settings.expanded_bytes, lab.settings.expanded_bytes + 1):
        exchange = await lab.settle(_request(lab, volume, CapacityRange(size_bytes, size_bytes)))
        if not exchange.ok:
            exchange.refused(Code.OUT_OF_RANGE, why="the volume cannot have exactly that size")
            continue
        found_bytes = exchange.response(m.ControllerExpandVolumeResponse).capacity_bytes
        expect(
            found_bytes == size_bytes,
            f"the volume was to have exactly {size_bytes} bytes, and has {found_bytes}",
            exchange,
        )


@rule(
    "expansion.impossible-range",
    section="ControllerExpandVolume",
    title="negative sizes and a limit below what is required are refused",
    sends="ControllerExpandVolume with required_bytes -1, with limit_bytes -1, and with limit_bytes below "
    "required_bytes",
    demands="INVALID_ARGUMENT or OUT_OF_RANGE",
    needs=(CREATE, EXPAND),
    danger=(Danger.CREATES,),
)
async def impossible_range(lab: Lab) -> None:
    volume = await lab.create()
    size_bytes = lab.settings.expanded_bytes
    for why, capacity_range in (
        ("required_bytes is negative", CapacityRange(required_bytes=-1)),
        ("limit_bytes is negative", CapacityRange(limit_bytes=-1)),
        ("no size is both", CapacityRange(size_bytes, size_bytes - 1)),
    ):
        exchange = await lab.settle(_request(lab, volume, capacity_range))
        exchange.refused(Code.INVALID_ARGUMENT, Code.OUT_OF_RANGE, why=why)


@rule(
    "expansion.enormous-size",
    section="ControllerExpandVolume",
    title="a size that no storage has is refused as such, and the volume stays",
    sends="ControllerExpandVolume with required_bytes of one exbibyte; then with the run's expanded size",
    demands="OUT_OF_RANGE or RESOURCE_EXHAUSTED (or OK from a driver that promises it), then OK",
    needs=(CREATE, EXPAND),
    danger=(Danger.CREATES,),
)
async def enormous_size(lab: Lab) -> None:
    volume = await lab.create()
    exchange = await lab.settle(_request(lab, volume, CapacityRange(required_bytes=_EXBIBYTE)))
    if exchange.ok:
        _expect_no_less(exchange, _EXBIBYTE)
        return
    exchange.refused(Code.OUT_OF_RANGE, Code.RESOURCE_EXHAUSTED, why="no volume of that size can be had")
    await _grown(lab, volume)


@rule(
    "expansion.never-shrinks",
    section="ControllerExpandVolume",
    title="nothing is cut off a volume",
    sends="write to the end of a block volume; ControllerExpandVolume with limit_bytes of half its size; read",
    demands="OUT_OF_RANGE, INVALID_ARGUMENT, or OK without effect; the bytes are those written",
    needs=(CREATE, EXPAND, "Node", Facility.BLOCK, Facility.LOCAL),
    danger=(Danger.CREATES,),
)
async def never_shrinks(lab: Lab) -> None:
    block = lab.capability(block=True)
    volume = await lab.create(volume_capabilities=(block,))
    size_bytes = volume.capacity_bytes or lab.settings.size_bytes
    pattern = Pattern(seed=lab.random.getrandbits(32), offset=size_bytes - (1 << 20))
    use = await lab.use(volume, block)
    await use.write(pattern)
    await use.end()
    half = CapacityRange(size_bytes // 2, size_bytes // 2)
    exchange = await lab.settle(m.ControllerExpandVolumeRequest(volume.volume_id, half, volume_capability=block))
    if exchange.ok:
        _expect_no_less(exchange, size_bytes)
    else:
        exchange.refused(Code.OUT_OF_RANGE, Code.INVALID_ARGUMENT, why="the volume is larger")
    use = await lab.use(volume, block)
    await use.expect_pattern(pattern, "at the volume's end, after a smaller size was asked for")
    await use.end()


@rule(
    "expansion.size-remembered",
    section="CreateVolume",
    title="a volume that has grown is told with its new size",
    sends="CreateVolume, ControllerExpandVolume; CreateVolume again, and ControllerGetVolume where it is offered",
    demands="the new capacity_bytes (0 for unknown)",
    severity=Severity.SHOULD,
    needs=(CREATE, EXPAND),
    danger=(Danger.CREATES,),
)
async def size_remembered(lab: Lab) -> None:
    request = lab.create_request()
    volume = (await lab.settle(request)).response(m.CreateVolumeResponse).volume
    size_bytes = (await _grown(lab, volume)).capacity_bytes
    told = [(await lab.settle(request)).response(m.CreateVolumeResponse).volume]
    if lab.has(ControllerCapability.GET_VOLUME):
        answer = await lab.settle(m.ControllerGetVolumeRequest(volume.volume_id))
        told.append(answer.response(m.ControllerGetVolumeResponse).volume)
    for found in told:
        expect(
            found.capacity_bytes in (0, size_bytes),
            f"the volume has grown to {size_bytes} bytes and is told with {found.capacity_bytes}",
            lab.last,
        )


# --- what the driver declares ---------------------------------------------------------------------------


@rule(
    "expansion.node-step-offered",
    section="ControllerExpandVolume",
    title="what the node must do, the node can do",
    sends="ControllerExpandVolume with the run's expanded size as required_bytes",
    demands="node_expansion_required only from a driver whose node declares EXPAND_VOLUME",
    needs=(CREATE, EXPAND, "Node"),
    danger=(Danger.CREATES,),
)
async def node_step_offered(lab: Lab) -> None:
    volume = await lab.create()
    answer = await _grown(lab, volume)
    expect(
        not answer.node_expansion_required or lab.has(NodeCapability.EXPAND_VOLUME),
        "node_expansion_required is true, and the node does not declare EXPAND_VOLUME: the growth never ends",
        lab.last,
    )


@rule(
    "expansion.online",
    section="ControllerExpandVolume",
    title="a driver that declares ONLINE grows volumes that are in use",
    sends="ControllerExpandVolume for a volume that is attached, staged and published",
    demands="OK",
    needs=(CREATE, EXPAND, VolumeExpansion.ONLINE, "Node", (Facility.MOUNT, Facility.BLOCK)),
    danger=(Danger.CREATES,),
)
async def online(lab: Lab) -> None:
    volume = await lab.create()
    use = await lab.use(volume)
    wanted = _growth(lab, volume)
    _expect_no_less(await lab.settle(_request(lab, volume, wanted)), wanted.required_bytes)
    await use.end()


@rule(
    "expansion.offline",
    section="ControllerExpandVolume",
    title="a driver that declares OFFLINE grows no volume that is attached",
    sends="ControllerPublishVolume, ControllerExpandVolume; ControllerUnpublishVolume, ControllerExpandVolume",
    demands="FAILED_PRECONDITION while it is attached, then OK",
    needs=(CREATE, EXPAND, VolumeExpansion.OFFLINE, ATTACH, "Node"),
    danger=(Danger.CREATES,),
)
async def offline(lab: Lab) -> None:
    if lab.has(VolumeExpansion.ONLINE):
        raise Skipped("the driver declares ONLINE as well")
    volume = await lab.create()
    use = await lab.ready(volume)
    request = _request(lab, volume, _growth(lab, volume))
    why = "the volume is attached and the driver declares OFFLINE expansion only"
    (await lab.settle(request)).refused(Code.FAILED_PRECONDITION, why=why)
    await use.detach()
    (await lab.settle(request)).response(m.ControllerExpandVolumeResponse)
