"""`moorage local check|repair|import` as it is typed, on a pool of plain directories."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from moorage.cli.app import run
from moorage.drivers.local import LocalConfig, LocalDriver
from moorage.drivers.local.layout import locked
from moorage.framework.values import NewSnapshot, NewVolume
from moorage.spec.types import AccessMode, MountAccess, VolumeCapability
from moorage.state.place import ProcessLock

MOUNTED = VolumeCapability(AccessMode.SINGLE_NODE_WRITER, MountAccess())


@pytest.fixture
def pool(tmp_path: Path) -> Path:
    """A pool with two volumes and a snapshot, whose journal was lost."""
    root = tmp_path / "pool"
    driver = LocalDriver(LocalConfig(pool=(str(root),), backend=("directory",)))
    driver.start()
    for name in ("v1", "v2"):
        driver.create_volume(
            NewVolume(volume_id=name, name=f"pvc-{name}", size_bytes=1 << 20, volume_capabilities=(MOUNTED,))
        )
    source = driver.find_volume("v1")
    assert source is not None
    driver.create_snapshot(NewSnapshot(snapshot_id="s1", name="cut", source_volume_id="v1"), source)
    driver.stop()
    return root


@contextmanager
def served(pool: Path) -> Iterator[LocalDriver]:
    """A driver that has the pool."""
    driver = LocalDriver(LocalConfig(pool=(str(pool),), backend=("directory",)))
    driver.start()
    try:
        yield driver
    finally:
        driver.stop()


def everything_below(root: Path) -> dict[str, tuple[int, int, int, int]]:
    """What would show that something was changed, even for a moment."""
    infos = {str(path): path.lstat() for path in (root, *root.rglob("*"))}
    return {path: (info.st_ino, info.st_mode, info.st_ctime_ns, info.st_size) for path, info in infos.items()}


def test_lost_journal_is_rebuilt_and_then_nothing_is_wrong(
    pool: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    state = ["--state-dir", str(tmp_path / "state")]
    assert run(["local", "check", str(pool), *state]) == 1
    assert "--no-journal" in capsys.readouterr().err
    assert run(["local", "import", str(pool), *state]) == 0
    assert capsys.readouterr().out == "3 imported: v1, v2, s1\n"
    assert run(["local", "check", str(pool), *state]) == 0
    assert capsys.readouterr().out == "nothing is wrong\n"
    assert run(["local", "import", str(pool), *state]) == 0
    assert capsys.readouterr().out == "0 imported\n"


def test_check_tells_orphans_missing_rows_and_leftovers(
    pool: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    state = ["--state-dir", str(tmp_path / "state")]
    run(["local", "import", str(pool), *state])
    capsys.readouterr()
    (pool / "volumes/v1").rename(pool / "volumes/v9")
    (pool / "tmp/trash-volume-old").mkdir()
    assert run(["local", "check", str(pool), *state, "-o", "json"]) == 1
    found = json.loads(capsys.readouterr().out)["findings"]
    assert sorted((finding["problem"], finding["object_id"]) for finding in found) == [
        ("damaged", "v9"),
        ("missing", "v1"),
        ("unfinished", ""),
        ("unknown", "v9"),
    ]
    assert run(["local", "repair", str(pool)]) == 1
    assert "removed" in capsys.readouterr().out
    assert list((pool / "tmp").iterdir()) == []
    assert (pool / "volumes/v9").exists()


def test_name_that_is_taken_is_told_and_the_rest_imported(
    pool: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    described = pool / "volumes/v2/volume.json"
    described.write_text(described.read_text().replace("pvc-v2", "pvc-v1"))
    assert run(["local", "import", str(pool), "--state-dir", str(tmp_path / "state"), "-o", "json"]) == 1
    told = json.loads(capsys.readouterr().out)
    assert told["imported"] == ["v1", "s1"]
    assert len(told["problems"]) == 1
    assert "v2" in told["problems"][0]


def test_directory_that_is_no_pool_stays_as_it_is(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "empty").mkdir()
    assert run(["local", "check", str(tmp_path / "empty"), "--no-journal"]) == 1
    assert "is no pool" in capsys.readouterr().err
    assert list((tmp_path / "empty").iterdir()) == []


def test_repair_tells_what_it_could_not_remove_and_goes_on(pool: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("trash-volume-busy", "trash-volume-old"):
        (pool / "tmp" / name).mkdir()
    with locked(pool / "tmp/trash-volume-busy"):
        assert run(["local", "repair", str(pool), "-o", "json"]) == 1
    told = json.loads(capsys.readouterr().out)["repairs"]
    assert [entry["done"] for entry in told] == [False, True]
    assert [path.name for path in (pool / "tmp").iterdir()] == ["trash-volume-busy"]
    assert run(["local", "repair", str(pool)]) == 0
    assert capsys.readouterr().out.endswith("1 repaired, 0 left\n")
    assert run(["local", "repair", str(pool)]) == 0
    assert capsys.readouterr().out == "nothing to repair\n"


def test_check_changes_nothing(pool: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    state = ["--state-dir", str(tmp_path / "state")]
    run(["local", "import", str(pool), *state])
    (pool / "tmp/build-volume-half").mkdir()
    before = everything_below(tmp_path)
    assert run(["local", "check", str(pool), *state]) == 1
    assert run(["local", "check", str(pool), "--no-journal"]) == 1
    assert everything_below(tmp_path) == before
    assert "half" in capsys.readouterr().out


def test_check_works_beside_a_driver_and_says_what_it_leaves_out(
    pool: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    state = ["--state-dir", str(tmp_path / "state")]
    run(["local", "import", str(pool), *state])
    capsys.readouterr()
    journal = tmp_path / "state/local.csi.moorage.dev/journal.sqlite"
    with served(pool):
        held = ProcessLock.take(str(journal), owner="moorage serve local.csi.moorage.dev")
        (pool / "tmp/build-volume-busy").mkdir()
        with locked(pool / "tmp/build-volume-busy"):
            assert run(["local", "check", str(pool), *state]) == 0
        told = capsys.readouterr()
        assert told.out == "nothing is wrong\n"
        assert f"moorage serve local.csi.moorage.dev (pid {os.getpid()})" in told.err
        assert "only the pools" in told.err
        held.release()


@pytest.mark.parametrize("command", ["repair", "import"])
def test_what_changes_a_pool_is_refused_beside_a_driver(
    pool: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], command: str
) -> None:
    state = [] if command == "repair" else ["--state-dir", str(tmp_path / "state")]
    with served(pool):
        (pool / "tmp/trash-volume-old").mkdir()
        assert run(["local", command, str(pool), *state]) == 1
        told = capsys.readouterr().err
        assert f"{pool} is in use by moorage serve local.csi.moorage.dev (pid {os.getpid()})" in told
        assert len(told.splitlines()) == 1
        assert (pool / "tmp/trash-volume-old").exists()
    assert not (tmp_path / "state").exists()
    assert run(["local", command, str(pool), *state]) == 0


def test_what_repair_cannot_mend_is_still_a_finding(pool: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (pool / "volumes/my notes").mkdir()
    (pool / "tmp/trash-volume-old").mkdir()
    assert run(["local", "repair", str(pool)]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == f"removed {pool}/tmp/trash-volume-old"
    assert lines[1].startswith("foreign: ")
    assert lines[-1] == "1 repaired, 1 left"
    assert run(["local", "repair", str(pool), "-o", "json"]) == 1
    told = json.loads(capsys.readouterr().out)
    assert told["repairs"] == []
    assert [finding["problem"] for finding in told["findings"]] == ["foreign"]
    assert run(["local", "check", str(pool), "--no-journal"]) == 1
    (pool / "volumes/my notes").rmdir()
    assert run(["local", "check", str(pool), "--no-journal"]) == run(["local", "repair", str(pool)]) == 0


@pytest.mark.parametrize("command", ["check", "import"])
def test_journal_that_cannot_be_used_is_named_as_it_is(
    pool: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], command: str
) -> None:
    journal = tmp_path / "state/local.csi.moorage.dev/journal.sqlite"
    journal.parent.mkdir(parents=True, mode=0o700)
    journal.write_bytes(b"no database" * 100)
    assert run(["local", command, str(pool), "--state-dir", str(tmp_path / "state")]) == 1
    assert f"journal {journal} is damaged" in capsys.readouterr().err


def test_state_directory_that_cannot_be_made_is_told_in_a_sentence(
    pool: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "state").write_text("a file")
    assert run(["local", "import", str(pool), "--state-dir", str(tmp_path / "state")]) in {1, 2}
    told = capsys.readouterr().err
    assert "unforeseen" not in told
    assert str(tmp_path / "state") in told
