"""One call to the API server from the caller's point of view: its turn, its attempts, its deadline.

The deadline covers everything, so a caller that allows 30 seconds hears something within 30 seconds. What is
asked, and what the answer means, is for `moorage.kube.api`.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator, Callable
from typing import Final, TypeAlias

from msgspec.structs import replace

from moorage.base.log import get_logger
from moorage.kube.errors import ApiError, Unreachable, error_from_response
from moorage.kube.limiter import Limiter
from moorage.kube.observation import RequestObserver
from moorage.kube.retry import pause_before_retry_s
from moorage.kube.transport import Request, Response, Transport

__all__ = ["Caller", "Query", "query"]

Query: TypeAlias = tuple[tuple[str, str], ...]

NO_ANSWER: Final = "<error>"
_MAX_WARNINGS: Final = 256

_log = get_logger(__name__)


class Caller:
    """Sends requests through `transport` at the pace of `limiter`, again where that is right."""

    def __init__(
        self,
        transport: Transport,
        limiter: Limiter,
        *,
        observer: RequestObserver,
        timeout_s: float,
        chance: Callable[[], float] = random.random,
    ) -> None:
        """`timeout_s` is the time that a call may take when it names none itself."""
        self._transport = transport
        self._limiter = limiter
        self._observer = observer
        self._timeout_s = timeout_s
        self._chance = chance
        self._warned: set[str] = set()

    async def send(
        self,
        verb: str,
        method: str,
        resource: str,
        *,
        path: str,
        parameters: Query = (),
        body: bytes = b"",
        content_type: str = "application/json",
        timeout_s: float | None,
    ) -> bytes:
        """The body of the answer to a request about `resource`; raises as `call` does."""
        request = Request(
            method=method,
            path=path,
            query=parameters,
            body=body,
            content_type=content_type,
            timeout_s=self._timeout_s if timeout_s is None else timeout_s,
            verb=verb,
            resource=resource,
        )
        return (await self.call(request)).body

    async def call(self, request: Request) -> Response:
        """The answer to `request`, always 2xx.

        Raises ApiError, or Unreachable when there was no answer within `request.timeout_s`.
        """
        loop = asyncio.get_running_loop()
        deadline_s = loop.time() + request.timeout_s
        attempts = 0
        while True:
            await self._turn(request, deadline_s - loop.time())
            remaining_s = deadline_s - loop.time()
            outcome = await self._attempt(replace(request, timeout_s=max(remaining_s, 0.001)))
            attempts += 1
            if isinstance(outcome, Response) and 200 <= outcome.status < 300:
                self._warn(outcome)
                return outcome
            pause_s = pause_before_retry_s(request.method, outcome, attempts=attempts, random=self._chance)
            if pause_s is None or loop.time() + pause_s >= deadline_s:
                raise _as_error(outcome)
            self._observer.retried(verb=request.verb, code=_code_of(outcome))
            await asyncio.sleep(pause_s)

    @contextlib.asynccontextmanager
    async def stream(self, request: Request) -> AsyncIterator[AsyncIterator[bytes]]:
        """The body of the answer in chunks; one attempt only, because its caller knows where to go on."""
        await self._turn(request, request.timeout_s)
        started_s = asyncio.get_running_loop().time()
        async with contextlib.AsyncExitStack() as stack:
            try:
                chunks = await stack.enter_async_context(self._transport.stream(request))
            except ApiError as error:
                self._observe(request, str(error.code), started_s)
                raise
            except Unreachable:
                self._observe(request, NO_ANSWER, started_s)
                raise
            self._observe(request, "200", started_s)
            yield chunks

    async def _turn(self, request: Request, timeout_s: float) -> None:
        wait_s = await self._limiter.acquire(timeout_s=timeout_s)
        if wait_s > 0:
            self._observer.throttled(verb=request.verb, wait_s=wait_s)

    async def _attempt(self, request: Request) -> Response | Unreachable:
        started_s = asyncio.get_running_loop().time()
        outcome: Response | Unreachable
        try:
            outcome = await self._transport.request(request)
        except Unreachable as error:
            outcome = error
        self._observe(request, _code_of(outcome), started_s)
        return outcome

    def _observe(self, request: Request, code: str, started_s: float) -> None:
        self._observer.attempted(
            verb=request.verb,
            resource=request.resource,
            method=request.method,
            code=code,
            duration_s=asyncio.get_running_loop().time() - started_s,
        )

    def _warn(self, response: Response) -> None:
        """Log what the server warns of, such as a version that will go, once for each text."""
        warning = response.headers.get("warning")
        if warning and warning not in self._warned and len(self._warned) < _MAX_WARNINGS:
            self._warned.add(warning)
            _log.warning("kube.warning", text=warning)


def query(*pairs: tuple[str, str]) -> Query:
    """The parameters that have a value."""
    return tuple(pair for pair in pairs if pair[1])


def _code_of(outcome: Response | Unreachable) -> str:
    return str(outcome.status) if isinstance(outcome, Response) else NO_ANSWER


def _as_error(outcome: Response | Unreachable) -> ApiError | Unreachable:
    if isinstance(outcome, Unreachable):
        return outcome
    return error_from_response(outcome.status, outcome.headers, outcome.body)
