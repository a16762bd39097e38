"""The example driver of the documentation: one screen long, and csi-sanity finds nothing wrong with it."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from moorage.testing.driver import DriverProcess

EXAMPLES = Path(__file__).parents[3] / "examples"
SANITY_LIMIT_S = 120.0
LEAST_PASSED = 45
VOLUME_BYTES = 64 << 20
"""The toy driver copies whole files, and csi-sanity would have them 10 GiB large."""


@pytest.fixture
def folder() -> Iterator[Path]:
    """A directory with a short path: socket paths end at 107 bytes."""
    path = Path(tempfile.mkdtemp(prefix="mr-"))
    yield path
    shutil.rmtree(path)


def test_the_toy_driver_fits_a_screen() -> None:
    assert len((EXAMPLES / "toy_driver.py").read_text().splitlines()) <= 60


@pytest.mark.contract
@pytest.mark.root
@pytest.mark.slow
@pytest.mark.timeout(180)
async def test_csi_sanity_passes(csi_sanity: Path, folder: Path) -> None:
    root, report = folder / "volumes", folder / "report.json"
    environment = {"PYTHONPATH": os.pathsep.join([str(EXAMPLES), os.environ.get("PYTHONPATH", "")])}
    async with DriverProcess(
        "toy_driver:ToyDriver", directory=folder, arguments=["--root", str(root)], environment=environment
    ) as driver:
        process = await asyncio.create_subprocess_exec(
            csi_sanity,
            *("-csi.endpoint", driver.endpoint),
            *("-csi.testvolumesize", str(VOLUME_BYTES), "-csi.testvolumeexpandsize", str(2 * VOLUME_BYTES)),
            *("-csi.mountdir", str(folder / "mount"), "-csi.stagingdir", str(folder / "stage")),
            *("-ginkgo.json-report", str(report), "-ginkgo.no-color"),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        try:
            async with asyncio.timeout(SANITY_LIMIT_S):
                output, _ = await process.communicate()
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
        assert process.returncode == 0, output.decode(errors="replace")[-12000:] + driver.log_tail()
    states = [spec["State"] for suite in json.loads(report.read_text()) for spec in suite["SpecReports"]]
    assert "failed" not in states
    assert states.count("passed") >= LEAST_PASSED
    assert list(root.iterdir()) == []
    assert sorted(path.name for path in folder.iterdir() if path.name in ("mount", "stage", "csi.sock")) == []
