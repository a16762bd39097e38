"""A typed client for any CSI driver, in any language, on a unix socket.

    async with Client("unix:///run/csi/csi.sock") as driver:
        await driver.wait_ready(timeout_s=30)
        response = await driver.create_volume(CreateVolumeRequest(...), timeout_s=60)

Requests and responses are the structs of `moorage.spec`; a failed call raises the error class of its code,
whose `final` says whether the operation may still be running. Every call has a deadline, at most `max_calls`
run at once (Probe comes on top), and a driver that was restarted is found again by itself. One client belongs
to one event loop. This module decides nothing about volumes.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from types import TracebackType
from typing import Final, Self, TypeVar

import grpc.aio
from google.protobuf.message import Message
from msgspec import Struct

from moorage.rpc import legacy
from moorage.rpc.attempt import Attempt, Observe
from moorage.rpc.calls import Calls
from moorage.rpc.connection import Connection
from moorage.rpc.context import REQUEST_ID_KEY, current_call
from moorage.rpc.endpoint import Endpoint, parse_client_endpoint
from moorage.rpc.peer import declared_by, wait_ready
from moorage.rpc.timeouts import default_timeout_s
from moorage.rpc.wire import WireError, decode, encode
from moorage.spec.capabilities import Declared
from moorage.spec.errors import DeadlineExceeded, Internal, InvalidArgument, Unimplemented
from moorage.spec.rules import RPCS, Rpc
from moorage.spec.types import Secrets

ResponseT = TypeVar("ResponseT", bound=Struct)

MAX_CALLS: Final = 64
_LEGACY_PROBE_TIMEOUT_S: Final = 3.0
_NOT_SERVED: Final = frozenset(
    {grpc.StatusCode.UNIMPLEMENTED, grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED}
)


class Client(Calls):
    """Calls one driver. `observe(path, code, duration_s)` is told of every call that ended."""

    def __init__(self, endpoint: str | Endpoint, *, max_calls: int = MAX_CALLS, observe: Observe | None = None) -> None:
        self.endpoint = parse_client_endpoint(endpoint) if isinstance(endpoint, str) else endpoint
        self._connection = Connection(self.endpoint)
        self._slots = asyncio.Semaphore(max_calls)
        self._max_calls = max_calls
        self._observe = observe

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Cancel what runs and close the connection; the client cannot be used afterwards."""
        await self._connection.close()

    @property
    def connections_made(self) -> int:
        """How often the driver was dialled; more than once means it was restarted or fell silent."""
        return self._connection.made

    async def wait_ready(self, timeout_s: float) -> None:
        """Wait until the driver listens and Probe says ready (an absent `ready` counts as ready).

        Raises Unavailable, with the last reason, when that takes longer than `timeout_s`, and at once any
        final error of Probe.
        """
        await wait_ready(self, timeout_s=timeout_s, where=self.endpoint)

    async def driver_name(self, *, timeout_s: float | None = None) -> str:
        """The name in GetPluginInfo. Raises Internal when it is empty."""
        name = (await self.get_plugin_info(timeout_s=timeout_s)).name
        if not name:
            raise Internal(f"the driver at {self.endpoint} gives no name; GetPluginInfo must return one")
        return name

    async def declared(self, *, timeout_s: float | None = None) -> Declared:
        """What the driver declares; services that answer UNIMPLEMENTED at this socket count as absent."""
        return await declared_by(self, timeout_s=timeout_s)

    async def call(self, rpc_name: str, request: Struct, *, timeout_s: float | None = None) -> Struct:
        """Make the RPC of this name and return its response.

        Raises the CsiError of the status, and ValueError when there is no such RPC with one answer.
        """
        rpc = _rpc_named(rpc_name, request, streaming=False)
        body = _body_of(request)
        remaining_s = await self._take_slot(rpc, timeout_s)
        try:
            with self._attempt(rpc, request, remaining_s) as attempt:
                method = attempt.link.unary(rpc.path)
                raw = await method(body, timeout=attempt.remaining_s, metadata=_metadata())
                attempt.response = self._decoded(rpc.response_proto, raw)
                return attempt.response
        except Unimplemented:
            if rpc.service == "Identity":
                await self._explain_unimplemented()
            raise
        finally:
            self._give_slot(rpc)

    async def unary(
        self, rpc_name: str, request: Struct, response_type: type[ResponseT], *, timeout_s: float | None
    ) -> ResponseT:
        """As `call`, for a response of a known type."""
        response = await self.call(rpc_name, request, timeout_s=timeout_s)
        assert isinstance(response, response_type)
        return response

    async def stream(
        self, rpc_name: str, request: Struct, response_type: type[ResponseT], *, timeout_s: float | None
    ) -> AsyncIterator[ResponseT]:
        """As `unary`, for an RPC that streams; `timeout_s` bounds the whole stream."""
        rpc = _rpc_named(rpc_name, request, streaming=True)
        body = _body_of(request)
        remaining_s = await self._take_slot(rpc, timeout_s)
        try:
            with self._attempt(rpc, request, remaining_s) as attempt:
                method = attempt.link.stream(rpc.path)
                messages = method(body, timeout=attempt.remaining_s, metadata=_metadata())
                try:
                    async for raw in messages:
                        attempt.heard()
                        response = self._decoded(rpc.response_proto, raw)
                        assert isinstance(response, response_type)
                        yield response
                finally:
                    messages.cancel()
        finally:
            self._give_slot(rpc)

    def _attempt(self, rpc: Rpc, request: Struct, timeout_s: float) -> Attempt:
        return Attempt(rpc, request, connection=self._connection, timeout_s=timeout_s, observe=self._observe)

    async def _take_slot(self, rpc: Rpc, timeout_s: float | None) -> float:
        """Waits for one of the `max_calls` places; returns what is then left of the deadline."""
        timeout_s = default_timeout_s(rpc) if timeout_s is None else timeout_s
        if rpc.name == "Probe":
            return timeout_s
        began_s = time.monotonic()
        try:
            async with asyncio.timeout(timeout_s if self._slots.locked() else None):
                await self._slots.acquire()
        except TimeoutError:
            raise DeadlineExceeded(
                f"{rpc.name} waited {timeout_s:g} s behind {self._max_calls} other calls to the driver at "
                f"{self.endpoint} and was not sent; repeat the call"
            ) from None
        return timeout_s - (time.monotonic() - began_s)

    def _give_slot(self, rpc: Rpc) -> None:
        if rpc.name != "Probe":
            self._slots.release()

    def _decoded(self, kind: type[Message], raw: bytes) -> Struct:
        try:
            return decode(kind, raw)
        except WireError as error:
            raise Internal(f"the driver at {self.endpoint} sent an answer that cannot be read: {error}") from None

    async def _explain_unimplemented(self) -> None:
        """If this is no driver of CSI 1.x, raises Unimplemented with what it is instead."""
        if await self._serves(RPCS["GetPluginInfo"].path):
            return
        for path in legacy.PROBES:
            if await self._serves(path):
                raise Unimplemented(legacy.refusal_of_driver(str(self.endpoint), path)) from None
        raise Unimplemented(legacy.no_driver(str(self.endpoint))) from None

    async def _serves(self, path: str) -> bool:
        """Whether the peer knows this method, judged by an empty request."""
        link = self._connection.acquire()
        try:
            await link.unary(path)(b"", timeout=_LEGACY_PROBE_TIMEOUT_S)
        except grpc.aio.AioRpcError as error:
            return error.code() not in _NOT_SERVED
        finally:
            self._connection.release(link, answered=True)
        return True


def _rpc_named(name: str, request: Struct, *, streaming: bool) -> Rpc:
    rpc = RPCS.get(name)
    if rpc is None or rpc.streaming is not streaming:
        kind = "streaming RPC" if streaming else "RPC with one answer"
        raise ValueError(f"{name!r} is no {kind} of CSI 1.13; use one of the names in moorage.spec.rules.RPCS")
    if not isinstance(request, rpc.request):
        raise TypeError(f"{name} takes a {rpc.request.__name__}, not a {type(request).__name__}")
    for field in rpc.secret_fields:
        if not isinstance(getattr(request, field), Secrets):
            raise TypeError(f"{field} of {name} must be of class Secrets, which keeps them out of logs")
    return rpc


def _body_of(request: Struct) -> bytes:
    try:
        return encode(request)
    except WireError as error:
        raise InvalidArgument(f"the request was not sent: {error}; correct it") from None


def _metadata() -> tuple[tuple[str, str], ...] | None:
    call = current_call()
    return None if call is None else ((REQUEST_ID_KEY, call.request_id),)
