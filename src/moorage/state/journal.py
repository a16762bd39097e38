"""The durable journal of one process: small documents, written in transactions, read from memory.

One writer at a time leads: it commits whatever has arrived, then hands over to the first that came meanwhile.
So sixty-four concurrent writers pay for a few syncs instead of sixty-four. A thread leads by itself; for tasks,
which must not block, the writer thread does. A write is durable when its call returns. The journal knows
nothing of what the documents mean.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import queue
import threading
from collections import deque
from collections.abc import Sequence
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


class _Job:
    """A transaction on its way to the disk (a checkpoint if `changes` is None), and its outcome."""

    __slots__ = ("changes", "error", "gate", "loop", "settled", "use_reserve", "waiter")

    def __init__(self, changes: Sequence[Change] | None, *, use_reserve: bool) -> None:
        self.changes = changes
        self.use_reserve = use_reserve
        self.settled = False
        self.error: BaseException | None = None
        self.gate: threading.Lock | None = None
        self.loop: asyncio.AbstractEventLoop | None = None
        self.waiter: asyncio.Future[None] | None = None

    def tell(self) -> None:
        """Wake the task that waits for this; in its loop."""
        waiter = self.waiter
        if waiter is None or waiter.done():  # the caller was cancelled
            return
        if self.error is None:
            waiter.set_result(None)
        else:
            waiter.set_exception(self.error)


class Journal:
    """An open journal; writes from tasks and from threads, reads from anywhere."""

    def __init__(self, path: str, *, database: Database, lock: ProcessLock, mirror: Mirror) -> None:
        self.path = path
        self._database = database
        self._lock = lock
        self._mirror = mirror
        self._reserve = Reserve(path)
        self._reserve_filled = self._reserve.fill()
        self._jobs: deque[_Job] = deque()
        self._entrance = threading.Lock()
        self._led = False  # whether somebody commits now, or is about to: never False while a job waits
        self._closed = False
        self._calls: queue.SimpleQueue[bool] = queue.SimpleQueue()
        self._writes = 0
        self._commits = 0
        self._writer = threading.Thread(target=self._serve_tasks, name="journal-writer", daemon=True)
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
        """Apply `changes` in order as one durable transaction; in a thread without event loop this blocks.

        If the calling task is cancelled the transaction is carried out all the same. `use_reserve` lets it
        use the space kept for a full disk: set it for writes that lead to freeing space. Raises NameTaken
        (nothing of this call applied), JournalWriteFailed, JournalClosed.
        """
        job = _Job(_checked(changes), use_reserve=use_reserve)
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            self._carry_out(job)
        else:
            await self._ask(job, loop)

    def write_sync(self, *changes: Change, use_reserve: bool = False) -> None:
        """`write` for a thread without event loop; blocks until the transaction is durable."""
        self._carry_out(_Job(_checked(changes), use_reserve=use_reserve))

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
        await self._ask(_Job(None, use_reserve=False), asyncio.get_running_loop())

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
        with self._entrance:
            first, self._closed = not self._closed, True
        if first:
            self._calls.put(False)
        self._writer.join()

    async def _ask(self, job: _Job, loop: asyncio.AbstractEventLoop) -> None:
        """Have the job committed, and wait."""
        job.loop, job.waiter = loop, loop.create_future()
        with self._entrance:
            leads = self._enter(job)
        if leads:
            self._calls.put(True)
        await job.waiter

    def _carry_out(self, job: _Job) -> None:
        """Commit the job in this thread, unless another thread that leads does it on the way."""
        with self._entrance:
            leads = self._enter(job)
            if not leads:
                job.gate = threading.Lock()
                job.gate.acquire()
        if job.gate is not None:
            job.gate.acquire()
        if not job.settled:
            self._lead()
        if job.error is not None:
            raise job.error

    def _enter(self, job: _Job) -> bool:
        """Queue a job; True if it falls to its writer to see to it that it is committed."""
        if self._closed:
            raise JournalClosed(self.path)
        self._jobs.append(job)
        leads, self._led = not self._led, True
        return leads

    def _serve_tasks(self) -> None:
        """The writer thread: lead where a task would have to, until the journal is closed and all is written."""
        ended = False
        while not ended:
            if self._calls.get():
                self._lead()
            with self._entrance:
                ended = self._closed and not self._led
        self._database.close()
        self._lock.release()

    def _lead(self) -> None:
        """Commit what has arrived, hand over to the first of those that came meanwhile, tell the others."""
        with self._entrance:
            batch = [self._jobs.popleft() for _ in range(min(len(self._jobs), _MAX_BATCH))]
        self._settle(batch)
        with self._entrance:
            successor = self._jobs[0] if self._jobs else None
            self._led = successor is not None
            ends = self._closed and successor is None
        if successor is not None and successor.gate is not None:
            successor.gate.release()
        elif successor is not None or ends:
            self._calls.put(successor is not None)
        _tell(batch)

    def _settle(self, batch: Sequence[_Job]) -> None:
        writes = [job for job in batch if job.changes is not None]
        if writes:
            for job, error in zip(writes, self._commit(writes), strict=True):
                job.error = error
        for job in batch:
            if job.changes is None:
                job.error = self._checkpoint()
            job.settled = True

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


def _tell(jobs: Sequence[_Job]) -> None:
    """Wake the threads and tasks that wait for these, each loop once."""
    by_loop: dict[asyncio.AbstractEventLoop, list[_Job]] = {}
    for job in jobs:
        if job.gate is not None:
            job.gate.release()
        elif job.loop is not None:
            by_loop.setdefault(job.loop, []).append(job)
    for loop, waiting in by_loop.items():
        with contextlib.suppress(RuntimeError):  # the loop is closed, nobody waits
            loop.call_soon_threadsafe(_tell_here, waiting)


def _tell_here(jobs: Sequence[_Job]) -> None:
    for job in jobs:
        job.tell()


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
