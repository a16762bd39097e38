"""Changed ranges between two extent lists, against a brute-force model of every byte."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moorage.host import fiemap
from moorage.host.fiemap import Extent, Range, allocated_ranges, changed_ranges

UNWRITTEN = fiemap.FIEMAP_EXTENT_UNWRITTEN
ENCODED = fiemap.FIEMAP_EXTENT_ENCODED
SHARED = fiemap.FIEMAP_EXTENT_SHARED


@pytest.mark.parametrize(
    ("base", "target", "expected"),
    [
        pytest.param([], [], [], id="both-empty"),
        pytest.param([Extent(0, 100, 8)], [Extent(0, 100, 8, SHARED)], [], id="same-place"),
        pytest.param([Extent(0, 100, 8)], [Extent(0, 100, 4), Extent(4, 104, 4)], [], id="split-differently"),
        pytest.param([Extent(0, 100, 8)], [Extent(0, 200, 8)], [Range(0, 8)], id="moved"),
        pytest.param([Extent(0, 100, 8)], [Extent(0, 100, 4), Extent(4, 300, 4)], [Range(4, 4)], id="tail-rewritten"),
        pytest.param([Extent(0, 100, 8)], [], [Range(0, 8)], id="became-a-hole"),
        pytest.param([], [Extent(4, 100, 4)], [Range(4, 4)], id="hole-filled"),
        pytest.param([], [Extent(4, 100, 4, UNWRITTEN)], [], id="hole-to-unwritten-is-zero"),
        pytest.param([Extent(0, 50, 4, UNWRITTEN)], [Extent(0, 50, 4)], [Range(0, 4)], id="unwritten-was-written"),
        pytest.param([Extent(0, 9, 4, ENCODED)], [Extent(0, 9, 4, ENCODED)], [Range(0, 4)], id="encoded-untrusted"),
        pytest.param([Extent(0, 0, 4, 0x200)], [Extent(0, 0, 4, 0x200)], [Range(0, 4)], id="inline-untrusted"),
        pytest.param([Extent(0, 0, 4, 0x6)], [Extent(0, 0, 4, 0x6)], [Range(0, 4)], id="delayed-untrusted"),
        pytest.param([Extent(0, 1, 2), Extent(2, 9, 2)], [Extent(0, 5, 4)], [Range(0, 4)], id="neighbours-joined"),
    ],
)
def test_changed_ranges(base: list[Extent], target: list[Extent], expected: list[Range]) -> None:
    assert changed_ranges(base, target) == expected


def test_allocated_ranges_leave_out_holes_and_unwritten() -> None:
    extents = [Extent(0, 10, 4), Extent(4, 90, 4), Extent(8, 100, 4, UNWRITTEN), Extent(16, 200, 4)]
    assert allocated_ranges(extents) == [Range(0, 8), Range(16, 4)]


@st.composite
def extent_lists(draw: st.DrawFn) -> list[Extent]:
    position, result = 0, []
    for gap, length, physical, flags in draw(
        st.lists(
            st.tuples(
                st.integers(0, 3),
                st.integers(1, 4),
                st.integers(0, 12),
                st.sampled_from([0, 0, 0, SHARED, UNWRITTEN, ENCODED, 0x200, 0x4]),
            ),
            max_size=6,
        )
    ):
        position += gap
        result.append(Extent(position, physical, length, flags))
        position += length
    return result


def place(extents: list[Extent], offset: int) -> object:
    """Where byte `offset` lies; None for zeros, a fresh object when it cannot be known."""
    for extent in extents:
        if extent.logical <= offset < extent.end:
            if extent.flags & UNWRITTEN:
                return None
            return object() if extent.flags & ~SHARED else extent.physical + offset - extent.logical
    return None


@given(extent_lists(), extent_lists())
def test_the_answer_is_that_of_comparing_every_byte(base: list[Extent], target: list[Extent]) -> None:
    expected = {offset for offset in range(64) if place(base, offset) != place(target, offset)}
    ranges = changed_ranges(base, target)
    assert {offset for found in ranges for offset in range(found.offset, found.offset + found.length)} == expected
    assert all(left.offset + left.length < right.offset for left, right in itertools.pairwise(ranges))
