"""csi-sanity 5.6.0 against `moorage serve local`: the outside judge of manners, on every kind of pool."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Sequence
from pathlib import Path

import pytest
from tests.support.pools import pool_on

from moorage.host import loop
from moorage.host.mountinfo import mounts_below
from moorage.testing.driver import DriverProcess

pytestmark = [pytest.mark.root, pytest.mark.contract, pytest.mark.timeout(300)]

MIB = 1 << 20
SIZE_BYTES, EXPANDED_BYTES = 320 * MIB, 384 * MIB


async def judge(sanity: Path, driver: DriverProcess, directory: Path, arguments: Sequence[str]) -> str:
    """What csi-sanity prints, without colours."""
    process = await asyncio.create_subprocess_exec(
        str(sanity),
        "-csi.endpoint",
        driver.endpoint,
        *("-csi.mountdir", str(directory / "mount"), "-csi.stagingdir", str(directory / "staging")),
        *("-csi.testvolumesize", str(SIZE_BYTES), "-csi.testvolumeexpandsize", str(EXPANDED_BYTES)),
        *arguments,
        "--ginkgo.no-color",
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    printed, _ = await process.communicate()
    return printed.decode(errors="replace")


def counts(printed: str) -> tuple[int, int, int, int]:
    """Passed, failed, pending, skipped."""
    found = re.search(r"(\d+) Passed \| (\d+) Failed \| (\d+) Pending \| (\d+) Skipped", printed)
    assert found is not None, printed
    passed, failed, pending, skipped = map(int, found.groups())
    return passed, failed, pending, skipped


@pytest.mark.parametrize(
    ("fs_type", "access_type", "mutable", "attach", "expected"),
    [
        pytest.param("xfs", "mount", 'readAheadKiB: "256"', True, (101, 0, 1, 1), id="images mount"),
        pytest.param("xfs", "block", 'readAheadKiB: "256"', True, (101, 0, 1, 1), id="images block"),
        pytest.param("xfs", "mount", 'readAheadKiB: "256"', False, (91, 0, 1, 11), id="images mount without attach"),
        pytest.param("ext4", "mount", 'readAheadKiB: "256"', True, (101, 0, 1, 1), id="copied images mount"),
        pytest.param("btrfs", "mount", 'compression: "zstd"', True, (101, 0, 1, 1), id="subvolumes mount"),
        pytest.param("btrfs", "block", 'readAheadKiB: "256"', True, (101, 0, 1, 1), id="images on btrfs block"),
    ],
)
async def test_csi_sanity(
    tmp_path: Path,
    csi_sanity: Path,
    fs_type: str,
    access_type: str,
    mutable: str,
    attach: bool,
    expected: tuple[int, int, int, int],
) -> None:
    parameters = tmp_path / "mutable.yaml"
    parameters.write_text(f"{mutable}\n")
    arguments = ["-csi.testvolumeaccesstype", access_type, "-csi.testvolumemutableparameters", str(parameters)]
    with pool_on(fs_type, tmp_path) as pool:
        attaching = ["--attach", "--attach-limit", "8"] if attach else []
        arguments += ["-csi.testnodevolumeattachlimit"] if attach else []
        driver = DriverProcess("local", directory=tmp_path, arguments=["--pool", str(pool), *attaching])
        async with driver:
            printed = await judge(csi_sanity, driver, tmp_path, arguments)
        assert counts(printed) == expected, printed
        assert [path for path in pool.rglob("*") if path.parent != pool] == []
        assert [entry.mount_point for entry in mounts_below(str(tmp_path))] == [str(pool)]
        assert [device for device in loop.list_loops() if device.backing_path.startswith(f"{pool}/")] == []
