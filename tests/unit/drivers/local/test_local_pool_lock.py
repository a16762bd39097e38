"""One process at a time has a pool."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from moorage.drivers.local import LocalConfig, LocalDriver
from moorage.drivers.local.pool_lock import LOCK_FILE, PoolInUse, PoolLock

HOLDER = """
import signal, sys
from moorage.drivers.local import LocalConfig, LocalDriver
driver = LocalDriver(LocalConfig(pool=(sys.argv[1],), backend=("directory",)))
driver.start()
print("ready", flush=True)
signal.pause()
"""


def driver_on(*pools: Path) -> LocalDriver:
    named = tuple(f"p{number}={pool}" for number, pool in enumerate(pools))
    return LocalDriver(LocalConfig(pool=named, backend=("directory",)))


@contextmanager
def another_process(pool: Path) -> Iterator[subprocess.Popen[str]]:
    """A driver of its own on the pool, killed at the end."""
    with subprocess.Popen([sys.executable, "-c", HOLDER, str(pool)], stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
            yield process
        finally:
            process.kill()


def test_second_driver_is_refused_by_name_and_process(tmp_path: Path) -> None:
    with another_process(tmp_path / "pool") as process:
        with pytest.raises(PoolInUse) as refused:
            driver_on(tmp_path / "pool").start()
        assert f"pool 'p0' at {tmp_path}/pool is in use by" in str(refused.value)
        assert f"(pid {process.pid})" in str(refused.value)


def test_killed_driver_lets_go_of_its_pool(tmp_path: Path) -> None:
    with another_process(tmp_path / "pool") as process:
        process.send_signal(signal.SIGKILL)
        process.wait(timeout=10)
        driver = driver_on(tmp_path / "pool")
        driver.start()
        driver.stop()


def test_stopped_driver_lets_go_of_its_pool(tmp_path: Path) -> None:
    first, second = driver_on(tmp_path / "pool"), driver_on(tmp_path / "pool")
    first.start()
    with pytest.raises(PoolInUse):
        second.start()
    first.stop()
    second.start()
    assert second.probe()
    second.stop()


def test_driver_that_is_refused_one_pool_holds_none(tmp_path: Path) -> None:
    taken = PoolLock.take(_prepared(tmp_path / "b"), name="b", owner="somebody")
    with pytest.raises(PoolInUse, match="in use by somebody"):
        driver_on(tmp_path / "a", tmp_path / "b").start()
    PoolLock.take(tmp_path / "a", name="a", owner="test").release()
    taken.release()


def test_pool_that_came_late_and_is_in_use_is_not_used(tmp_path: Path) -> None:
    late = tmp_path / "late"
    late.write_text("no directory yet")
    driver = driver_on(tmp_path / "first", late)
    driver.start()
    late.unlink()
    taken = PoolLock.take(_prepared(late), name="late", owner="somebody")
    assert driver.probe()
    assert [pool.is_open for pool in driver._pools] == [True, False]
    taken.release()
    assert driver.probe()
    assert [pool.is_open for pool in driver._pools] == [True, True]
    driver.stop()


@pytest.mark.parametrize("make", [lambda path: path.symlink_to("elsewhere"), os.mkfifo, os.mkdir])
def test_lock_that_is_no_file_makes_the_pool_unusable(tmp_path: Path, make: object) -> None:
    assert callable(make)
    make(_prepared(tmp_path / "pool") / LOCK_FILE)
    driver = driver_on(tmp_path / "pool")
    driver.start()
    assert not driver.probe()
    assert not (tmp_path / "pool/elsewhere").exists()


def test_pool_is_held_though_its_disk_takes_no_note(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "write", full)
    held = PoolLock.take(_prepared(tmp_path / "pool"), name="p", owner="nobody")
    with pytest.raises(PoolInUse, match="in use by another process; stop it"):
        PoolLock.take(tmp_path / "pool", name="p", owner="test")
    held.release()


def _prepared(pool: Path) -> Path:
    pool.mkdir()
    return pool
