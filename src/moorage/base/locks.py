"""Locks on names, all at once or not at all.

A call that needs several objects (the new volume and the source it copies) takes all their keys in one step
that never waits, so no two calls can hold half of what they need. Whoever cannot have the keys is told who
has them. For use inside one event loop: nothing here awaits, which is what makes a step atomic.
"""

from __future__ import annotations

from collections.abc import Iterable
from types import TracebackType
from typing import Self


class Held:
    """Keys held by one holder until `release`, or until the `with` block ends."""

    __slots__ = ("_locks", "exclusive", "holder", "shared")

    def __init__(self, locks: KeyedLocks, *, holder: str, exclusive: frozenset[str], shared: frozenset[str]) -> None:
        self._locks: KeyedLocks | None = locks
        self.holder = holder
        self.exclusive = exclusive
        self.shared = shared

    def release(self) -> None:
        """Give the keys back; a second call does nothing."""
        locks, self._locks = self._locks, None
        if locks is not None:
            locks._forget(self)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()


class KeyedLocks:
    """A table of held keys; a key may have one exclusive holder or any number of shared ones."""

    def __init__(self) -> None:
        self._table: dict[str, list[Held]] = {}

    def try_acquire(
        self, keys: Iterable[str], *, shared: Iterable[str] = (), holder: str = "another call"
    ) -> Held | None:
        """Hold `keys` exclusively and `shared` keys together with other readers, or None if any is taken.

        A key named in both is held exclusively. `holder` describes the work, for the error text of the next
        caller.
        """
        exclusive = frozenset(keys)
        readers = frozenset(shared) - exclusive
        if any(key in self._table for key in exclusive):
            return None
        if any(held for key in readers for held in self._table.get(key, ()) if key in held.exclusive):
            return None
        held = Held(self, holder=holder, exclusive=exclusive, shared=readers)
        for key in exclusive | readers:
            self._table.setdefault(key, []).append(held)
        return held

    def holder(self, key: str) -> str | None:
        """Who holds `key`, as described by the first of its holders; None if it is free."""
        held = self._table.get(key)
        return held[0].holder if held else None

    def __len__(self) -> int:
        """How many keys are held."""
        return len(self._table)

    def _forget(self, held: Held) -> None:
        for key in held.exclusive | held.shared:
            holders = self._table[key]
            holders.remove(held)
            if not holders:
                del self._table[key]
