from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moorage.spec.messages import GetMetadataAllocatedResponse
from moorage.spec.types import BlockMetadata, BlockMetadataType
from moorage.verify.block_ranges import Range, blocks_of, first_gap, merged, stream_problem

FIXED, VARIABLE = BlockMetadataType.FIXED_LENGTH, BlockMetadataType.VARIABLE_LENGTH


def message(
    *blocks: tuple[int, int], kind: BlockMetadataType = VARIABLE, capacity: int = 100
) -> GetMetadataAllocatedResponse:
    return GetMetadataAllocatedResponse(kind, capacity, tuple(BlockMetadata(*block) for block in blocks))


@pytest.mark.parametrize(
    "messages",
    [
        pytest.param([], id="no-messages"),
        pytest.param([message()], id="no-ranges"),
        pytest.param([message((0, 10), (10, 5)), message((15, 1), (40, 60))], id="touching-over-messages"),
        pytest.param([message((0, 64), (64, 64), kind=FIXED)], id="last-fixed-block-beyond-the-end"),
    ],
)
def test_a_sound_stream_has_no_problem(messages: list[GetMetadataAllocatedResponse]) -> None:
    assert stream_problem(messages) is None


@pytest.mark.parametrize(
    ("messages", "said"),
    [
        pytest.param([message((0, 10), (9, 5))], "the range at 9 follows the one at 0", id="overlap"),
        pytest.param([message((20, 10)), message((0, 10))], "the range at 0 follows the one at 20", id="descending"),
        pytest.param([message((0, 10)), message((5, 10))], "which ends at 10", id="overlap-over-messages"),
        pytest.param([message((0, 0))], "offset 0 and size 0", id="empty-range"),
        pytest.param([message((-5, 5))], "offset -5", id="negative-offset"),
        pytest.param([message(kind=FIXED), message()], "FIXED_LENGTH, VARIABLE_LENGTH", id="two-kinds"),
        pytest.param([message(kind=BlockMetadataType.UNKNOWN)], "UNKNOWN", id="unknown-kind"),
        pytest.param([message(), message(capacity=99)], "[99, 100]", id="two-capacities"),
        pytest.param([message((0, 10), (10, 20), kind=FIXED)], "2 sizes", id="fixed-of-two-sizes"),
        pytest.param([message((100, 10))], "begins at 100, and the volume has 100", id="beyond-the-end"),
    ],
)
def test_what_is_wrong_with_a_stream_is_told(messages: list[GetMetadataAllocatedResponse], said: str) -> None:
    assert said in (stream_problem(messages) or "")


@pytest.mark.parametrize(
    ("wanted", "gap"),
    [
        pytest.param([Range(2, 8)], None, id="inside-one"),
        pytest.param([Range(5, 15)], None, id="over-two-that-touch"),
        pytest.param([Range(15, 25)], Range(15, 25), id="half-outside"),
        pytest.param([Range(0, 5), Range(50, 51)], Range(50, 51), id="second-outside"),
    ],
)
def test_the_first_range_that_is_not_covered_is_found(wanted: list[Range], gap: Range | None) -> None:
    assert first_gap(wanted, blocks_of([message((0, 10), (10, 10)), message((30, 10))])) == gap


@given(
    blocks=st.lists(st.tuples(st.integers(0, 50), st.integers(1, 20)), max_size=8),
    start=st.integers(0, 60),
)
def test_merged_ranges_cover_the_same_bytes_in_the_fewest_pieces(blocks: list[tuple[int, int]], start: int) -> None:
    found = merged([BlockMetadata(*block) for block in blocks], start=start)
    covered = {byte for piece in found for byte in range(piece.start, piece.end)}
    assert covered == {byte for offset, size in blocks for byte in range(offset, offset + size) if byte >= start}
    assert all(before.end < after.start for before, after in pairwise(found))
