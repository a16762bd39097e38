"""Copies that are cut off and go on, and copies of what moved meanwhile."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from moorage.base.faults import install, load_plan
from moorage.drivers.local import copying
from moorage.drivers.local.copying import PROGRESS_FILE, copy_image, is_resumable
from moorage.host.copy import copy_sparse
from moorage.spec.errors import Unavailable

MIB = 1 << 20


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "source" / "disk.img"
    path.parent.mkdir()
    with path.open("wb") as file:
        for offset in (0, 4, 9):
            file.seek(offset * MIB)
            file.write(os.urandom(2 * MIB))
        file.truncate(16 * MIB)
    return path


@pytest.fixture
def target(tmp_path: Path) -> Path:
    (tmp_path / "build").mkdir()
    return tmp_path / "build" / "disk.img"


def interrupt_copies(monkeypatch: pytest.MonkeyPatch, *, after: int) -> list[int]:
    """Make the copy fail when it has reported progress `after` times; the starts of all copies."""
    real, starts = copy_sparse, []

    def interrupted(source: str, target: str, *, start: int, progress: object, sync_every_bytes: int) -> int:
        starts.append(start)
        reported = 0

        def count(offset_bytes: int) -> None:
            nonlocal reported
            progress(offset_bytes)  # type: ignore[operator]  # the callable under test
            reported += 1
            if len(starts) == 1 and reported == after:
                raise OSError(5, "cut off")

        return real(source, target, start=start, progress=count, sync_every_bytes=sync_every_bytes)

    monkeypatch.setattr(copying, "copy_sparse", interrupted)
    return starts


def test_copy_goes_on_where_it_was_cut_off(source: Path, target: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    starts = interrupt_copies(monkeypatch, after=2)
    with pytest.raises(OSError, match="cut off"):
        copy_image(source, target, sync_every_bytes=MIB)
    assert is_resumable(target.parent)
    copy_image(source, target, sync_every_bytes=MIB)
    assert target.read_bytes() == source.read_bytes()
    assert starts[0] == 0
    assert starts[1] > 0


@pytest.mark.parametrize("change", ["written", "grown", "replaced"])
def test_copy_starts_again_when_its_source_changed(
    source: Path, target: Path, monkeypatch: pytest.MonkeyPatch, change: str
) -> None:
    starts = interrupt_copies(monkeypatch, after=2)
    with pytest.raises(OSError, match="cut off"):
        copy_image(source, target, sync_every_bytes=MIB)
    if change == "written":
        with source.open("r+b") as file:
            file.write(b"new content")
    elif change == "grown":
        os.truncate(source, 20 * MIB)
    else:
        copy = source.with_name("other")
        copy.write_bytes(os.urandom(16 * MIB))
        copy.rename(source)
    copy_image(source, target, sync_every_bytes=MIB)
    assert starts == [0, 0]
    assert target.read_bytes() == source.read_bytes()


def test_copy_of_what_was_written_meanwhile_is_not_taken(
    source: Path, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = copy_sparse

    def disturbed(*args: object, **options: object) -> int:
        length = real(*args, **options)  # type: ignore[arg-type]  # passed on as it came
        os.utime(source, ns=(1, 1))
        return length

    monkeypatch.setattr(copying, "copy_sparse", disturbed)
    with pytest.raises(Unavailable, match="written while"):
        copy_image(source, target)
    assert not is_resumable(target.parent)


def test_damaged_notes_mean_a_fresh_start(source: Path, target: Path) -> None:
    (target.parent / PROGRESS_FILE).write_bytes(b"{half")
    target.write_bytes(b"rubbish" * MIB)
    copy_image(source, target)
    assert target.read_bytes() == source.read_bytes()


def test_full_disk_is_passed_on(source: Path, target: Path) -> None:
    install(load_plan('[{"point": "before:local.copy.copied", "action": "errno:ENOSPC"}]'))
    try:
        with pytest.raises(OSError, match="No space"):
            copy_image(source, target)
    finally:
        install(None)
