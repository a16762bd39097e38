"""Names of any kind become safe names, and different names stay different."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moorage.spec.names import (
    LEAST_LIMIT,
    banned_characters,
    driver_name_problem,
    driver_name_warning,
    encode_name,
    name_problem,
)

SAFE = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?")
anything = st.text(max_size=140)


@pytest.mark.parametrize(
    "name",
    ["pvc-0a6f3c62-5d0b-4b0e-9f57-3f3f1d7a9b11", "a", "Snap.2026-01-02", "x" * 63],
)
def test_safe_names_are_kept(name: str) -> None:
    assert encode_name(name) == name


@pytest.mark.parametrize(
    "name",
    [
        "",
        ".",
        "..",
        "../../etc/passwd",
        "-rf",
        "a/b",
        "a b",
        "a\nb",
        "a_b",
        "\u3042",
        "n" * 128,
        ".hidden",
        "a..b",
        "\x00",
    ],
)
def test_other_names_are_encoded_and_safe(name: str) -> None:
    encoded = encode_name(name)
    assert encoded != name
    assert SAFE.fullmatch(encoded)
    assert len(encoded) <= 63
    assert ".." not in encoded


def test_the_readable_part_stays() -> None:
    assert encode_name("my volume/1").startswith("my-volume-1.x")


@given(anything, anything)
def test_different_names_stay_different(first: str, second: str) -> None:
    for lower in (False, True):
        assert (encode_name(first, lower=lower) == encode_name(second, lower=lower)) == (first == second)


@given(anything)
def test_an_encoded_name_is_never_another_names_own(name: str) -> None:
    encoded = encode_name(name)
    if encoded != name:
        assert encode_name(encoded) != encoded


@given(anything, st.integers(LEAST_LIMIT, 128), st.booleans())
def test_encoded_names_keep_to_their_limit(name: str, limit: int, lower: bool) -> None:
    encoded = encode_name(name, limit=limit, lower=lower)
    assert len(encoded) <= limit
    assert SAFE.fullmatch(encoded)
    assert not lower or encoded == encoded.lower()


def test_names_that_differ_in_case_stay_different_in_lower_case() -> None:
    names = {encode_name(name, lower=True) for name in ("vol", "Vol", "VOL")}
    assert len(names) == 3


def test_a_limit_without_room_is_refused() -> None:
    with pytest.raises(ValueError, match="27"):
        encode_name("a", limit=LEAST_LIMIT - 1)


def test_banned_characters_are_exactly_those_of_the_spec() -> None:
    banned = {chr(number) for number in (*range(9), 0xB, 0xC, *range(0xE, 0x20), *range(0x7F, 0xA0))}
    everything = "".join(chr(number) for number in range(0x300))
    assert set(banned_characters(everything)) == banned
    assert banned_characters("tab\t line\n return\r") == ""


@pytest.mark.parametrize(
    ("name", "clause"),
    [
        ("ok", None),
        ("\u00e9" * 64, None),
        ("", "is empty"),
        ("a\x01", "U+0001"),
        ("\u00e9" * 65, "has 130 bytes"),
    ],
)
def test_name_problem(name: str, clause: str | None) -> None:
    problem = name_problem(name)
    assert problem == clause or (clause is not None and clause in (problem or ""))


@pytest.mark.parametrize("name", ["local.moorage.dev", "a", "9", "A-1.b", "a" * 63, "hostpath.csi.k8s.io"])
def test_driver_names(name: str) -> None:
    assert driver_name_problem(name) is None


@pytest.mark.parametrize("name", ["", "-a", "a-", ".a", "a_b", "a\\b", "a b", "a" * 64, "a\n", "\u00e9"])
def test_bad_driver_names(name: str) -> None:
    assert driver_name_problem(name) is not None


@pytest.mark.parametrize(("name", "warned"), [("driver1", True), ("1driver", True), ("a", True), ("a.b", False)])
def test_driver_names_that_csi_sanity_refuses(name: str, warned: bool) -> None:
    assert (driver_name_warning(name) is not None) is warned
