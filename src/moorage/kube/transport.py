"""How a request gets to an API server and the answer back: the seam between the client and the network.

`moorage.kube.http_transport` is the real one, `moorage.testing.kube` has one without sockets. A transport
makes one attempt; when to try again is for `moorage.kube.api` to say. Nothing here imports an HTTP library.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager
from typing import Protocol

from msgspec import Struct

__all__ = ["Request", "Response", "Transport"]


class Request(Struct, frozen=True, kw_only=True):
    """One request. `path` is percent-encoded already; `verb` and `resource` are for metrics and messages.

    `timeout_s` bounds the whole exchange, for a stream its whole life.
    """

    method: str
    path: str
    query: tuple[tuple[str, str], ...] = ()
    body: bytes = b""
    content_type: str = "application/json"
    timeout_s: float
    verb: str
    resource: str


class Response(Struct, frozen=True):
    """An answer with its whole body; header names are in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class Transport(Protocol):
    """Sends requests to one API server as one user."""

    async def request(self, request: Request) -> Response:
        """Send and receive, whatever the status. Raises Unreachable when there is no whole answer."""
        ...

    def stream(self, request: Request) -> AbstractAsyncContextManager[AsyncIterator[bytes]]:
        """Receive the body in chunks of any size as they come; the iterator ends with the body.

        Entering raises ApiError for a status of 400 or more, and Unreachable; iterating raises Unreachable when
        the connection breaks or the time is up. Leaving closes the connection.
        """
        ...

    async def close(self) -> None:
        """Close all connections; streams that are still open end."""
        ...
