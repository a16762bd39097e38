"""Typed documents over a journal: dataclasses or msgspec structs in, the same out, JSON in between.

Unknown fields of a stored document are ignored, so an older version can read what a newer one wrote.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Generic, TypeVar

import msgspec

from moorage.state.errors import RecordUndecodable
from moorage.state.journal import Delete, Journal, Put, Record

T = TypeVar("T")


class Collection(Generic[T]):
    """The documents of one kind. `id_of`, `name_of` and `parent_of` say how a document is found."""

    def __init__(
        self,
        journal: Journal,
        kind: str,
        *,
        type_: type[T],
        id_of: Callable[[T], str],
        name_of: Callable[[T], str | None] = lambda _: None,
        parent_of: Callable[[T], str | None] = lambda _: None,
    ) -> None:
        self.kind = kind
        self._journal = journal
        self._id_of = id_of
        self._name_of = name_of
        self._parent_of = parent_of
        self._encoder = msgspec.json.Encoder()
        self._decoder = msgspec.json.Decoder(type_)

    def put_change(self, document: T) -> Put:
        """The change that stores `document`, for a `Journal.write` of several."""
        return Put(
            Record(
                kind=self.kind,
                id=self._id_of(document),
                body=self._encoder.encode(document),
                name=self._name_of(document),
                parent=self._parent_of(document),
            )
        )

    def delete_change(self, record_id: str) -> Delete:
        """The change that removes the document, for a `Journal.write` of several."""
        return Delete(self.kind, record_id)

    async def put(self, document: T, *, use_reserve: bool = False) -> None:
        """Store `document` durably, replacing the one with its id; raises what `Journal.write` raises."""
        await self._journal.write(self.put_change(document), use_reserve=use_reserve)

    async def delete(self, record_id: str, *, use_reserve: bool = False) -> None:
        """Remove the document durably; a missing one is no error."""
        await self._journal.write(self.delete_change(record_id), use_reserve=use_reserve)

    def get(self, record_id: str) -> T | None:
        """The document, or None; RecordUndecodable if it does not fit the type (as in all reads)."""
        return self._decoded(self._journal.get(self.kind, record_id))

    def by_name(self, name: str) -> T | None:
        """The document that has the name, or None."""
        return self._decoded(self._journal.by_name(self.kind, name))

    def children(self, parent: str) -> list[T]:
        """The documents with this parent, by id."""
        return [self._decode(record) for record in self._journal.children(self.kind, parent)]

    def page(self, after_id: str = "", limit: int = 100) -> list[T]:
        """Up to `limit` documents by id, from the first one after `after_id`."""
        return [self._decode(record) for record in self._journal.page(self.kind, after_id, limit)]

    def all(self) -> Iterator[T]:
        """Every document by id; documents that come or go meanwhile may or may not be seen."""
        after_id = ""
        while records := self._journal.page(self.kind, after_id, 256):
            yield from map(self._decode, records)
            after_id = records[-1].id

    def count(self) -> int:
        """How many documents there are."""
        return self._journal.count(self.kind)

    def _decoded(self, record: Record | None) -> T | None:
        return None if record is None else self._decode(record)

    def _decode(self, record: Record) -> T:
        try:
            return self._decoder.decode(record.body)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise RecordUndecodable(self.kind, record.id, reason=str(error)) from None
