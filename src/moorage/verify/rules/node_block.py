"""Raw block volumes: the device at the target path, its size, its bytes, its neighbours."""

from __future__ import annotations

import os
import stat

from moorage.host.device import size_of
from moorage.verify.content import Pattern
from moorage.verify.lab import Lab
from moorage.verify.needs import BLOCK
from moorage.verify.rule import Danger, Severity, Skipped, expect, rule
from moorage.verify.targets import block_number
from moorage.verify.use import Use

_CHUNK = 1 << 20


async def _used(lab: Lab) -> Use:
    capability = lab.capability(block=True)
    return await lab.use(await lab.create(volume_capabilities=(capability,)), capability)


@rule(
    "node.block-device",
    section="NodePublishVolume",
    title="the target path of a block volume is a block device",
    sends="a block volume's way to a target path, repeated; then to another path",
    demands="a block device each time, the same after a repeated call, and nothing after NodeUnpublishVolume",
    needs=BLOCK,
    danger=(Danger.CREATES,),
)
async def block_device(lab: Lab) -> None:
    use = await _used(lab)
    number = await _number_of(use)
    await use.publish(target=use.target)
    again = await _number_of(use)
    expect(number == again, f"the device was {number} and is {again} after the call was repeated", lab.last)
    await use.unpublish()
    gone = not await lab.io(os.path.lexists, use.target)
    expect(gone, f"{use.target} is still there after NodeUnpublishVolume", lab.last)
    await use.publish()
    await _number_of(use)
    await use.end()


async def _number_of(use: Use) -> str:
    number = await use.lab.io(block_number, use.target)
    expect(number is not None, f"{use.target} is no block device", use.lab.last)
    return str(number)


@rule(
    "node.block-size",
    section="NodePublishVolume",
    title="the device of a block volume has the volume's size",
    sends="a block volume's way to a target path",
    demands="the device has exactly the capacity_bytes that CreateVolume told",
    needs=BLOCK,
    danger=(Danger.CREATES,),
)
async def block_size(lab: Lab) -> None:
    use = await _used(lab)
    told = use.volume.capacity_bytes
    if not told:
        raise Skipped("CreateVolume tells no capacity_bytes")
    size = await lab.io(size_of, use.target)
    expect(size == told, f"the device has {size} bytes, and CreateVolume told {told}", lab.last)
    await use.end()


@rule(
    "node.block-bytes",
    section="NodePublishVolume",
    title="bytes written to a block volume are read back after it came back to the node",
    sends="write at the start, in the middle and at the end of the device; take the volume away and bring it back",
    demands="the bytes are those written: nothing formats or labels a block volume",
    needs=BLOCK,
    danger=(Danger.CREATES,),
)
async def block_bytes(lab: Lab) -> None:
    use = await _used(lab)
    size = await lab.io(size_of, use.target)
    chunk = min(_CHUNK, size // 4)
    places = {"start": 0, "middle": size // 2, "end": size - chunk}
    seed = lab.random.getrandbits(32)
    written = {
        where: Pattern(seed=seed + number, size_bytes=chunk, offset=offset)
        for number, (where, offset) in enumerate(places.items())
    }
    for pattern in written.values():
        await use.write(pattern)
    await use.end()
    again = await lab.use(use.volume, use.capability)
    for where, pattern in written.items():
        await again.expect_pattern(pattern, f"at the {where} of the device when the volume came back")
    await again.end()


@rule(
    "node.block-volumes-are-separate",
    section="NodePublishVolume",
    title="two block volumes are two devices",
    sends="two block volumes in use at the same time, a write to each",
    demands="the devices have different numbers, and each holds what was written to it",
    needs=BLOCK,
    danger=(Danger.CREATES,),
)
async def block_volumes_are_separate(lab: Lab) -> None:
    uses = [await _used(lab) for _ in range(2)]
    first, second = [await _number_of(use) for use in uses]
    expect(first != second, f"both volumes are the device {first}", lab.last)
    patterns = [Pattern(seed=lab.random.getrandbits(32)) for _ in uses]
    for use, pattern in zip(uses, patterns, strict=True):
        await use.write(pattern)
    for use, pattern in zip(uses, patterns, strict=True):
        await use.expect_pattern(pattern, "after a write to the other volume")
        await use.end()


@rule(
    "node.block-device-is-private",
    section="NodePublishVolume",
    title="the device at the target path is not open to everybody",
    sends="a block volume's way to a target path",
    demands="others have no right to read or write it: the orchestrator gives it to the workload that may",
    severity=Severity.ADVICE,
    needs=BLOCK,
    danger=(Danger.CREATES,),
)
async def block_device_is_private(lab: Lab) -> None:
    use = await _used(lab)
    mode = stat.S_IMODE((await lab.io(os.stat, use.target)).st_mode)
    expect(not mode & stat.S_IRWXO, f"the mode of {use.target} is {mode:04o}", lab.last)
    await use.end()
