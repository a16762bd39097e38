"""The client's way to the fake server without sockets: works on any event loop, also with virtual time."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Sequence

from moorage.kube.errors import Unreachable, error_from_response
from moorage.kube.transport import Request, Response
from moorage.testing.kube.exchange import Exchange, Lost, OpenStream
from moorage.testing.kube.roles import Rule
from moorage.testing.kube.server import FakeApiServer
from moorage.testing.kube.watching import Watch

__all__ = ["FakeTransport"]

_SAID = {
    "refused": "cannot be connected to; check that it runs there",
    "reset": "closed the connection before the answer was whole; look into its log",
    "timeout": "gave no answer in time; check that it runs and can be reached",
}


class FakeTransport:
    """A `moorage.kube.transport.Transport` to `server` as one user, with that user's `rules` if any are given."""

    def __init__(
        self,
        server: FakeApiServer,
        *,
        user: str = "system:admin",
        agent: str = "moorage",
        rules: Sequence[Rule] | None = None,
    ) -> None:
        self.server = server
        self._exchange = Exchange(server, user=user, agent=agent, rules=rules)
        self._watches: list[Watch] = []
        self._cut = False
        self._closed = False

    def cut(self) -> None:
        """Part this client from the server, which goes on for the others, until `mend`."""
        self._cut = True
        for watch in list(self._watches):
            watch.end(broken=True)

    def mend(self) -> None:
        """End what `cut` began."""
        self._cut = False

    async def request(self, request: Request) -> Response:
        """Send and receive. Raises Unreachable."""
        with self._named_failures(request):
            async with asyncio.timeout(request.timeout_s):
                await asyncio.sleep(0)
                self._require_connection()
                response = await self._exchange.answer(request)
                self._require_connection(sent=True)
                return response

    @contextlib.asynccontextmanager
    async def stream(self, request: Request) -> AsyncIterator[AsyncIterator[bytes]]:
        """The lines of a watch. Raises ApiError, Unreachable."""
        deadline_s = asyncio.get_running_loop().time() + request.timeout_s
        async with contextlib.AsyncExitStack() as stack:
            with self._named_failures(request):
                async with asyncio.timeout_at(deadline_s):
                    await asyncio.sleep(0)
                    self._require_connection()
                    opened = await stack.enter_async_context(self._exchange.watch(request))
                    self._require_connection(sent=True)
            if isinstance(opened, Response):
                if opened.status >= 400:
                    raise error_from_response(opened.status, opened.headers, opened.body)
                yield _once(opened.body)
                return
            self._watches.append(opened.watch)
            stack.callback(self._watches.remove, opened.watch)
            chunks = self._chunks(request, opened, deadline_s)
            await stack.enter_async_context(contextlib.aclosing(chunks))
            yield chunks

    async def close(self) -> None:
        """Refuse further requests; streams that are open end."""
        self._closed = True
        for watch in list(self._watches):
            watch.end()

    async def _chunks(self, request: Request, opened: OpenStream, deadline_s: float) -> AsyncGenerator[bytes, None]:
        with self._named_failures(request):
            chunks = opened.chunks()
            while True:
                async with asyncio.timeout_at(deadline_s):
                    chunk = await anext(chunks, None)
                if chunk is None:
                    return
                yield chunk

    def _require_connection(self, *, sent: bool = False) -> None:
        if self._cut:
            raise Lost("reset" if sent else "refused", sent=sent)
        if self._closed:
            raise Unreachable("the client of the fake API server has been closed", sent=False)

    @contextlib.contextmanager
    def _named_failures(self, request: Request) -> Iterator[None]:
        try:
            yield
        except Lost as lost:
            said = _SAID.get(lost.kind, lost.kind)
            text = f"{request.verb} {request.resource}: the fake API server {said}"
            raise Unreachable(text, kind=lost.kind, sent=lost.sent) from lost
        except TimeoutError as error:
            text = f"{request.verb} {request.resource}: the fake API server {_SAID['timeout']}"
            raise Unreachable(text, kind="timeout") from error


async def _once(body: bytes) -> AsyncIterator[bytes]:
    yield body
