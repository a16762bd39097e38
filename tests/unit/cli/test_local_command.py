"""`moorage local check|repair|import` as it is typed, on a pool of plain directories."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from moorage.cli.app import run
from moorage.drivers.local import LocalConfig, LocalDriver
from moorage.drivers.local.layout import locked
from moorage.framework.values import NewSnapshot, NewVolume
from moorage.spec.types import AccessMode, MountAccess, VolumeCapability

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
    return root


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
    assert run(["local", "repair", str(pool)]) == 0
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
