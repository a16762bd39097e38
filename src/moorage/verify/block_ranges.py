"""Streams of block ranges as SnapshotMetadata sends them: what is wrong with one, and what it leaves out.

Pure: offsets and sizes in bytes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from moorage.spec.messages import GetMetadataAllocatedResponse, GetMetadataDeltaResponse
from moorage.spec.types import BlockMetadata, BlockMetadataType

__all__ = ["Range", "blocks_of", "first_gap", "merged", "stream_problem"]

MetadataMessage = GetMetadataAllocatedResponse | GetMetadataDeltaResponse


@dataclass(frozen=True, slots=True, order=True)
class Range:
    """The bytes from `start` up to and without `end`."""

    start: int
    end: int


def blocks_of(messages: Sequence[MetadataMessage]) -> list[BlockMetadata]:
    """All tuples of a stream, in its order."""
    return [block for message in messages for block in message.block_metadata]


def stream_problem(messages: Sequence[MetadataMessage]) -> str | None:
    """How a stream breaks the form that the specification gives it, as a clause; None when it does not."""
    kinds = {message.block_metadata_type for message in messages}
    capacities = {message.volume_capacity_bytes for message in messages}
    blocks = blocks_of(messages)
    if len(kinds) > 1 or kinds & {BlockMetadataType.UNKNOWN}:
        return f"block_metadata_type is {', '.join(sorted(kind.name for kind in kinds))} in one stream"
    if len(capacities) > 1:
        return f"volume_capacity_bytes has several values in one stream: {sorted(capacities)}"
    for block in blocks:
        if block.byte_offset < 0 or block.size_bytes <= 0:
            return f"a range has offset {block.byte_offset} and size {block.size_bytes}"
    for before, after in pairwise(blocks):
        if before.byte_offset + before.size_bytes > after.byte_offset:
            return (
                f"the range at {after.byte_offset} follows the one at {before.byte_offset}, "
                f"which ends at {before.byte_offset + before.size_bytes}"
            )
    sizes = {block.size_bytes for block in blocks}
    if kinds == {BlockMetadataType.FIXED_LENGTH} and len(sizes) > 1:
        return f"block_metadata_type is FIXED_LENGTH, and the ranges have {len(sizes)} sizes"
    capacity = max(capacities, default=0)
    if capacity and blocks and blocks[-1].byte_offset >= capacity:
        return f"a range begins at {blocks[-1].byte_offset}, and the volume has {capacity} bytes"
    return None


def merged(blocks: Sequence[BlockMetadata], *, start: int = 0) -> list[Range]:
    """The bytes that these ranges cover from `start` on, touching ranges joined."""
    found: list[Range] = []
    for block in sorted(blocks, key=lambda each: each.byte_offset):
        piece = Range(max(block.byte_offset, start), block.byte_offset + block.size_bytes)
        if piece.end <= piece.start:
            continue
        if found and piece.start <= found[-1].end:
            found[-1] = Range(found[-1].start, max(found[-1].end, piece.end))
        else:
            found.append(piece)
    return found


def first_gap(wanted: Sequence[Range], blocks: Sequence[BlockMetadata]) -> Range | None:
    """The first of the `wanted` ranges that these do not cover whole; None when all are covered."""
    covered = merged(blocks)
    for each in wanted:
        if not any(piece.start <= each.start and each.end <= piece.end for piece in covered):
            return each
    return None
