"""`moorage volume` against a real driver process: real mounts, kill -9, reboots."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.host.cli.conftest import Shell

from moorage.host.mount import ensure_unmounted
from moorage.host.mountinfo import find_mount

pytestmark = [pytest.mark.root, pytest.mark.slow, pytest.mark.timeout(180)]
Serve = Callable[..., "subprocess.Popen[str]"]


def volume(shell: Shell, *arguments: str) -> dict[str, Any]:
    """A subcommand of `moorage volume` with its answer as data."""
    answer: dict[str, Any] = json.loads(shell.ok("volume", *arguments, "-o", "json"))
    return answer


def take_down(shell: Shell, *names: str) -> None:
    for name in names:
        shell.run("volume", "unmount", name)
        shell.ok("volume", "delete", name)
    assert [path.name for path in (shell.directory / "pool").rglob("*") if path.is_file()] == ["pool.lock"]


def test_a_volume_from_the_command_line_to_its_end(shell: Shell, serve: Serve) -> None:
    serve("--attach")
    socket, here = str(shell.directory / "csi.sock"), str(shell.directory / "mnt")
    made = volume(shell, "create", "data", "--driver", socket, "--size", "32Mi", "--fs-type", "ext4")
    assert made["capacity_bytes"] == 32 << 20
    volume(shell, "mount", "data", here)
    Path(here, "file").write_text("kept")
    assert volume(shell, "stats", "data")["usage"][0]["unit"] == "bytes"
    volume(shell, "snapshot", "data", "monday")
    Path(here, "file").write_text("changed")
    volume(shell, "restore", "monday", "copy")
    volume(shell, "mount", "copy", f"{here}-copy", "--readonly")
    assert Path(f"{here}-copy", "file").read_text() == "kept"
    with pytest.raises(OSError, match="Read-only"):
        Path(f"{here}-copy", "more").write_text("no")
    refused = shell.run("volume", "delete", "data")
    assert refused.returncode == 1
    assert refused.stderr.count("\n") == 1
    assert "moorage volume unmount data" in refused.stderr
    volume(shell, "clone", "data", "twin", "--size", "64Mi")
    volume(shell, "group-snapshot", "both", "data", "twin")
    listed = volume(shell, "snapshots")
    assert {row["name"] for row in listed["snapshots"]} == {"monday", "both-data", "both-twin"}
    shell.ok("volume", "delete-snapshot", "both")
    shell.ok("volume", "delete-snapshot", "monday")
    assert {row["status"] for row in volume(shell, "list")["volumes"]} == {"mounted", "available"}
    take_down(shell, "data", "copy", "twin")


def test_lost_mounts_are_seen_and_reconciled(shell: Shell, serve: Serve) -> None:
    serve()
    here = str(shell.directory / "mnt")
    shell.ok("volume", "create", "data", "--driver", str(shell.directory / "csi.sock"), "--size", "32Mi")
    shown = volume(shell, "mount", "data", here)
    Path(here, "file").write_text("kept")
    ensure_unmounted(here)
    ensure_unmounted(shown["staging_path"])
    serve()
    assert volume(shell, "show", "data")["status"] == "mount pending"
    assert volume(shell, "reconcile") == {"volumes": [{"name": "data", "problem": ""}]}
    assert Path(here, "file").read_text() == "kept"
    take_down(shell, "data")


@pytest.mark.parametrize("rpc", ["CreateVolume", "NodeStageVolume", "NodePublishVolume"])
def test_a_killed_command_is_resumed(shell: Shell, serve: Serve, rpc: str) -> None:
    plan = json.dumps([{"rpc": rpc, "action": "delay:30", "times": 1}])
    serve(MOORAGE_FAULTS=plan)
    socket, here = str(shell.directory / "csi.sock"), str(shell.directory / "mnt")
    create = ("volume", "create", "data", "--driver", socket, "--size", "32Mi")
    mount = ("volume", "mount", "data", here)
    if rpc != "CreateVolume":
        shell.ok(*create)
    process = subprocess.Popen(
        shell.command(*(create if rpc == "CreateVolume" else mount)),
        env={**os.environ, **shell.environment},
        stderr=subprocess.DEVNULL,
    )
    uncertain = {"CreateVolume": "created", "NodeStageVolume": "staged", "NodePublishVolume": "mounts"}[rpc]
    while True:  # the record tells when the call is under way; the test's timeout ends a wait for ever
        listed = volume(shell, "list")["volumes"]
        if listed and "uncertain" in json.dumps(listed[0][uncertain]):
            break
    process.send_signal(signal.SIGKILL)
    process.wait()
    serve()
    shell.ok(*create)
    shell.ok(*mount)
    assert find_mount(here) is not None
    assert len([path for path in (shell.directory / "pool" / "volumes").iterdir() if path.is_dir()]) == 1
    take_down(shell, "data")


def test_the_order_of_nomad_is_survived_by_a_real_driver(shell: Shell, serve: Serve) -> None:
    serve("--attach")
    here = shell.directory
    shell.ok("volume", "create", "data", "--driver", str(here / "csi.sock"), "--size", "32Mi", "--nomad")
    shown = volume(shell, "mount", "data", str(here / "a"), "--nomad")
    assert shown["staging_path"].endswith("/staging/default/data/rw-file-system-single-node-multi-writer")
    shell.ok("volume", "mount", "data", str(here / "b"), "--nomad")
    shell.ok("volume", "unmount", str(here / "a"), "--nomad")
    shell.ok("volume", "unmount", "data", "--nomad")
    assert not Path(shown["staging_path"]).exists()
    take_down(shell, "data")


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        pytest.param(("create", "data"), 1, "give --driver", id="no-driver"),
        pytest.param(("create", "data", "--size", "10Gib"), 2, "10Gib", id="bad-size"),
        pytest.param(("create",), 2, "missing argument", id="no-name"),
        pytest.param(("mount", "data", "/x"), 1, "no volume 'data'", id="unknown-volume"),
        pytest.param(("create", "d", "--parameter", "novalue", "--driver", "x"), 2, "KEY=VALUE", id="bad-parameter"),
        pytest.param(("create", "d", "--driver", "/nonexistent.sock"), 1, "start the driver", id="driver-not-there"),
    ],
)
def test_mistakes_get_one_sentence_and_the_right_exit_code(
    shell: Shell, arguments: tuple[str, ...], code: int, says: str
) -> None:
    done = shell.run("volume", *arguments, "--timeout", "5s")
    assert done.returncode == code
    assert says in done.stderr
    assert done.stderr.count("\n") == 1
    assert "Traceback" not in done.stderr
