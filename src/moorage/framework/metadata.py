"""The snapshot metadata service: streams of allocated or changed ranges, in bounded messages."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Iterator
from contextlib import aclosing, suppress
from itertools import islice

from moorage.framework.core import Core
from moorage.framework.translate import as_csi_error
from moorage.framework.values import ChangedBlocks
from moorage.spec import messages as m
from moorage.spec.errors import FailedPrecondition, OutOfRange
from moorage.spec.types import BlockMetadata, BlockMetadataType

MESSAGE_RANGES = 1024


class Metadata:
    """Handlers of the snapshot metadata service."""

    def __init__(self, core: Core) -> None:
        self._core = core

    async def allocated(self, request: m.GetMetadataAllocatedRequest) -> AsyncIterator[m.GetMetadataAllocatedResponse]:
        """GetMetadataAllocated."""
        with self._core.calls.reading("GetMetadataAllocated", request):
            snapshot = await self._core.known_snapshot(request.snapshot_id)
            _check_ready(snapshot.snapshot_id, snapshot.ready_to_use)
            found = await self._core.controller("allocated_blocks", snapshot, request.starting_offset)
            async with aclosing(self._batches(found, request.starting_offset, request.max_results)) as batches:
                async for batch in batches:
                    yield m.GetMetadataAllocatedResponse(_style(found), found.volume_capacity_bytes, batch)

    async def delta(self, request: m.GetMetadataDeltaRequest) -> AsyncIterator[m.GetMetadataDeltaResponse]:
        """GetMetadataDelta."""
        with self._core.calls.reading("GetMetadataDelta", request):
            base = await self._core.known_snapshot(request.base_snapshot_id)
            target = await self._core.known_snapshot(request.target_snapshot_id)
            _check_ready(base.snapshot_id, base.ready_to_use)
            _check_ready(target.snapshot_id, target.ready_to_use)
            if base.source_volume_id != target.source_volume_id:
                raise FailedPrecondition(
                    f"snapshots {base.snapshot_id!r} and {target.snapshot_id!r} are of different volumes; "
                    "compare two of the same"
                )
            found = await self._core.controller("changed_blocks", base, target, request.starting_offset)
            async with aclosing(self._batches(found, request.starting_offset, request.max_results)) as batches:
                async for batch in batches:
                    yield m.GetMetadataDeltaResponse(_style(found), found.volume_capacity_bytes, batch)

    async def _batches(
        self, found: ChangedBlocks, starting_offset: int, max_results: int
    ) -> AsyncGenerator[tuple[BlockMetadata, ...], None]:
        """Ranges that end after the offset, in messages of bounded size; at least one message, for the capacity."""
        if starting_offset > found.volume_capacity_bytes:
            raise OutOfRange(
                f"starting_offset {starting_offset} is beyond the volume's {found.volume_capacity_bytes} bytes"
            )
        limit = min(max_results, MESSAGE_RANGES) if max_results else MESSAGE_RANGES
        batch: list[BlockMetadata] = []
        sent = False
        async with aclosing(self._each(found.blocks)) as blocks:
            async for block in blocks:
                if block.byte_offset + block.size_bytes <= starting_offset:
                    continue
                batch.append(block)
                if len(batch) == limit:
                    yield tuple(batch)
                    batch, sent = [], True
        if batch or not sent:
            yield tuple(batch)

    async def _each(
        self, blocks: Iterable[BlockMetadata] | AsyncIterator[BlockMetadata]
    ) -> AsyncGenerator[BlockMetadata, None]:
        """One after the other; what raises on the way raises as an error of the specification."""
        try:
            if isinstance(blocks, AsyncIterator):
                async for block in blocks:
                    yield block
            elif isinstance(blocks, list | tuple):
                for block in blocks:
                    yield block
            else:
                async with aclosing(self._off_the_loop(iter(blocks))) as read:
                    async for block in read:
                        yield block
        except Exception as error:
            known = as_csi_error(error)
            if known is None or known is error:
                raise
            raise known from error

    async def _off_the_loop(self, blocks: Iterator[BlockMetadata]) -> AsyncGenerator[BlockMetadata, None]:
        """A plain iterator may read a disk: it is read, and closed, in a thread, a bounded piece at a time."""
        run = self._core.invoke.run
        try:
            while piece := await run("controller", _read, blocks):
                for block in piece:
                    yield block
        finally:
            await run("controller", _close, blocks)


def _read(blocks: Iterator[BlockMetadata]) -> list[BlockMetadata]:
    return list(islice(blocks, MESSAGE_RANGES))


def _close(blocks: Iterator[BlockMetadata]) -> None:
    close = getattr(blocks, "close", None)
    if close is not None:
        with suppress(ValueError):  # a caller that has gone is still being read for: it ends with its last reference
            close()


def _check_ready(snapshot_id: str, ready: bool) -> None:
    if not ready:
        raise FailedPrecondition(f"snapshot {snapshot_id!r} is not ready to use yet; repeat the call when it is")


def _style(found: ChangedBlocks) -> BlockMetadataType:
    return BlockMetadataType.FIXED_LENGTH if found.fixed_length else BlockMetadataType.VARIABLE_LENGTH
