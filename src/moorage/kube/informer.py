"""Keeps a cache of one resource in step with the API server: list once, then watch.

A watch goes on where the last one ended. Only when the server has forgotten that place (410) everything is
listed again, and what has vanished meanwhile is told as removed. Handlers hear of every difference; they are
called in the event loop and should do no more than to put a key into a queue. Nothing is polled, and resyncs
happen only for handlers that ask for them.

Only `learn` compares versions of objects, as numbers, which they have always been and officially are since
Kubernetes 1.35. A list is believed whatever its version, so a store restored from a backup does no harm.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Final, Generic, TypeAlias, TypeVar, cast

from moorage.base.backoff import Backoff
from moorage.base.log import get_logger
from moorage.kube.api import Api
from moorage.kube.cache import KubeObject, Store, key_of
from moorage.kube.errors import Gone, KubeError
from moorage.kube.fields import IDENTITY, prune, union
from moorage.kube.resource import Resource
from moorage.kube.watch import Bookmark, Event

__all__ = ["Handler", "Informer", "Notice", "Selection"]

T = TypeVar("T", bound=KubeObject)

WATCH_TIMEOUT_S: Final = 300.0
_RETRY: Final = Backoff(0.8, 30.0, jitter=0.5)
_SHORT_WATCH_S: Final = 1.0
_SOUND_WATCH_S: Final = 10.0
_REOPEN_SPREAD_S: Final = 1.0
_AT_ONCE: Final = 500

_log = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Notice(Generic[T]):
    """What happened to an object: without `before` it came, without `after` it went.

    In a resync both are the same object. `initial` is the first sight of an object that may be old: from the
    first list, or because the handler came late.
    """

    before: T | None
    after: T | None
    initial: bool = False

    @property
    def key(self) -> str:
        """The key of the object, as queues and stores use it."""
        metadata = self.object.metadata
        return key_of(metadata.namespace, metadata.name)

    @property
    def object(self) -> T:
        """The object as it is, or was last."""
        return cast("T", self.before if self.after is None else self.after)

    @property
    def resync(self) -> bool:
        """Whether nothing happened."""
        return self.before is self.after


Handler: TypeAlias = Callable[[Notice[T]], None]


@dataclass(frozen=True, slots=True)
class Selection:
    """Which objects of a resource."""

    resource: Resource
    namespace: str = ""
    label_selector: str = ""
    field_selector: str = ""


class Informer(Generic[T]):
    """A cache of the objects of `selection`, shared by any number of readers of one event loop.

    `lists` and `watches` count requests. `problem` says in a sentence why the cache may be out of date, and is
    empty while it is in step.
    """

    def __init__(
        self,
        api: Api,
        selection: Selection,
        type_: type[T],
        *,
        watch_timeout_s: float = WATCH_TIMEOUT_S,
        chance: Callable[[], float] = random.random,
    ) -> None:
        """Watches last between `watch_timeout_s` and twice as long, so that not all clients come back together."""
        self.selection = selection
        self.store: Store[T] = Store()
        self.lists = 0
        self.watches = 0
        self.problem = "the first list has not arrived yet"
        self._api = api
        self._whole_type = type_
        self._fields: frozenset[str] | None = frozenset()
        self._type: type[T] | None = None
        self._watch_timeout_s = watch_timeout_s
        self._chance = chance
        self._version = ""
        self._list_from = "0"
        self._handlers: dict[object, _Listener[T]] = {}
        self._synced = asyncio.Event()

    def declare(self, fields: Iterable[str] | None) -> None:
        """Have these fields decoded too; None is all of them.

        Raises RuntimeError when objects are decoded already, without all of these fields.
        """
        wanted = None if fields is None or self._fields is None else union(self._fields, fields)
        if self._type is not None and wanted != self._fields:
            raise RuntimeError(
                f"{self.selection.resource.plural} are decoded already; declare all fields before the first start"
            )
        self._fields = wanted

    @property
    def type_(self) -> type[T]:
        """What objects are decoded to: give it to requests whose answer goes to `learn`."""
        if self._type is None:
            if self._fields:
                fields = union(self._fields, IDENTITY)
                self._type = cast("type[T]", prune(cast("Any", self._whole_type), fields))
            else:
                self._type = self._whole_type
                self._fields = None
        return self._type

    @property
    def has_synced(self) -> bool:
        """Whether the first list is in the store, and told to the handlers."""
        return self._synced.is_set()

    async def wait_synced(self) -> None:
        """Wait for the first list."""
        await self._synced.wait()

    @contextlib.contextmanager
    def handle(self, handler: Handler[T], *, resync_s: float | None = None) -> Iterator[None]:
        """Tell `handler` of everything while the block lasts, first of what is there.

        With `resync_s` it hears of every object once in that many seconds. What it raises is logged.
        """
        listener = _Listener(self.selection.resource.plural, handler)
        token = object()
        for item in list(self.store):
            listener.tell(Notice(None, item, initial=True))
        self._handlers[token] = listener
        task: asyncio.Task[None] | None = None
        if resync_s is not None:
            task = asyncio.get_running_loop().create_task(
                self._resync(listener, resync_s), name=f"resync {self.selection.resource.plural}"
            )
        try:
            yield
        finally:
            del self._handlers[token]
            if task is not None:
                task.cancel()

    def learn(self, item: T) -> bool:
        """Take over the answer to a write of our own, without waiting for the watch to bring it.

        Only what is newer than all that the watch has brought is taken, because for that the watch is bound to
        bring whatever happened since. The object must lie within `selection`.
        """
        version = item.metadata.resource_version
        if not self._version.isdigit() or not _is_newer(version, self._version):
            return False
        return self._take(item)

    async def run(self) -> None:
        """Keep the store in step until cancelled."""
        failures = 0
        loop = asyncio.get_running_loop()
        while True:
            started_s = loop.time()
            try:
                if not self._version:
                    await self._list()
                    failures = 0
                early = await self._watch()
            except Gone as error:
                self._version, self._list_from = "", ""
                self._fail("is listed anew because the watch was too far behind", error)
                failures += 1
            except KubeError as error:
                self._fail("cannot be kept up to date", error)
                failures = 1 if loop.time() - started_s >= _SOUND_WATCH_S else failures + 1
            except Exception as error:
                _log.exception("informer.broken", resource=self.selection.resource.plural)
                self._version, self._list_from = "", ""
                self._fail("met a defect of its own and is listed anew", error)
                failures += 1
            else:
                failures = 0
                if early:
                    await asyncio.sleep(self._chance() * _REOPEN_SPREAD_S)
                continue
            await asyncio.sleep(_RETRY.delay_s(failures - 1, self._chance))

    async def _list(self) -> None:
        self.lists += 1
        selection = self.selection
        page = await self._api.list(
            selection.resource,
            self.type_,
            namespace=selection.namespace,
            label_selector=selection.label_selector,
            field_selector=selection.field_selector,
            resource_version=self._list_from,
        )
        initial = not self.has_synced
        present = set()
        for count, item in enumerate(page.items, 1):
            present.add(key_of(item.metadata.namespace, item.metadata.name))
            self._put(item, initial=initial)
            if count % _AT_ONCE == 0:
                await asyncio.sleep(0)
        for key in set(self.store.keys()) - present:
            self._drop(key)
        self._version = page.resource_version
        self.problem = ""
        self._synced.set()
        _log.debug("informer.listed", resource=self.selection.resource.plural, objects=len(page.items))

    async def _watch(self) -> bool:
        """One watch to its end; True when it ended long before its time. Raises KubeError."""
        loop = asyncio.get_running_loop()
        timeout_s = self._watch_timeout_s * (1 + self._chance())
        self.watches += 1
        opened_s = loop.time()
        before = self._version
        async with self._api.watch(
            self.selection.resource,
            self.type_,
            namespace=self.selection.namespace,
            label_selector=self.selection.label_selector,
            field_selector=self.selection.field_selector,
            resource_version=self._version,
            timeout_s=timeout_s,
        ) as events:
            self.problem = ""
            await self._follow(events)
        lasted_s = loop.time() - opened_s
        if lasted_s < _SHORT_WATCH_S and self._version == before:
            raise KubeError(f"the watch ended after {lasted_s:.1f} s without an event")
        return lasted_s < 0.9 * timeout_s

    async def _follow(self, events: AsyncIterator[Event[T]]) -> None:
        async for event in events:
            if isinstance(event, Bookmark):
                self._version = event.resource_version
                continue
            item = event.object
            if event.type == "DELETED":
                self._forget(item)
            else:
                self._take(item)
            self._version = item.metadata.resource_version

    def _take(self, item: T) -> bool:
        """Put an object from a watch or a write, unless the other one has brought a newer state of it already."""
        metadata = item.metadata
        held = self.store.get(key_of(metadata.namespace, metadata.name))
        if held is not None and _is_newer(held.metadata.resource_version, metadata.resource_version):
            return False
        return self._put(item)

    def _put(self, item: T, *, initial: bool = False) -> bool:
        metadata = item.metadata
        key = key_of(metadata.namespace, metadata.name)
        before = self.store.get(key)
        if before is not None and before.metadata.uid != metadata.uid:
            self._drop(key)
            before = None
        if before is not None and before.metadata.resource_version == metadata.resource_version:
            return False
        self.store.put(item)
        self._tell(Notice(before, item, initial))
        return True

    def _forget(self, item: T) -> None:
        metadata = item.metadata
        key = key_of(metadata.namespace, metadata.name)
        held = self.store.get(key)
        if held is not None and held.metadata.uid == metadata.uid:
            self.store.remove(key)
            self._tell(Notice(item, None))

    def _drop(self, key: str) -> None:
        before = self.store.remove(key)
        if before is not None:
            self._tell(Notice(before, None))

    def _tell(self, notice: Notice[T]) -> None:
        for listener in list(self._handlers.values()):
            listener.tell(notice)

    def _fail(self, what: str, error: Exception) -> None:
        plural = self.selection.resource.plural
        self.problem = f"the cache of {plural} {what}: {error}"
        _log.warning("informer.failed", resource=plural, problem=self.problem)

    async def _resync(self, listener: _Listener[T], period_s: float) -> None:
        while True:
            await asyncio.sleep(period_s)
            for item in list(self.store):
                listener.tell(Notice(item, item))


class _Listener(Generic[T]):
    """A handler whose failures stay its own."""

    __slots__ = ("_handler", "_plural")

    def __init__(self, plural: str, handler: Handler[T]) -> None:
        self._plural = plural
        self._handler = handler

    def tell(self, notice: Notice[T]) -> None:
        try:
            self._handler(notice)
        except Exception:
            _log.exception("informer.handler_failed", resource=self._plural, key=notice.key)


def _is_newer(version: str, than: str) -> bool:
    return version.isdigit() and than.isdigit() and int(version) > int(than)
