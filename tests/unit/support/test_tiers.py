from __future__ import annotations

from pathlib import Path

import pytest
from tests.support.tiers import Outcome, account_lines, csi_sanity_path, may_mount, tier_of


@pytest.mark.parametrize(
    ("markers", "tier"),
    [
        pytest.param({"test_x", "parametrize"}, "unit", id="no-marker"),
        pytest.param({"root"}, "host", id="root"),
        pytest.param({"contract", "root"}, "contract", id="contract-wins"),
    ],
)
def test_the_markers_tell_the_tier(markers: set[str], tier: str) -> None:
    assert tier_of(markers) == tier


@pytest.mark.parametrize(
    ("effective", "allowed"),
    [
        pytest.param("000001ffffffffff", True, id="real-root"),
        pytest.param("00000000a80425fb", False, id="root-in-a-plain-container"),
        pytest.param("0000000000000000", False, id="user"),
    ],
)
def test_mounting_needs_the_capability_not_the_uid(effective: str, allowed: bool) -> None:
    assert may_mount(f"Name:\tpython\nCapPrm:\tffff\nCapEff:\t{effective}\n") is allowed


def test_csi_sanity_is_looked_for_in_the_cache_directory() -> None:
    under_home = csi_sanity_path({"HOME": "/home/ada"})
    assert under_home == Path("/home/ada/.cache/moorage/csi-sanity-5.6.0/csi-sanity")
    moved = csi_sanity_path({"HOME": "/home/ada", "XDG_CACHE_HOME": "/big"})
    assert moved == Path("/big/moorage/csi-sanity-5.6.0/csi-sanity")


def test_the_build_script_and_the_tests_agree_on_the_version() -> None:
    script = Path(__file__).parents[3].joinpath("tools/csi_sanity.sh").read_text()
    version = script.split("version=", 1)[1].split("\n", 1)[0]
    assert f"csi-sanity-{version}" in csi_sanity_path({"HOME": "/"}).parts


def test_the_account_names_what_ran_and_why_the_rest_did_not() -> None:
    lines = account_lines(
        [
            Outcome("unit", "passed"),
            Outcome("unit", "passed"),
            Outcome("unit", "failed"),
            Outcome("host", "skipped", "needs root"),
        ]
    )
    assert [line.split(maxsplit=1) for line in lines] == [
        ["unit", "2 passed, 1 failed"],
        ["contract", "no test selected"],
        ["host", "1 skipped: needs root"],
        ["cluster", "no test selected"],
    ]
