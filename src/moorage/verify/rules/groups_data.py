"""The bytes in the members of a group snapshot: each of its own volume, all of one instant."""

from __future__ import annotations

import asyncio
from typing import Final

from moorage.spec.types import ControllerCapability, VolumeGroupSnapshot
from moorage.verify.content import Pattern
from moorage.verify.copies import restore
from moorage.verify.group_snapshots import GROUP_NEEDS, group_request, made_group, ready_group
from moorage.verify.lab import Lab
from moorage.verify.listings import eventually
from moorage.verify.rule import Danger, Facility, Failed, Need, expect, rule
from moorage.verify.use import Use
from moorage.verify.write_order import Recorder, order_problem, read_records

DATA: Final[tuple[Need | tuple[Need, ...], ...]] = (
    ControllerCapability.CREATE_DELETE_SNAPSHOT,
    "Node",
    Facility.MOUNT,
    Facility.LOCAL,
)
_RECORDS_BEFORE: Final = 20
_RECORDS_AFTER: Final = 20


async def _in_use(lab: Lab, count: int) -> list[Use]:
    """Volumes with a file system, published."""
    capability = lab.capability(block=False)
    volumes = [await lab.create(volume_capabilities=(capability,)) for _ in range(count)]
    return [await lab.use(volume, capability) for volume in volumes]


async def _restored_use(lab: Lab, group: VolumeGroupSnapshot, source: Use) -> Use:
    """A volume restored from the member that is the snapshot of this one, published."""
    volume_id = source.volume.volume_id
    member = next((each for each in group.snapshots if each.source_volume_id == volume_id), None)
    if member is None:
        raise Failed(f"the group has no snapshot of volume {volume_id!r}", lab.last)
    volume = await restore(lab, member, source.volume, capability=source.capability)
    return await lab.use(volume, source.capability)


@rule(
    "groups.members-have-their-content",
    section="CreateVolumeGroupSnapshot",
    title="each member restores to the content of its own volume",
    sends="a different pattern on each of two volumes; CreateVolumeGroupSnapshot; CreateVolume from each member; read",
    demands="each restored volume holds the pattern of its source and not the other",
    needs=(*GROUP_NEEDS, *DATA),
    danger=(Danger.CREATES,),
)
async def members_have_their_content(lab: Lab) -> None:
    uses = await _in_use(lab, 2)
    patterns = [Pattern(lab.random.getrandbits(32)) for _ in uses]
    for use, pattern in zip(uses, patterns, strict=True):
        await use.write(pattern)
    group = await ready_group(lab, group_request(lab, [use.volume for use in uses]))
    for use, own, other in zip(uses, patterns, reversed(patterns), strict=True):
        await use.end()
        restored = await _restored_use(lab, group, use)
        await restored.expect_pattern(own, "in the volume restored from its member of the group")
        expect(not await restored.holds(other), "a member of the group holds the data of another volume", lab.last)
        await restored.end()


@rule(
    "groups.write-order",
    section="CreateVolumeGroupSnapshot",
    title="the members of a group are cut at one instant",
    sends="numbered records to three volumes in turn, each forced to storage before the next; meanwhile "
    "CreateVolumeGroupSnapshot; CreateVolume from each member; read",
    demands="the restored volumes together hold every record up to one number, and none without its predecessors",
    needs=(*GROUP_NEEDS, *DATA),
    danger=(Danger.CREATES,),
)
async def write_order(lab: Lab) -> None:
    uses = await _in_use(lab, 3)
    recorder = Recorder([f"{use.target}/records" for use in uses])
    writing = asyncio.create_task(lab.io(recorder.run), name="group-records")
    try:
        await _written(recorder, _RECORDS_BEFORE, writing)
        before = recorder.written
        request = group_request(lab, [use.volume for use in uses])
        exchange = await lab.settle(request)
        await _written(recorder, recorder.written + _RECORDS_AFTER, writing)
    finally:
        recorder.stop.set()
        await asyncio.wait([writing])
    writing.result()
    made_group(exchange)
    group = await ready_group(lab, request)
    found = []
    for use in uses:
        await use.end()
        restored = await _restored_use(lab, group, use)
        found.append(await lab.io(read_records, f"{restored.target}/records"))
        await restored.end()
    problem = order_problem(found, at_least=before)
    expect(problem is None, problem or "", exchange)


async def _written(recorder: Recorder, count: int, writing: asyncio.Task[None]) -> None:
    """Wait until so many records are on storage, or the writer has ended. Raises Failed when it hangs."""

    async def enough() -> bool:
        return recorder.written >= count or writing.done()

    if not await eventually(enough, patience_s=20.0):
        raise Failed("writing to the volumes does not go on while a group snapshot is made")
