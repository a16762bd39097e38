"""A small HTTP/1.1 server for metrics and health: GET and HEAD, fixed paths, one answer per connection.

It keeps a node process free of an HTTP framework. Everything is bounded: header size, header time, handler
time, number of connections. It has no authentication, so it belongs on a loopback or pod address.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Final

from moorage.base.log import get_logger

Response = tuple[int, str, bytes]
Route = Callable[[], Awaitable[Response]]

MAX_HEADER_BYTES: Final = 8192
MAX_CONNECTIONS: Final = 64
_TEXT: Final = "text/plain; charset=utf-8"

_log = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Address:
    """Where to listen; an empty host is every interface, port 0 lets the kernel choose."""

    host: str
    port: int


def parse_address(text: str) -> Address:
    """`127.0.0.1:8080`, `[::1]:0`, `localhost:8080` or `:8080`; ValueError otherwise."""
    host, colon, port = text.rpartition(":")
    bracketed = host.startswith("[") and host.endswith("]")
    if not colon or not (port.isascii() and port.isdigit()) or int(port) > 65535 or (":" in host and not bracketed):
        raise ValueError(f"{text!r} is not HOST:PORT; write for example 127.0.0.1:8080 or [::1]:8080")
    return Address(host[1:-1] if bracketed else host, int(port))


class HttpServer:
    """Serves `routes`: a path to an async callable that returns status, content type and body."""

    def __init__(
        self, routes: Mapping[str, Route], *, header_timeout_s: float = 5.0, handler_timeout_s: float = 10.0
    ) -> None:
        self._routes = dict(routes)
        self._header_timeout_s = header_timeout_s
        self._handler_timeout_s = handler_timeout_s
        self._server: asyncio.Server | None = None
        self._busy: set[asyncio.Task[None]] = set()

    async def start(self, address: Address) -> Address:
        """Listen; returns the address really used. OSError if it cannot be had."""
        server = await asyncio.start_server(self._serve, address.host or None, address.port, limit=MAX_HEADER_BYTES)
        self._server = server
        port: int = server.sockets[0].getsockname()[1]
        return Address(address.host, port)

    async def close(self, *, grace_s: float = 2.0) -> None:
        """Stop listening, let the answers under way end within `grace_s`, cut the others."""
        server, self._server = self._server, None
        if server is None:
            return
        server.close()
        if self._busy:
            _, slow = await asyncio.wait(self._busy, timeout=grace_s)
            for task in slow:
                task.cancel()
            if slow:
                await asyncio.wait(slow)
        await server.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        if task is not None:
            self._busy.add(task)
            task.add_done_callback(self._busy.discard)
        try:
            with contextlib.suppress(ConnectionError, TimeoutError):
                head, response = await self._exchange(reader)
                async with asyncio.timeout(self._handler_timeout_s):
                    writer.write(_encode(response, with_body=not head))
                    await writer.drain()
                    if writer.can_write_eof():
                        writer.write_eof()
        finally:
            writer.close()

    async def _exchange(self, reader: asyncio.StreamReader) -> tuple[bool, Response]:
        """Read one request; returns whether it is HEAD, and its answer."""
        if len(self._busy) > MAX_CONNECTIONS:
            return False, _plain(HTTPStatus.SERVICE_UNAVAILABLE)
        try:
            async with asyncio.timeout(self._header_timeout_s):
                header = await reader.readuntil(b"\r\n\r\n")
        except TimeoutError:
            return False, _plain(HTTPStatus.REQUEST_TIMEOUT)
        except asyncio.LimitOverrunError:
            return False, _plain(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE)
        except asyncio.IncompleteReadError:
            return False, _plain(HTTPStatus.BAD_REQUEST)
        words = header.split(b"\r\n", 1)[0].split(b" ")
        if len(words) != 3 or not words[2].startswith(b"HTTP/1.") or not words[1].startswith(b"/"):
            return False, _plain(HTTPStatus.BAD_REQUEST)
        if words[0] not in (b"GET", b"HEAD"):
            return False, _plain(HTTPStatus.METHOD_NOT_ALLOWED)
        path = words[1].partition(b"?")[0].decode("latin-1")
        return words[0] == b"HEAD", await self._answer(path)

    async def _answer(self, path: str) -> Response:
        route = self._routes.get(path)
        if route is None:
            return _plain(HTTPStatus.NOT_FOUND)
        try:
            async with asyncio.timeout(self._handler_timeout_s):
                return await route()
        except TimeoutError:
            return _plain(HTTPStatus.SERVICE_UNAVAILABLE)
        except Exception:
            _log.exception("http.handler_failed", path=path)
            return _plain(HTTPStatus.INTERNAL_SERVER_ERROR)


def _plain(status: HTTPStatus) -> Response:
    return status.value, _TEXT, f"{status.phrase}\n".encode()


def _encode(response: Response, *, with_body: bool) -> bytes:
    status, content_type, body = response
    try:
        phrase = HTTPStatus(status).phrase
    except ValueError:
        phrase = "Unknown"
    lines = [
        f"HTTP/1.1 {status} {phrase}",
        f"Content-Type: {content_type}",
        f"Content-Length: {len(body)}",
        "Connection: close",
    ]
    if status == HTTPStatus.METHOD_NOT_ALLOWED:
        lines.append("Allow: GET, HEAD")
    head = "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n"
    return head + body if with_body else head
