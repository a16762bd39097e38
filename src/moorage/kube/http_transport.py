"""The transport over real connections: HTTP/1.1 with TLS, kept alive, on aiohttp.

It makes one attempt for each request; only a 401 is tried again, once, when other credentials can be had.
Requests and streams have separate pools, so that watches, which hold a connection for minutes, never keep a
request waiting. No other module of this package imports an HTTP library.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import os
import socket
import ssl
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Mapping
from importlib.metadata import version
from typing import Any, Final
from urllib.parse import quote, urlencode, urlsplit

import aiohttp
from multidict import CIMultiDict
from yarl import URL

from moorage.base.clock import Clock
from moorage.kube.config import ClientConfig, Impersonation
from moorage.kube.credentials import Credentials, Grant, credentials_of
from moorage.kube.errors import Unreachable, UnreachableKind, error_from_response
from moorage.kube.tls import TlsContexts
from moorage.kube.transport import Request, Response

__all__ = ["HttpTransport"]

MAX_REQUESTS: Final = 64
MAX_BODY_BYTES: Final = 1 << 30
CONNECT_TIMEOUT_S: Final = 15.0
OPEN_TIMEOUT_S: Final = 30.0
# Shorter than the 90 seconds or more after which API servers close an idle connection.
KEEP_ALIVE_S: Final = 60.0
_STREAM_BUFFER_BYTES: Final = 1 << 18
_MAX_ERROR_BYTES: Final = 1 << 20


class HttpTransport:
    """Connections to one API server as one user; for use inside one event loop.

    At most `max_requests` requests are under way at the same time, further ones wait within their own deadline.
    Proxies are used only when `config` names one. Close it when done.
    """

    def __init__(
        self,
        config: ClientConfig,
        *,
        environ: Mapping[str, str] | None = None,
        credentials: Credentials | None = None,
        clock: Clock | None = None,
        user_agent: str = "",
        max_requests: int = MAX_REQUESTS,
    ) -> None:
        """`environ` is what a credential plugin runs with; `credentials` replaces those of `config`.

        The API server names the owner of the fields that we write after `user_agent`, up to its first slash.
        """
        cluster = config.cluster
        self._server = cluster.server
        self._credentials = credentials or credentials_of(config, environ=environ or {}, clock=clock)
        secure = urlsplit(cluster.server).scheme == "https"
        self._tls = TlsContexts(cluster, config.user, clock=clock) if secure else None
        self._options: dict[str, Any] = {"allow_redirects": False}
        if cluster.tls_server_name:
            self._options["server_hostname"] = cluster.tls_server_name
        if cluster.proxy_url:
            self._options["proxy"] = cluster.proxy_url
        self._headers = [
            ("Accept", "application/json"),
            ("User-Agent", user_agent or f"moorage/{version('moorage')} (linux/{os.uname().machine})"),
            *_impersonation_headers(config.user.impersonate),
        ]
        # 12 MB (10,000 claims) become 0.7 MB for a quarter more of our CPU; on loopback that is a loss.
        self._compressed = not (cluster.disable_compression or _is_loopback(cluster.server))
        self._max_requests = max_requests
        self._sessions: dict[bool, aiohttp.ClientSession] = {}
        self._closed = False

    async def request(self, request: Request) -> Response:
        """Send and receive. Raises Unreachable, also when the body has more than 1 GiB."""
        with self._named_failures(request):
            async with asyncio.timeout(request.timeout_s), self._answer(request, stream=False) as (answer, _):
                body = await _whole(answer, MAX_BODY_BYTES)
                return Response(answer.status, _lower_case(answer), body)

    @contextlib.asynccontextmanager
    async def stream(self, request: Request) -> AsyncIterator[AsyncIterator[bytes]]:
        """The body as it comes; it also ends when the credentials that it was opened with have changed.

        Opening it may take 30 seconds of its time: a server that has nothing to tell still says so.
        """
        started_s = asyncio.get_running_loop().time()
        deadline_s = started_s + request.timeout_s
        async with contextlib.AsyncExitStack() as stack:
            with self._named_failures(request):
                async with asyncio.timeout_at(min(deadline_s, started_s + OPEN_TIMEOUT_S)):
                    answer, grant = await stack.enter_async_context(self._answer(request, stream=True))
                    if answer.status >= 400:
                        body = await _whole(answer, _MAX_ERROR_BYTES)
                        raise error_from_response(answer.status, _lower_case(answer), body)
            chunks = self._chunks(request, answer, grant, deadline_s)
            await stack.enter_async_context(contextlib.aclosing(chunks))
            yield chunks

    async def close(self) -> None:
        """Close all connections; requests that are under way end with Unreachable."""
        self._closed = True
        sessions = list(self._sessions.values())
        self._sessions.clear()
        for session in sessions:
            await session.close()

    @contextlib.asynccontextmanager
    async def _answer(self, request: Request, *, stream: bool) -> AsyncIterator[tuple[aiohttp.ClientResponse, Grant]]:
        """The head of the answer, and the grant that it was got with."""
        grant = await self._credentials.grant()
        answer = await self._send(request, grant, stream=stream)
        try:
            if answer.status == 401 and await self._credentials.renew(grant):
                await _whole(answer, _MAX_ERROR_BYTES)
                grant = await self._credentials.grant()
                answer = await self._send(request, grant, stream=stream)
            yield answer, grant
        finally:
            # A body that was read to its end has given its connection back to the pool already.
            answer.close()

    async def _send(self, request: Request, grant: Grant, *, stream: bool) -> aiohttp.ClientResponse:
        headers = CIMultiDict(self._headers)
        headers["Accept-Encoding"] = "gzip" if self._compressed and request.verb == "list" else "identity"
        if grant.authorization:
            headers["Authorization"] = grant.authorization
        if request.body:
            headers["Content-Type"] = request.content_type
        return await self._session(stream=stream).request(
            request.method,
            self._url(request),
            data=request.body or None,
            headers=headers,
            ssl=self._tls.context(grant) if self._tls else True,
            read_bufsize=_STREAM_BUFFER_BYTES,
            **self._options,
        )

    async def _chunks(
        self, request: Request, answer: aiohttp.ClientResponse, grant: Grant, deadline_s: float
    ) -> AsyncGenerator[bytes, None]:
        with self._named_failures(request):
            while True:
                async with asyncio.timeout_at(deadline_s):
                    chunk = await answer.content.readany()
                if not chunk:
                    return
                yield chunk
                if await self._has_changed(grant):
                    return

    async def _has_changed(self, grant: Grant) -> bool:
        """Whether a new stream would be opened with other credentials; for none at all a stream is not given up."""
        try:
            return await self._credentials.grant() != grant
        except Unreachable:
            return False

    def _url(self, request: Request) -> URL:
        query = f"?{urlencode(request.query, quote_via=quote)}" if request.query else ""
        return URL(f"{self._server}{request.path}{query}", encoded=True)

    def _session(self, *, stream: bool) -> aiohttp.ClientSession:
        if self._closed:
            raise Unreachable(f"the client of {self._server} has been closed", sent=False)
        session = self._sessions.get(stream)
        if session is None:
            connector = aiohttp.TCPConnector(
                limit=0 if stream else self._max_requests,
                keepalive_timeout=KEEP_ALIVE_S,
                socket_factory=_socket,
            )
            session = self._sessions[stream] = aiohttp.ClientSession(
                connector=connector,
                cookie_jar=aiohttp.DummyCookieJar(),
                timeout=aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_TIMEOUT_S),
                trust_env=False,
                middlewares=(_one_attempt,),
            )
        return session

    @contextlib.contextmanager
    def _named_failures(self, request: Request) -> Iterator[None]:
        """Turn what the library raises into Unreachable, with a text that says what to look at."""
        try:
            yield
        except TimeoutError as error:
            sent = not isinstance(error, aiohttp.ConnectionTimeoutError)
            raise Unreachable(
                f"{request.verb} {request.resource}: {self._server} gave no whole answer within the time allowed "
                f"({request.timeout_s:.1f} s); check that it runs and can be reached",
                kind="timeout",
                sent=sent,
            ) from error
        except (aiohttp.ClientError, OSError, ssl.SSLError) as error:
            kind, sent, what, remedy = _explain(error)
            raise Unreachable(
                f"{request.verb} {request.resource}: {self._server} {what}; {remedy}", kind=kind, sent=sent
            ) from error


async def _one_attempt(request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType) -> aiohttp.ClientResponse:
    """Keep the library from sending a PUT or DELETE twice when a kept connection breaks: it may have been done."""
    try:
        return await handler(request)
    except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError):
        raise
    except (aiohttp.ClientOSError, aiohttp.ServerDisconnectedError) as error:
        raise _Broken(str(error)) from error


class _Broken(aiohttp.ClientError):
    """A connection ended after a request was written to it."""


def _explain(error: Exception) -> tuple[UnreachableKind, bool, str, str]:
    """Kind, whether the request may have been seen, what happened and what to do."""
    reason = " ".join(str(error).split()) or type(error).__name__
    match error:
        case aiohttp.ClientConnectorDNSError():
            return "name", False, "is a name that cannot be resolved", "check the server's name and the DNS"
        case aiohttp.ClientConnectorCertificateError() | aiohttp.ClientSSLError() | ssl.SSLError():
            return "tls", False, f"failed the TLS handshake ({reason})", "check its certificate authority and name"
        case aiohttp.ClientProxyConnectionError() | aiohttp.ClientHttpProxyError():
            return "refused", False, "cannot be reached through the proxy", "check proxy-url in the kubeconfig"
        case aiohttp.ClientConnectorError():
            kind: UnreachableKind = "reset" if isinstance(error.os_error, ConnectionResetError) else "refused"
            return kind, False, f"cannot be connected to ({error.os_error.strerror})", "check that it runs there"
        case _Broken() | aiohttp.ClientPayloadError() | ConnectionError():
            return "reset", True, "closed the connection before the answer was whole", "look into its log"
        case _:
            return "other", True, f"cannot be talked to ({reason})", "check that it is an API server"


async def _whole(answer: aiohttp.ClientResponse, limit_bytes: int) -> bytes:
    parts: list[bytes] = []
    size_bytes = 0
    while chunk := await answer.content.readany():
        parts.append(chunk)
        size_bytes += len(chunk)
        if size_bytes > limit_bytes:
            raise Unreachable(f"the API server's answer has more than {limit_bytes >> 20} MiB; ask for fewer objects")
    return b"".join(parts) if len(parts) != 1 else parts[0]


def _is_loopback(server: str) -> bool:
    host = urlsplit(server).hostname or ""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _lower_case(answer: aiohttp.ClientResponse) -> dict[str, str]:
    found: dict[str, str] = {}
    for name, value in answer.headers.items():
        key = name.lower()
        found[key] = f"{found[key]}, {value}" if key in found else value
    return found


def _impersonation_headers(whom: Impersonation) -> list[tuple[str, str]]:
    headers = [("Impersonate-User", whom.user), ("Impersonate-Uid", whom.uid)]
    headers += [("Impersonate-Group", group) for group in whom.groups]
    headers += [(f"Impersonate-Extra-{quote(key, safe='')}", value) for key, values in whom.extra for value in values]
    return [(name, value) for name, value in headers if value]


def _socket(address: tuple[Any, ...]) -> socket.socket:
    """A socket on which a peer that vanished is noticed within a minute, though a watch may be silent for long."""
    family, kind, protocol = address[:3]
    made = socket.socket(family, kind, protocol)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    made.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 30)
    made.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 10)
    made.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 3)
    made.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, 60_000)
    return made
