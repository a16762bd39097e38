"""`pytest --csi-endpoint`: the rules as test items."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import pytest

from moorage.testing.mutants.farm import Backend, mutated

pytestmark = [pytest.mark.root, pytest.mark.timeout(120)]


async def run_pytest(directory: Path, *arguments: str) -> tuple[int, str]:
    """Run pytest in an empty directory; exit code and stdout."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *arguments),
        cwd=directory,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    out, _ = await process.communicate()
    assert process.returncode is not None
    return process.returncode, out.decode()


async def test_the_rules_are_tests(local_driver: Backend, tmp_path: Path) -> None:
    (tmp_path / "test_own.py").write_text("def test_own() -> None:\n    assert True\n")
    options = ("--csi-endpoint", local_driver.endpoint, "--csi-size", "32Mi", "--csi-area", "create")
    code, out = await run_pytest(tmp_path, "-v", *options, "-k", "same or own")
    assert code == 0, out
    assert "test_own.py::test_own PASSED" in out
    assert "create.replay-same-answer PASSED" in out


async def test_a_failure_is_explained_without_a_traceback(local_driver: Backend, tmp_path: Path) -> None:
    async with mutated("forgets-the-size", local_driver) as endpoint:
        options = ("--csi-endpoint", endpoint, "--csi-size", "32Mi", "-k", "create.replay-same-answer")
        code, out = await run_pytest(tmp_path, *options)
    assert code == 1, out
    assert "Demands:" in out
    assert "Traceback" not in out


async def test_without_an_endpoint_pytest_is_as_it_was(tmp_path: Path) -> None:
    code, out = await run_pytest(tmp_path)
    assert code == 5, out
