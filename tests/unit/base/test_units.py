"""Sizes and durations mean what Kubernetes and Go mean by them."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moorage.base import units
from moorage.base.units import UnitError

SIZES = st.integers(0, units.MAX_BYTES)


@pytest.mark.parametrize(
    ("text", "size_bytes"),
    [
        ("0", 0),
        ("10Gi", 10 * 2**30),
        ("1.5G", 1_500_000_000),
        ("1e3", 1000),
        ("1E3", 1000),
        ("1E", 10**18),
        ("7Ei", 7 * 2**60),
        ("+5", 5),
        (".5Ki", 512),
        ("5.", 5),
        ("500m", 1),
        ("1001m", 2),
        ("1n", 1),
        ("0.1Ki", 103),
        ("1e-3", 1),
        (42, 42),
    ],
)
def test_size_is_parsed_and_rounded_up(text: str | int, size_bytes: int) -> None:
    assert units.parse_bytes(text) == size_bytes


@pytest.mark.parametrize(
    "text",
    [
        "",
        "Gi",
        "10GB",
        "10 Gi",
        "10gi",
        "1e3Gi",
        "1.2.3",
        "٣Gi",
        "0x10",
        "1e9999",
        "1_000",
        "9" * 70,
        "10Gi\n",
    ],
)
def test_text_that_is_no_quantity_is_named_with_an_example(text: str) -> None:
    with pytest.raises(UnitError, match="10Gi") as caught:
        units.parse_quantity(text)
    assert repr(text[:20])[1:-1] in str(caught.value)


@pytest.mark.parametrize("text", ["-1", "-1m", "8Ei", "1e19", -1, 2**63])
def test_size_out_of_range_is_refused(text: str | int) -> None:
    with pytest.raises(UnitError, match=r"from 0 to 2\^63-1"):
        units.parse_bytes(text)


def test_negative_quantity_keeps_its_sign() -> None:
    assert units.parse_quantity("-500m") == Fraction(-1, 2)


@given(SIZES)
def test_quantity_round_trip_is_exact(size_bytes: int) -> None:
    assert units.parse_bytes(units.format_quantity(size_bytes)) == size_bytes


@pytest.mark.parametrize(
    ("size_bytes", "text"),
    [
        (0, "0"),
        (1000, "1k"),
        (900, "900"),
        (1024, "1Ki"),
        (1500, "1500"),
        (3 * 2**30, "3Gi"),
        (2**30 + 1, "1073741825"),
    ],
)
def test_quantity_is_written_as_kubernetes_does(size_bytes: int, text: str) -> None:
    assert units.format_quantity(size_bytes) == text


@pytest.mark.parametrize(
    ("size_bytes", "text"),
    [
        (0, "0 B"),
        (1023, "1023 B"),
        (1536, "1.5 KiB"),
        (2**30, "1 GiB"),
        (2**30 - 1, "1 GiB"),
        (20 * 2**30 + 1, "20 GiB"),
        (2**63 - 1, "8 EiB"),
        (-1536, "-1.5 KiB"),
    ],
)
def test_size_for_people(size_bytes: int, text: str) -> None:
    assert units.format_bytes(size_bytes) == text


@given(SIZES)
def test_size_for_people_is_close_and_short(size_bytes: int) -> None:
    number, unit = units.format_bytes(size_bytes).split(" ")
    read_back = units.parse_quantity(number + unit.removesuffix("B"))
    assert abs(read_back - size_bytes) <= Fraction(size_bytes, 20)
    assert len(number) <= 6


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("0", 0),
        ("1h2m3.5s", 3723.5),
        ("300ms", 0.3),
        ("1.5h", 5400),
        ("100us", 0.0001),
        ("100µs", 0.0001),
        ("7ns", 7e-9),
        ("-5s", -5),
        ("+1m", 60),
        (".5s", 0.5),
    ],
)
def test_duration_is_parsed_as_go_does(text: str, seconds: float) -> None:
    assert units.parse_duration(text) == pytest.approx(seconds, rel=1e-12)


@pytest.mark.parametrize("text", ["", "5", "s", "1d", "1 s", "1h-2m", "-", "1s ", "5m3"])
def test_text_that_is_no_duration_is_named_with_an_example(text: str) -> None:
    with pytest.raises(UnitError, match="1m30s") as caught:
        units.parse_duration(text)
    assert repr(text) in str(caught.value)


def test_duration_beyond_go_is_refused() -> None:
    with pytest.raises(UnitError, match="292 years"):
        units.parse_duration("9999999h")


@given(st.integers(0, 2**52))
def test_duration_round_trip_to_the_nanosecond(nanoseconds: int) -> None:
    duration_s = nanoseconds / 10**9
    assert units.parse_duration(units.format_duration(duration_s)) == duration_s


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0s"),
        (3723.5, "1h2m3.5s"),
        (0.3, "300ms"),
        (1.5e-6, "1.5µs"),
        (60, "1m0s"),
        (3600, "1h0m0s"),
        (-90, "-1m30s"),
    ],
)
def test_duration_is_written_as_go_does(seconds: float, text: str) -> None:
    assert units.format_duration(seconds) == text
