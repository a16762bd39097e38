"""NodeGetVolumeStats: figures of the volume and of nothing else, for as long as it is there."""

from __future__ import annotations

from moorage.host.device import size_of
from moorage.host.mount import ensure_unmounted
from moorage.host.mountinfo import find_mount
from moorage.host.stats import filesystem_stats
from moorage.spec import messages as m
from moorage.spec.errors import Code
from moorage.spec.types import NodeCapability, UsageUnit, VolumeUsage
from moorage.verify.content import Pattern
from moorage.verify.exchange import Exchange
from moorage.verify.lab import Lab
from moorage.verify.needs import BLOCK, MOUNT, STAGE, STATS
from moorage.verify.rule import Danger, Facility, Severity, Skipped, expect, rule
from moorage.verify.targets import DISK_FILE_SYSTEMS, is_whole_file_system, sync_file_system
from moorage.verify.use import Use

_NO_VOLUME = "moorage-verify-no-such-volume"
_GET = NodeCapability.GET_VOLUME_STATS
_MIB = 1 << 20


async def _mounted(lab: Lab) -> Use:
    capability = lab.capability(block=False)
    return await lab.use(await lab.create(volume_capabilities=(capability,)), capability)


async def _ask(use: Use, path: str, *, volume_id: str = "") -> Exchange:
    request = m.NodeGetVolumeStatsRequest(
        volume_id=volume_id or use.volume.volume_id, volume_path=path, staging_target_path=use.staging
    )
    return await use.lab.settle(request)


async def _bytes(use: Use) -> VolumeUsage:
    """The entry of unit BYTES. Raises Skipped when the driver has none: usage is optional."""
    usage = (await _ask(use, use.target)).response(m.NodeGetVolumeStatsResponse).usage
    for entry in usage:
        if entry.unit is UsageUnit.BYTES:
            return entry
    raise Skipped("NodeGetVolumeStats tells no bytes")


def _near(value: int, other: int, share: float) -> bool:
    return abs(value - other) <= share * max(value, other)


@rule(
    "node.stats-plausible",
    section="NodeGetVolumeStats",
    title="the figures of a volume make sense",
    sends="NodeGetVolumeStats of a published volume",
    demands="one entry for a unit at most, a known unit, nothing negative, not more used or available than there is",
    needs=STATS,
    danger=(Danger.CREATES,),
)
async def stats_plausible(lab: Lab) -> None:
    use = await lab.use(await lab.create())
    exchange = await _ask(use, use.target)
    usage = exchange.response(m.NodeGetVolumeStatsResponse).usage
    units = [entry.unit for entry in usage]
    expect(len(units) == len(set(units)), "a unit has two entries", exchange)
    for entry in usage:
        name = entry.unit.name
        expect(entry.unit in (UsageUnit.BYTES, UsageUnit.INODES), f"the unit is {name}", exchange)
        figures = (entry.total, entry.used, entry.available)
        expect(min(figures) >= 0, f"a figure of {name} is negative: {figures}", exchange)
        if entry.total:
            expect(entry.used <= entry.total, f"{entry.used} of {entry.total} {name} are used", exchange)
            expect(entry.available <= entry.total, f"{entry.available} of {entry.total} {name} are left", exchange)
    await use.end()


@rule(
    "node.stats-told",
    section="NodeGetVolumeStats",
    title="a driver with statistics tells how many bytes a volume has",
    sends="NodeGetVolumeStats of a published volume",
    demands="an entry of unit BYTES with a total: usage is optional, and without it the capability is of no use",
    severity=Severity.SHOULD,
    needs=STATS,
    danger=(Danger.CREATES,),
)
async def stats_told(lab: Lab) -> None:
    use = await lab.use(await lab.create())
    exchange = await _ask(use, use.target)
    usage = exchange.response(m.NodeGetVolumeStatsResponse).usage
    told = any(entry.unit is UsageUnit.BYTES and entry.total for entry in usage)
    expect(told, "the answer holds no total of bytes", exchange)
    await use.end()


@rule(
    "node.stats-total",
    section="NodeGetVolumeStats",
    title="the total is the size of the mounted file system, or of the volume",
    sends="NodeGetVolumeStats of a mounted volume, and statvfs of its target path",
    demands="the total of bytes is that of statvfs within 1 %, or capacity_bytes within 10 %",
    needs=(*MOUNT, _GET),
    danger=(Danger.CREATES,),
)
async def stats_total(lab: Lab) -> None:
    use = await _mounted(lab)
    told = await _bytes(use)
    exchange = lab.last
    seen = await lab.io(filesystem_stats, use.target)
    right = _near(told.total, seen.total_bytes, 0.01) or _near(told.total, use.volume.capacity_bytes, 0.1)
    expect(
        right,
        f"{told.total} bytes are told; statvfs has {seen.total_bytes}, the volume {use.volume.capacity_bytes}",
        exchange,
    )
    await use.end()


@rule(
    "node.stats-not-the-hosts",
    section="NodeGetVolumeStats",
    title="a volume that is a directory of a larger file system has its own total",
    sends="NodeGetVolumeStats of a mounted volume that is part of a file system on this node",
    demands="the total of bytes is capacity_bytes within 10 %, and not what the whole file system has",
    severity=Severity.SHOULD,
    needs=(*MOUNT, _GET),
    danger=(Danger.CREATES,),
)
async def stats_not_the_hosts(lab: Lab) -> None:
    use = await _mounted(lab)
    entry = await lab.io(find_mount, use.target)
    if entry is None or entry.fs_type not in DISK_FILE_SYSTEMS or is_whole_file_system(entry):
        raise Skipped("volumes are not directories of a larger file system on this node")
    if not use.volume.capacity_bytes:
        raise Skipped("CreateVolume tells no capacity_bytes")
    told = await _bytes(use)
    right = _near(told.total, use.volume.capacity_bytes, 0.1)
    expect(right, f"{told.total} bytes are told, and the volume has {use.volume.capacity_bytes}", lab.last)
    await use.end()


@rule(
    "node.stats-follow-writes",
    section="NodeGetVolumeStats",
    title="what is written is seen to be used",
    sends="NodeGetVolumeStats of two equal volumes, after a file was written and synced to one of them",
    demands="used bytes differ by what was written, within 10 %; asked only once each, as a driver may keep figures",
    severity=Severity.SHOULD,
    needs=(*MOUNT, _GET),
    danger=(Danger.CREATES,),
)
async def stats_follow_writes(lab: Lab) -> None:
    empty, written = await _mounted(lab), await _mounted(lab)
    entry = await lab.io(find_mount, written.target)
    if entry is None or entry.fs_type not in DISK_FILE_SYSTEMS:
        raise Skipped("others may write to the file system that holds the volumes")
    before = await _bytes(empty)
    size = min(32 * _MIB, max(_MIB, before.available // 4))
    await written.write(Pattern(seed=lab.random.getrandbits(32), size_bytes=size))
    await lab.io(sync_file_system, written.target)
    after = await _bytes(written)
    if not before.used and not after.used:
        raise Skipped("NodeGetVolumeStats does not tell what is used")
    more = after.used - before.used
    right = 0.9 * size <= more <= 1.1 * size + _MIB
    expect(right, f"{size} bytes were written, and {more} more are told to be used than of an empty volume", lab.last)
    for use in (empty, written):
        await use.end()


@rule(
    "node.stats-block",
    section="NodeGetVolumeStats",
    title="the total of a block volume is the size of its device",
    sends="NodeGetVolumeStats of a published block volume",
    demands="the total of bytes is what the device at the target path has",
    needs=(*BLOCK, _GET),
    danger=(Danger.CREATES,),
)
async def stats_block(lab: Lab) -> None:
    capability = lab.capability(block=True)
    use = await lab.use(await lab.create(volume_capabilities=(capability,)), capability)
    told, size = await _bytes(use), await lab.io(size_of, use.target)
    expect(told.total == size, f"{told.total} bytes are told, and the device has {size}", lab.last)
    await use.end()


@rule(
    "node.stats-staging-path",
    section="NodeGetVolumeStats",
    title="the staging path is a path of the volume, too",
    sends="NodeGetVolumeStats with the staging path as volume_path",
    demands="OK, with the same total as at the target path",
    needs=(*MOUNT, _GET, STAGE),
    danger=(Danger.CREATES,),
)
async def stats_staging_path(lab: Lab) -> None:
    use = await _mounted(lab)
    there = await _bytes(use)
    usage = (await _ask(use, use.staging)).response(m.NodeGetVolumeStatsResponse).usage
    totals = [entry.total for entry in usage if entry.unit is UsageUnit.BYTES]
    expect(totals == [there.total], f"the totals are {there.total} at the target and {totals} at staging", lab.last)
    await use.end()


@rule(
    "node.stats-after-unpublish",
    section="NodeGetVolumeStats",
    title="there are no figures for a target that was unpublished",
    sends="NodeGetVolumeStats before and after NodeUnpublishVolume",
    demands="NOT_FOUND afterwards",
    needs=STATS,
    danger=(Danger.CREATES,),
)
async def stats_after_unpublish(lab: Lab) -> None:
    use = await lab.use(await lab.create())
    (await _ask(use, use.target)).response(m.NodeGetVolumeStatsResponse)
    await use.unpublish()
    (await _ask(use, use.target)).refused(Code.NOT_FOUND, why="the volume is not published there any more")


@rule(
    "node.stats-unknown-volume",
    section="NodeGetVolumeStats",
    title="there are no figures for a volume that does not exist",
    sends="NodeGetVolumeStats with a volume_id and a path that nothing has",
    demands="NOT_FOUND",
    needs=("Node", _GET),
)
async def stats_unknown_volume(lab: Lab) -> None:
    request = m.NodeGetVolumeStatsRequest(volume_id=_NO_VOLUME, volume_path=lab.path())
    (await lab.settle(request)).refused(Code.NOT_FOUND, why="no volume has this id")


@rule(
    "node.stats-wrong-path",
    section="NodeGetVolumeStats",
    title="there are no figures for a path where the volume never was",
    sends="NodeGetVolumeStats of a published volume, with a path that does not exist and with one that is a directory",
    demands="NOT_FOUND",
    needs=STATS,
    danger=(Danger.CREATES,),
)
async def stats_wrong_path(lab: Lab) -> None:
    use = await lab.use(await lab.create())
    for path in (lab.path(), str(lab.directory)):
        (await _ask(use, path)).refused(Code.NOT_FOUND, why=f"the volume is not at {path}")


@rule(
    "node.stats-other-volume",
    section="NodeGetVolumeStats",
    title="there are no figures for a path where another volume is",
    sends="two published volumes; NodeGetVolumeStats with the id of the one and the path of the other",
    demands="NOT_FOUND, as far as the node can know",
    severity=Severity.SHOULD,
    needs=STATS,
    danger=(Danger.CREATES,),
)
async def stats_other_volume(lab: Lab) -> None:
    first, second = [await lab.use(await lab.create()) for _ in range(2)]
    exchange = await _ask(first, second.target)
    exchange.refused(Code.NOT_FOUND, why="another volume is published at this path")


@rule(
    "node.stats-after-umount",
    section="NodeGetVolumeStats",
    title="the host's file system is not taken for the volume's",
    sends="a mounted volume, unmounted by hand; NodeGetVolumeStats of the directory that is left",
    demands="NOT_FOUND, as the volume is not at this path",
    needs=(*MOUNT, _GET, Facility.ROOT),
    danger=(Danger.CREATES, Danger.ROOT),
)
async def stats_after_umount(lab: Lab) -> None:
    use = await _mounted(lab)
    if not await lab.io(ensure_unmounted, use.target):
        raise Skipped("the driver mounts nothing at the target path")
    (await _ask(use, use.target)).refused(Code.NOT_FOUND, why="nothing is mounted at this path any more")
    await use.end()
