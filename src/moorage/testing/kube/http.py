"""The fake server behind a port, for clients in other processes and for the real transport.

Beside the Kubernetes API it has a few paths of its own, below `/fake`, by which another process can do what tests
do to the server in memory: add faults, break watches, compact, read the log. The only module here that imports an
HTTP library.
"""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any, Final

import msgspec
from aiohttp import web

from moorage.kube.transport import Request, Response
from moorage.testing.kube.exchange import Exchange, Lost, OpenStream
from moorage.testing.kube.faults import Delay, DropWatch, Effect, ExpireWatch, LoseReply, LoseRequest, Refuse
from moorage.testing.kube.server import FakeApiServer

__all__ = ["serving"]

_PATIENCE_S: Final = 3600.0
_MAX_BODY_BYTES: Final = 3 << 20
_EFFECTS: Final[Mapping[str, type[Effect]]] = {
    "refuse": Refuse,
    "lose-request": LoseRequest,
    "lose-reply": LoseReply,
    "delay": Delay,
    "drop-watch": DropWatch,
    "expire-watch": ExpireWatch,
}


@contextlib.asynccontextmanager
async def serving(server: FakeApiServer, *, host: str = "127.0.0.1", port: int = 0) -> AsyncIterator[str]:
    """Serve `server` on a port, 0 for any that is free; gives the URL. Raises OSError when the port is taken."""
    application = web.Application(client_max_size=_MAX_BODY_BYTES)
    door = _Door(server)
    application.router.add_route("*", "/fake/{what}", door.control)
    application.router.add_route("*", "/{path:.*}", door.answer)
    runner = web.AppRunner(application, shutdown_timeout=0.1, access_log=None, handler_cancellation=True)
    await runner.setup()
    try:
        await web.TCPSite(runner, host, port).start()
        found = runner.addresses[0]
        yield f"http://{found[0]}:{found[1]}"
    finally:
        server.break_watches(cleanly=True)
        await runner.cleanup()


class _Door:
    """Turns HTTP into requests of the fake server and back. The user is the bearer token, or its part before `:`."""

    def __init__(self, server: FakeApiServer) -> None:
        self._server = server

    async def answer(self, http: web.Request) -> web.StreamResponse:
        """Any path of the Kubernetes API."""
        request = Request(
            method=http.method,
            path=http.rel_url.raw_path,
            query=tuple(http.rel_url.query.items()),
            body=await http.read(),
            content_type=http.content_type if http.body_exists else "application/json",
            timeout_s=_PATIENCE_S,
            verb=http.method.lower(),
            resource="",
        )
        exchange = Exchange(self._server, user=_user(http), agent=http.headers.get("User-Agent", ""), rules=None)
        try:
            if http.method == "GET" and http.rel_url.query.get("watch", "") in {"true", "1"}:
                async with exchange.watch(request) as opened:
                    return await self._stream(http, opened)
            return _whole(await exchange.answer(request))
        except Lost:
            return _hung_up(http)

    async def control(self, http: web.Request) -> web.Response:
        """What tests do to the server, by name; the body is JSON."""
        controls: dict[str, Callable[[dict[str, Any]], Any]] = {
            "faults": self._add_fault,
            "clear-faults": lambda _: self._server.faults.clear(),
            "compact": lambda _: self._server.compact(),
            "break-watches": lambda _: self._server.break_watches(),
            "expire-watches": lambda _: self._server.expire_watches(),
            "bookmark": lambda _: self._server.bookmark(),
            "requests": lambda _: self._counts(),
            "clear-requests": lambda _: self._server.log.clear(),
        }
        run = controls.get(http.match_info["what"])
        if run is None:
            return web.json_response({"error": f"one of {', '.join(sorted(controls))} is needed"}, status=404)
        body = await http.read()
        try:
            result = run(msgspec.json.decode(body) if body else {})
        except (KeyError, TypeError, msgspec.MsgspecError) as error:
            return web.json_response({"error": f"cannot be understood: {error}"}, status=400)
        return web.json_response(result)

    async def _stream(self, http: web.Request, opened: OpenStream | Response) -> web.StreamResponse:
        if isinstance(opened, Response):
            return _whole(opened)
        stream = web.StreamResponse(headers={"Content-Type": "application/json"})
        await stream.prepare(http)
        chunks = opened.chunks()
        async with contextlib.aclosing(chunks):
            with contextlib.suppress(ConnectionError):
                async for chunk in chunks:
                    await stream.write(chunk)
                await stream.write_eof()
        return stream

    def _add_fault(self, body: dict[str, Any]) -> None:
        """{"effect": "refuse", "with": {"code": 503}, "verb": "create", "times": 2}"""
        effect = _EFFECTS[body.pop("effect")]
        self._server.faults.add(msgspec.convert(body.pop("with", {}), effect), **body)

    def _counts(self) -> dict[str, int]:
        counts: Counter[tuple[str, str]] = self._server.log.counts()
        return {f"{verb} {resource}": count for (verb, resource), count in sorted(counts.items())}


def _whole(response: Response) -> web.Response:
    return web.Response(status=response.status, headers=dict(response.headers), body=response.body)


def _hung_up(http: web.Request) -> web.Response:
    """Cut the connection; what is returned never gets anywhere."""
    if http.transport is not None:
        http.transport.abort()
    return web.Response(status=500)


def _user(http: web.Request) -> str:
    scheme, _, token = http.headers.get("Authorization", "").partition(" ")
    return token.partition(":")[0] if scheme == "Bearer" else "system:admin"
