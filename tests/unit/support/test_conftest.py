"""The hooks of `tests/conftest.py`, run on small test files in a pytest of their own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from tests.support.tiers import MAY_SKIP

ROOT = Path(__file__).resolve().parents[3]
SKIPS = """
import pytest

@pytest.mark.skip(reason="no such hardware")
def test_a(): pass

def test_b(): pass
"""
SKIPS_AT_IMPORT = "import pytest\n\npytest.skip('not on this kernel', allow_module_level=True)\n"
XFAIL = "import pytest\n\n@pytest.mark.xfail(reason='known')\ndef test_a(): raise AssertionError\n"


def run_pytest(directory: Path, source: str, *options: str, no_skip: bool = False) -> tuple[int, str]:
    """Run `source` as a test file under the project's conftest; its exit code and output."""
    (directory / "test_inner.py").write_text(source)
    (directory / "conftest.py").write_text((ROOT / "tests/conftest.py").read_text())
    environ = {key: value for key, value in os.environ.items() if not key.startswith(("MOORAGE_", "PYTEST_"))}
    environ["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"  # seconds, on a small machine
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-p",
        "no:cacheprovider",
        f"--basetemp={directory}/base",
        *options,
    ]
    done = subprocess.run(
        [*command, f"--rootdir={directory}", f"--override-ini=pythonpath={ROOT}", str(directory)],
        cwd=directory,
        env=environ | ({"MOORAGE_NO_SKIP": "1"} if no_skip else {}),
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )
    return done.returncode, done.stdout + done.stderr


def test_a_skip_is_told_with_its_reason(tmp_path: Path) -> None:
    code, output = run_pytest(tmp_path, SKIPS)
    assert code == 0
    assert "1 passed; 1 skipped: no such hardware" in output


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        pytest.param(SKIPS, "no such hardware", id="marker"),
        pytest.param(SKIPS_AT_IMPORT, "not on this kernel", id="whole-module"),
    ],
)
def test_a_skip_fails_where_skipping_is_forbidden(tmp_path: Path, source: str, reason: str) -> None:
    code, output = run_pytest(tmp_path, source, no_skip=True)
    assert code != 0
    assert f"this test was skipped: {reason}" in output


@pytest.mark.parametrize("reason", sorted(MAY_SKIP))
def test_a_skip_on_the_list_is_allowed_everywhere(tmp_path: Path, reason: str) -> None:
    code, output = run_pytest(tmp_path, SKIPS.replace("no such hardware", reason), no_skip=True)
    assert code == 0
    assert f"1 passed; 1 skipped: {reason}" in output


def test_an_expected_failure_is_no_skip(tmp_path: Path) -> None:
    code, output = run_pytest(tmp_path, XFAIL, no_skip=True)
    assert (code, "1 xfailed" in output) == (0, True)


@pytest.mark.root
@pytest.mark.parametrize("options", [(), ("-p", "xdist", "-n", "1")], ids=["one-process", "xdist"])
def test_a_mount_left_behind_fails_the_run(tmp_path: Path, options: tuple[str, ...]) -> None:
    target = tmp_path / "left"
    target.mkdir()
    mount = ["mount", "-t", "tmpfs", "x", str(target)]
    source = f"import subprocess\n\ndef test_a(): subprocess.run({mount}, check=True)\n"
    try:
        code, output = run_pytest(tmp_path, source, *options)
    finally:
        subprocess.run(["umount", str(target)], check=False)
    assert code == 1
    assert f"mount on {target} of x" in output
    assert "1 passed, 1 error" in output
