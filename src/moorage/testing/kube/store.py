"""The state of the server: objects, one counter for all changes, and the changes themselves.

It is what etcd and the watch cache are to the real server. It knows neither requests nor rules: what is
committed is taken. Listeners hear of each change right after it is made.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Final, Literal, TypeAlias

from moorage.kube.resource import Resource
from moorage.testing.kube.tree import Tree, encode, without_type

__all__ = ["Change", "ChangeType", "Key", "Store", "Stored"]

Key: TypeAlias = tuple[str, str]
"""Namespace, empty for what lies in none, and name."""
ChangeType: TypeAlias = Literal["ADDED", "MODIFIED", "DELETED"]

HISTORY_LIMIT: Final = 20_000
_FIRST_REVISION: Final = 100


class Stored:
    """An object in one state. Its JSON is made once, when it is first asked for."""

    __slots__ = ("_body", "_item", "revision", "tree")

    def __init__(self, tree: Tree, revision: int) -> None:
        self.tree = tree
        self.revision = revision
        self._body: bytes | None = None
        self._item: bytes | None = None

    @property
    def body(self) -> bytes:
        """The object as GET and watches give it."""
        if self._body is None:
            self._body = encode(self.tree)
        return self._body

    @property
    def item(self) -> bytes:
        """The object as lists of the server's own kinds give it: without kind and apiVersion."""
        if self._item is None:
            self._item = encode(without_type(self.tree))
        return self._item


@dataclass(frozen=True, slots=True)
class Change:
    """What happened to one object: its state before, None when it was created, and its state then.

    The state of a deletion is the last one, with the revision of the deletion.
    """

    revision: int
    type: ChangeType
    key: Key
    before: Stored | None
    after: Stored


@dataclass(slots=True)
class _Collection:
    objects: dict[Key, Stored] = field(default_factory=dict)
    history: list[Change] = field(default_factory=list)
    revisions: list[int] = field(default_factory=list)
    compacted: int = 0


class Store:
    """Objects by resource and key. Every change has a revision of its own, in one order for all resources."""

    def __init__(self, *, history_limit: int = HISTORY_LIMIT) -> None:
        """Of each resource at least the last `history_limit` changes are kept, and not many more."""
        self.revision = _FIRST_REVISION
        self._history_limit = history_limit
        self._collections: dict[str, _Collection] = {}
        self._compacted = 0
        self._listeners: list[Callable[[Resource, Change], None]] = []

    def listen(self, listener: Callable[[Resource, Change], None]) -> Callable[[], None]:
        """Call `listener` after each change from now on; the result ends that."""
        self._listeners.append(listener)
        return lambda: self._listeners.remove(listener)

    def find(self, resource: Resource, key: Key) -> Stored | None:
        """The object, None when there is none."""
        return self._collection(resource).objects.get(key)

    def objects(self, resource: Resource, namespace: str = "") -> Iterator[tuple[Key, Stored]]:
        """All objects, or those of one namespace, in the order of their keys."""
        found = self._collection(resource).objects
        return ((key, found[key]) for key in sorted(found) if not namespace or key[0] == namespace)

    def put(self, resource: Resource, key: Key, tree: Tree) -> Stored:
        """Create or replace; `tree` gets its new resourceVersion and belongs to the store from then on."""
        collection = self._collection(resource)
        before = collection.objects.get(key)
        stored = self._advance(tree)
        collection.objects[key] = stored
        change = Change(stored.revision, "ADDED" if before is None else "MODIFIED", key, before, stored)
        self._record(resource, collection, change)
        return stored

    def remove(self, resource: Resource, key: Key) -> Stored:
        """Remove an object; its last state is what it was, also when a change of it led to this. Raises KeyError."""
        collection = self._collection(resource)
        before = collection.objects.pop(key)
        final = self._advance({**before.tree})
        self._record(resource, collection, Change(final.revision, "DELETED", key, before, final))
        return final

    def touch(self) -> int:
        """A revision that changes nothing here, as every write to anything else makes one."""
        self.revision += 1
        return self.revision

    def compact(self, resource: Resource | None = None, *, revision: int | None = None) -> None:
        """Forget the changes up to `revision`, by default all of them; of one resource or of all."""
        upto = self.revision if revision is None else revision
        if resource is None:
            self._compacted = max(self._compacted, upto)
        chosen = [self._collection(resource)] if resource else list(self._collections.values())
        for collection in chosen:
            start = bisect_right(collection.revisions, upto)
            del collection.history[:start], collection.revisions[:start]
            collection.compacted = max(collection.compacted, upto)

    def oldest(self, resource: Resource) -> int:
        """From which revision on a watch can go on, and a list can be of."""
        return self._collection(resource).compacted

    def changes_after(self, resource: Resource, revision: int) -> list[Change]:
        """The changes later than `revision`, oldest first; complete when it is not older than `oldest`."""
        collection = self._collection(resource)
        return collection.history[bisect_right(collection.revisions, revision) :]

    def objects_at(self, resource: Resource, revision: int, namespace: str = "") -> Iterator[tuple[Key, Stored]]:
        """What `objects` would have given at that moment; not older than `oldest`."""
        later = self.changes_after(resource, revision)
        if not later:
            return self.objects(resource, namespace)
        found = dict(self._collection(resource).objects)
        for change in reversed(later):
            if change.before is None:
                found.pop(change.key, None)
            else:
                found[change.key] = change.before
        return ((key, found[key]) for key in sorted(found) if not namespace or key[0] == namespace)

    def _collection(self, resource: Resource) -> _Collection:
        found = self._collections.get(resource.group_resource)
        if found is None:
            found = self._collections[resource.group_resource] = _Collection(compacted=self._compacted)
        return found

    def _advance(self, tree: Tree) -> Stored:
        revision = self.touch()
        tree["metadata"] = {**tree["metadata"], "resourceVersion": str(revision)}
        return Stored(tree, revision)

    def _record(self, resource: Resource, collection: _Collection, change: Change) -> None:
        collection.history.append(change)
        collection.revisions.append(change.revision)
        if len(collection.history) > 2 * self._history_limit:
            self.compact(resource, revision=collection.revisions[-self._history_limit - 1])
        for listener in list(self._listeners):
            listener(resource, change)
