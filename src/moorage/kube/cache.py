"""The objects of one resource as the API server had them last, with indexes; no requests and no tasks.

Objects are values: they are replaced, never changed. Reading is a dictionary look-up.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Final, Generic, Protocol, TypeAlias, TypeVar

__all__ = ["Index", "KubeObject", "Store", "key_of", "split_key"]


class Metadata(Protocol):
    """What a cache needs to know of an object."""

    @property
    def name(self) -> str: ...
    @property
    def namespace(self) -> str: ...
    @property
    def uid(self) -> str: ...
    @property
    def resource_version(self) -> str: ...


class KubeObject(Protocol):
    """An object of any kind, also a pruned one."""

    @property
    def metadata(self) -> Any: ...


T = TypeVar("T", bound=KubeObject)
Index: TypeAlias = Callable[[T], Iterable[str]]
"""Under which values an object is to be found; must depend on the object alone and read only declared fields."""

_NOTHING: Final[dict[str, None]] = {}


def key_of(namespace: str, name: str) -> str:
    """How queues and caches name an object: NAMESPACE/NAME, or NAME alone."""
    return f"{namespace}/{name}" if namespace else name


def split_key(key: str) -> tuple[str, str]:
    """Namespace and name of a key; the namespace of a cluster-wide object is empty."""
    namespace, _, name = key.rpartition("/")
    return namespace, name


class Store(Generic[T]):
    """Objects by key, and by the values of each index."""

    def __init__(self, indexes: Mapping[str, Index[T]] | None = None) -> None:
        self._objects: dict[str, T] = {}
        self._functions: dict[str, Index[T]] = {}
        self._entries: dict[str, _Entries] = {}
        for name, index in (indexes or {}).items():
            self.add_index(name, index)

    def add_index(self, name: str, index: Index[T]) -> None:
        """Add an index, also over objects that are there. Raises ValueError when another one has its name."""
        if name in self._functions:
            if self._functions[name] is not index:
                raise ValueError(f"there is another index {name!r} already; choose another name for this one")
            return
        self._functions[name] = index
        entries = self._entries[name] = _Entries()
        for key, item in self._objects.items():
            entries.insert(index(item), key)

    def get(self, key: str) -> T | None:
        """The object with this key, see `key_of`."""
        return self._objects.get(key)

    def by_index(self, name: str, value: str) -> list[T]:
        """The objects that index `name` finds under `value`. Raises KeyError when there is no such index."""
        return [self._objects[key] for key in self._entries[name].keys_of(value)]

    def values_of(self, name: str) -> list[str]:
        """All values of an index under which there is an object."""
        return list(self._entries[name])

    def keys(self) -> list[str]:
        """The keys of all objects."""
        return list(self._objects)

    def __iter__(self) -> Iterator[T]:
        """All objects; for use without waiting in between, else copy them first."""
        return iter(self._objects.values())

    def __len__(self) -> int:
        return len(self._objects)

    def __contains__(self, key: str) -> bool:
        return key in self._objects

    def put(self, item: T) -> T | None:
        """Add or replace an object; returns the one that it replaces."""
        key = key_of(item.metadata.namespace, item.metadata.name)
        before = self._objects.get(key)
        self._objects[key] = item
        for name, index in self._functions.items():
            now = set(index(item))
            then = set(index(before)) if before is not None else set()
            if now != then:
                self._entries[name].remove(then - now, key)
                self._entries[name].insert(now - then, key)
        return before

    def remove(self, key: str) -> T | None:
        """Remove and return an object."""
        before = self._objects.pop(key, None)
        if before is not None:
            for name, index in self._functions.items():
                self._entries[name].remove(index(before), key)
        return before


class _Entries(dict[str, "str | dict[str, None]"]):
    """Keys by value. Most values have one key, which then needs no container of its own."""

    __slots__ = ()

    def keys_of(self, value: str) -> Iterable[str]:
        found = self.get(value, _NOTHING)
        return (found,) if isinstance(found, str) else found

    def insert(self, values: Iterable[str], key: str) -> None:
        for value in values:
            found = self.setdefault(value, key)
            if isinstance(found, dict):
                found[key] = None
            elif found != key:
                self[value] = {found: None, key: None}

    def remove(self, values: Iterable[str], key: str) -> None:
        for value in values:
            found = self.get(value)
            if isinstance(found, dict):
                found.pop(key, None)
            if not found or found == key:
                self.pop(value, None)
