"""SnapshotMetadata: which blocks of a snapshot hold data, and which changed between two."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Final

import msgspec

from moorage.spec import messages as m
from moorage.spec.errors import Code
from moorage.spec.types import ControllerCapability, Snapshot, Volume
from moorage.verify.block_ranges import MetadataMessage, Range, blocks_of, first_gap, merged, stream_problem
from moorage.verify.content import Pattern, write_pattern
from moorage.verify.exchange import Exchange
from moorage.verify.lab import Lab
from moorage.verify.rule import Danger, Facility, Failed, Need, Severity, Skipped, expect, rule

NEEDS: Final[tuple[Need | tuple[Need, ...], ...]] = (
    ControllerCapability.CREATE_DELETE_VOLUME,
    ControllerCapability.CREATE_DELETE_SNAPSHOT,
    "SnapshotMetadata",
    Facility.BLOCK,
)
DATA: Final[tuple[Need | tuple[Need, ...], ...]] = ("Node", Facility.LOCAL)

Request = m.GetMetadataAllocatedRequest | m.GetMetadataDeltaRequest

_KIB: Final = 1 << 10
_MIB: Final = 1 << 20
BASE: Final = tuple(Range(start, start + 64 * _KIB) for start in range(0, 16 * _MIB, 2 * _MIB))
"""Written before the base snapshot: eight pieces of 64 KiB, 2 MiB apart."""
CHANGES: Final = (
    Range(2 * _MIB, 2 * _MIB + 64 * _KIB),
    Range(5 * _MIB, 5 * _MIB + 128 * _KIB),
    Range(11 * _MIB + 4 * _KIB, 11 * _MIB + 8 * _KIB),
)
"""Written after the base snapshot: over a piece, between pieces, and one block of 4 KiB."""
MORE_CHANGES: Final = (Range(7 * _MIB, 7 * _MIB + 64 * _KIB), Range(14 * _MIB, 14 * _MIB + 64 * _KIB))
"""Written after the second snapshot."""
_NEEDED_BYTES: Final = 16 * _MIB


async def _written(lab: Lab, volume: Volume, ranges: Sequence[Range]) -> Snapshot:
    """A snapshot cut after these ranges of the raw volume were written and it was taken from the node again."""
    use = await lab.use(volume, lab.capability(block=True))
    for each in ranges:
        pattern = Pattern(lab.random.getrandbits(32), each.end - each.start, each.start)
        await lab.io(write_pattern, use.target, pattern)
    await use.end()
    return await lab.snapshot(volume.volume_id)


async def _volume(lab: Lab) -> Volume:
    if lab.settings.size_bytes < _NEEDED_BYTES:
        raise Skipped("the volumes of this run are smaller than 16 MiB")
    return await lab.create(volume_capabilities=(lab.capability(block=True),))


async def _told(lab: Lab, request: Request) -> tuple[tuple[MetadataMessage, ...], Exchange]:
    """The whole stream. Raises Skipped when this storage keeps no such figures, Failed for other refusals."""
    exchange = await lab.settle(request)
    if exchange.code is Code.FAILED_PRECONDITION:
        raise Skipped(f"the driver has no block metadata here: {exchange.message}")
    if not exchange.ok:
        raise Failed(f"{exchange.rpc.name} must succeed here, and answered {exchange.described()}", exchange)
    if isinstance(request, m.GetMetadataAllocatedRequest):
        return exchange.responses(m.GetMetadataAllocatedResponse), exchange
    return exchange.responses(m.GetMetadataDeltaResponse), exchange


async def _expect_covered(lab: Lab, request: Request, wanted: Sequence[Range], when: str) -> None:
    messages, exchange = await _told(lab, request)
    gap = first_gap(wanted, blocks_of(messages))
    if gap is not None:
        raise Failed(f"bytes {gap.start} to {gap.end} were written {when} and are in no range", exchange)


def _delta(base: Snapshot, target: Snapshot) -> m.GetMetadataDeltaRequest:
    return m.GetMetadataDeltaRequest(base.snapshot_id, target.snapshot_id)


# --- what the ranges say --------------------------------------------------------------------------


@rule(
    "metadata.allocated-covers-writes",
    section="GetMetadataAllocated",
    title="what was written to a volume is among the allocated ranges of its snapshot",
    sends="eight writes of 64 KiB to a raw block volume, CreateSnapshot, GetMetadataAllocated",
    demands="each written byte lies in a range",
    needs=(*NEEDS, *DATA),
    danger=(Danger.CREATES,),
)
async def allocated_covers_writes(lab: Lab) -> None:
    snapshot = await _written(lab, await _volume(lab), BASE)
    request = m.GetMetadataAllocatedRequest(snapshot_id=snapshot.snapshot_id)
    await _expect_covered(lab, request, BASE, "before the snapshot was cut")


@rule(
    "metadata.delta-covers-changes",
    section="GetMetadataDelta",
    title="what was written between two snapshots is among the changed ranges",
    sends="write, snapshot, write over and between, snapshot, write again, snapshot; GetMetadataDelta of each pair",
    demands="each byte written between two snapshots lies in a range of their delta, over several snapshots, too",
    needs=(*NEEDS, *DATA),
    danger=(Danger.CREATES,),
)
async def delta_covers_changes(lab: Lab) -> None:
    volume = await _volume(lab)
    first, second, third = [await _written(lab, volume, ranges) for ranges in (BASE, CHANGES, MORE_CHANGES)]
    for base, target, changes, when in (
        (first, second, CHANGES, "between the two snapshots"),
        (second, third, MORE_CHANGES, "between the two snapshots"),
        (first, third, sorted((*CHANGES, *MORE_CHANGES)), "between the two snapshots, which have a third between them"),
    ):
        await _expect_covered(lab, _delta(base, target), changes, when)


@rule(
    "metadata.delta-covers-zeros",
    section="GetMetadataDelta",
    title="data that was overwritten with zeros is among the changed ranges",
    sends="eight writes of 64 KiB, snapshot, zeros over one of them, snapshot; GetMetadataDelta",
    demands="the zeros lie in a range: who leaves them out keeps the old data in the backup",
    needs=(*NEEDS, *DATA),
    danger=(Danger.CREATES,),
)
async def delta_covers_zeros(lab: Lab) -> None:
    volume = await _volume(lab)
    base = await _written(lab, volume, BASE)
    use = await lab.use(volume, lab.capability(block=True))
    await lab.io(_write_zeros, use.target, BASE[1])
    await use.end()
    target = await lab.snapshot(volume.volume_id)
    await _expect_covered(lab, _delta(base, target), BASE[1:2], "with zeros between the two snapshots")


def _write_zeros(path: str, where: Range) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.pwrite(fd, bytes(where.end - where.start), where.start)
        os.fsync(fd)
    finally:
        os.close(fd)


@rule(
    "metadata.delta-leaves-out-the-rest",
    section="GetMetadataDelta",
    title="the changed ranges are fewer than all that was ever written",
    sends="eight writes of 64 KiB, snapshot, three small writes, snapshot; GetMetadataDelta",
    demands="at least one of the writes that were not touched in between is in no range",
    severity=Severity.ADVICE,
    needs=(*NEEDS, *DATA),
    danger=(Danger.CREATES,),
)
async def delta_leaves_out_the_rest(lab: Lab) -> None:
    volume = await _volume(lab)
    base, target = [await _written(lab, volume, ranges) for ranges in (BASE, CHANGES)]
    messages, exchange = await _told(lab, _delta(base, target))
    untouched = [each for each in BASE if each not in CHANGES]
    told = [each for each in untouched if first_gap([each], blocks_of(messages)) is None]
    text = "all that was written before the base snapshot is told as changed, so a backup copies everything each time"
    expect(len(told) < len(untouched), text, exchange)


@rule(
    "metadata.capacity",
    section="GetMetadataAllocated",
    title="the stream tells the size of the volume",
    sends="CreateVolume, a write of 64 KiB, CreateSnapshot, GetMetadataAllocated",
    demands="at least one message, and volume_capacity_bytes is the volume's capacity in each",
    needs=(*NEEDS, *DATA),
    danger=(Danger.CREATES,),
)
async def capacity(lab: Lab) -> None:
    volume = await _volume(lab)
    snapshot = await _written(lab, volume, BASE[:1])
    messages, exchange = await _told(lab, m.GetMetadataAllocatedRequest(snapshot_id=snapshot.snapshot_id))
    expect(bool(messages), "the stream has no message although data was written", exchange)
    told = sorted({message.volume_capacity_bytes for message in messages})
    if not volume.capacity_bytes:
        raise Skipped("CreateVolume does not tell the capacity of volumes")
    text = f"volume_capacity_bytes is {told}, and the volume has {volume.capacity_bytes} bytes"
    expect(told == [volume.capacity_bytes], text, exchange)


# --- the form of the stream -----------------------------------------------------------------------


async def _streams(lab: Lab) -> tuple[Request, ...]:
    """A request of either kind with something to tell; that for changes only where the driver knows them."""
    volume = await _volume(lab)
    base, target = [await _written(lab, volume, ranges) for ranges in (BASE, CHANGES)]
    allocated = m.GetMetadataAllocatedRequest(snapshot_id=target.snapshot_id)
    messages, exchange = await _told(lab, allocated)
    expect(bool(blocks_of(messages)), "there is no range although data was written", exchange)
    delta = _delta(base, target)
    return (allocated, delta) if (await lab.settle(delta)).ok else (allocated,)


@rule(
    "metadata.stream-in-order",
    section="GetMetadataAllocated",
    title="ranges come in ascending order, do not overlap, and are of one kind",
    sends="GetMetadataAllocated and GetMetadataDelta, with 2 results a message",
    demands="one block_metadata_type and capacity for the stream, sizes above 0, and each range behind the one before",
    needs=(*NEEDS, *DATA),
    danger=(Danger.CREATES,),
)
async def stream_in_order(lab: Lab) -> None:
    for request in await _streams(lab):
        messages, exchange = await _told(lab, msgspec.structs.replace(request, max_results=2))
        problem = stream_problem(messages)
        expect(problem is None, f"in the stream of {exchange.rpc.name}, {problem}", exchange)


@rule(
    "metadata.max-results",
    section="GetMetadataAllocated",
    title="no message holds more than max_results ranges, and nothing is lost between messages",
    sends="GetMetadataAllocated and GetMetadataDelta without max_results, with 1 and with 3",
    demands="at most so many ranges a message, and the same bytes altogether",
    needs=(*NEEDS, *DATA),
    danger=(Danger.CREATES,),
)
async def max_results(lab: Lab) -> None:
    for request in await _streams(lab):
        whole = merged(blocks_of((await _told(lab, request))[0]))
        for limit in (1, 3):
            messages, exchange = await _told(lab, msgspec.structs.replace(request, max_results=limit))
            longest = max((len(message.block_metadata) for message in messages), default=0)
            expect(longest <= limit, f"a message has {longest} ranges for max_results {limit}", exchange)
            same = merged(blocks_of(messages)) == whole
            expect(same, f"the ranges for max_results {limit} cover other bytes than those without it", exchange)


@rule(
    "metadata.starting-offset",
    section="GetMetadataAllocated",
    title="a stream can be taken up again in the middle",
    sends="GetMetadataAllocated and GetMetadataDelta from 0, from the end of a range, and from the middle of one",
    demands="no range that ends before the offset, and from there on the same bytes as in the whole stream",
    needs=(*NEEDS, *DATA),
    danger=(Danger.CREATES,),
)
async def starting_offset(lab: Lab) -> None:
    for request in await _streams(lab):
        blocks = blocks_of((await _told(lab, request))[0])
        if not blocks:
            continue
        middle = blocks[len(blocks) // 2]
        for offset in (middle.byte_offset + middle.size_bytes, middle.byte_offset + middle.size_bytes // 2):
            messages, exchange = await _told(lab, msgspec.structs.replace(request, starting_offset=offset))
            resumed = blocks_of(messages)
            early = [block for block in resumed if block.byte_offset + block.size_bytes <= offset]
            expect(not early, f"{len(early)} ranges end before starting_offset {offset}", exchange)
            same = merged(resumed, start=offset) == merged(blocks, start=offset)
            expect(same, f"the stream from {offset} covers other bytes than the whole stream from there", exchange)


# --- refusals -------------------------------------------------------------------------------------


async def _snapshot(lab: Lab) -> tuple[Volume, Snapshot]:
    volume = await _volume(lab)
    snapshot = await lab.snapshot(volume.volume_id)
    await _told(lab, m.GetMetadataAllocatedRequest(snapshot_id=snapshot.snapshot_id))
    return volume, snapshot


@rule(
    "metadata.offset-out-of-range",
    section="GetMetadataAllocated",
    title="an offset beyond the volume, or before it, is refused",
    sends="GetMetadataAllocated with starting_offset beyond the volume's end, and with -1",
    demands="OUT_OF_RANGE (INVALID_ARGUMENT is legal for the negative one)",
    needs=NEEDS,
    danger=(Danger.CREATES,),
)
async def offset_out_of_range(lab: Lab) -> None:
    volume, snapshot = await _snapshot(lab)
    size_bytes = max(volume.capacity_bytes, snapshot.size_bytes, 1 << 50)
    request = m.GetMetadataAllocatedRequest(snapshot_id=snapshot.snapshot_id, starting_offset=2 * size_bytes)
    (await lab.settle(request)).refused(Code.OUT_OF_RANGE, why="starting_offset is beyond the end of the volume")
    exchange = await lab.settle(msgspec.structs.replace(request, starting_offset=-1))
    exchange.refused(Code.OUT_OF_RANGE, Code.INVALID_ARGUMENT, why="starting_offset is negative")


@rule(
    "metadata.unknown-snapshot",
    section="GetMetadataDelta",
    title="a snapshot that does not exist is not found",
    sends="GetMetadataAllocated of an unknown snapshot; GetMetadataDelta with an unknown base, and an unknown target",
    demands="NOT_FOUND",
    needs=NEEDS,
    danger=(Danger.CREATES,),
)
async def unknown_snapshot(lab: Lab) -> None:
    _, snapshot = await _snapshot(lab)
    unknown, known = lab.name("no-such-snapshot"), snapshot.snapshot_id
    requests: tuple[Request, ...] = (
        m.GetMetadataAllocatedRequest(snapshot_id=unknown),
        m.GetMetadataDeltaRequest(unknown, known),
        m.GetMetadataDeltaRequest(known, unknown),
    )
    for request in requests:
        (await lab.settle(request)).refused(Code.NOT_FOUND, why="a snapshot does not exist")


@rule(
    "metadata.delta-of-two-volumes",
    section="GetMetadataDelta",
    title="there is no delta between snapshots of different volumes",
    sends="a snapshot of each of two volumes; GetMetadataDelta between them",
    demands="a final error",
    severity=Severity.SHOULD,
    needs=NEEDS,
    danger=(Danger.CREATES,),
)
async def delta_of_two_volumes(lab: Lab) -> None:
    (_, first), (_, second) = await _snapshot(lab), await _snapshot(lab)
    exchange = await lab.settle(_delta(first, second))
    expect(not exchange.ok, "the changes between snapshots of two different volumes were told", exchange)
    expect(exchange.final, f"the answer for snapshots of two volumes is {exchange.described()}", exchange)
