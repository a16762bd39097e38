"""A place to try an API server in: its own namespace, names that nobody else uses, requests in one line."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, Final
from uuid import uuid4

from moorage.kube.errors import ApiError
from moorage.kube.resource import CONFIG_MAPS, LEASES, NAMESPACES, PODS, Resource
from moorage.kube.transport import Request, Transport
from moorage.kube.watch import lines

MERGE: Final = "application/merge-patch+json"
STEPS: Final = "application/json-patch+json"
STRATEGIC: Final = "application/strategic-merge-patch+json"
APPLY: Final = "application/apply-patch+yaml"
THINGS: Final = Resource("table.moorage.example", "v1", "things", "Thing", namespaced=True)


@dataclass(frozen=True, slots=True)
class Answer:
    """Status and JSON of an answer, and ways to what is mostly looked for in it."""

    status: int
    tree: Any

    @property
    def metadata(self) -> dict[str, Any]:
        found: dict[str, Any] = self.tree["metadata"]
        return found

    @property
    def revision(self) -> str:
        return str(self.metadata["resourceVersion"])

    @property
    def refusal(self) -> tuple[int, str]:
        """Status and reason."""
        return self.status, self.tree.get("reason", "")

    @property
    def cause(self) -> tuple[str, str]:
        """Reason and field of the first cause."""
        first = self.tree["details"]["causes"][0]
        return first["reason"], first["field"]


@dataclass(slots=True)
class Site:
    """An API server behind `transport`. `namespace` is there only for this case."""

    transport: Transport
    namespace: str = field(default_factory=lambda: f"table-{uuid4().hex[:10]}")

    def name(self, base: str) -> str:
        """A name for an object of the whole cluster."""
        return f"{base}-{self.namespace}"

    async def ask(
        self,
        method: str,
        resource: Resource,
        name: str = "",
        *,
        body: Any = None,
        content_type: str = "application/json",
        subresource: str = "",
        namespace: str | None = None,
        **query: str,
    ) -> Answer:
        """Send a request; keywords are its query."""
        space = self.namespace if resource.namespaced else ""
        path = resource.path(space if namespace is None else namespace, name, subresource)
        return await self.send(method, path, body=body, content_type=content_type, **query)

    async def send(
        self, method: str, path: str, *, body: Any = None, content_type: str = "application/json", **query: str
    ) -> Answer:
        """Send a request to any path."""
        request = _request(method, path, body=body, content_type=content_type, query=query)
        response = await self.transport.request(request)
        try:
            tree = json.loads(response.body)
        except ValueError:
            tree = response.body.decode()
        return Answer(response.status, tree)

    async def create(self, resource: Resource, tree: dict[str, Any], **query: str) -> Answer:
        """POST an object, which must work. A pod may have to wait for the service account of a new namespace."""
        body = {"apiVersion": resource.api_version, "kind": resource.kind, **tree}
        answer = await self.until(
            lambda: self.ask("POST", resource, body=body, **query),
            lambda answer: resource != PODS or answer.status != 403,
        )
        assert answer.status == 201, answer.tree
        return answer

    async def get(self, resource: Resource, name: str, **query: str) -> Answer:
        """GET an object."""
        return await self.ask("GET", resource, name, **query)

    async def patch(
        self,
        resource: Resource,
        name: str,
        body: Any,
        content_type: str = MERGE,
        *,
        subresource: str = "",
        **query: str,
    ) -> Answer:
        """PATCH an object."""
        return await self.ask(
            "PATCH", resource, name, body=body, content_type=content_type, subresource=subresource, **query
        )

    async def put(self, resource: Resource, name: str, tree: Any, *, subresource: str = "") -> Answer:
        """PUT an object."""
        body = {"apiVersion": resource.api_version, "kind": resource.kind, **tree}
        return await self.ask("PUT", resource, name, body=body, subresource=subresource)

    async def delete(self, resource: Resource, name: str, **options: Any) -> Answer:
        """DELETE an object with these DeleteOptions."""
        body = {"apiVersion": "v1", "kind": "DeleteOptions", **options} if options else None
        return await self.ask("DELETE", resource, name, body=body)

    async def config_map(self, name: str, **metadata: Any) -> Answer:
        """Create a ConfigMap."""
        return await self.create(CONFIG_MAPS, {"metadata": {"name": name, **metadata}, "data": {"a": "1"}})

    async def lease(self, name: str, **metadata: Any) -> Answer:
        """Create a Lease: the kind that nothing else in a cluster touches."""
        return await self.create(LEASES, {"metadata": {"name": name, **metadata}, "spec": {"holderIdentity": "me"}})

    async def thing(self, name: str, **metadata: Any) -> Answer:
        """Create an object of a custom kind, which is defined first when it is not."""
        await self.define_things()
        return await self.create(THINGS, {"metadata": {"name": name, **metadata}, "spec": {"a": 1}, "status": {"s": 1}})

    async def define_things(self) -> None:
        """Define the custom kind and wait until it is served."""
        path = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
        await self.send("POST", path, body=_DEFINITION)
        await self.until(lambda: self.ask("GET", THINGS), lambda answer: answer.status == 200)

    async def until(self, ask: Callable[[], Awaitable[Answer]], holds: Callable[[Answer], bool]) -> Answer:
        """Ask until the answer is the one waited for, for at most as long as a namespace takes to go."""
        async with asyncio.timeout(50):
            while not holds(answer := await ask()):
                await asyncio.sleep(0.05)
        return answer

    @contextlib.asynccontextmanager
    async def watching(self, resource: Resource, **query: str) -> AsyncIterator[Events]:
        """An open watch in the namespace."""
        query = {"watch": "true", "timeoutSeconds": "20", **query}
        path = resource.path(self.namespace if resource.namespaced else "")
        async with self.transport.stream(_request("GET", path, query=query)) as chunks:
            yield Events(lines(chunks))

    async def watch_refusal(self, resource: Resource, **query: str) -> ApiError:
        """The refusal that opening a watch meets."""
        try:
            async with self.watching(resource, **query):
                raise AssertionError("the watch was opened")
        except ApiError as error:
            return error


@dataclass(slots=True)
class Events:
    """The events of a watch, one by one."""

    _lines: AsyncIterator[bytes]

    async def next(self) -> dict[str, Any]:
        """The next event."""
        async with asyncio.timeout(15):
            event: dict[str, Any] = json.loads(await anext(self._lines))
        return event

    async def take(self, count: int) -> list[tuple[str, str]]:
        """Type and object name of the next events."""
        found = [await self.next() for _ in range(count)]
        return [(event["type"], event["object"]["metadata"]["name"]) for event in found]


@contextlib.asynccontextmanager
async def site_on(transport: Transport) -> AsyncIterator[Site]:
    """A site, cleared when it is left."""
    site = Site(transport)
    await site.create(NAMESPACES, {"metadata": {"name": site.namespace}})
    try:
        yield site
    finally:
        await site.ask("DELETE", NAMESPACES, site.namespace)


def _request(
    method: str, path: str, *, body: Any = None, content_type: str = "application/json", query: dict[str, str]
) -> Request:
    encoded = body if isinstance(body, bytes) else b"" if body is None else json.dumps(body).encode()
    return Request(
        method=method,
        path=path,
        query=tuple(query.items()),
        body=encoded,
        content_type=content_type,
        timeout_s=25.0,
        verb=method.lower(),
        resource="table",
    )


_ANYTHING: Final = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
_DEFINITION: Final = {
    "apiVersion": "apiextensions.k8s.io/v1",
    "kind": "CustomResourceDefinition",
    "metadata": {"name": f"things.{THINGS.group}"},
    "spec": {
        "group": THINGS.group,
        "scope": "Namespaced",
        "names": {"plural": "things", "singular": "thing", "kind": "Thing", "listKind": "ThingList"},
        "versions": [
            {
                "name": "v1",
                "served": True,
                "storage": True,
                "subresources": {"status": {}},
                "schema": {
                    "openAPIV3Schema": {**_ANYTHING, "properties": {"spec": _ANYTHING, "status": _ANYTHING}},
                },
            }
        ],
    },
}
