"""`moorage local` on pools in which somebody put what does not belong there."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from moorage.cli.app import run
from moorage.drivers.local import LocalConfig, LocalDriver
from moorage.framework.values import NewVolume
from moorage.spec.types import AccessMode, MountAccess, VolumeCapability

MOUNTED = VolumeCapability(AccessMode.SINGLE_NODE_WRITER, MountAccess())
LONGEST = "n" * 255
NOT_UTF8 = os.fsdecode(b"caf\xe9")
TERMINAL = "red\x1b[31m\nfake: line"


@pytest.fixture
def pool(tmp_path: Path) -> Path:
    """A pool with one volume."""
    root = tmp_path / "pool"
    driver = driver_on(root)
    driver.start()
    driver.create_volume(NewVolume(volume_id="v1", name="one", size_bytes=1 << 20, volume_capabilities=(MOUNTED,)))
    driver.stop()
    return root


def driver_on(root: Path) -> LocalDriver:
    return LocalDriver(LocalConfig(pool=(str(root),), backend=("directory",)))


def fifo(path: Path) -> None:
    path.unlink(missing_ok=True)
    os.mkfifo(path)


def replaced(path: Path, text: str) -> None:
    path.unlink(missing_ok=True)
    path.write_text(text)


def link(path: Path, target: str) -> None:
    if path.is_dir():
        path.rmdir()
    path.unlink(missing_ok=True)
    path.symlink_to(target)


def huge(path: Path) -> None:
    with path.open("wb") as file:
        file.truncate(1 << 40)


DAMAGE: dict[str, Callable[[Path], object]] = {
    "description-fifo": lambda pool: fifo(pool / "volumes/v1/volume.json"),
    "description-link": lambda pool: link(pool / "volumes/v1/volume.json", "/etc/passwd"),
    "description-endless-link": lambda pool: link(pool / "volumes/v1/volume.json", "/dev/zero"),
    "description-huge": lambda pool: huge(pool / "volumes/v1/volume.json"),
    "description-deep": lambda pool: replaced(pool / "volumes/v1/volume.json", '{"x":' + "[" * 200_000),
    "description-surrogate": lambda pool: replaced(pool / "volumes/v1/volume.json", '{"format": 1, "x": "\\ud800"}'),
    "description-array": lambda pool: replaced(pool / "volumes/v1/volume.json", "[]"),
    "data-link": lambda pool: link(pool / "volumes/v1/data", "/etc"),
    "snapshot-without-anything": lambda pool: (pool / "snapshots/s1").mkdir(),
}
FOREIGN: dict[str, Callable[[Path], object]] = {
    "volume-link": lambda pool: link(pool / "volumes/v2", "v1"),
    "volume-dangling-link": lambda pool: link(pool / "volumes/v2", "nowhere"),
    "volume-fifo": lambda pool: fifo(pool / "volumes/v2"),
    "volume-file": lambda pool: (pool / "volumes/v2").write_text(""),
    "longest-name": lambda pool: (pool / "volumes" / LONGEST).mkdir(),
    "not-utf8": lambda pool: (pool / "snapshots" / NOT_UTF8).mkdir(),
    "terminal": lambda pool: (pool / "volumes" / TERMINAL).mkdir(),
    "tmp-fifo": lambda pool: fifo(pool / "tmp/build-volume-x"),
    "tmp-link": lambda pool: link(pool / "tmp/trash-volume-x", "/etc"),
    "tmp-not-ours": lambda pool: (pool / "tmp/my work").mkdir(),
    "tmp-not-utf8": lambda pool: (pool / "tmp" / f"trash-volume-{NOT_UTF8}").mkdir(),
}


def parameters(cases: dict[str, Callable[[Path], object]]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("make", [pytest.param(make, id=name) for name, make in cases.items()])


@parameters(DAMAGE)
def test_damage_is_found_and_the_rest_goes_on(
    pool: Path, tmp_path: Path, make: Callable[[Path], object], capsys: pytest.CaptureFixture[str]
) -> None:
    make(pool)
    assert run(["local", "check", str(pool), "--no-journal", "-o", "json"]) == 1
    (finding,) = json.loads(capsys.readouterr().out)["findings"]
    assert finding["problem"] == "damaged"
    assert run(["local", "repair", str(pool)]) == 1
    assert run(["local", "import", str(pool), "--state-dir", str(tmp_path / "state")]) in {0, 1}
    assert "unforeseen" not in capsys.readouterr().err
    driver = driver_on(pool)
    driver.start()
    driver.stop()


@parameters(FOREIGN)
def test_foreign_names_are_told_and_left_alone(
    pool: Path, tmp_path: Path, make: Callable[[Path], object], capsys: pytest.CaptureFixture[str]
) -> None:
    make(pool)
    names = sorted(os.listdir(pool / home) for home in ("volumes", "snapshots", "tmp"))
    assert run(["local", "check", str(pool), "--no-journal", "-o", "json"]) == 1
    (finding,) = json.loads(capsys.readouterr().out)["findings"]
    assert finding["problem"] == "foreign"
    assert run(["local", "check", str(pool), "--no-journal"]) == 1
    told = capsys.readouterr()
    assert len(told.out.splitlines()) == 2
    assert "\x1b" not in told.out
    assert told.err == ""
    assert run(["local", "repair", str(pool)]) == 1
    assert run(["local", "import", str(pool), "--state-dir", str(tmp_path / "state")]) == 0
    driver = driver_on(pool)
    driver.start()
    driver.stop()
    assert sorted(os.listdir(pool / home) for home in ("volumes", "snapshots", "tmp")) == names


@pytest.mark.parametrize("home", ["volumes", "snapshots", "tmp"])
def test_link_in_place_of_a_directory_of_the_pool_is_not_followed(
    pool: Path, tmp_path: Path, home: str, capsys: pytest.CaptureFixture[str]
) -> None:
    elsewhere = tmp_path / "elsewhere"
    (elsewhere / "trash-volume-precious").mkdir(parents=True)
    (pool / home).rename(tmp_path / "away")
    (pool / home).symlink_to(elsewhere)
    for command in (["check", "--no-journal"], ["repair"], ["import", "--state-dir", str(tmp_path / "state")]):
        assert run(["local", *command, str(pool)]) == 1
        assert "is no pool" in capsys.readouterr().err
    driver = driver_on(pool)
    driver.start()
    assert not driver.probe()
    driver.stop()
    assert (elsewhere / "trash-volume-precious").is_dir()


@pytest.mark.skipif(os.geteuid() != 0, reason="needs to become another user")
@pytest.mark.parametrize("unreadable", ["", "volumes", "volumes/v1", "volumes/v1/volume.json", "tmp"])
def test_what_cannot_be_read_is_told_in_a_sentence(
    pool: Path, unreadable: str, capsys: pytest.CaptureFixture[str]
) -> None:
    for path in (pool, *pool.rglob("*")):
        os.chmod(path, 0o755)
    assert run(["local", "check", str(pool), "--no-journal"]) == 0
    capsys.readouterr()
    os.chmod(pool / unreadable, 0)
    with as_nobody(pool):
        assert run(["local", "check", str(pool), "--no-journal"]) == 1
    told = "".join(capsys.readouterr())
    assert "Permission denied" in told
    assert "unforeseen" not in told
    os.chmod(pool / unreadable, 0o755)


@contextmanager
def as_nobody(place: Path) -> Iterator[None]:
    """Without the rights of root inside, but with those to reach `place`."""
    closed = [parent for parent in place.parents if not parent.stat().st_mode & 0o001]
    for parent in closed:
        parent.chmod(parent.stat().st_mode | 0o001)
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)
        for parent in closed:
            parent.chmod(parent.stat().st_mode & ~0o001)


def test_description_that_vanishes_does_not_stop_the_check(pool: Path) -> None:
    """A driver deletes and makes volumes while the pool is looked at."""
    stop = threading.Event()

    def come_and_go() -> None:
        while not stop.is_set():
            (pool / "volumes/v2").mkdir()
            (pool / "volumes/v2/volume.json").write_text("{}")
            (pool / "volumes/v2/volume.json").unlink()
            (pool / "volumes/v2").rmdir()

    thread = threading.Thread(target=come_and_go)
    thread.start()
    try:
        assert {run(["local", "check", str(pool), "--no-journal"]) for _ in range(50)} <= {0, 1}
    finally:
        stop.set()
        thread.join()
