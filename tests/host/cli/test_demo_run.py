"""`moorage demo` for real: it shows the whole life, and leaves nothing, however it ends."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.host.cli.conftest import Shell

pytestmark = [pytest.mark.root, pytest.mark.slow, pytest.mark.timeout(180)]


@pytest.fixture
def btrfs(tmp_path: Path) -> Iterator[Path]:
    if not shutil.which("mkfs.btrfs"):
        pytest.skip("needs mkfs.btrfs")
    image, mount_point = tmp_path / "btrfs.img", tmp_path / "btrfs"
    mount_point.mkdir()
    image.touch()
    os.truncate(image, 1 << 30)
    subprocess.run(["mkfs.btrfs", "-q", str(image)], check=True, capture_output=True)
    subprocess.run(["mount", "-o", "loop", str(image), str(mount_point)], check=True)
    try:
        yield mount_point
    finally:
        subprocess.run(["umount", str(mount_point)], check=True)


def test_the_whole_life_twice_in_a_row(shell: Shell) -> None:
    for _ in range(2):
        done = shell.run("demo", "-o", "json")
        document = json.loads(done.stdout)
        assert (done.returncode, document["ok"], document["error"]) == (0, True, ""), done.stderr
        called = {call["rpc"] for act in document["acts"] for call in act["calls"]}
        assert called >= {
            "CreateVolume", "ControllerPublishVolume", "NodeStageVolume", "NodePublishVolume", "NodeGetVolumeStats",
            "CreateSnapshot", "ControllerExpandVolume", "NodeExpandVolume", "CreateVolumeGroupSnapshot",
            "NodeUnpublishVolume", "NodeUnstageVolume", "ControllerUnpublishVolume", "DeleteSnapshot",
            "DeleteVolumeGroupSnapshot", "DeleteVolume",
        }  # fmt: skip
        assert {act["outcome"] for act in document["acts"]} == {"done"}
        assert shell.traces() == []


def test_it_prints_each_step_with_its_calls_and_their_time(shell: Shell) -> None:
    done = shell.run("demo", "--size", "32Mi")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "\x1b" not in done.stdout
    assert " 1. create a volume\n    CreateVolume" in done.stdout
    assert done.stdout.rstrip().endswith("nothing is left: no mount, no loop device, no file")


def test_a_size_that_the_file_system_cannot_have_is_said_to_be_raised(shell: Shell) -> None:
    done = shell.run("demo", "--size", "16Mi")
    assert done.returncode == 0, done.stdout + done.stderr
    assert ("16 MiB were asked for" in done.stdout) is ("volumes are xfs" in done.stdout)


def test_a_size_that_has_no_room_for_its_files_is_refused(shell: Shell) -> None:
    done = shell.run("demo", "--size", "1Mi")
    assert (done.returncode, done.stdout) == (2, "")
    assert "16 MiB" in done.stderr


@pytest.mark.parametrize("there_before", [(), ("volumes", "pool.lock"), ("mine",)])
def test_a_pool_that_it_was_lent_is_given_back_as_it_was(shell: Shell, there_before: tuple[str, ...]) -> None:
    pool = shell.directory / "lent"
    pool.mkdir()
    for name in there_before:
        (pool / name).touch() if "." in name else (pool / name).mkdir()
    done = shell.run("demo", "--pool", str(pool))
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.rstrip().endswith("nothing is left: no mount, no loop device, no file")
    assert sorted(path.name for path in pool.iterdir()) == sorted(there_before)


def test_a_pool_that_a_driver_has_is_refused(shell: Shell, serve: Callable[..., subprocess.Popen[str]]) -> None:
    process = serve()
    shell.ok("rpc", "-e", f"{shell.directory}/csi.sock", "--retry", "identity", "probe")
    done = shell.run("demo", "--pool", str(shell.directory / "pool"))
    assert done.returncode == 1
    assert f"(pid {process.pid})" in done.stderr
    assert process.poll() is None
    assert sorted(path.name for path in (shell.directory / "pool").iterdir()) == [
        "pool.lock", "snapshots", "tmp", "volumes",
    ]  # fmt: skip


@pytest.mark.parametrize("rpc", ["NodePublishVolume", "CreateSnapshot", "DeleteVolume"])
def test_a_failing_step_is_named_and_everything_is_taken_back(shell: Shell, rpc: str) -> None:
    plan = json.dumps([{"rpc": rpc, "action": "status:INTERNAL"}])
    done = shell.run("demo", MOORAGE_FAULTS=plan)
    assert done.returncode == 1
    assert rpc in done.stderr
    assert "INTERNAL" in done.stderr
    assert "last lines of the driver's log" in done.stdout
    assert shell.traces() == []


def test_a_driver_that_never_recovers_still_leaves_nothing(shell: Shell) -> None:
    plan = json.dumps([{"rpc": "NodeUnstageVolume", "action": "status:INTERNAL", "times": 1000}])
    done = shell.run("demo", MOORAGE_FAULTS=plan)
    assert done.returncode == 1
    assert shell.traces() == []


@pytest.mark.parametrize(
    ("number", "exit_code"),
    [
        pytest.param(signal.SIGINT, 130, id="ctrl-c"),
        pytest.param(signal.SIGTERM, 143, id="sigterm"),
        pytest.param(signal.SIGHUP, 129, id="sighup"),
    ],
)
def test_a_signal_takes_everything_back(shell: Shell, number: signal.Signals, exit_code: int) -> None:
    # whoever started the tests may ignore these signals, as shells do in the background, and so would the demo
    interruptible = (
        "import signal; signal.signal(signal.SIGINT, signal.default_int_handler); "
        "signal.signal(signal.SIGTERM, signal.SIG_DFL); signal.signal(signal.SIGHUP, signal.SIG_DFL); "
    )
    run = "from moorage.cli.app import main; main(['demo'])"
    with subprocess.Popen(
        [sys.executable, "-c", interruptible + run],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, **shell.environment},
    ) as process:
        assert process.stdout is not None
        seen = []
        for line in process.stdout:
            seen.append(line)
            if line.startswith(" 7."):
                process.send_signal(number)
    assert process.returncode == exit_code, "".join(seen)
    assert "taking everything back" in "".join(seen)
    assert "nothing is left" in "".join(seen)
    assert shell.traces() == []


def test_another_driver_is_used_and_left_running(shell: Shell, serve: Callable[..., subprocess.Popen[str]]) -> None:
    process = serve()
    done = shell.run("demo", "--driver", f"{shell.directory}/csi.sock", "-o", "json")
    document = json.loads(done.stdout)
    called = {call["rpc"] for act in document["acts"] for call in act["calls"]}
    assert "ControllerPublishVolume" not in called
    assert process.poll() is None
    assert shell.traces() == []
    assert done.returncode == 0, done.stderr
    assert {act["outcome"] for act in document["acts"] if act["title"] == "its content survived"} == {"done"}
    (expansion,) = [act for act in document["acts"] if act["title"].startswith("double its size")]
    if expansion["outcome"] != "done":  # without CAP_SYS_RESOURCE a mounted ext4 cannot grow, and the driver says so
        assert "CAP_SYS_RESOURCE" in expansion["detail"]


def test_on_btrfs_the_growth_of_a_subvolume_is_seen_in_the_statistics(shell: Shell, btrfs: Path) -> None:
    done = shell.run("demo", "--pool", str(btrfs), "-o", "json")
    document = json.loads(done.stdout)
    assert (done.returncode, document["error"], document["left_behind"]) == (0, "", []), done.stderr
    (expansion,) = [act for act in document["acts"] if act["title"].startswith("double its size")]
    assert expansion["detail"] == "64 MiB -> 128 MiB, statistics 64 MiB -> 128 MiB"


def test_what_is_kept_can_be_used_and_removed_with_the_commands_that_are_told(shell: Shell) -> None:
    document = json.loads(shell.run("demo", "--keep", "-o", "json").stdout)
    state = ("--state-dir", f"{document['kept']}/state")
    assert Path(document["kept"], "mnt", "data", "journal").stat().st_size > 0
    with subprocess.Popen(shell.command(*document["driver"]), stderr=subprocess.DEVNULL) as driver:
        try:
            for snapshot in ("monday", "together"):
                shell.ok("volume", "delete-snapshot", snapshot, *state)
            for name in ("data", "restored", "twin", "raw"):
                shell.ok("volume", "unmount", name, *state)
                shell.ok("volume", "delete", name, *state)
        finally:
            driver.send_signal(signal.SIGTERM)
    shutil.rmtree(document["kept"])
    assert shell.traces() == []


def test_without_root_it_runs_on_directories(shell: Shell) -> None:
    if not os.access(os.path.realpath(sys.executable), os.X_OK) or not _readable_by_nobody():
        python = "/usr/bin/python3"
    else:
        python = sys.executable
    packages = os.pathsep.join(path for path in sys.path if path)
    user = ("setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups")
    environment = {**os.environ, **shell.environment, "PYTHONPATH": packages, "HOME": "/nonexistent"}
    del environment["MOORAGE_STATE_DIR"]
    for directory in (shell.directory, *shell.directory.parents):
        if directory.owner() == "root" and str(directory).startswith("/tmp/"):
            directory.chmod(directory.stat().st_mode | 0o055)
    done = subprocess.run(
        [*user, python, "-m", "moorage", "demo", "-o", "json"],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        env=environment,
        cwd="/",
    )
    assert done.returncode == 0, done.stdout + done.stderr
    document = json.loads(done.stdout)
    declined = {act["title"] for act in document["acts"] if act["outcome"] == "left"}
    assert "create a raw block volume" in declined
    assert "NodePublishVolume" in done.stdout
    assert shell.traces() == []


def _readable_by_nobody() -> bool:
    path = Path(os.path.realpath(sys.executable))
    return all(parent.stat().st_mode & 0o005 == 0o005 for parent in path.parents)
