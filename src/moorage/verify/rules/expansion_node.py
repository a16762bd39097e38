"""Growth as the node sees it: file systems and devices, with their data."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from moorage.spec import messages as m
from moorage.spec.errors import Code
from moorage.spec.types import CapacityRange, ControllerCapability, NodeCapability, VolumeExpansion
from moorage.verify.content import Pattern
from moorage.verify.exchange import Exchange
from moorage.verify.extent import has_own_file_system, published_bytes
from moorage.verify.lab import Lab
from moorage.verify.rule import Danger, Facility, Need, Severity, Skipped, expect, rule
from moorage.verify.use import Use

CREATE = ControllerCapability.CREATE_DELETE_VOLUME
EXPAND = ControllerCapability.EXPAND_VOLUME
NODE_EXPAND = NodeCapability.EXPAND_VOLUME

_GROWING: Final[tuple[Need | tuple[Need, ...], ...]] = (CREATE, EXPAND, "Node", Facility.LOCAL)
_AT_REST: Final[tuple[Need | tuple[Need, ...], ...]] = (CREATE, "Node", NODE_EXPAND)


def _node_request(
    use: Use, capacity_range: CapacityRange | None = None, *, path: str = ""
) -> m.NodeExpandVolumeRequest:
    return m.NodeExpandVolumeRequest(
        use.volume.volume_id,
        path or use.target,
        capacity_range,
        staging_target_path=use.staging,
        volume_capability=use.capability,
    )


async def _expanded(lab: Lab, use: Use) -> tuple[Use, m.ControllerExpandVolumeResponse, Exchange]:
    """Grow a published volume as the driver wants it: in use, or away from the node.

    The volume in use again, the controller's answer, and the call that ended the growth.
    """
    wanted = CapacityRange(required_bytes=max(lab.settings.expanded_bytes, use.volume.capacity_bytes + 1))
    request = m.ControllerExpandVolumeRequest(use.volume.volume_id, wanted, volume_capability=use.capability)
    at_rest = not lab.has(VolumeExpansion.ONLINE)
    if at_rest:
        await use.end()
    exchange = await lab.settle(request)
    answer = exchange.response(m.ControllerExpandVolumeResponse)
    if at_rest:
        use = await lab.use(use.volume, use.capability)
    if not answer.node_expansion_required:
        return use, answer, exchange
    if not lab.has(NODE_EXPAND):
        raise Skipped("the node step is required, and the node does not declare EXPAND_VOLUME")
    size = CapacityRange(required_bytes=answer.capacity_bytes)
    exchange = await lab.settle(_node_request(use, size))
    if exchange.code is Code.FAILED_PRECONDITION:  # this file system does not grow while it is in use
        await use.end()
        use = await lab.use(use.volume, use.capability)
        exchange = await lab.settle(_node_request(use, size))
        if exchange.code is Code.FAILED_PRECONDITION:
            raise Skipped(f"the file system does not grow here: {exchange.message}")
    exchange.response(m.NodeExpandVolumeResponse)
    return use, answer, exchange


@rule(
    "expansion.mount-grows",
    section="NodeExpandVolume",
    title="the file system of a volume that has grown is larger, and its data is there",
    sends="write to a mounted volume; ControllerExpandVolume (in use with ONLINE, else away from the node); "
    "NodeExpandVolume if node_expansion_required; publish anew if that is FAILED_PRECONDITION",
    demands="statfs at the target shows the growth, without NodeExpandVolume if that was said not to be required; the "
    "bytes are those written",
    needs=(*_GROWING, Facility.MOUNT),
    danger=(Danger.CREATES,),
)
async def mount_grows(lab: Lab) -> None:
    mount = lab.capability(block=False)
    volume = await lab.create(volume_capabilities=(mount,))
    use = await lab.use(volume, mount)
    pattern = Pattern(seed=lab.random.getrandbits(32))
    await use.write(pattern)
    before_bytes = await published_bytes(use)
    use, answer, grown = await _expanded(lab, use)
    await use.expect_pattern(pattern, "after the volume has grown")
    after_bytes = await published_bytes(use)
    await use.end()
    if not has_own_file_system(volume, before_bytes):
        raise Skipped("the file system at the target is not the volume's own, so its size tells nothing")
    least_bytes = before_bytes + (answer.capacity_bytes - volume.capacity_bytes) // 2
    step = "after NodeExpandVolume" if answer.node_expansion_required else "and node_expansion_required is false"
    expect(
        after_bytes >= least_bytes,
        f"the volume has grown from {volume.capacity_bytes} to {answer.capacity_bytes} bytes, {step}; its file system "
        f"had {before_bytes} and has {after_bytes}",
        grown,
    )


@rule(
    "expansion.block-grows",
    section="NodeExpandVolume",
    title="the device of a volume that has grown is larger, and its data is there",
    sends="write to the start and the end of a block volume; grow it as above",
    demands="the device at the target has the new size, without NodeExpandVolume if that was said not to be required; "
    "the bytes are those written",
    needs=(*_GROWING, Facility.BLOCK),
    danger=(Danger.CREATES,),
)
async def block_grows(lab: Lab) -> None:
    block = lab.capability(block=True)
    volume = await lab.create(volume_capabilities=(block,))
    size_bytes = volume.capacity_bytes or lab.settings.size_bytes
    seed = lab.random.getrandbits(32)
    patterns = (Pattern(seed), Pattern(seed + 1, offset=size_bytes - (1 << 20)))
    use = await lab.use(volume, block)
    for pattern in patterns:
        await use.write(pattern)
    use, answer, grown = await _expanded(lab, use)
    for pattern in patterns:
        await use.expect_pattern(pattern, "after the volume has grown")
    found_bytes = await published_bytes(use)
    await use.end()
    expect(
        found_bytes >= answer.capacity_bytes,
        f"the volume has grown to {answer.capacity_bytes} bytes, and its device has {found_bytes}",
        grown,
    )


@rule(
    "expansion.node-without-growth",
    section="NodeExpandVolume",
    title="the node's step succeeds when there is nothing to grow",
    sends="NodeExpandVolume for a published volume of unchanged size: with that size, and without a range",
    demands="OK",
    severity=Severity.SHOULD,
    needs=(*_AT_REST, (Facility.MOUNT, Facility.BLOCK)),
    danger=(Danger.CREATES,),
)
async def node_without_growth(lab: Lab) -> None:
    volume = await lab.create()
    use = await lab.use(volume)
    size = CapacityRange(required_bytes=volume.capacity_bytes or lab.settings.size_bytes)
    ranges: Sequence[CapacityRange | None] = (size, None)
    for capacity_range in ranges:
        (await lab.settle(_node_request(use, capacity_range))).response(m.NodeExpandVolumeResponse)
    await use.end()


@rule(
    "expansion.node-at-staging-path",
    section="NodeExpandVolume",
    title="the node's step can be called between staging and publishing",
    sends="NodeStageVolume; NodeExpandVolume with the staging path as volume_path",
    demands="OK: orchestrators grow file systems before a workload starts",
    severity=Severity.SHOULD,
    needs=(*_AT_REST, NodeCapability.STAGE_UNSTAGE_VOLUME, (Facility.MOUNT, Facility.BLOCK)),
    danger=(Danger.CREATES,),
)
async def node_at_staging_path(lab: Lab) -> None:
    use = await lab.ready(await lab.create())
    await use.stage()
    (await lab.settle(_node_request(use, path=use.staging))).response(m.NodeExpandVolumeResponse)
    await use.unstage()
    await use.detach()


@rule(
    "expansion.node-unknown-volume",
    section="NodeExpandVolume",
    title="a volume that is not on this node cannot grow there",
    sends="NodeExpandVolume with an id that nothing has and with a path where nothing is",
    demands="NOT_FOUND",
    needs=("Node", NODE_EXPAND),
    danger=(Danger.CREATES,),
)
async def node_unknown_volume(lab: Lab) -> None:
    exchange = await lab.settle(m.NodeExpandVolumeRequest(lab.name("unknown"), lab.path()))
    exchange.refused(Code.NOT_FOUND, why="there is no such volume")
