"""Paths: symlinks refused, nothing with data removed, writes whole or not at all."""

from __future__ import annotations

import errno
import os
import stat
import threading
from pathlib import Path

import pytest

from moorage.host import paths, syscalls
from moorage.host.device import find_device, inspect_device, size_of, wait_for_device
from moorage.host.stats import from_statvfs


@pytest.fixture(params=["openat2", "walk"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    if request.param == "walk":

        def missing(dir_fd: int, path: str, *, flags: int, resolve: int) -> int:
            raise OSError(errno.ENOSYS, "Function not implemented")

        monkeypatch.setattr(syscalls, "openat2", missing)
    return str(request.param)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "root"
    (root / "a" / "b").mkdir(parents=True)
    (root / "a" / "file").write_text("x")
    (tmp_path / "secret").write_text("s")
    (root / "out").symlink_to(tmp_path)
    (root / "in").symlink_to("a")
    return root


@pytest.mark.usefixtures("way")
@pytest.mark.parametrize("path", ["a/b", "a//b/", "a/file", "."])
def test_what_is_beneath_is_found(root: Path, path: str) -> None:
    assert paths.resolve_beneath(str(root), path) == os.path.normpath(root / path)


@pytest.mark.usefixtures("way")
@pytest.mark.parametrize(
    ("path", "code"),
    [
        pytest.param("/etc/passwd", errno.EXDEV, id="absolute"),
        pytest.param("../secret", errno.EXDEV, id="dots"),
        pytest.param("a/../../secret", errno.EXDEV, id="dots-inside"),
        pytest.param("out/secret", errno.ELOOP, id="symlink-out"),
        pytest.param("in/file", errno.ELOOP, id="symlink-inside"),
        pytest.param("out", errno.ELOOP, id="symlink-last"),
        pytest.param("missing", errno.ENOENT, id="missing"),
    ],
)
def test_ways_out_are_refused(root: Path, path: str, code: int) -> None:
    before = len(os.listdir("/proc/self/fd"))
    with pytest.raises(OSError) as caught:
        paths.open_beneath(str(root), path)
    assert caught.value.errno in (code, errno.ENOTDIR if path.startswith(("out/", "in/")) else code)
    assert len(os.listdir("/proc/self/fd")) == before


def test_directories(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b"
    previous = os.umask(0o077)
    try:
        assert paths.ensure_directory(str(path), mode=0o775) is True
    finally:
        os.umask(previous)
    assert stat.S_IMODE(path.stat().st_mode) == 0o775
    assert paths.ensure_directory(str(path), mode=0o700) is False
    (tmp_path / "file").touch()
    (tmp_path / "link").symlink_to(path)
    for other in ("file", "link"):
        with pytest.raises(NotADirectoryError, match="remove it first"):
            paths.ensure_directory(str(tmp_path / other))
    assert paths.ensure_directory("/proc") is False


def test_empty_targets_are_removed(tmp_path: Path) -> None:
    (tmp_path / "dir").mkdir()
    (tmp_path / "file").touch()
    for name in ("dir", "file"):
        assert paths.ensure_removed_target(str(tmp_path / name)) is True
        assert paths.ensure_removed_target(str(tmp_path / name)) is False


def test_nothing_with_data_is_removed(tmp_path: Path) -> None:
    (tmp_path / "dir").mkdir()
    (tmp_path / "dir" / "data").touch()
    (tmp_path / "file").write_text("data")
    (tmp_path / "link").symlink_to("dir")
    os.mkfifo(tmp_path / "pipe")
    for name, code in (
        ("dir", errno.ENOTEMPTY),
        ("file", errno.ENOTEMPTY),
        ("link", errno.EINVAL),
        ("pipe", errno.EINVAL),
    ):
        with pytest.raises(OSError, match=name) as caught:
            paths.ensure_removed_target(str(tmp_path / name))
        assert caught.value.errno == code
        assert os.path.lexists(tmp_path / name)
    with pytest.raises(OSError, match="still a mount point"):
        paths.ensure_removed_target("/proc")


def test_atomic_writes(tmp_path: Path) -> None:
    target = tmp_path / "state"
    paths.write_atomically(str(target), b"one")
    assert (target.read_bytes(), stat.S_IMODE(target.stat().st_mode)) == (b"one", 0o600)
    paths.write_atomically(str(target), b"two", mode=0o644)
    assert (target.read_bytes(), stat.S_IMODE(target.stat().st_mode)) == (b"two", 0o644)
    assert os.listdir(tmp_path) == ["state"]


def test_a_failed_write_leaves_the_old_content(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = tmp_path / "state"
    paths.write_atomically(str(target), b"old")

    def broken(fd: int) -> None:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(os, "fsync", broken)
    with pytest.raises(OSError, match="Input/output"):
        paths.write_atomically(str(target), b"new")
    assert target.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["state"]


def test_renaming_between_directories(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    (tmp_path / "a" / "x").write_text("1")
    paths.rename_durably(str(tmp_path / "a" / "x"), str(tmp_path / "b" / "y"))
    assert (tmp_path / "b" / "y").read_text() == "1"


def test_devices_that_are_none(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_bytes(b"x" * 700)
    assert size_of(str(file)) == 700
    assert find_device(str(file)) is None
    assert find_device(str(tmp_path / "missing")) is None
    with pytest.raises(OSError, match="no block device"):
        inspect_device(str(file))
    with pytest.raises(TimeoutError, match="it is not there"):
        wait_for_device(str(tmp_path / "missing"), timeout_s=0.05)


def test_waiting_sees_a_device_that_comes_later(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from moorage.host import device

    real = device.BlockDevice("/dev/x", 7, 1, 4096, False)
    answers = iter([None, real, device.BlockDevice("/dev/x", 7, 1, 8192, False)])
    monkeypatch.setattr(device, "find_device", lambda path: next(answers))
    assert wait_for_device("/dev/x", timeout_s=10, min_size_bytes=8192).size_bytes == 8192
    assert real.number == "7:1"


def test_statvfs_is_turned_into_bytes() -> None:
    # f_bsize, f_frsize, f_blocks, f_bfree, f_bavail, f_files, f_ffree, f_favail, f_flag, f_namemax
    stats = from_statvfs(os.statvfs_result((4096, 1024, 1000, 600, 500, 100, 90, 80, 0, 255)))
    assert (stats.total_bytes, stats.available_bytes, stats.used_bytes) == (1024000, 512000, 409600)
    assert (stats.total_inodes, stats.available_inodes, stats.used_inodes) == (100, 80, 10)


def test_system_call_errors_are_per_thread(tmp_path: Path) -> None:
    """ctypes keeps errno per thread: a failing call in one does not show in another."""
    found: list[int | None] = []

    def fail(path: str) -> None:
        try:
            syscalls.umount2(path, 0)
        except OSError as error:
            found.append(error.errno)

    threads = [threading.Thread(target=fail, args=(str(tmp_path / "missing"),)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert set(found) <= {errno.ENOENT, errno.EPERM}
    assert len(found) == 8
