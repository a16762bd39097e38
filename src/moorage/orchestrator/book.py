"""The orchestrator's records on disk, and the locks that keep two commands off one volume.

The journal belongs to one process at a time, and a command may wait minutes for a driver. So the journal is
opened for the moment of a read or a write only, while the lock on a volume or snapshot is held for the whole
command: `list` works while a `create` runs, and two commands on one volume come one after the other. The kernel
drops both kinds of lock when a process dies.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Final, TypeVar

from moorage.base.clock import Clock, SystemClock
from moorage.orchestrator.model import (
    DriverRecord,
    GroupRecord,
    OrchestratorError,
    SnapshotRecord,
    VolumeRecord,
)
from moorage.state.collection import Collection
from moorage.state.errors import JournalError, JournalLocked
from moorage.state.journal import Change, Journal

T = TypeVar("T")
POLL_S: Final = 0.02


@dataclass(frozen=True, slots=True)
class Shelves:
    """The typed collections of an open journal."""

    volumes: Collection[VolumeRecord]
    snapshots: Collection[SnapshotRecord]
    groups: Collection[GroupRecord]
    drivers: Collection[DriverRecord]


def shelves_of(journal: Journal) -> Shelves:
    """The collections of this journal; every record is found by its name."""
    return Shelves(
        volumes=Collection(journal, "volume", type_=VolumeRecord, id_of=lambda v: v.name),
        snapshots=Collection(journal, "snapshot", type_=SnapshotRecord, id_of=lambda s: s.name),
        groups=Collection(journal, "group", type_=GroupRecord, id_of=lambda g: g.name),
        drivers=Collection(journal, "driver", type_=DriverRecord, id_of=lambda d: d.name),
    )


class Book:
    """The records below one directory. `patience_s` bounds every wait for another process."""

    def __init__(self, directory: str, *, patience_s: float = 300.0, clock: Clock | None = None) -> None:
        self.directory = directory
        self._patience_s = patience_s
        self._clock = clock or SystemClock()
        self._turn = asyncio.Lock()

    async def read(self, question: Callable[[Shelves], T]) -> T:
        """The answer to `question`, from committed records. Raises OrchestratorError."""
        async with self._open() as journal:
            return question(shelves_of(journal))

    async def write(self, *changes: Callable[[Shelves], Change]) -> None:
        """Apply all changes as one durable transaction. Raises OrchestratorError."""
        async with self._open() as journal:
            shelves = shelves_of(journal)
            await journal.write(*(change(shelves) for change in changes), use_reserve=True)

    async def save_volume(self, volume: VolumeRecord) -> None:
        """Write the record of a volume."""
        await self.write(lambda shelves: shelves.volumes.put_change(volume))

    async def drop_volume(self, name: str) -> None:
        """Forget a volume."""
        await self.write(lambda shelves: shelves.volumes.delete_change(name))

    async def save_snapshot(self, snapshot: SnapshotRecord) -> None:
        """Write the record of a snapshot."""
        await self.write(lambda shelves: shelves.snapshots.put_change(snapshot))

    async def drop_snapshot(self, name: str) -> None:
        """Forget a snapshot."""
        await self.write(lambda shelves: shelves.snapshots.delete_change(name))

    async def drop_group(self, name: str, *, members: Iterable[str] = ()) -> None:
        """Forget a group snapshot and the records of its members, at once."""

        def forget(member: str) -> Callable[[Shelves], Change]:
            return lambda shelves: shelves.snapshots.delete_change(member)

        await self.write(lambda shelves: shelves.groups.delete_change(name), *map(forget, members))

    async def save_group(self, group: GroupRecord, *, members: Iterable[SnapshotRecord] = ()) -> None:
        """Write a group snapshot and the records of its members, at once."""

        def keep(member: SnapshotRecord) -> Callable[[Shelves], Change]:
            return lambda shelves: shelves.snapshots.put_change(member)

        await self.write(lambda shelves: shelves.groups.put_change(group), *map(keep, members))

    @contextlib.asynccontextmanager
    async def _open(self) -> AsyncIterator[Journal]:
        async with self._turn:
            try:
                journal = await self._opened()
                try:
                    yield journal
                finally:
                    await journal.close()
            except JournalError as error:
                raise OrchestratorError(str(error)) from error

    async def _opened(self) -> Journal:
        with self._usable():
            os.makedirs(self.directory, mode=0o700, exist_ok=True)
        deadline_s = self._clock.monotonic() + self._patience_s
        while True:
            try:
                return await self._open_in_thread()
            except JournalLocked:
                if self._clock.monotonic() >= deadline_s:
                    raise
                await self._clock.sleep(POLL_S)

    async def _open_in_thread(self) -> Journal:
        """Open the journal; a cancelled caller still waits for the thread, else nobody would close what it opened."""
        path = os.path.join(self.directory, "state.db")
        opening = asyncio.ensure_future(asyncio.to_thread(Journal.open, path, owner="moorage volume"))
        try:
            with self._usable():
                return await asyncio.shield(opening)
        except asyncio.CancelledError:
            with contextlib.suppress(JournalError, OSError):
                await (await opening).close()
            raise

    @contextlib.asynccontextmanager
    async def lock(
        self, kind: str, name: str, *, waiting: Callable[[str], None] = lambda _: None
    ) -> AsyncIterator[None]:
        """Keep other commands off the object until the block ends; `waiting` is told when that takes time.

        Raises OrchestratorError when another command has not finished within the patience.
        """
        directory = os.path.join(self.directory, "locks")
        path = os.path.join(directory, f"{kind}-{name}")
        with self._usable():
            os.makedirs(directory, mode=0o700, exist_ok=True)
            fd = await self._locked(path, f"{kind} {name!r}", waiting)
        try:
            yield
        finally:
            with contextlib.suppress(OSError):  # others wait on this inode and will see that it is gone
                os.unlink(path)
            os.close(fd)

    @contextlib.contextmanager
    def _usable(self) -> Iterator[None]:
        """Say of a state directory that is none, read-only, full or another's that it cannot be used."""
        try:
            yield
        except OSError as error:
            reason = os.strerror(error.errno) if error.errno else str(error)
            raise OrchestratorError(
                f"records cannot be kept in {self.directory} ({reason}); mend that, or give another --state-dir"
            ) from error

    async def _locked(self, path: str, subject: str, waiting: Callable[[str], None]) -> int:
        deadline_s = self._clock.monotonic() + self._patience_s
        told = False
        while True:
            fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            if _take(fd, path):
                return fd
            os.close(fd)
            if self._clock.monotonic() >= deadline_s:
                raise OrchestratorError(
                    f"another command works on {subject} and has not finished in {self._patience_s:g} s; wait for "
                    "it, or end it, and run this command again"
                )
            if not told:
                waiting(f"waiting for another command on {subject}")
                told = True
            await self._clock.sleep(POLL_S)


def _take(fd: int, path: str) -> bool:
    """Lock the file unless another has it, or it was unlinked since it was opened."""
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return os.path.samestat(os.fstat(fd), os.stat(path))
    except (BlockingIOError, FileNotFoundError):
        return False
