"""Records, changes to them, and their mirror in memory.

The mirror answers every read: it needs no I/O, so a dead disk cannot hold up a reader. It shows committed
state only and changes by whole transactions.
"""

from __future__ import annotations

import threading
from bisect import bisect_right, insort
from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import islice


@dataclass(frozen=True, slots=True)
class Record:
    """One document: `kind` and `id` name it; `name` is unique within the kind; `parent` groups records."""

    kind: str
    id: str
    body: bytes
    name: str | None = None
    parent: str | None = None


@dataclass(frozen=True, slots=True)
class Put:
    """Insert the record, or replace the one with its kind and id."""

    record: Record


@dataclass(frozen=True, slots=True)
class Delete:
    """Remove a record; a missing one is no error."""

    kind: str
    id: str


Change = Put | Delete


@dataclass(slots=True)
class _Shelf:
    """All records of one kind."""

    by_id: dict[str, Record] = field(default_factory=dict)
    sorted_ids: list[str] = field(default_factory=list)
    id_by_name: dict[str, str] = field(default_factory=dict)
    ids_by_parent: dict[str, set[str]] = field(default_factory=dict)

    def put(self, record: Record) -> None:
        if record.id in self.by_id:
            self._unlink(self.by_id[record.id])
        elif not self.sorted_ids or self.sorted_ids[-1] < record.id:
            self.sorted_ids.append(record.id)
        else:
            insort(self.sorted_ids, record.id)
        self.by_id[record.id] = record
        if record.name is not None:
            self.id_by_name[record.name] = record.id
        if record.parent is not None:
            self.ids_by_parent.setdefault(record.parent, set()).add(record.id)

    def delete(self, record_id: str) -> None:
        record = self.by_id.pop(record_id, None)
        if record is not None:
            self._unlink(record)
            del self.sorted_ids[bisect_right(self.sorted_ids, record_id) - 1]

    def _unlink(self, record: Record) -> None:
        if record.name is not None:
            self.id_by_name.pop(record.name, None)
        if record.parent is not None:
            siblings = self.ids_by_parent[record.parent]
            siblings.discard(record.id)
            if not siblings:
                del self.ids_by_parent[record.parent]


class Mirror:
    """The committed records in memory; safe to use from several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._shelves: dict[str, _Shelf] = {}

    def apply(self, transactions: Iterable[Iterable[Change]]) -> None:
        """Take over committed transactions; readers see all of them or none."""
        with self._lock:
            for changes in transactions:
                for change in changes:
                    if isinstance(change, Put):
                        self._shelf(change.record.kind).put(change.record)
                    else:
                        self._shelf(change.kind).delete(change.id)

    def get(self, kind: str, record_id: str) -> Record | None:
        with self._lock:
            shelf = self._shelves.get(kind)
            return shelf.by_id.get(record_id) if shelf else None

    def by_name(self, kind: str, name: str) -> Record | None:
        with self._lock:
            shelf = self._shelves.get(kind)
            record_id = shelf.id_by_name.get(name) if shelf else None
            return shelf.by_id[record_id] if shelf and record_id is not None else None

    def children(self, kind: str, parent: str) -> list[Record]:
        with self._lock:
            shelf = self._shelves.get(kind)
            return (
                [shelf.by_id[record_id] for record_id in sorted(shelf.ids_by_parent.get(parent, ()))] if shelf else []
            )

    def page(self, kind: str, after_id: str, limit: int) -> list[Record]:
        with self._lock:
            shelf = self._shelves.get(kind)
            if shelf is None:
                return []
            first = bisect_right(shelf.sorted_ids, after_id) if after_id else 0
            return [shelf.by_id[record_id] for record_id in islice(shelf.sorted_ids, first, first + limit)]

    def count(self, kind: str) -> int:
        with self._lock:
            shelf = self._shelves.get(kind)
            return len(shelf.by_id) if shelf else 0

    def _shelf(self, kind: str) -> _Shelf:
        return self._shelves.setdefault(kind, _Shelf())
