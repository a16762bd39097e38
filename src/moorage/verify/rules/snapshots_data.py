"""The bytes in snapshots: of one instant, complete, and independent of what happens around them."""

from __future__ import annotations

import dataclasses

from moorage.spec import messages as m
from moorage.spec.errors import Code
from moorage.spec.types import ControllerCapability, Snapshot, Volume
from moorage.verify.content import Pattern, read_pattern, write_pattern
from moorage.verify.copies import restore, restore_request, snapshot_in_use
from moorage.verify.exchange import Exchange
from moorage.verify.extent import has_own_file_system, published_bytes
from moorage.verify.lab import Lab
from moorage.verify.listings import snapshots_of, wait_listed
from moorage.verify.rule import Danger, Facility, Failed, Need, Skipped, expect, rule
from moorage.verify.use import Use

CREATE = ControllerCapability.CREATE_DELETE_VOLUME
SNAPSHOT = ControllerCapability.CREATE_DELETE_SNAPSHOT
NEEDS: tuple[Need | tuple[Need, ...], ...] = (
    CREATE,
    SNAPSHOT,
    "Node",
    (Facility.MOUNT, Facility.BLOCK),
    Facility.LOCAL,
)


def _patterns(lab: Lab, count: int) -> list[Pattern]:
    """Patterns that lie one behind the other where they are written to a device."""
    size_bytes = Pattern(0).size_bytes
    return [Pattern(lab.random.getrandbits(32), offset=index * size_bytes) for index in range(count)]


async def _in_use(lab: Lab) -> Use:
    return await lab.use(await lab.create())


async def _expect_content(lab: Lab, volume: Volume, there: list[Pattern], what: str, gone: list[Pattern]) -> None:
    """Publish a volume, demand that it holds these patterns and not those, and take it from the node again."""
    use = await lab.use(volume)
    for pattern in there:
        await use.expect_pattern(pattern, f"in {what}")
    for pattern in gone:
        expect(not await use.holds(pattern), f"data written after the snapshot was cut is in {what}", lab.last)
    await use.end()


@rule(
    "snapshots.restore-has-content",
    section="CreateSnapshot",
    title="a volume restored from a snapshot holds the data of the source",
    sends="write to a published volume and fsync; CreateSnapshot while it is published, or after NodeUnpublishVolume "
    "where the driver wants that; CreateVolume from it; read",
    demands="the bytes are those written",
    needs=NEEDS,
    danger=(Danger.CREATES,),
)
async def restore_has_content(lab: Lab) -> None:
    use = await _in_use(lab)
    patterns = _patterns(lab, 2)
    for pattern in patterns:
        await use.write(pattern)
    snapshot, use = await snapshot_in_use(lab, use)
    await use.end()
    await _expect_content(lab, await restore(lab, snapshot, use.volume), patterns, "the restored volume", [])


@rule(
    "snapshots.point-in-time",
    section="CreateSnapshot",
    title="what is written after a snapshot is not in it",
    sends="write A; CreateSnapshot until it is ready; write B over A, and C; CreateVolume from the snapshot; read",
    demands="A in the restored volume, and B and C in the source",
    needs=NEEDS,
    danger=(Danger.CREATES,),
)
async def point_in_time(lab: Lab) -> None:
    use = await _in_use(lab)
    old, later = _patterns(lab, 2)
    await use.write(old)
    snapshot, use = await snapshot_in_use(lab, use)
    place = use.place(old)
    new = dataclasses.replace(old, seed=old.seed + 1)
    await lab.io(write_pattern, place, new)
    await use.write(later)
    restored = await restore(lab, snapshot, use.volume)
    await _expect_content(lab, restored, [old], "the volume restored from the snapshot", [later])
    expect(await lab.io(read_pattern, place, new), "the source lost what was written after the snapshot", lab.last)
    await use.expect_pattern(later, "in the source, where it was written after the snapshot")
    await use.end()


@rule(
    "snapshots.restores-are-independent",
    section="CreateVolume",
    title="volumes from one snapshot and its source can be used side by side and share nothing",
    sends="write A, CreateSnapshot, CreateVolume from it twice; publish all three on one node; write to each",
    demands="three ids, A in each, and each write in its own volume only",
    needs=NEEDS,
    danger=(Danger.CREATES,),
)
async def restores_are_independent(lab: Lab) -> None:
    source = await _in_use(lab)
    old, *news = _patterns(lab, 4)
    await source.write(old)
    snapshot, source = await snapshot_in_use(lab, source)
    volumes = [source.volume, *[await restore(lab, snapshot, source.volume) for _ in range(2)]]
    ids = {volume.volume_id for volume in volumes}
    expect(len(ids) == 3, f"the source and two volumes restored from its snapshot have ids {sorted(ids)}", lab.last)
    uses = [source, *[await lab.use(volume) for volume in volumes[1:]]]
    for use, pattern in zip(uses, news, strict=True):
        await use.expect_pattern(old, "in a volume restored from the snapshot, or in its source")
        await use.write(pattern)
    for use in uses:
        await use.end()
    for volume, own in zip(volumes, news, strict=True):
        again = await lab.use(volume)
        for pattern in (old, own):
            await again.expect_pattern(pattern, "after others of the same origin were written to")
        for pattern in news:
            if pattern is not own:
                text = "a write to a volume of the same origin shows here: they share their data"
                expect(not await again.holds(pattern), text, lab.last)
        await again.end()


@rule(
    "snapshots.outlives-source",
    section="DeleteVolume",
    title="a volume with snapshots is deleted without them, or not at all",
    sends="write, CreateSnapshot, DeleteVolume of the source, CreateVolume from the snapshot, read",
    demands="OK with a snapshot that is still listed and restores, or FAILED_PRECONDITION and both untouched",
    needs=NEEDS,
    danger=(Danger.CREATES,),
)
async def outlives_source(lab: Lab) -> None:
    use = await _in_use(lab)
    (pattern,) = _patterns(lab, 1)
    await use.write(pattern)
    await use.end()
    source = use.volume
    snapshot = await lab.snapshot(source.volume_id)
    exchange = await lab.settle(m.DeleteVolumeRequest(volume_id=source.volume_id))
    exchange.refused(Code.OK, Code.FAILED_PRECONDITION, why="a volume with snapshots is deleted or told to be in use")
    if not exchange.ok:
        await _expect_content(lab, source, [pattern], "the volume that was not deleted", [])
    if lab.has(ControllerCapability.LIST_SNAPSHOTS):
        await wait_listed(lab, snapshots_of(source.volume_id), snapshot.snapshot_id)
    restored = await _restored_after(lab, snapshot, source, "its source volume was deleted")
    await _expect_content(lab, restored, [pattern], "a volume restored after its source was deleted", [])


async def _restored_after(lab: Lab, snapshot: Snapshot, source: Volume, event: str) -> Volume:
    exchange = await lab.settle(restore_request(lab, snapshot, source))
    if not exchange.ok:
        raise Failed(f"the snapshot cannot be restored after {event}: {exchange.described()}", exchange)
    return exchange.response(m.CreateVolumeResponse).volume


@rule(
    "snapshots.delete-keeps-others",
    section="DeleteSnapshot",
    title="deleting a snapshot leaves the others of its volume as they were",
    sends="write A, snapshot, write B, snapshot, write C, snapshot; DeleteSnapshot of the second, the first; restore",
    demands="OK or FAILED_PRECONDITION; A, B and C in the volume restored from the third snapshot",
    needs=NEEDS,
    danger=(Danger.CREATES,),
)
async def delete_keeps_others(lab: Lab) -> None:
    use = await _in_use(lab)
    patterns = _patterns(lab, 3)
    snapshots = []
    for pattern in patterns:
        await use.write(pattern)
        snapshot, use = await snapshot_in_use(lab, use)
        snapshots.append(snapshot)
    await use.end()
    for snapshot in (snapshots[1], snapshots[0]):
        exchange = await lab.settle(m.DeleteSnapshotRequest(snapshot_id=snapshot.snapshot_id))
        exchange.refused(Code.OK, Code.FAILED_PRECONDITION, why="newer snapshots may need this one")
    restored = await _restored_after(lab, snapshots[2], use.volume, "older snapshots of the volume were deleted")
    await _expect_content(lab, restored, patterns, "a volume whose snapshot outlived older ones", [])


@rule(
    "snapshots.delete-keeps-restored",
    section="DeleteSnapshot",
    title="a snapshot that volumes were made from is deleted without harm to them, or not at all",
    sends="write, CreateSnapshot, CreateVolume from it, DeleteSnapshot, read the restored volume",
    demands="OK or FAILED_PRECONDITION; the data is in the restored volume",
    needs=NEEDS,
    danger=(Danger.CREATES,),
)
async def delete_keeps_restored(lab: Lab) -> None:
    use = await _in_use(lab)
    (pattern,) = _patterns(lab, 1)
    await use.write(pattern)
    await use.end()
    snapshot = await lab.snapshot(use.volume.volume_id)
    restored = await restore(lab, snapshot, use.volume)
    exchange = await lab.settle(m.DeleteSnapshotRequest(snapshot_id=snapshot.snapshot_id))
    exchange.refused(Code.OK, Code.FAILED_PRECONDITION, why="a volume was made from the snapshot")
    await _expect_content(lab, restored, [pattern], "a volume after the snapshot it came from was deleted", [])


@rule(
    "snapshots.restore-larger-shows",
    section="CreateVolume",
    title="a volume restored larger than its snapshot shows all of its size where it is published",
    sends="write, CreateSnapshot, CreateVolume from it with the run's expanded size, publish",
    demands="the data is there, and the device or the file system has the new size; or OUT_OF_RANGE",
    needs=NEEDS,
    danger=(Danger.CREATES,),
)
async def restore_larger_shows(lab: Lab) -> None:
    use = await _in_use(lab)
    (pattern,) = _patterns(lab, 1)
    await use.write(pattern)
    before_bytes = await published_bytes(use)
    await use.end()
    snapshot = await lab.snapshot(use.volume.volume_id)
    larger = max(lab.settings.expanded_bytes, use.volume.capacity_bytes + 1)
    exchange = await lab.settle(restore_request(lab, snapshot, use.volume, size_bytes=larger))
    if exchange.code is Code.OUT_OF_RANGE:
        raise Skipped("the driver makes no volumes that are larger than their snapshot")
    restored = exchange.response(m.CreateVolumeResponse).volume
    copy = await lab.use(restored)
    await copy.expect_pattern(pattern, "in the larger restored volume")
    after_bytes = await published_bytes(copy)
    await copy.end()
    _expect_grown(use, restored, before_bytes=before_bytes, after_bytes=after_bytes, shown=exchange)


def _expect_grown(use: Use, restored: Volume, *, before_bytes: int, after_bytes: int, shown: Exchange) -> None:
    """Raises Failed when what is published is too small, Skipped when that cannot be told."""
    source = use.volume
    if use.capability.is_block:
        least_bytes = restored.capacity_bytes
    elif has_own_file_system(source, before_bytes):
        least_bytes = before_bytes + (restored.capacity_bytes - source.capacity_bytes) // 2
    else:
        raise Skipped("the file system at the target is not the volume's own, so its size tells nothing")
    text = f"the restored volume has {restored.capacity_bytes} bytes, and what is published shows {after_bytes}, "
    expect(after_bytes >= least_bytes, f"{text}not much more than the {before_bytes} of its source", shown)
