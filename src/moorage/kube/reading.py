"""The verbs that read: get, list, watch, and what the server can do. Part of `moorage.kube.api.Api`."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from functools import lru_cache
from typing import Any, Final, TypeVar, cast

from msgspec import Struct

from moorage.kube.calling import Caller, query
from moorage.kube.decoding import Page, decode_object, decode_page
from moorage.kube.errors import Gone, NotFound
from moorage.kube.resource import Resource
from moorage.kube.transport import Request
from moorage.kube.watch import Event, EventDecoder, events

__all__ = ["PAGE_SIZE", "Reads"]

T = TypeVar("T")

WATCH_GRACE_S: Final = 30.0
PAGE_SIZE: Final = 500


class Reads:
    """Reading objects; see `moorage.kube.api.Api` for what all calls have in common."""

    _caller: Caller

    async def get(
        self,
        resource: Resource,
        as_: type[T],
        *,
        name: str,
        namespace: str = "",
        subresource: str = "",
        timeout_s: float | None = None,
    ) -> T:
        """One object, as it is in the store now. Raises NotFound."""
        path = resource.path(namespace, name, subresource)
        body = await self._caller.send("get", "GET", resource.plural, path=path, timeout_s=timeout_s)
        return decode_object(body, as_, what=f"get of {resource.group_resource}")

    async def pages(
        self,
        resource: Resource,
        as_: type[T],
        *,
        namespace: str = "",
        label_selector: str = "",
        field_selector: str = "",
        page_size: int = PAGE_SIZE,
        resource_version: str = "",
        resource_version_match: str = "",
        timeout_s: float | None = None,
    ) -> AsyncIterator[Page[T]]:
        """The list page by page, all of one moment; `page_size` 0 asks for everything at once.

        `resource_version` "0" takes what the server has in its cache. Each page has `timeout_s`. Raises Gone when
        the next page is no longer to be had, and then the pages already seen are not a whole list.
        """
        path = resource.path(namespace)
        first = (("resourceVersion", resource_version), ("resourceVersionMatch", resource_version_match))
        token = ""
        while True:
            parameters = query(
                ("labelSelector", label_selector),
                ("fieldSelector", field_selector),
                ("limit", str(page_size) if page_size else ""),
                *((("continue", token),) if token else first),
            )
            body = await self._caller.send(
                "list", "GET", resource.plural, path=path, parameters=parameters, timeout_s=timeout_s
            )
            page = decode_page(body, as_, what=resource.group_resource)
            yield page
            if not page.continue_token:
                return
            token = page.continue_token

    def watch(
        self,
        resource: Resource,
        as_: type[T],
        *,
        namespace: str = "",
        resource_version: str = "",
        label_selector: str = "",
        field_selector: str = "",
        bookmarks: bool = True,
        send_initial_events: bool = False,
        timeout_s: float = 300.0,
    ) -> contextlib.AbstractAsyncContextManager[AsyncIterator[Event[T]]]:
        """Changes after `resource_version`, until the server ends the watch after `timeout_s`.

        Entering opens the watch; the iterator ends when the server ends it, also when credentials changed and
        the watch is to be opened again. Iterating raises Gone when `resource_version` is too old.
        `send_initial_events` begins with all objects as ADDED and a Bookmark that says so.
        """
        parameters = query(
            ("watch", "true"),
            ("resourceVersion", resource_version),
            ("labelSelector", label_selector),
            ("fieldSelector", field_selector),
            ("allowWatchBookmarks", "true" if bookmarks or send_initial_events else ""),
            ("sendInitialEvents", "true" if send_initial_events else ""),
            ("resourceVersionMatch", "NotOlderThan" if send_initial_events else ""),
            ("timeoutSeconds", str(max(1, round(timeout_s)))),
        )
        request = Request(
            method="GET",
            path=resource.path(namespace),
            query=parameters,
            timeout_s=timeout_s + WATCH_GRACE_S,
            verb="watch",
            resource=resource.plural,
        )
        return self._watch(request, as_)

    async def served(self, resource: Resource, *, timeout_s: float | None = None) -> bool:
        """Whether the server has this resource in this version, as discovery tells."""
        path = f"/apis/{resource.group}/{resource.version}" if resource.group else f"/api/{resource.version}"
        try:
            body = await self._caller.send("get", "GET", resource.plural, path=path, timeout_s=timeout_s)
        except NotFound:
            return False
        found = decode_object(body, _ResourceList, what=f"the resources of {resource.api_version}")
        return any(entry.name == resource.plural for entry in found.resources or ())

    async def server_version(self, *, timeout_s: float | None = None) -> tuple[int, int]:
        """Major and minor version of the API server."""
        body = await self._caller.send("get", "GET", "version", path="/version", timeout_s=timeout_s)
        version = decode_object(body, _Version, what="its version")
        return int(version.major or 0), int("".join(filter(str.isdigit, version.minor)) or 0)

    async def list(
        self,
        resource: Resource,
        as_: type[T],
        *,
        namespace: str = "",
        label_selector: str = "",
        field_selector: str = "",
        page_size: int = PAGE_SIZE,
        resource_version: str = "",
        timeout_s: float | None = None,
    ) -> Page[T]:
        """The whole list in one Page, pages being asked for one by one.

        When the later pages are gone, everything is asked for again at once. Each request has `timeout_s`.
        """
        select = {"namespace": namespace, "label_selector": label_selector, "field_selector": field_selector}
        found: list[Page[T]] = []
        try:
            async for page in self.pages(
                resource,
                as_,
                page_size=page_size,
                resource_version=resource_version,
                timeout_s=timeout_s,
                **select,
            ):
                found.append(page)  # noqa: PERF401
        except Gone:
            if not found:
                raise
            found = [page async for page in self.pages(resource, as_, page_size=0, timeout_s=timeout_s, **select)]
        return Page([item for page in found for item in page.items], found[-1].resource_version)

    @contextlib.asynccontextmanager
    async def _watch(self, request: Request, as_: type[T]) -> AsyncIterator[AsyncIterator[Event[T]]]:
        async with self._caller.stream(request) as chunks:
            decoder = cast("EventDecoder[T]", _event_decoder(cast("Any", as_)))
            async with contextlib.aclosing(events(chunks, decoder)) as found:
                yield found


class _ResourceEntry(Struct, frozen=True):
    name: str


class _ResourceList(Struct, frozen=True):
    resources: list[_ResourceEntry] | None = None


class _Version(Struct, frozen=True):
    major: str = ""
    minor: str = ""


@lru_cache(maxsize=512)
def _event_decoder(as_: Any) -> EventDecoder[Any]:
    return EventDecoder(as_)
