"""The SQLite file of a journal: opened, checked, migrated, and changed by whole transactions.

One connection, held exclusively (so SQLite needs no shared memory file), WAL, synchronous=FULL: a
transaction that was committed survives kill -9 and power loss.
"""

from __future__ import annotations

import contextlib
import errno
import sqlite3
from collections.abc import Iterator, Sequence
from typing import Final

from moorage.state.errors import JournalDamaged, JournalError, JournalTooNew, JournalWriteFailed, NameTaken
from moorage.state.place import prove_disk
from moorage.state.record import Change, Delete, Put, Record

APPLICATION_ID: Final = 0x4D4F4F52  # "MOOR", so that a foreign SQLite file is refused
MIGRATIONS: Final[tuple[tuple[str, ...], ...]] = (
    (
        """CREATE TABLE record (
            kind TEXT NOT NULL, id TEXT NOT NULL, name TEXT, parent TEXT, body BLOB NOT NULL,
            PRIMARY KEY (kind, id)
        ) WITHOUT ROWID""",
        "CREATE UNIQUE INDEX record_name ON record (kind, name) WHERE name IS NOT NULL",
        "CREATE INDEX record_parent ON record (kind, parent) WHERE parent IS NOT NULL",
    ),
)
_PUT: Final = (
    "INSERT INTO record (kind, id, name, parent, body) VALUES (?, ?, ?, ?, ?) "
    "ON CONFLICT (kind, id) DO UPDATE "
    "SET name = excluded.name, parent = excluded.parent, body = excluded.body"
)
_DELETE: Final = "DELETE FROM record WHERE kind = ? AND id = ?"


class Database:
    """The file; for use by one thread at a time."""

    def __init__(self, path: str) -> None:
        """Open, check and migrate; raises JournalDamaged, JournalTooNew, JournalWriteFailed."""
        self.path = path
        self._connection: sqlite3.Connection | None = None
        self._suspect = False
        self._connect()

    def records(self) -> Iterator[Record]:
        """All records by kind and id."""
        rows = self._open().execute("SELECT kind, id, body, name, parent FROM record ORDER BY kind, id")
        return (Record(*row) for row in rows)

    def commit(self, transactions: Sequence[Sequence[Change]]) -> list[JournalError | None]:
        """Apply several transactions in one commit; returns for each the error that kept it out, or None.

        A transaction that breaks a rule is undone alone. Raises JournalWriteFailed, with none of them
        applied, when the disk fails; its `is_full` attribute tells a full disk.
        """
        if self._suspect:
            self._prove_disk()
        connection = self._open()
        try:
            connection.execute("BEGIN IMMEDIATE")
            if len(transactions) == 1:
                outcomes: list[JournalError | None] = [self._apply_alone(connection, transactions[0])]
            else:
                outcomes = [self._apply(connection, changes) for changes in transactions]
            if connection.in_transaction:
                connection.execute("COMMIT")
        except sqlite3.Error as error:
            self._suspect = _primary_code(error) == sqlite3.SQLITE_IOERR
            self._undo(connection)
            raise DiskFailed.from_sqlite(self.path, error) from error
        except BaseException:
            self._undo(connection)
            raise
        return outcomes

    def checkpoint(self) -> None:
        """Move the write-ahead log into the database and cut it to nothing."""
        try:
            self._open().execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        except sqlite3.Error as error:
            raise DiskFailed.from_sqlite(self.path, error) from error

    def close(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            with contextlib.suppress(sqlite3.Error):  # the log is replayed at the next open
                connection.close()

    def _apply_alone(self, connection: sqlite3.Connection, changes: Sequence[Change]) -> JournalError | None:
        """Without a savepoint: a transaction that nobody shares is undone as a whole."""
        try:
            for change in changes:
                self._execute(connection, change)
        except NameTaken as error:
            connection.execute("ROLLBACK")
            return error
        return None

    def _apply(self, connection: sqlite3.Connection, changes: Sequence[Change]) -> JournalError | None:
        connection.execute("SAVEPOINT one")
        outcome: JournalError | None = None
        try:
            for change in changes:
                self._execute(connection, change)
        except NameTaken as error:
            outcome = error
            connection.execute("ROLLBACK TO one")
        connection.execute("RELEASE one")
        return outcome

    def _execute(self, connection: sqlite3.Connection, change: Change) -> None:
        match change:
            case Delete(kind, record_id):
                connection.execute(_DELETE, (kind, record_id))
            case Put(record):
                row = (record.kind, record.id, record.name, record.parent, record.body)
                try:
                    connection.execute(_PUT, row)
                except sqlite3.IntegrityError:
                    raise self._name_taken(connection, record) from None

    def _name_taken(self, connection: sqlite3.Connection, record: Record) -> NameTaken:
        query = "SELECT id FROM record WHERE kind = ? AND name = ?"
        holder = connection.execute(query, (record.kind, record.name)).fetchone()
        return NameTaken(record.kind, record.name or "", held_by=holder[0])

    def _prove_disk(self) -> None:
        """After an I/O error, trust the disk again only when it has taken new data."""
        try:
            prove_disk(self.path)
        except OSError as error:
            reason = f"after an I/O error it still fails: {error.strerror}"
            raise DiskFailed(self.path, reason=reason, is_full=error.errno == errno.ENOSPC) from error
        self._suspect = False

    def _undo(self, connection: sqlite3.Connection) -> None:
        try:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
        except sqlite3.Error:  # the connection is of no more use; the next commit opens a new one
            self.close()

    def _open(self) -> sqlite3.Connection:
        if self._connection is None:
            self._connect()
        assert self._connection is not None
        return self._connection

    def _connect(self) -> None:
        connection = sqlite3.connect(
            self.path, timeout=5, isolation_level=None, check_same_thread=False, cached_statements=32
        )
        try:
            for pragma in (
                "locking_mode = EXCLUSIVE",
                "journal_mode = WAL",
                "synchronous = FULL",
                "cache_size = -512",  # KiB: reads come from the mirror
                "journal_size_limit = 4194304",
                "trusted_schema = OFF",
            ):
                connection.execute(f"PRAGMA {pragma}").fetchall()
            self._check(connection)
            self._migrate(connection)
        except sqlite3.Error as error:
            connection.close()
            if isinstance(error, sqlite3.OperationalError) and not _is_damage(error):
                raise DiskFailed.from_sqlite(self.path, error) from error
            raise JournalDamaged(self.path, reason=str(error)) from error
        except BaseException:
            connection.close()
            raise
        self._connection = connection

    def _check(self, connection: sqlite3.Connection) -> None:
        problems = [row[0] for row in connection.execute("PRAGMA quick_check(3)")]
        if problems != ["ok"]:
            raise JournalDamaged(self.path, reason="; ".join(problems).replace("\n", " "))
        known = connection.execute("PRAGMA application_id").fetchone()[0] == APPLICATION_ID
        empty = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0] == 0
        if not known and not empty:
            raise JournalDamaged(self.path, reason="it is an SQLite database of another program")

    def _migrate(self, connection: sqlite3.Connection) -> None:
        found = connection.execute("PRAGMA user_version").fetchone()[0]
        if found > len(MIGRATIONS):
            raise JournalTooNew(self.path, found=found, known=len(MIGRATIONS))
        if found == len(MIGRATIONS):
            return
        connection.execute("BEGIN IMMEDIATE")
        try:
            for statements in MIGRATIONS[found:]:
                for statement in statements:
                    connection.execute(statement)
            connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
            connection.execute(f"PRAGMA user_version = {len(MIGRATIONS)}")
            connection.execute("COMMIT")
        except BaseException:
            with contextlib.suppress(sqlite3.Error):
                connection.execute("ROLLBACK")
            raise


class DiskFailed(JournalWriteFailed):
    """A write failed in SQLite; `is_full` when the disk has no space left."""

    def __init__(self, path: str, *, reason: str, is_full: bool) -> None:
        super().__init__(path, reason=reason)
        self.is_full = is_full

    @classmethod
    def from_sqlite(cls, path: str, error: sqlite3.Error) -> DiskFailed:
        return cls(path, reason=str(error), is_full=_primary_code(error) == sqlite3.SQLITE_FULL)


def _primary_code(error: sqlite3.Error) -> int:
    return getattr(error, "sqlite_errorcode", 0) & 0xFF


def _is_damage(error: sqlite3.Error) -> bool:
    return _primary_code(error) in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)
