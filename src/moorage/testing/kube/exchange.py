"""Requests in time: the faults of the plan, what is logged, and watches that wait.

What both ways to the server have in common, the one without sockets and the one with.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Sequence
from typing import Final, TypeVar

from moorage.kube.errors import UnreachableKind
from moorage.kube.transport import Request, Response
from moorage.testing.kube.call import Call
from moorage.testing.kube.faults import Delay, DropWatch, Effect, ExpireWatch, LoseReply, LoseRequest, Refuse
from moorage.testing.kube.refusal import Refusal
from moorage.testing.kube.requestlog import RequestRecord
from moorage.testing.kube.roles import Rule
from moorage.testing.kube.server import FakeApiServer
from moorage.testing.kube.watching import Watch

__all__ = ["Exchange", "Lost", "OpenStream"]

T = TypeVar("T")

_REASONS: Final = {
    400: "BadRequest", 401: "Unauthorized", 403: "Forbidden", 404: "NotFound", 409: "Conflict", 410: "Expired",
    422: "Invalid", 429: "TooManyRequests", 500: "InternalError", 503: "ServiceUnavailable", 504: "Timeout",
}  # fmt: skip
_LAST_BOOKMARK_S: Final = 2.0
_MIN_WATCH_S: Final = 1800


class Lost(Exception):
    """There is no answer; `sent` says whether the request arrived."""

    def __init__(self, kind: UnreachableKind, *, sent: bool) -> None:
        super().__init__(kind)
        self.kind: UnreachableKind = kind
        self.sent = sent


class OpenStream:
    """A watch while its client listens: `chunks` end with it, or raise Lost when its connection breaks."""

    def __init__(self, server: FakeApiServer, watch: Watch, effects: Iterable[Effect]) -> None:
        self.watch = watch
        self._server = server
        self._woken = asyncio.Event()
        self._pending: deque[tuple[float, bytes]] = deque()
        self._end_after = next((e for e in effects if isinstance(e, DropWatch | ExpireWatch)), None)
        self._told = 0
        self._loop = asyncio.get_running_loop()
        watch.wake = self._wake
        self._wake()

    async def chunks(self) -> AsyncGenerator[bytes, None]:
        """The lines of the watch, each as one chunk."""
        lasts_s = self.watch.call.number("timeoutSeconds") or random.uniform(_MIN_WATCH_S, 2 * _MIN_WATCH_S)
        end_s = self._loop.time() + lasts_s
        last_bookmark_s = end_s - _LAST_BOOKMARK_S
        bookmark_s = min(self._loop.time() + self._server.bookmark_interval_s, last_bookmark_s)
        while True:
            self._break_if_planned()
            if self._pending and self._pending[0][0] <= self._loop.time():
                self._told += 1
                yield self._pending.popleft()[1]
                continue
            if not self._pending and self.watch.ended:
                break
            now_s = self._loop.time()
            if now_s >= end_s:
                break
            if now_s >= bookmark_s:
                self.watch.bookmark()
                following_s = now_s + self._server.bookmark_interval_s
                bookmark_s = min(following_s, last_bookmark_s) if now_s < last_bookmark_s else end_s + 1
                continue
            due_s = self._pending[0][0] if self._pending else end_s
            await self._wait_until(min(due_s, bookmark_s, end_s))
        if self.watch.broken:
            raise Lost("reset", sent=True)

    def _break_if_planned(self) -> None:
        planned = self._end_after
        if planned is None or self._told < planned.after_events:
            return
        self._end_after = None
        self._pending.clear()
        if isinstance(planned, ExpireWatch):
            self.watch.expire()
        else:
            self.watch.end(broken=not planned.cleanly)
            self._pending.clear()

    async def _wait_until(self, deadline_s: float) -> None:
        self._woken.clear()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout_at(deadline_s):
                await self._woken.wait()

    def _wake(self) -> None:
        due_s = self._loop.time() + self._server.watch_lag_s
        self._pending.extend((due_s, line) for line in self.watch.take())
        self._woken.set()


class Exchange:
    """The server as one client sees it; `rules` None allows it everything."""

    def __init__(self, server: FakeApiServer, *, user: str, agent: str, rules: Sequence[Rule] | None) -> None:
        self.server = server
        self.user = user
        self.rules = rules
        self._agent = agent

    async def answer(self, request: Request) -> Response:
        """The answer to a request. Raises Lost."""
        self._require_reachable()
        if (found := self.server.about_itself(request)) is not None:
            return found
        try:
            call = self.server.parse(request, user=self.user, agent=self._agent)
        except Refusal as refusal:
            return refusal.response()
        if call.verb == "watch":
            return await self._whole_watch(request)
        record, effects = self._begin(call, request)
        await self._suffer(effects, request)
        response = self._take_effect(call, _first(effects, Refuse))
        await _pause(sum(effect.after_s for effect in effects if isinstance(effect, Delay)))
        if (loss := _first(effects, LoseReply)) is not None:
            await self._lose(loss.kind, request)
        record.status = response.status
        return response

    @contextlib.asynccontextmanager
    async def watch(self, request: Request) -> AsyncIterator[OpenStream | Response]:
        """An open watch, or the answer that refuses it. Raises Lost."""
        self._require_reachable()
        try:
            call = self.server.parse(request, user=self.user, agent=self._agent)
        except Refusal as refusal:
            yield refusal.response()
            return
        if call.verb != "watch":
            yield await self.answer(request)
            return
        record, effects = self._begin(call, request)
        await self._suffer(effects, request)
        try:
            if (refuse := _first(effects, Refuse)) is not None:
                raise _refused(refuse)
            opened = self.server.open_watch(call, rules=self.rules)
        except Refusal as refusal:
            record.status = refusal.code
            yield refusal.response()
            return
        record.status = 200
        try:
            yield OpenStream(self.server, opened, effects)
        finally:
            self.server.close_watch(opened)

    async def _whole_watch(self, request: Request) -> Response:
        """All that a watch has to tell until it ends, for a client that does not read it as it comes."""
        async with self.watch(request) as opened:
            if isinstance(opened, Response):
                return opened
            body = b"".join([chunk async for chunk in opened.chunks()])
        return Response(200, {"content-type": "application/json"}, body)

    def _take_effect(self, call: Call, refuse: Refuse | None) -> Response:
        if refuse is None:
            return self.server.respond(call, rules=self.rules)
        if refuse.carried_out:
            self.server.respond(call, rules=self.rules)
        return _refused(refuse).response()

    def _require_reachable(self) -> None:
        if not self.server.reachable:
            raise Lost("refused", sent=False)

    def _begin(self, call: Call, request: Request) -> tuple[RequestRecord, list[Effect]]:
        record = RequestRecord(
            verb=call.verb,
            resource=call.kind.resource.plural,
            subresource=call.subresource,
            namespace=call.namespace,
            name=call.name,
            user=self.user,
            time_s=asyncio.get_running_loop().time(),
            content_type=request.content_type if request.body else "",
            body=request.body,
            query=request.query,
        )
        self.server.log.records.append(record)
        effects = self.server.faults.strike(
            verb=call.verb, resource=record.target, namespace=call.namespace, name=call.name, user=self.user
        )
        return record, effects

    async def _suffer(self, effects: Sequence[Effect], request: Request) -> None:
        """What happens before the request takes effect."""
        if (loss := _first(effects, LoseRequest)) is not None:
            await self._lose(loss.kind, request, sent=loss.kind != "refused")
        await _pause(sum(effect.before_s for effect in effects if isinstance(effect, Delay)))
        self._require_reachable()

    async def _lose(self, kind: UnreachableKind, request: Request, *, sent: bool = True) -> None:
        if kind == "timeout":
            await asyncio.sleep(request.timeout_s)
        raise Lost(kind, sent=sent)


def _first(effects: Sequence[Effect], kind: type[T]) -> T | None:
    return next((effect for effect in effects if isinstance(effect, kind)), None)


async def _pause(duration_s: float) -> None:
    if duration_s > 0:
        await asyncio.sleep(duration_s)


def _refused(refuse: Refuse) -> Refusal:
    reason = refuse.reason or _REASONS.get(refuse.code, "")
    return Refusal(refuse.code, reason, refuse.message, retry_after_s=refuse.retry_after_s)
