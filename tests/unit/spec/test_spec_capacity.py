"""Sizes are inside the range, as small as they can be, and refused with a reason."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moorage.spec.capacity import check_result, choose_size, describe_range
from moorage.spec.errors import OutOfRange
from moorage.spec.types import CapacityRange

MIB = 1024 * 1024


@pytest.mark.parametrize(
    ("asked", "storage", "size"),
    [
        pytest.param(None, {"default_bytes": 10 * MIB}, 10 * MIB, id="no-range"),
        pytest.param(CapacityRange(), {"default_bytes": 10 * MIB}, 10 * MIB, id="empty-range"),
        pytest.param(CapacityRange(3, 3), {"default_bytes": 10}, 3, id="exact"),
        pytest.param(CapacityRange(3), {"default_bytes": 10}, 3, id="floor-beats-default"),
        pytest.param(CapacityRange(0, 5), {"default_bytes": 10}, 5, id="ceiling-lowers-default"),
        pytest.param(CapacityRange(0, 50), {"default_bytes": 10}, 10, id="ceiling-above-default"),
        pytest.param(CapacityRange(MIB + 1), {"default_bytes": 1, "granularity_bytes": MIB}, 2 * MIB, id="rounded-up"),
        pytest.param(
            CapacityRange(0, 2 * MIB + 5),
            {"default_bytes": 9 * MIB, "granularity_bytes": MIB},
            2 * MIB,
            id="rounded-down-to-the-ceiling",
        ),
        pytest.param(CapacityRange(1), {"default_bytes": 1, "minimum_bytes": MIB}, MIB, id="minimum"),
        pytest.param(CapacityRange(), {"default_bytes": 9, "maximum_bytes": 7}, 7, id="default-above-maximum"),
    ],
)
def test_choose_size(asked: CapacityRange | None, storage: dict[str, int], size: int) -> None:
    assert choose_size(asked, **storage) == size


@pytest.mark.parametrize(
    ("asked", "storage", "reason"),
    [
        pytest.param(
            CapacityRange(10), {"maximum_bytes": 9}, "at least 10 bytes: this storage has volumes of at most 9",
            id="above-maximum",
        ),
        pytest.param(
            CapacityRange(0, 5), {"minimum_bytes": 6}, "at most 5 bytes: a volume has at least 6 bytes here",
            id="below-minimum",
        ),
        pytest.param(
            CapacityRange(5, 5), {"granularity_bytes": 4}, "exactly 5 bytes: sizes are multiples of 4",
            id="no-multiple-in-range",
        ),
        pytest.param(
            CapacityRange(9), {"granularity_bytes": 10, "maximum_bytes": 9}, "multiples of 10 bytes here, 9 at most",
            id="rounding-passes-the-maximum",
        ),
    ],
)  # fmt: skip
def test_impossible_sizes_are_out_of_range(asked: CapacityRange, storage: dict[str, int], reason: str) -> None:
    with pytest.raises(OutOfRange, match=reason):
        choose_size(asked, **{"default_bytes": 1, **storage})


sizes = st.integers(0, 1000)


@given(
    required=sizes,
    limit=sizes,
    default=st.integers(1, 1000),
    minimum=st.integers(1, 200),
    granularity=st.integers(1, 64),
    maximum=st.none() | st.integers(1, 1500),
)
def test_the_size_is_legal_and_exists_whenever_it_can(
    required: int, limit: int, default: int, minimum: int, granularity: int, maximum: int | None
) -> None:
    wanted = CapacityRange(required, limit)
    legal = [
        size
        for size in range(granularity, 2100, granularity)
        if wanted.contains(size) and size >= minimum and (maximum is None or size <= maximum)
    ]
    try:
        chosen = choose_size(
            wanted,
            default_bytes=default,
            minimum_bytes=minimum,
            granularity_bytes=granularity,
            maximum_bytes=maximum,
        )
    except OutOfRange:
        assert not legal
        return
    assert chosen in legal
    if required:
        assert chosen == legal[0]
    check_result(wanted, chosen)


def test_results_outside_the_range_are_refused() -> None:
    with pytest.raises(OutOfRange, match="gave 11 bytes, and at least 5 and at most 10 bytes"):
        check_result(CapacityRange(5, 10), 11)
    with pytest.raises(OutOfRange):
        check_result(CapacityRange(5), 4)


def test_unknown_sizes_and_absent_ranges_pass() -> None:
    check_result(CapacityRange(5), 0)
    check_result(None, 7)
    check_result(CapacityRange(5, 10), 10)


def test_ranges_read_well() -> None:
    assert describe_range(CapacityRange(7, 7)) == "exactly 7 bytes"
    assert describe_range(CapacityRange(0, 9)) == "at most 9 bytes"
    assert describe_range(CapacityRange()) == "any number of bytes"
