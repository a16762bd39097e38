"""Streams of allocated and changed ranges."""

from __future__ import annotations

import errno
import threading
from collections.abc import AsyncIterator, Iterable, Iterator
from pathlib import Path
from typing import Any, ClassVar

import pytest
from tests.support.controller import Controller, create

import moorage.framework as csi
from moorage.framework.metadata import MESSAGE_RANGES
from moorage.spec import messages as m
from moorage.spec.errors import FailedPrecondition, OperationPending, OutOfRange, SnapshotNotFound
from moorage.spec.types import BlockMetadata, BlockMetadataType
from moorage.testing.memory import MemoryDriver

BLOCK_BYTES = 100
CAPACITY = 1_000_000


class Tracking(MemoryDriver):
    """Every second block of 100 bytes holds data; answers as a list, a generator or an async generator."""

    count = 20
    kind = "list"
    reads = 0
    threads: ClassVar[set[int]] = set()
    closed = threading.Event()
    trouble: Exception | None = None

    def ranges(self) -> Iterator[BlockMetadata]:
        try:
            for number in range(self.count):
                self.reads += 1
                self.threads.add(threading.get_ident())
                if self.trouble is not None and number == self.count // 2:
                    raise self.trouble
                yield BlockMetadata(2 * number * BLOCK_BYTES, BLOCK_BYTES)
        finally:
            self.closed.set()

    async def slowly(self) -> AsyncIterator[BlockMetadata]:
        for block in self.ranges():
            yield block

    def allocated_blocks(self, snapshot: csi.SnapshotRecord, starting_offset: int) -> csi.ChangedBlocks:
        found: Iterable[BlockMetadata] | AsyncIterator[BlockMetadata]
        match self.kind:
            case "list":
                found = list(self.ranges())
            case "generator":
                found = self.ranges()
            case _:
                found = self.slowly()
        return csi.ChangedBlocks(volume_capacity_bytes=CAPACITY, blocks=found, fixed_length=True)

    def changed_blocks(
        self, base: csi.SnapshotRecord, target: csi.SnapshotRecord, starting_offset: int
    ) -> csi.ChangedBlocks:
        return csi.ChangedBlocks(volume_capacity_bytes=CAPACITY, blocks=[BlockMetadata(0, 7), BlockMetadata(9, 1)])


@pytest.fixture
async def tracking(tmp_path: Path) -> AsyncIterator[Controller]:
    async with Controller(tmp_path / "state", driver=Tracking) as running:
        yield running


async def snapshot(controller: Controller, name: str = "snap", source: str = "pvc-1") -> str:
    volume = (await controller.call(create(source))).volume
    found: str = (await controller.call(m.CreateSnapshotRequest(volume.volume_id, name))).snapshot.snapshot_id
    return found


@pytest.mark.parametrize("kind", ["list", "generator", "async"])
@pytest.mark.parametrize(
    ("results", "sizes"), [(0, [20]), (6, [6, 6, 6, 2]), (20, [20]), (10, [10, 10]), (1, [1] * 20)]
)
async def test_ranges_come_in_bounded_messages(tracking: Controller, kind: str, results: int, sizes: list[int]) -> None:
    tracking.plugin.driver.kind = kind  # type: ignore[attr-defined]  # it is a Tracking
    messages = await tracking.messages(m.GetMetadataAllocatedRequest(await snapshot(tracking), 0, results))
    assert [len(message.block_metadata) for message in messages] == sizes
    assert [block.byte_offset for message in messages for block in message.block_metadata] == list(range(0, 4000, 200))
    assert {message.volume_capacity_bytes for message in messages} == {CAPACITY}
    assert {message.block_metadata_type for message in messages} == {BlockMetadataType.FIXED_LENGTH}


async def begun(tracking: Controller, results: int) -> AsyncIterator[m.GetMetadataAllocatedResponse]:
    handler: Any = tracking.plugin.handlers["GetMetadataAllocated"]
    stream: AsyncIterator[m.GetMetadataAllocatedResponse] = handler(
        m.GetMetadataAllocatedRequest(await snapshot(tracking), 0, results)
    )
    return stream


async def test_a_plain_generator_is_read_off_the_event_loop_and_no_further_than_needed(tracking: Controller) -> None:
    made: Any = tracking.plugin.driver
    made.kind, made.count, made.threads, made.closed = "generator", 5 * MESSAGE_RANGES, set(), threading.Event()
    stream: Any = await begun(tracking, 10)
    await anext(stream)
    assert threading.get_ident() not in made.threads
    assert made.reads <= MESSAGE_RANGES + 1
    assert not made.closed.is_set()
    await stream.aclose()
    assert made.closed.is_set()
    assert threading.get_ident() not in made.threads


@pytest.mark.parametrize(
    ("trouble", "error"),
    [(OSError(errno.ENOSPC, "full"), csi.ResourceExhausted), (csi.DataLoss("rotten"), csi.DataLoss)],
    ids=["system", "driver"],
)
@pytest.mark.parametrize("kind", ["generator", "async"])
async def test_trouble_in_the_middle_of_a_stream(
    tracking: Controller, kind: str, trouble: Exception, error: type[csi.CsiError]
) -> None:
    made: Any = tracking.plugin.driver
    made.kind, made.trouble = kind, trouble
    with pytest.raises(error):
        await tracking.messages(m.GetMetadataAllocatedRequest(await snapshot(tracking)))


@pytest.mark.parametrize(
    ("offset", "first"), [(0, 0), (99, 0), (100, 200), (199, 200), (200, 200), (299, 200), (300, 400)]
)
async def test_a_stream_is_resumed_at_an_offset(tracking: Controller, offset: int, first: int) -> None:
    messages = await tracking.messages(m.GetMetadataAllocatedRequest(await snapshot(tracking), offset))
    assert messages[0].block_metadata[0].byte_offset == first


async def test_behind_the_last_range_the_capacity_is_still_told(tracking: Controller) -> None:
    snapshot_id = await snapshot(tracking)
    for offset in (4000, CAPACITY):
        (message,) = await tracking.messages(m.GetMetadataAllocatedRequest(snapshot_id, offset))
        assert (message.block_metadata, message.volume_capacity_bytes) == ((), CAPACITY)
    with pytest.raises(OutOfRange, match=str(CAPACITY)):
        await tracking.messages(m.GetMetadataAllocatedRequest(snapshot_id, CAPACITY + 1))


async def test_messages_are_bounded_without_a_wish(tracking: Controller) -> None:
    tracking.plugin.driver.count = MESSAGE_RANGES + 1  # type: ignore[attr-defined]  # it is a Tracking
    for results in (0, 10 * MESSAGE_RANGES):
        messages = await tracking.messages(m.GetMetadataAllocatedRequest(await snapshot(tracking), 0, results))
        assert [len(message.block_metadata) for message in messages] == [MESSAGE_RANGES, 1]


async def test_a_delta_is_between_snapshots_of_one_volume(tracking: Controller) -> None:
    base, target = await snapshot(tracking, "a"), await snapshot(tracking, "b")
    (message,) = await tracking.messages(m.GetMetadataDeltaRequest(base, target))
    assert message.block_metadata_type == BlockMetadataType.VARIABLE_LENGTH
    assert message.block_metadata == (BlockMetadata(0, 7), BlockMetadata(9, 1))
    other = await snapshot(tracking, "c", "pvc-2")
    with pytest.raises(FailedPrecondition, match="different volumes"):
        await tracking.messages(m.GetMetadataDeltaRequest(base, other))
    for wrong in ((base, "none"), ("none", target)):
        with pytest.raises(SnapshotNotFound, match="'none'"):
            await tracking.messages(m.GetMetadataDeltaRequest(*wrong))


async def test_a_snapshot_is_not_deleted_while_it_is_read(tracking: Controller) -> None:
    snapshot_id = await snapshot(tracking)
    handler = tracking.plugin.handlers["GetMetadataAllocated"]
    stream = handler(m.GetMetadataAllocatedRequest(snapshot_id, 0, 1))
    assert isinstance(stream, AsyncIterator)
    await anext(stream)
    with pytest.raises(OperationPending, match="GetMetadataAllocated"):
        await tracking.call(m.DeleteSnapshotRequest(snapshot_id))
    await stream.aclose()  # type: ignore[attr-defined]  # it is a generator
    await tracking.call(m.DeleteSnapshotRequest(snapshot_id))
