"""Freezing real file systems: consistent images, and a thaw whatever dies."""

from __future__ import annotations

import errno
import os
import signal
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from moorage.host import guard, mount
from moorage.host.freeze import AlreadyFrozen, FreezeExpired, ensure_thawed, frozen

pytestmark = pytest.mark.root
MakeVolume = Callable[..., Any]


@pytest.fixture(autouse=True)
def no_guard_is_left() -> Iterator[None]:
    yield
    guard.end_idle()


def writes_pass(directory: Path, *, within_s: float) -> bool:
    """Whether a write to `directory` ends in time; it runs in a child, which a frozen file system would hold."""
    argv = [sys.executable, "-c", f"open({str(directory / 'w')!r}, 'w').write('x')"]
    child = subprocess.Popen(argv)
    try:
        return child.wait(within_s) == 0
    except subprocess.TimeoutExpired:
        return False
    finally:
        if child.poll() is None:
            ensure_thawed(str(directory))
            child.wait(10)


@pytest.fixture
def two_mounts(make_volume: MakeVolume) -> list[Path]:
    return [make_volume(fs_type, fs_type).mount() for fs_type in ("ext4", "xfs")]


def test_writers_wait_inside_and_go_on_after(two_mounts: list[Path]) -> None:
    done = threading.Event()

    def write() -> None:
        (two_mounts[0] / "late").write_text("x")
        done.set()

    writer = threading.Thread(target=write)
    with frozen(map(str, two_mounts), max_s=20):
        writer.start()
        assert not done.wait(0.2)
    assert done.wait(10)
    writer.join()
    assert [ensure_thawed(str(path)) for path in two_mounts] == [False, False]


def test_the_same_file_system_counts_once(two_mounts: list[Path], place: Path) -> None:
    second = place / "second"
    second.mkdir()
    mount.bind_mount(str(two_mounts[0]), str(second))
    with frozen([str(second), str(two_mounts[0]), str(two_mounts[0])], max_s=20):
        pass
    assert writes_pass(second, within_s=5)


def test_an_already_frozen_member_thaws_the_others(two_mounts: list[Path]) -> None:
    first, last = sorted(map(str, two_mounts))
    with frozen([last], max_s=20):
        with pytest.raises(AlreadyFrozen, match="already frozen") as caught, frozen([first, last], max_s=20):
            pytest.fail("a frozen file system was frozen again")
        assert caught.value.errno == errno.EBUSY
        assert writes_pass(Path(first), within_s=5)
    assert ensure_thawed(last) is False


def test_a_plain_directory_never_freezes_the_host(place: Path) -> None:
    with pytest.raises(OSError, match="no mount point"), frozen([str(place)], max_s=1):
        pytest.fail("the file system of the host was frozen")


def test_the_error_of_the_body_comes_through_thawed(two_mounts: list[Path]) -> None:
    with pytest.raises(KeyError), frozen([str(two_mounts[0])], max_s=20):
        raise KeyError("body")
    assert ensure_thawed(str(two_mounts[0])) is False


def test_overstaying_thaws_and_says_that_the_result_is_void(two_mounts: list[Path]) -> None:
    started = time.monotonic()
    with pytest.raises(FreezeExpired, match="discard"), frozen([str(two_mounts[0])], max_s=0.3):
        assert writes_pass(two_mounts[0], within_s=10)
    assert time.monotonic() - started < 10


FREEZER = """
import sys, time
from moorage.host.freeze import frozen
with frozen(sys.argv[1:], max_s=600):
    print("frozen", flush=True)
    time.sleep(600)
"""


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM], ids=["kill", "term"])
def test_a_killed_freezer_leaves_nothing_frozen(two_mounts: list[Path], number: signal.Signals) -> None:
    paths = [str(path) for path in two_mounts]
    freezer = subprocess.Popen([sys.executable, "-c", FREEZER, *paths], stdout=subprocess.PIPE)
    try:
        assert freezer.stdout is not None
        assert freezer.stdout.readline() == b"frozen\n"
        freezer.send_signal(number)
        freezer.wait(10)
        assert all(writes_pass(path, within_s=10) for path in two_mounts)
        assert [ensure_thawed(path) for path in paths] == [False, False]
    finally:
        freezer.kill()
        freezer.communicate()


@pytest.fixture
def guards(monkeypatch: pytest.MonkeyPatch) -> list[guard.Guard]:
    """The guards of the freezes so far, in order."""
    begun: list[guard.Guard] = []
    real = guard.Guard.begin

    def begin(self: guard.Guard, fds: Sequence[int], *, max_s: float) -> None:
        real(self, fds, max_s=max_s)
        begun.append(self)

    monkeypatch.setattr(guard.Guard, "begin", begin)
    return begun


def test_a_killed_guard_does_not_hinder_the_thaw(two_mounts: list[Path], guards: list[guard.Guard]) -> None:
    with frozen([str(two_mounts[0])], max_s=20):
        guards[0].process.kill()
        guards[0].process.wait()
    assert ensure_thawed(str(two_mounts[0])) is False


def test_one_guard_serves_one_freeze_after_the_other(two_mounts: list[Path], guards: list[guard.Guard]) -> None:
    for path in two_mounts * 2:
        with frozen([str(path)], max_s=20):
            pass
    assert len({id(used) for used in guards}) == 1
    opened = os.listdir(f"/proc/{guards[0].process.pid}/fd")
    assert sorted(opened) == ["0", "1", "2"], "an idle guard holds nothing open"


def test_a_guard_that_had_to_thaw_serves_the_next_freeze(two_mounts: list[Path], guards: list[guard.Guard]) -> None:
    with pytest.raises(FreezeExpired), frozen([str(two_mounts[0])], max_s=0.1):
        assert writes_pass(two_mounts[0], within_s=10)
    with pytest.raises(FreezeExpired), frozen([str(two_mounts[1])], max_s=0.1):
        assert writes_pass(two_mounts[1], within_s=10)
    assert guards[0] is guards[1]


def test_an_idle_guard_that_was_killed_is_replaced(two_mounts: list[Path], guards: list[guard.Guard]) -> None:
    with frozen([str(two_mounts[0])], max_s=20):
        pass
    guards[0].process.kill()
    guards[0].process.wait()
    with pytest.raises(FreezeExpired), frozen([str(two_mounts[0])], max_s=0.1):
        assert writes_pass(two_mounts[0], within_s=10)
    assert guards[1].process.pid != guards[0].process.pid


def test_an_idle_guard_ends_with_its_process(two_mounts: list[Path]) -> None:
    source = (
        "import sys, os, signal\nfrom moorage.host import freeze, guard\n"
        "with freeze.frozen(sys.argv[1:], max_s=20): pass\n"
        "print(guard._idle[0].process.pid, flush=True)\nos.kill(os.getpid(), signal.SIGKILL)"
    )
    done = subprocess.run([sys.executable, "-c", source, str(two_mounts[0])], stdout=subprocess.PIPE, check=False)
    end_s = time.monotonic() + 10
    while Path(f"/proc/{int(done.stdout)}/fd/0").exists():
        assert time.monotonic() < end_s, "the guard outlived its process"
        time.sleep(0.01)


def test_what_a_dead_container_left_is_thawed_at_start(two_mounts: list[Path]) -> None:
    subprocess.run(["fsfreeze", "--freeze", str(two_mounts[0])], check=True)
    assert ensure_thawed(str(two_mounts[0])) is True
    assert ensure_thawed(str(two_mounts[0])) is False


def test_the_window_is_short_and_unmounting_works_at_once(make_volume: MakeVolume) -> None:
    volume = make_volume("xfs")
    target = volume.mount()
    windows = []
    for _ in range(5):
        (target / "data").write_bytes(os.urandom(1 << 20))
        with frozen([str(target)], max_s=20):
            started = time.monotonic()
        windows.append(time.monotonic() - started)
    volume.unmount()
    assert statistics.median(windows) < 0.25  # a few milliseconds on an idle machine
