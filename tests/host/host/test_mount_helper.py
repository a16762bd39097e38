"""The mount helper against real mounts, and against a FUSE server that never answers."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from moorage.host import syscalls
from moorage.host.helper import HelperBusy, HelperTimeout, MountHelper
from moorage.host.mount import ensure_unmounted
from moorage.host.mountinfo import find_mount

pytestmark = pytest.mark.root


@pytest.fixture
def helper() -> Iterator[MountHelper]:
    helper = MountHelper(max_children=3)
    helper.start()
    yield helper
    helper.close()


@pytest.fixture
def silent_mount(place: Path) -> Iterator[Path]:
    """A FUSE mount whose server never reads a request: every access waits until the connection is cut."""
    target = place / "silent"
    target.mkdir()
    fd = os.open("/dev/fuse", os.O_RDWR | os.O_CLOEXEC)
    try:
        data = f"fd={fd},rootmode=40000,user_id=0,group_id=0"
        syscalls.mount("silent", str(target), fs_type="fuse", flags=0, data=data)
        yield target
    finally:
        os.close(fd)
        ensure_unmounted(str(target), lazy=True)


@pytest.mark.parametrize("with_program", [False, True], ids=["system-call", "mount-program"])
def test_mount_statfs_unmount(helper: MountHelper, place: Path, with_program: bool) -> None:
    target = place / "t"
    target.mkdir()
    options = ["size=1m", "nosuid"]
    assert helper.mount("src", str(target), fs_type="tmpfs", options=options, with_program=with_program) is True
    assert helper.mount("src", str(target), fs_type="tmpfs", options=options, with_program=with_program) is False
    entry = find_mount(str(target))
    assert entry is not None
    assert "nosuid" in entry.options
    assert helper.statfs(str(target)).total_bytes == 1 << 20
    with pytest.raises(OSError, match="unmount it first") as caught:
        helper.mount("other", str(target), fs_type="tmpfs")
    assert caught.value.errno == errno.EEXIST
    assert helper.unmount(str(target)) is True
    assert helper.unmount(str(target)) is False


def test_errors_come_back_without_secrets(helper: MountHelper, place: Path) -> None:
    target = place / "t"
    target.mkdir()
    for with_program in (False, True):
        with pytest.raises(OSError, match="failed") as caught:
            helper.mount("s", str(target), fs_type="tmpfs", options=["password=hunter2"], with_program=with_program)
        assert "hunter2" not in str(caught.value)
    with pytest.raises(ValueError, match="remount"):
        helper.mount("s", str(target), fs_type="tmpfs", options=["remount"])
    with pytest.raises(FileNotFoundError):
        helper.statfs(str(place / "missing"))


def test_a_call_that_hangs_costs_its_process_and_nothing_else(helper: MountHelper, silent_mount: Path) -> None:
    started = time.monotonic()
    with pytest.raises(HelperTimeout, match=r"statfs of .* did not finish within 0\.3 s") as caught:
        helper.statfs(str(silent_mount), timeout_s=0.3)
    assert time.monotonic() - started < 10
    assert isinstance(caught.value, TimeoutError)
    assert caught.value.still_running() is (helper.abandoned == 1)
    assert helper.statfs("/proc").total_bytes == 0
    assert helper.unmount(str(silent_mount), lazy=True) is True


def test_the_number_of_processes_is_bounded(helper: MountHelper, silent_mount: Path) -> None:
    failures: list[BaseException] = []

    def hang() -> None:
        try:
            helper.statfs(str(silent_mount), timeout_s=2.0)
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=hang) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(type(failure).__name__ for failure in failures) == ["HelperBusy"] * 3 + ["HelperTimeout"] * 3
    assert "try again later" in str(next(failure for failure in failures if isinstance(failure, HelperBusy)))


def test_a_killed_child_is_replaced(helper: MountHelper) -> None:
    (pid,) = children("moorage.host.helper")
    os.kill(pid, signal.SIGKILL)
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
    assert helper.statfs("/").total_bytes > 0
    assert children("moorage.host.helper") != [pid]


def test_children_end_with_their_parent(helper: MountHelper) -> None:
    (pid,) = children("moorage.host.helper")
    helper.close()
    assert not Path(f"/proc/{pid}").exists()
    with pytest.raises(HelperBusy, match="closed"):
        helper.statfs("/")


def children(module: str, *, of: int = 0) -> list[int]:
    """Living children of a process, of this one by default, that run `module`."""
    listed = subprocess.run(
        ["ps", "--ppid", str(of or os.getpid()), "-o", "pid=,stat=,args="], capture_output=True, text=True, check=True
    ).stdout
    rows = (line.split(None, 2) for line in listed.splitlines())
    return [int(row[0]) for row in rows if module in row[2] and not row[1].startswith("Z")]


def test_bind_is_repeatable_and_finishes_readonly(helper: MountHelper, place: Path) -> None:
    source, target = place / "s", place / "t"
    source.mkdir()
    target.mkdir()
    helper.mount("src", str(source), fs_type="tmpfs")
    assert helper.bind(str(source), str(target)) is True
    assert helper.bind(str(source), str(target)) is False
    assert helper.bind(str(source), str(target), readonly=True) is True
    entry = find_mount(str(target))
    assert entry is not None
    assert (entry.source, "ro" in entry.options) == ("src", True)
    with pytest.raises(OSError, match="unmount it first"):
        helper.bind(str(place), str(target))


def test_a_mount_that_cannot_be_told_by_its_source_is_not_left(helper: MountHelper, place: Path) -> None:
    """mount(8) finds the device of a LABEL or a file by itself: no later call could recognise such a mount."""
    image, target = place / "image", place / "t"
    target.mkdir()
    image.write_bytes(b"")
    os.truncate(image, 16 << 20)
    subprocess.run(["mkfs.ext4", "-q", str(image)], check=True)
    with pytest.raises(OSError, match=r"shows .*loop") as caught:
        helper.mount(str(image), str(target), fs_type="ext4", with_program=True)
    assert caught.value.errno == errno.EINVAL
    assert find_mount(str(target)) is None


PARENT = """
import sys, threading, time
from moorage.host.helper import MountHelper

helper = MountHelper()
helper.start()
threading.Thread(target=lambda: helper.statfs(sys.argv[1], timeout_s=60.0), daemon=True).start()
print("asking", flush=True)
time.sleep(60)
"""


def test_a_busy_child_ends_with_a_parent_that_is_killed(silent_mount: Path) -> None:
    """What nobody waits for any more must not be mounted or unmounted later, behind the back of the next driver."""
    parent = subprocess.Popen([sys.executable, "-c", PARENT, str(silent_mount)], stdout=subprocess.PIPE)
    try:
        assert parent.stdout is not None
        assert parent.stdout.readline() == b"asking\n"
        (pid,) = children("moorage.host.helper", of=parent.pid)
        wait_until(lambda: waits_in_statfs(pid))
    finally:
        parent.kill()
        parent.wait()
        if parent.stdout is not None:
            parent.stdout.close()
    wait_until(lambda: not Path(f"/proc/{pid}").exists())


def waits_in_statfs(pid: int) -> bool:
    """Whether the main thread of the child is inside statfs or fstatfs."""
    return Path(f"/proc/{pid}/syscall").read_text().split()[0] in ("137", "138")


def wait_until(condition: Callable[[], bool], *, timeout_s: float = 10.0) -> None:
    deadline_s = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline_s, "it never came to that"
        time.sleep(0.02)
