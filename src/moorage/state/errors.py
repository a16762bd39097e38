"""Everything that can go wrong with a journal.

JournalError
├── JournalUnusable      open() refuses
│   ├── JournalLocked    another process has it
│   ├── JournalOnNetwork the file system is not a local one
│   ├── JournalUnsafe    others may write to its directory
│   ├── JournalDamaged   its contents are broken, or not a journal
│   └── JournalTooNew    a newer version wrote it
├── JournalClosed        used after close
├── JournalWriteFailed   a commit failed; its outcome is unknown until the journal is opened again
├── NameTaken            the name belongs to another record
└── RecordUndecodable    a record does not fit its type
"""

from __future__ import annotations


class JournalError(Exception):
    """Root of this tree; the text is one sentence that says what to do next."""


class JournalUnusable(JournalError):
    """The journal cannot be opened."""


class JournalLocked(JournalUnusable):
    """Another process holds the journal."""

    def __init__(self, path: str, *, holder: str) -> None:
        super().__init__(f"journal {path} is in use by {holder}; stop that process or use another state directory")
        self.holder = holder


class JournalOnNetwork(JournalUnusable):
    """The journal would lie on a file system whose locks and syncs cannot be relied on."""

    def __init__(self, path: str, *, file_system: str) -> None:
        super().__init__(f"journal {path} lies on {file_system}; move the state directory to a local disk")
        self.file_system = file_system


class JournalUnsafe(JournalUnusable):
    """Other users may write to the journal's directory."""

    def __init__(self, directory: str) -> None:
        super().__init__(f"directory {directory} is writable by other users; run `chmod go-w {directory}` first")


class JournalDamaged(JournalUnusable):
    """The database is broken or is no journal."""

    def __init__(self, path: str, *, reason: str) -> None:
        super().__init__(f"journal {path} is damaged ({reason}); move it aside, then restore a copy or rebuild it")
        self.reason = reason


class JournalTooNew(JournalUnusable):
    """A newer version of this software has changed the schema."""

    def __init__(self, path: str, *, found: int, known: int) -> None:
        super().__init__(
            f"journal {path} has schema version {found} but this version knows up to {known}; "
            "upgrade, or restore the journal from before the upgrade"
        )


class JournalClosed(JournalError):
    """The journal has been closed."""

    def __init__(self, path: str) -> None:
        super().__init__(f"journal {path} is closed; the process is shutting down")


class JournalWriteFailed(JournalError):
    """A commit failed: reads show the state before it, but after a crash the change may be there."""

    def __init__(self, path: str, *, reason: str) -> None:
        super().__init__(f"cannot write journal {path} ({reason}); free space or repair its disk, then repeat")
        self.reason = reason


class NameTaken(JournalError):
    """Another record of the kind has the name."""

    def __init__(self, kind: str, name: str, *, held_by: str) -> None:
        super().__init__(f"name {name} already belongs to {kind} {held_by}; choose another name or delete that one")
        self.kind = kind
        self.name = name
        self.held_by = held_by


class RecordUndecodable(JournalError):
    """A stored record does not fit the type of its collection."""

    def __init__(self, kind: str, record_id: str, *, reason: str) -> None:
        super().__init__(f"{kind} {record_id} in the journal cannot be read ({reason}); restore it from a copy")
        self.kind = kind
        self.record_id = record_id
