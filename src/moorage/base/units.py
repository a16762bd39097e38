"""Sizes and durations as people and Kubernetes write them.

Quantities follow the grammar of Kubernetes (`k8s.io/apimachinery/pkg/api/resource`), durations that of Go
(`time.ParseDuration`). Arithmetic is exact: no float stands between a text and a number of bytes.
"""

from __future__ import annotations

import math
import re
from fractions import Fraction
from typing import Final

MAX_BYTES: Final = 2**63 - 1

_BINARY_SUFFIXES: Final = ("", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei")
_SUFFIX_FACTORS: Final[dict[str, Fraction]] = {
    **{suffix: Fraction(1024**power) for power, suffix in enumerate(_BINARY_SUFFIXES)},
    **{suffix: Fraction(1000**power) for power, suffix in enumerate("kMGTPE", 1)},
    **{suffix: Fraction(1, 1000**power) for power, suffix in enumerate("mun", 1)},
}
_QUANTITY: Final = re.compile(
    r"(?P<sign>[+-]?)(?P<number>[0-9]+(?:\.[0-9]*)?|\.[0-9]+)"
    r"(?:[eE](?P<exponent>[+-]?[0-9]{1,3})|(?P<suffix>[KMGTPE]i|[numkMGTPE])?)",
    re.ASCII,
)
_MAX_TEXT: Final = 64

_UNIT_NS: Final = {
    "ns": 1, "us": 10**3, "µs": 10**3, "μs": 10**3, "ms": 10**6, "s": 10**9,
    "m": 60 * 10**9, "h": 3600 * 10**9,
}  # fmt: skip
_DURATION_PART: Final = re.compile(r"([0-9]+(?:\.[0-9]*)?|\.[0-9]+)(ns|us|µs|μs|ms|s|m|h)", re.ASCII)
_MAX_DURATION_NS: Final = 2**63 - 1


class UnitError(ValueError):
    """A text is no size or duration; the message names the text and shows a good one."""


def parse_quantity(text: str) -> Fraction:
    """The exact value of a Kubernetes quantity such as `10Gi`, `1.5G`, `500m`, `1e3`; UnitError otherwise."""
    match = _QUANTITY.fullmatch(text) if len(text) <= _MAX_TEXT else None
    if match is None:
        raise UnitError(f"{_shown(text)} is not a quantity; write for example 10Gi or 1.5G")
    value = Fraction(match["number"].rstrip("."))
    if match["exponent"] is not None:
        value *= Fraction(10) ** int(match["exponent"])
    else:
        value *= _SUFFIX_FACTORS[match["suffix"] or ""]
    return -value if match["sign"] == "-" else value


def parse_bytes(text: str | int) -> int:
    """A size in bytes, rounded up as Kubernetes does; UnitError when negative or above 2^63-1."""
    value = Fraction(text) if isinstance(text, int) else parse_quantity(text)
    size_bytes = math.ceil(value)
    if not 0 <= size_bytes <= MAX_BYTES or value < 0:
        raise UnitError(f"{_shown(str(text))} is no size from 0 to 2^63-1 bytes; write for example 10Gi")
    return size_bytes


def format_bytes(size_bytes: int) -> str:
    """A size for people, at most one decimal: `512 B`, `1.5 GiB`, `20 GiB`."""
    magnitude = abs(size_bytes)
    power = 0
    while power < len(_BINARY_SUFFIXES) - 1 and _tenths(magnitude, power) >= 10240:
        power += 1
    whole, tenth = divmod(_tenths(magnitude, power), 10)
    number = f"{whole}.{tenth}" if tenth else f"{whole}"
    return f"{'-' if size_bytes < 0 else ''}{number} {_BINARY_SUFFIXES[power]}B"


def format_quantity(size_bytes: int) -> str:
    """The canonical Kubernetes quantity of the same number of bytes, never rounded: `10Gi`, `1500`, `1k`."""
    if abs(size_bytes) < 1024:  # Kubernetes writes these in decimal units
        return f"{size_bytes // 1000}k" if size_bytes and size_bytes % 1000 == 0 else str(size_bytes)
    power = 0
    while power < len(_BINARY_SUFFIXES) - 1 and size_bytes % 1024 == 0:
        size_bytes //= 1024
        power += 1
    return f"{size_bytes}{_BINARY_SUFFIXES[power]}"


def parse_duration(text: str) -> float:
    """Seconds of a Go duration such as `1h2m3.5s`, `300ms`, `-5s` or `0`; UnitError otherwise."""
    sign, rest = (text[0], text[1:]) if text[:1] in ("+", "-") else ("", text)
    total_ns = Fraction(0)
    if rest != "0":
        position = 0
        while len(text) <= _MAX_TEXT and (part := _DURATION_PART.match(rest, position)) is not None:
            total_ns += Fraction(part[1].rstrip(".")) * _UNIT_NS[part[2]]
            position = part.end()
        if position == 0 or position != len(rest):
            raise UnitError(f"{_shown(text)} is not a duration; write numbers with units, such as 1m30s or 300ms")
    if total_ns > _MAX_DURATION_NS:
        raise UnitError(f"{_shown(text)} is longer than 292 years; write a shorter duration, such as 24h")
    seconds = float(total_ns / 10**9)
    return -seconds if sign == "-" else seconds


def format_duration(duration_s: float) -> str:
    """Seconds as Go prints them, to the nanosecond: `1h2m3.5s`, `300ms`, `0s`."""
    total_ns = round(Fraction(duration_s) * 10**9)
    sign, total_ns = ("-", -total_ns) if total_ns < 0 else ("", total_ns)
    if total_ns == 0:
        return "0s"
    for unit, unit_ns in (("ns", 1), ("µs", 10**3), ("ms", 10**6)):
        if total_ns < unit_ns * 1000:
            return f"{sign}{_decimal(total_ns, unit_ns)}{unit}"
    minutes, rest_ns = divmod(total_ns, 60 * 10**9)
    hours, minutes = divmod(minutes, 60)
    text = f"{_decimal(rest_ns, 10**9)}s"
    if hours or minutes:
        text = f"{minutes}m{text}"
    return f"{sign}{hours}h{text}" if hours else f"{sign}{text}"


def _tenths(magnitude: int, power: int) -> int:
    """`magnitude` in tenths of 1024^power, rounded half up."""
    unit: int = 1024**power
    return (magnitude * 20 + unit) // (2 * unit)


def _decimal(value_ns: int, unit_ns: int) -> str:
    whole, rest = divmod(value_ns, unit_ns)
    if not rest:
        return str(whole)
    digits = len(str(unit_ns)) - 1
    return f"{whole}.{rest:0{digits}d}".rstrip("0")


def _shown(text: str) -> str:
    return repr(text if len(text) <= _MAX_TEXT else text[:_MAX_TEXT] + "…")
