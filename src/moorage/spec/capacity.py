"""Sizes: choose one that a capacity range allows, and check what the storage system made of it."""

from __future__ import annotations

from moorage.spec.errors import OutOfRange
from moorage.spec.types import CapacityRange


def choose_size(
    capacity_range: CapacityRange | None,
    *,
    default_bytes: int,
    minimum_bytes: int = 1,
    granularity_bytes: int = 1,
    maximum_bytes: int | None = None,
) -> int:
    """The size in bytes for a volume: the smallest one allowed that has at least `required_bytes`.

    Without `required_bytes` it is `default_bytes`, moved into what the range and the storage allow. The
    result is a multiple of `granularity_bytes`, between `minimum_bytes` and `maximum_bytes` (None: no
    maximum).

    Raises OutOfRange when no size meets all of it. Source: spec, `message CapacityRange`.
    """
    wanted = capacity_range or CapacityRange()
    limits = [limit for limit in (wanted.limit_bytes or None, maximum_bytes) if limit is not None]
    ceiling = min(limits, default=None)
    smallest = _round_up(max(wanted.required_bytes, minimum_bytes), granularity_bytes)
    if ceiling is not None and smallest > ceiling:
        raise OutOfRange(
            _no_size(
                wanted,
                minimum_bytes=minimum_bytes,
                granularity_bytes=granularity_bytes,
                maximum_bytes=maximum_bytes,
            )
        )
    if wanted.required_bytes:
        return smallest
    size = _round_up(max(default_bytes, smallest), granularity_bytes)
    return size if ceiling is None else min(size, ceiling - ceiling % granularity_bytes)


def check_result(capacity_range: CapacityRange | None, size_bytes: int) -> None:
    """Refuse a size that the storage system gave against the range; 0 means unknown and passes.

    Raises OutOfRange; the caller then undoes what was made.
    """
    if capacity_range is not None and size_bytes and not capacity_range.contains(size_bytes):
        raise OutOfRange(
            f"the storage system gave {size_bytes} bytes, and {describe_range(capacity_range)} were asked for"
        )


def describe_range(capacity_range: CapacityRange) -> str:
    """A range for people: `at least 10 and at most 20 bytes`."""
    required, limit = capacity_range.required_bytes, capacity_range.limit_bytes
    if required and required == limit:
        return f"exactly {required} bytes"
    parts = [f"at least {required}"] * bool(required) + [f"at most {limit}"] * bool(limit)
    return f"{' and '.join(parts)} bytes" if parts else "any number of bytes"


def _no_size(wanted: CapacityRange, *, minimum_bytes: int, granularity_bytes: int, maximum_bytes: int | None) -> str:
    """Why no size fits: the range, then what of the storage stands against it."""
    limit = wanted.limit_bytes
    if maximum_bytes is not None and wanted.required_bytes > maximum_bytes:
        against = f"this storage has volumes of at most {maximum_bytes} bytes; ask for less"
    elif limit and limit < minimum_bytes:
        against = f"a volume has at least {minimum_bytes} bytes here; raise limit_bytes"
    else:
        against = f"sizes are multiples of {granularity_bytes} bytes here"
        against += f", {maximum_bytes} at most" if maximum_bytes is not None else ""
        against += "; allow a wider range"
    return f"no volume can have {describe_range(wanted)}: {against}"


def _round_up(size_bytes: int, granularity_bytes: int) -> int:
    return -(-size_bytes // granularity_bytes) * granularity_bytes
