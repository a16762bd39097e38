"""DeleteVolume: what is gone is gone, what is refused is untouched."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Final

from msgspec import Struct

from moorage.spec import messages as m
from moorage.spec.capabilities import gate_open
from moorage.spec.errors import Code
from moorage.spec.rules import BY_REQUEST
from moorage.spec.types import CapacityRange, ControllerCapability, SnapshotSource
from moorage.verify.content import Pattern
from moorage.verify.exchange import Exchange
from moorage.verify.lab import Lab
from moorage.verify.listings import eventually
from moorage.verify.rule import Danger, Facility, Need, Severity, Skipped, expect, rule
from moorage.verify.use import Use

CREATE = ControllerCapability.CREATE_DELETE_VOLUME
ATTACH = ControllerCapability.PUBLISH_UNPUBLISH_VOLUME
SNAPSHOT = ControllerCapability.CREATE_DELETE_SNAPSHOT

_DATA: Final[tuple[Need | tuple[Need, ...], ...]] = ("Node", (Facility.MOUNT, Facility.BLOCK), Facility.LOCAL)
_GOING_S: Final = 10.0


@rule(
    "delete.unknown-volume",
    section="DeleteVolume",
    title="deleting a volume that does not exist succeeds",
    sends="DeleteVolume with an id that nothing has",
    demands="OK",
    needs=(CREATE,),
    danger=(Danger.CREATES,),
)
async def unknown_volume(lab: Lab) -> None:
    (await lab.settle(m.DeleteVolumeRequest(lab.name("unknown")))).response(m.DeleteVolumeResponse)


@rule(
    "delete.twice",
    section="DeleteVolume",
    title="deleting a volume twice succeeds",
    sends="CreateVolume, DeleteVolume, DeleteVolume; and two DeleteVolume at once for another volume",
    demands="OK each time; one of those at once may be ABORTED, and is OK when repeated",
    needs=(CREATE,),
    danger=(Danger.CREATES,),
)
async def twice(lab: Lab) -> None:
    volume = await lab.create()
    await lab.delete(volume.volume_id)
    await lab.delete(volume.volume_id)
    request = m.DeleteVolumeRequest((await lab.create()).volume_id)
    for exchange in await asyncio.gather(lab.settle(request), lab.settle(request)):
        exchange.response(m.DeleteVolumeResponse)


@rule(
    "delete.gone",
    section="DeleteVolume",
    title="a volume that was deleted is not there any more",
    sends="CreateVolume, DeleteVolume; then ValidateVolumeCapabilities, and ControllerGetVolume and "
    "ControllerExpandVolume as far as offered",
    demands="NOT_FOUND, within 10 s of the OK for DeleteVolume",
    needs=(CREATE,),
    danger=(Danger.CREATES,),
)
async def gone(lab: Lab) -> None:
    volume_id = (await lab.create()).volume_id
    await lab.delete(volume_id)
    growth = CapacityRange(required_bytes=lab.settings.expanded_bytes)
    questions: Sequence[Struct] = (
        m.ValidateVolumeCapabilitiesRequest(volume_id, (lab.capability(),)),
        m.ControllerGetVolumeRequest(volume_id),
        m.ControllerExpandVolumeRequest(volume_id, growth),
    )
    for request in questions:
        if gate_open(BY_REQUEST[type(request)], lab.declared):
            exchange = await _answer_of(lab, request, Code.NOT_FOUND)
            exchange.refused(Code.NOT_FOUND, why="the volume was deleted")


async def _answer_of(lab: Lab, request: Struct, code: Code) -> Exchange:
    """The answer, asked for until it has this code; a storage system may delete behind its own back."""
    answers: list[Exchange] = []

    async def is_there() -> bool:
        answers.append(await lab.settle(request))
        return answers[-1].code is code

    await eventually(is_there, patience_s=_GOING_S)
    return answers[-1]


@rule(
    "delete.name-free-again",
    section="DeleteVolume",
    title="the name of a deleted volume makes a new volume",
    sends="CreateVolume, DeleteVolume, CreateVolume with the same name and another size",
    demands="OK with a volume of the new size",
    needs=(CREATE,),
    danger=(Danger.CREATES,),
)
async def name_free_again(lab: Lab) -> None:
    request = lab.create_request()
    volume = (await lab.settle(request)).response(m.CreateVolumeResponse).volume
    await lab.delete(volume.volume_id)
    wanted_bytes = lab.settings.expanded_bytes
    fresh = await lab.create(name=request.name, capacity_range=CapacityRange(required_bytes=wanted_bytes))
    expect(
        not fresh.capacity_bytes or fresh.capacity_bytes >= wanted_bytes,
        f"the new volume has {fresh.capacity_bytes} bytes, and at least {wanted_bytes} were asked for",
        lab.last,
    )


@rule(
    "delete.no-old-files",
    section="CreateVolume",
    title="a new volume is empty, whatever had its name before",
    sends="CreateVolume, write a file, DeleteVolume; CreateVolume with the same name, look for the file",
    demands="it is not there",
    needs=(CREATE, "Node", Facility.MOUNT, Facility.LOCAL),
    danger=(Danger.CREATES,),
)
async def no_old_files(lab: Lab) -> None:
    capability = lab.capability(block=False)
    request = lab.create_request(volume_capabilities=(capability,))
    pattern = Pattern(seed=lab.random.getrandbits(32))
    volume = (await lab.settle(request)).response(m.CreateVolumeResponse).volume
    use = await lab.use(volume, capability)
    await use.write(pattern)
    await use.end()
    await lab.delete(volume.volume_id)
    fresh = (await lab.settle(request)).response(m.CreateVolumeResponse).volume
    use = await lab.use(fresh, capability)
    expect(not await use.holds(pattern), "the new volume holds a file of the one that was deleted", lab.last)
    await use.end()


# --- volumes that somebody needs -----------------------------------------------------------------------


@rule(
    "delete.attached-volume",
    section="DeleteVolume",
    title="a volume that is attached to a node is not deleted",
    sends="CreateVolume, ControllerPublishVolume, DeleteVolume; ControllerUnpublishVolume, DeleteVolume",
    demands="FAILED_PRECONDITION while it is attached, then OK",
    severity=Severity.SHOULD,
    needs=(CREATE, ATTACH, "Node"),
    danger=(Danger.CREATES,),
)
async def attached_volume(lab: Lab) -> None:
    volume = await lab.create()
    await lab.attach(volume, lab.capability())
    request = m.DeleteVolumeRequest(volume.volume_id)
    (await lab.settle(request)).refused(Code.FAILED_PRECONDITION, why="the volume is attached to a node")
    await Use(lab, volume=volume, capability=lab.capability()).detach()
    (await lab.settle(request)).response(m.DeleteVolumeResponse)


@rule(
    "delete.refused-leaves-all",
    section="DeleteVolume",
    title="a deletion that is refused changes nothing",
    sends="write to a volume; DeleteVolume while it is published; read; write more; publish elsewhere, read",
    demands="if DeleteVolume is refused, the data stays and the volume works as before",
    needs=(CREATE, *_DATA),
    danger=(Danger.CREATES,),
)
async def refused_leaves_all(lab: Lab) -> None:
    volume = await lab.create()
    use = await lab.use(volume)
    first = Pattern(seed=lab.random.getrandbits(32))
    await use.write(first)
    exchange = await lab.settle(m.DeleteVolumeRequest(volume.volume_id))
    if exchange.ok:
        await use.end()
        raise Skipped("the driver deletes volumes that are in use")
    await use.expect_pattern(first, "after DeleteVolume was refused")
    second = Pattern(seed=first.seed + 1, offset=first.size_bytes if use.capability.is_block else 0)
    await use.write(second)
    await use.end()
    again = await lab.use(volume)
    await again.expect_pattern(first, "when the volume was published again after DeleteVolume was refused")
    await again.expect_pattern(second, "when the volume was published again after DeleteVolume was refused")
    await again.end()


@rule(
    "delete.with-snapshots",
    section="DeleteVolume",
    title="a volume with snapshots is deleted without them, or not at all",
    sends="CreateVolume, CreateSnapshot, DeleteVolume of the source; then CreateVolume from the snapshot",
    demands="DeleteVolume is OK and the snapshot can still be restored; or it is FAILED_PRECONDITION and the volume "
    "is still there, until the snapshot is deleted",
    needs=(CREATE, SNAPSHOT),
    danger=(Danger.CREATES,),
)
async def with_snapshots(lab: Lab) -> None:
    volume = await lab.create()
    snapshot = await lab.snapshot(volume.volume_id)
    request = m.DeleteVolumeRequest(volume.volume_id)
    exchange = await lab.settle(request)
    if not exchange.ok:
        exchange.refused(Code.FAILED_PRECONDITION, why="the volume has a snapshot")
        asked = await lab.settle(m.ValidateVolumeCapabilitiesRequest(volume.volume_id, (lab.capability(),)))
        asked.response(m.ValidateVolumeCapabilitiesResponse)
    size = CapacityRange(required_bytes=max(volume.capacity_bytes, snapshot.size_bytes, lab.settings.size_bytes))
    await lab.create(capacity_range=size, volume_content_source=SnapshotSource(snapshot.snapshot_id))
    if not exchange.ok:
        await lab.delete_snapshot(snapshot.snapshot_id)
        (await lab.settle(request)).response(m.DeleteVolumeResponse)
