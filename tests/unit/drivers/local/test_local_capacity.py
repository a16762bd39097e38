"""What a pool says it can give."""

from __future__ import annotations

import pytest

from moorage.drivers.local.capacity import check_promise, is_nearly_full, offer
from moorage.drivers.local.config import Allocation
from moorage.host.stats import FilesystemStats
from moorage.spec.errors import ResourceExhausted


def pool(total: int, available: int) -> FilesystemStats:
    return FilesystemStats(total, available, total - available, 0, 0, 0)


@pytest.mark.parametrize(
    ("allocation", "promised", "percent", "available", "largest"),
    [
        pytest.param("thin", 5000, 0, 600, 10_000, id="thin-tells-free-space-and-takes-any-size"),
        pytest.param("reserved", 5000, 0, 580, 580, id="reserved-keeps-room-for-metadata"),
        pytest.param("thin", 700, 100, 300, 300, id="thin-under-a-limit"),
        pytest.param("thin", 700, 250, 1800, 1800, id="thin-over-committed"),
        pytest.param("thin", 1700, 100, 0, 0, id="limit-lowered-below-what-is-promised"),
        pytest.param("reserved", 100, 100, 580, 580, id="reserved-under-a-limit"),
        pytest.param("reserved", 700, 100, 300, 300, id="reserved-near-a-limit"),
    ],
)
def test_offer(allocation: Allocation, promised: int, percent: int, available: int, largest: int) -> None:
    found = offer(
        pool(1000, 600),
        allocation=allocation,
        promised_bytes=promised,
        overcommit_percent=percent,
        largest_bytes=10_000,
        limit_bytes=0,
        minimum_bytes=1,
    )
    assert (found.available_bytes, found.maximum_volume_bytes, found.minimum_volume_bytes) == (available, largest, 1)


def test_configured_limit_is_the_largest_volume() -> None:
    found = offer(
        pool(1000, 600),
        allocation="thin",
        promised_bytes=0,
        overcommit_percent=0,
        largest_bytes=10_000,
        limit_bytes=77,
        minimum_bytes=1,
    )
    assert found.maximum_volume_bytes == 77


@pytest.mark.parametrize(("limit", "largest"), [(0, None), (77, 77)])
def test_storage_without_a_limit_tells_none(limit: int, largest: int | None) -> None:
    found = offer(
        pool(1000, 600),
        allocation="thin",
        promised_bytes=0,
        overcommit_percent=0,
        largest_bytes=None,
        limit_bytes=limit,
        minimum_bytes=1,
    )
    assert found.maximum_volume_bytes == largest


def test_promises_end_at_the_limit() -> None:
    check_promise(pool(1000, 0), pool="p", more_bytes=300, promised_bytes=700, overcommit_percent=100)
    with pytest.raises(ResourceExhausted, match="'p' has promised 700 of 1000"):
        check_promise(pool(1000, 0), pool="p", more_bytes=301, promised_bytes=700, overcommit_percent=100)
    check_promise(pool(1000, 0), pool="p", more_bytes=10**9, promised_bytes=700, overcommit_percent=0)


@pytest.mark.parametrize(("available", "nearly"), [(60, False), (50, True), (0, True)])
def test_nearly_full(available: int, nearly: bool) -> None:
    assert is_nearly_full(pool(1000, available)) is nearly
