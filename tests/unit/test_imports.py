"""What importing a part of Moorage brings along, seen in a fresh interpreter."""

from __future__ import annotations

import subprocess
import sys

import pytest

HEAVY = ("aiohttp", "rich", "yaml")


def modules_after(statement: str) -> set[str]:
    """The names of all modules that an interpreter has loaded after it ran `statement`."""
    done = subprocess.run(
        [sys.executable, "-c", f"{statement}\nimport sys\nprint(*sys.modules, sep='\\n')"],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return set(done.stdout.split())


@pytest.mark.parametrize(
    "module", ["moorage.cli.serve", "moorage.framework", "moorage.rpc", "moorage.host", "moorage.state"]
)
def test_what_runs_in_a_node_pod_loads_no_heavy_library(module: str) -> None:
    assert modules_after(f"import {module}").isdisjoint(HEAVY)


def test_the_command_line_loads_no_heavy_library_before_a_command_needs_it() -> None:
    assert modules_after("import moorage.cli.app").isdisjoint(HEAVY)


@pytest.mark.parametrize("module", ["moorage.base", "moorage.host", "moorage.state", "moorage.spec"])
def test_grpc_is_loaded_by_rpc_only(module: str) -> None:
    assert "grpc" not in modules_after(f"import {module}")


def test_importing_the_package_loads_none_of_its_parts() -> None:
    assert not any(name.startswith("moorage.") for name in modules_after("import moorage"))
