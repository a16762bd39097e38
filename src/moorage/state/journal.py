"""The durable journal of one process: small documents, written in transactions, read from memory.

All writes go through one thread. Whatever arrives while it waits for the disk goes into the next commit
together, so that sixty-four concurrent writers pay for a few syncs instead of sixty-four. A write is
durable when its call returns. The journal knows nothing of what the documents mean.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import queue
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, Self

from moorage.state.database import Database, DiskFailed
from moorage.state.errors import JournalClosed, JournalError, JournalWriteFailed
from moorage.state.place import ProcessLock, Reserve, create_private, prepare_directory, refuse_network
from moorage.state.record import Change, Delete, Mirror, Put, Record

__all__ = ["Change", "Delete", "Journal", "JournalStats", "Put", "Record"]

_MAX_BATCH: Final = 256


@dataclass(frozen=True, slots=True)
class JournalStats:
    """Counters since open: how many writes were asked for and how many commits they took."""

    writes: int
    commits: int


@dataclass(slots=True, eq=False)
class _Job:
    """A transaction on its way to the disk (a checkpoint if `changes` is None), and whom to tell."""

    changes: Sequence[Change] | None
    use_reserve: bool
    done: Callable[[BaseException | None], None]


class Journal:
    """An open journal; `write` from tasks, `write_sync` from threads, reads from anywhere."""

    def __init__(self, path: str, *, database: Database, lock: ProcessLock, mirror: Mirror) -> None:
        self.path = path
        self._database = database
        self._lock = lock
        self._mirror = mirror
        self._reserve = Reserve(path)
        self._reserve_filled = self._reserve.fill()
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._closing = threading.Lock()
        self._closed = False
        self._writes = 0
        self._commits = 0
        self._writer = threading.Thread(target=self._write_batches, name="journal-writer", daemon=True)
        self._writer.start()

    @classmethod
    def open(cls, path: str | os.PathLike[str], *, owner: str) -> Self:
        """Open or create the journal at `path`; blocks for disk I/O.

        `owner` names this process for whoever finds the journal locked. Raises a JournalUnusable (locked,
        on a network file system, unsafe directory, damaged, too new) or JournalWriteFailed.
        """
        full_path = os.path.abspath(path)
        prepare_directory(full_path)
        refuse_network(full_path)
        lock = ProcessLock.take(full_path, owner=owner)
        try:
            create_private(full_path)
            database = Database(full_path)
            try:
                mirror = Mirror()
                mirror.apply([[Put(record) for record in database.records()]])
                return cls(full_path, database=database, lock=lock, mirror=mirror)
            except BaseException:
                database.close()
                raise
        except BaseException:
            lock.release()
            raise

    async def write(self, *changes: Change, use_reserve: bool = False) -> None:
        """Apply `changes` in order as one durable transaction.

        If the calling task is cancelled the transaction is carried out all the same. `use_reserve` lets it
        use the space kept for a full disk: set it for writes that lead to freeing space. Raises NameTaken
        (nothing of this call applied), JournalWriteFailed, JournalClosed.
        """
        await self._ask(_checked(changes), use_reserve=use_reserve)

    def write_sync(self, *changes: Change, use_reserve: bool = False) -> None:
        """`write` for a thread without event loop; blocks until the transaction is durable."""
        answer: queue.SimpleQueue[BaseException | None] = queue.SimpleQueue()
        self._enqueue(_Job(_checked(changes), use_reserve, answer.put))
        error = answer.get()
        if error is not None:
            raise error

    def get(self, kind: str, record_id: str) -> Record | None:
        """The record, or None."""
        return self._mirror.get(kind, record_id)

    def by_name(self, kind: str, name: str) -> Record | None:
        """The record of the kind that has the name, or None."""
        return self._mirror.by_name(kind, name)

    def children(self, kind: str, parent: str) -> list[Record]:
        """The records of the kind with this parent, by id."""
        return self._mirror.children(kind, parent)

    def page(self, kind: str, after_id: str = "", limit: int = 100) -> list[Record]:
        """Up to `limit` records by id, from the first one after `after_id`, which need not exist."""
        return self._mirror.page(kind, after_id, limit)

    def count(self, kind: str) -> int:
        """How many records of the kind there are."""
        return self._mirror.count(kind)

    @property
    def stats(self) -> JournalStats:
        return JournalStats(self._writes, self._commits)

    async def checkpoint(self) -> None:
        """Move everything into the main file, so that a copy of it alone is complete. JournalWriteFailed."""
        await self._ask(None, use_reserve=False)

    async def close(self) -> None:
        """Finish the writes under way, close the file, give up the lock; a second call does nothing."""
        loop, closed = asyncio.get_running_loop(), asyncio.Event()

        def body() -> None:
            self.close_sync()
            with contextlib.suppress(RuntimeError):  # the loop is closed, nobody waits
                loop.call_soon_threadsafe(closed.set)

        threading.Thread(target=body, name="journal-close", daemon=True).start()
        await closed.wait()

    def close_sync(self) -> None:
        """`close` for a thread without event loop."""
        with self._closing:
            first, self._closed = not self._closed, True
            if first:
                self._jobs.put(None)
        self._writer.join()

    async def _ask(self, changes: Sequence[Change] | None, *, use_reserve: bool) -> None:
        loop = asyncio.get_running_loop()
        outcome: asyncio.Future[None] = loop.create_future()

        def settle(error: BaseException | None) -> None:
            if outcome.done():  # the caller was cancelled
                return
            if error is None:
                outcome.set_result(None)
            else:
                outcome.set_exception(error)

        def done(error: BaseException | None) -> None:
            with contextlib.suppress(RuntimeError):  # the loop is closed, nobody waits
                loop.call_soon_threadsafe(settle, error)

        self._enqueue(_Job(changes, use_reserve, done))
        await outcome

    def _enqueue(self, job: _Job) -> None:
        with self._closing:
            if self._closed:
                raise JournalClosed(self.path)
            self._jobs.put(job)

    def _write_batches(self) -> None:
        """The writer thread: take what has arrived, commit it together, tell everyone."""
        last = False
        while not last:
            batch, last = self._next_batch()
            writes = [job for job in batch if job.changes is not None]
            if writes:
                for job, error in zip(writes, self._commit(writes), strict=True):
                    job.done(error)
            for job in batch:
                if job.changes is None:
                    job.done(self._checkpoint())
        self._database.close()
        self._lock.release()

    def _next_batch(self) -> tuple[list[_Job], bool]:
        job = self._jobs.get()
        batch: list[_Job] = []
        while job is not None:
            batch.append(job)
            if len(batch) >= _MAX_BATCH or self._jobs.empty():
                return batch, False
            job = self._jobs.get()
        return batch, True

    def _commit(self, batch: list[_Job]) -> Sequence[BaseException | None]:
        transactions = [job.changes or () for job in batch]
        self._writes += len(batch)
        try:
            try:
                outcomes = self._database.commit(transactions)
            except DiskFailed as error:
                if not (error.is_full and any(job.use_reserve for job in batch) and self._reserve.release()):
                    raise
                self._reserve_filled = False
                outcomes = self._database.commit(transactions)
        except JournalError as error:
            return [_own_copy(error, self.path) for _ in batch]
        except BaseException as error:
            return [JournalWriteFailed(self.path, reason=repr(error)) for _ in batch]
        self._commits += 1
        self._reserve_filled = self._reserve_filled or self._reserve.fill()
        self._mirror.apply(changes for changes, error in zip(transactions, outcomes, strict=True) if error is None)
        return outcomes

    def _checkpoint(self) -> BaseException | None:
        try:
            self._database.checkpoint()
        except JournalError as error:
            return error
        return None


def _checked(changes: tuple[Change, ...]) -> tuple[Change, ...]:
    """Refuse here what SQLite would refuse for the whole batch."""
    for change in changes:
        if isinstance(change, Put):
            record = change.record
            texts: tuple[object, ...] = (record.kind, record.id, record.name or "", record.parent or "")
            body: object = record.body
            if not all(isinstance(text, str) for text in texts) or not isinstance(body, bytes):
                raise TypeError(f"record {record.kind} {record.id} must have str fields and a bytes body")
            for text in texts:
                str(text).encode()  # lone surrogates cannot be stored: UnicodeEncodeError
    return changes


def _own_copy(error: JournalError, path: str) -> JournalError:
    """One exception object per waiter, for each gets a traceback of its own."""
    reason = error.reason if isinstance(error, JournalWriteFailed) else str(error)
    return JournalWriteFailed(path, reason=reason)
