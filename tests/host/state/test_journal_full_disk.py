"""A disk that is full or fails: writers are told, readers see the old state, and space heals it."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest

from moorage.base.run import run_sync
from moorage.state.errors import JournalWriteFailed
from moorage.state.journal import Delete, Journal, Put, Record
from moorage.state.place import RESERVE_BYTES

pytestmark = pytest.mark.root


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A tmpfs of 16 MiB."""
    mount = tmp_path / "tmpfs"
    mount.mkdir()
    run_sync(["mount", "-t", "tmpfs", "-o", "size=16m,mode=0700", "tmpfs", str(mount)])
    try:
        yield mount
    finally:
        run_sync(["umount", str(mount)])


@pytest.fixture
def failing_disk(small_disk: Path, tmp_path: Path) -> Iterator[Path]:
    """An ext4 file system whose sparse image lies on the small tmpfs: a full tmpfs is an I/O error here."""
    image, mount = small_disk / "image", tmp_path / "ext4"
    mount.mkdir()
    with image.open("wb") as file:
        file.truncate(64 << 20)
    run_sync(["mkfs.ext4", "-q", "-O", "^has_journal", "-E", "lazy_itable_init=0", "-N", "64", str(image)])
    run_sync(["mount", "-o", "loop,errors=continue", str(image), str(mount)])
    try:
        mount.chmod(0o700)
        yield mount
    finally:
        run_sync(["umount", str(mount)])


def fill(directory: Path) -> Path:
    """Take all the space that is left; returns the file that holds it."""
    filler = directory / "filler"
    with filler.open("wb", buffering=0) as file:
        for block_bytes in (65536, 4096):
            try:
                while True:
                    file.write(b"\xa5" * block_bytes)
            except OSError:
                pass
    return filler


def exhaust(directory: Path) -> None:
    """Use up what the image has already been given, so that every new block is an I/O error."""
    with (directory / "scratch").open("wb", buffering=0) as file, suppress(OSError):
        while True:
            file.write(b"\xa5" * 16384)
            os.fsync(file.fileno())


def record(record_id: str, size_bytes: int = 8000) -> Record:
    return Record("volume", record_id, b"x" * size_bytes, name=record_id)


@asynccontextmanager
async def opened(path: Path) -> AsyncIterator[Journal]:
    journal = Journal.open(path, owner="a test")
    try:
        yield journal
    finally:
        await journal.close()


async def expect_failure_and_recovery(journal: Journal, filler: Path) -> None:
    results = await asyncio.gather(
        *(journal.write(Put(record(f"new{i}", 300_000))) for i in range(10)), return_exceptions=True
    )
    assert {type(result) for result in results} == {JournalWriteFailed}
    assert [item.id for item in journal.page("volume")] == ["old"]
    with pytest.raises(JournalWriteFailed, match="free space or repair its disk, then repeat"):
        await journal.write(Put(record("new", 300_000)))
    filler.unlink()
    await asyncio.gather(*(journal.write(Put(record(f"new{i}", 300_000))) for i in range(10)))
    await journal.close()
    again = Journal.open(journal.path, owner="a test")
    assert again.count("volume") == 11
    await again.close()


async def test_full_disk_fails_all_waiters_and_heals(small_disk: Path) -> None:
    async with opened(small_disk / "journal.db") as journal:
        await journal.write(Put(record("old")))
        await expect_failure_and_recovery(journal, fill(small_disk))


async def test_io_error_fails_all_waiters_and_heals(failing_disk: Path, small_disk: Path) -> None:
    async with opened(failing_disk / "journal.db") as journal:
        await journal.write(Put(record("old")))
        filler = fill(small_disk)
        exhaust(failing_disk)
        await expect_failure_and_recovery(journal, filler)


async def test_reserve_lets_a_delete_be_recorded_on_a_full_disk(small_disk: Path) -> None:
    reserve = small_disk / "journal.db.reserve"
    async with opened(small_disk / "journal.db") as journal:
        assert reserve.stat().st_blocks * 512 >= RESERVE_BYTES
        await journal.write(Put(record("old")))
        filler = fill(small_disk)
        with pytest.raises(JournalWriteFailed, match="full"):
            await journal.write(Put(record("new", 100_000)))
        await journal.write(Put(record("old", 10_000)), Delete("volume", "other"), use_reserve=True)
        assert not reserve.exists()
        filler.unlink()
        await journal.write(Delete("volume", "old"))
        assert reserve.exists()
