"""The journal of the local driver, for `moorage local`: read without a trace, or written like the driver would.

A check reads a copy, so that it changes nothing: no lock file, no reserve, no new version of the schema.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple, TypeAlias

import click

from moorage.drivers.local.driver import NAME
from moorage.framework.journal_store import JournalStore
from moorage.framework.serving import state_directory
from moorage.framework.store import Store
from moorage.framework.values import GroupRecord, SnapshotRecord, VolumeRecord
from moorage.state.errors import JournalError, JournalLocked, NameTaken
from moorage.state.journal import Journal

Records: TypeAlias = "Sequence[VolumeRecord | SnapshotRecord | GroupRecord]"
_OWNER = "moorage local"


class Known(NamedTuple):
    """Ids of volumes and snapshots with a row in the journal, and of those whose creation has begun."""

    volumes: set[str]
    snapshots: set[str]
    begun: set[str]


def journal_path(state_dir: Path | None) -> Path:
    """Where the driver's journal is, for the `--state-dir` that was given."""
    directory = state_directory(state_dir, NAME, environment=os.environ, is_root=os.geteuid() == 0)
    return directory / "journal.sqlite"


def known_ids(path: Path) -> Known:
    """What the journal knows. Raises JournalLocked while a driver has it, click.ClickException for other reasons."""
    if not path.exists():
        raise click.ClickException(f"there is no journal at {path}; give --state-dir, or --no-journal to do without")
    try:
        with _copied(path) as copy:
            try:
                return asyncio.run(_known_ids(copy))
            except JournalError as error:
                raise click.ClickException(str(error).replace(str(copy), str(path))) from error
    except OSError as error:
        raise click.ClickException(f"journal {path} cannot be read ({error.strerror})") from error


def add_missing(path: Path, records: Records) -> tuple[list[str], list[str]]:
    """Write records that have no row; ids of those that were added, and a sentence for each that could not be.

    Raises click.ClickException when the journal cannot be used.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        return asyncio.run(_add_missing(path, records))
    except JournalError as error:
        raise click.ClickException(str(error)) from error
    except OSError as error:
        raise click.ClickException(
            f"state directory {path.parent} cannot be used ({error.strerror}); give another --state-dir"
        ) from error


@contextmanager
def _copied(path: Path) -> Iterator[Path]:
    """A copy of a journal that nobody writes meanwhile. Raises JournalLocked and OSError."""
    with tempfile.TemporaryDirectory(prefix="moorage-local-") as directory:
        copy = Path(directory) / path.name
        with _unlocked(path):
            for suffix in ("", "-wal"):
                with suppress(FileNotFoundError):
                    shutil.copyfile(f"{path}{suffix}", f"{copy}{suffix}")
        yield copy


@contextmanager
def _unlocked(path: Path) -> Iterator[None]:
    """Keep a driver from opening the journal meanwhile, by its own lock. Raises JournalLocked and OSError."""
    try:
        fd = os.open(f"{path}.lock", os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:  # no driver has ever opened it
        yield
        return
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
        yield
    except BlockingIOError:
        holder = os.pread(fd, 512, 0).decode("utf-8", "replace").strip()
        raise JournalLocked(str(path), holder=holder or "another process") from None
    finally:
        os.close(fd)


async def _known_ids(path: Path) -> Known:
    journal = Journal.open(path, owner=_OWNER)
    try:
        store = JournalStore(journal)
        begun: set[str] = set()
        for intent in await store.intents():
            begun |= {intent.object_id, *(member.snapshot_id for member in intent.snapshots)}
        return Known(
            {record.volume_id for record in await store.volumes()},
            {record.snapshot_id for record in await store.snapshots()},
            begun,
        )
    finally:
        await journal.close()


async def _add_missing(path: Path, records: Records) -> tuple[list[str], list[str]]:
    added, refused = [], []
    journal = Journal.open(path, owner=_OWNER)
    try:
        store = JournalStore(journal)
        for record in records:
            object_id, known = await _find(store, record)
            if known:
                continue
            try:
                await store.settle(put=(record,))
            except NameTaken as error:
                refused.append(f"{object_id} is not imported: {error}")
            else:
                added.append(object_id)
    finally:
        await journal.close()
    return added, refused


async def _find(store: Store, record: VolumeRecord | SnapshotRecord | GroupRecord) -> tuple[str, bool]:
    """The id of a record, and whether the journal has a row of it."""
    match record:
        case VolumeRecord(volume_id=object_id):
            return object_id, await store.volume(object_id) is not None
        case SnapshotRecord(snapshot_id=object_id):
            return object_id, await store.snapshot(object_id) is not None
        case GroupRecord(group_snapshot_id=object_id):
            return object_id, await store.group(object_id) is not None
