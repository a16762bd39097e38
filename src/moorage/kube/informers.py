"""The informers of a process: one for each selection, whoever asks for it, started when first needed.

All readers declare their fields before the first start; the cache holds the union. An informer that has
started runs until the end of the process, because starting it again costs a list.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator
from typing import Any, TypeVar, cast

from moorage.base.metrics import Metrics
from moorage.kube.api import Api
from moorage.kube.cache import KubeObject
from moorage.kube.informer import Informer, Selection
from moorage.kube.resource import Resource

__all__ = ["Informers"]

T = TypeVar("T", bound=KubeObject)


class Informers:
    """Informers over one API; `run` must run while they are used."""

    def __init__(self, api: Api, *, metrics: Metrics | None = None) -> None:
        self._api = api
        self._informers: dict[Selection, Informer[Any]] = {}
        self._types: dict[Selection, type[Any]] = {}
        self._wanted: asyncio.Queue[Informer[Any]] = asyncio.Queue()
        self._started: set[Selection] = set()
        self._objects = self._lists = None
        if metrics is not None:
            self._objects = metrics.gauge(
                "moorage_kube_informer_objects", "Objects in the cache.", labels=("resource", "namespace", "selector")
            )
            self._lists = metrics.gauge(
                "moorage_kube_informer_lists",
                "Lists since the start; more than one means that a watch fell too far behind.",
                labels=("resource", "namespace", "selector"),
            )

    def want(
        self,
        resource: Resource,
        type_: type[T],
        *,
        fields: Iterable[str] | None = None,
        namespace: str = "",
        label_selector: str = "",
        field_selector: str = "",
    ) -> Informer[T]:
        """The informer for these objects, with `fields` (None: all) among those that it decodes.

        Raises TypeError when it was asked for with another type, RuntimeError as `Informer.declare`.
        """
        selection = Selection(resource, namespace, label_selector, field_selector)
        informer = self._informers.get(selection)
        if informer is None:
            informer = self._informers[selection] = Informer(self._api, selection, type_)
            self._types[selection] = type_
            self._measure(informer)
        elif self._types[selection] is not type_:
            raise TypeError(
                f"{resource.plural} are cached as {self._types[selection].__name__}; ask for that type and "
                f"not for {type_.__name__}"
            )
        informer.declare(fields)
        return cast("Informer[T]", informer)

    def __iter__(self) -> Iterator[Informer[Any]]:
        return iter(self._informers.values())

    async def ready(self, *informers: Informer[Any]) -> None:
        """Start those that do not run yet, and wait until all have their first list."""
        for informer in informers:
            if informer.selection not in self._started:
                self._started.add(informer.selection)
                self._wanted.put_nowait(informer)
        for informer in informers:
            await informer.wait_synced()

    @property
    def problem(self) -> str:
        """Why a cache that is in use may be out of date, empty when none is."""
        found = (self._informers[selection].problem for selection in self._started)
        return next((problem for problem in found if problem), "")

    async def run(self) -> None:
        """Run the informers until cancelled."""
        async with asyncio.TaskGroup() as group:
            while True:
                informer = await self._wanted.get()
                group.create_task(informer.run(), name=f"informer {informer.selection.resource.plural}")

    def _measure(self, informer: Informer[Any]) -> None:
        if self._objects is None or self._lists is None:
            return
        selection = informer.selection
        selector = ",".join(filter(None, (selection.label_selector, selection.field_selector)))
        labels = (selection.resource.group_resource, selection.namespace, selector)
        self._objects.labels(*labels).set_function(lambda: len(informer.store))
        self._lists.labels(*labels).set_function(lambda: informer.lists)
