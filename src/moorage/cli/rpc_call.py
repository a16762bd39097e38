"""Makes the calls of `moorage rpc`: protobuf in, protobuf out, so that nothing a driver sends is lost.

It stands on the connection and the error handling of the typed client, which would drop what the structs do
not hold (duplicate capabilities, unset enum values): a debugging tool must show them.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Mapping
from typing import Any, Final

from google.protobuf.message import DecodeError, Message

from moorage.base.backoff import Backoff
from moorage.base.log import get_logger
from moorage.rpc.attempt import Attempt
from moorage.rpc.client import Client
from moorage.rpc.connection import Connection
from moorage.rpc.endpoint import Endpoint
from moorage.spec.convert import from_proto
from moorage.spec.errors import Code, CsiError, Internal, Unimplemented
from moorage.spec.rules import Rpc

RETRIED: Final = frozenset({Code.ABORTED, Code.UNAVAILABLE})
"""Codes after which `--retry` repeats the call until the timeout."""
_BACKOFF: Final = Backoff(initial_s=0.25, maximum_s=5.0, jitter=0.3)
_EXPLAIN_TIMEOUT_S: Final = 3.0

log = get_logger(__name__)


class Caller:
    """Calls one driver with raw messages. Belongs to one event loop; close it when done."""

    def __init__(self, endpoint: Endpoint, *, metadata: Mapping[str, str]) -> None:
        self._connection = Connection(endpoint)
        self._metadata = tuple(metadata.items())

    async def close(self) -> None:
        """Close the connection."""
        await self._connection.close()

    async def unary(self, rpc: Rpc, request: Message, *, timeout_s: float, retry: bool = False) -> Message:
        """The response to one call; `timeout_s` bounds all attempts together. Raises CsiError."""
        deadline_s = time.monotonic() + timeout_s
        delays_s = _BACKOFF.delays_s()
        while True:
            try:
                return await self._once(rpc, request, max(0.001, deadline_s - time.monotonic()))
            except CsiError as error:
                delay_s = next(delays_s)
                if not retry or error.code not in RETRIED or time.monotonic() + delay_s > deadline_s:
                    raise
                log.info("rpc.retry", method=rpc.path, code=error.code.name, wait_s=delay_s, error=error.message)
            await asyncio.sleep(delay_s)

    async def stream(self, rpc: Rpc, request: Message, *, timeout_s: float) -> AsyncIterator[Message]:
        """The messages of a streaming call, as they come. Raises CsiError."""
        try:
            with self._attempt(rpc, request, timeout_s) as attempt:
                method = attempt.link.stream(rpc.path)
                messages = method(request.SerializeToString(), timeout=attempt.remaining_s, metadata=self._metadata)
                try:
                    async for raw in messages:
                        attempt.heard()
                        yield _decoded(rpc, raw)
                finally:
                    messages.cancel()
        except Unimplemented:
            await self._explain()
            raise

    async def _once(self, rpc: Rpc, request: Message, timeout_s: float) -> Message:
        try:
            with self._attempt(rpc, request, timeout_s) as attempt:
                method = attempt.link.unary(rpc.path)
                body = request.SerializeToString()
                raw = await method(body, timeout=attempt.remaining_s, metadata=self._metadata)
                response = _decoded(rpc, raw)
                attempt.response = from_proto(response)
                return response
        except Unimplemented:
            await self._explain()
            raise

    def _attempt(self, rpc: Rpc, request: Message, timeout_s: float) -> Attempt:
        typed = from_proto(request)
        return Attempt(rpc, typed, connection=self._connection, timeout_s=timeout_s, observe=None)

    async def _explain(self) -> None:
        """When the peer is no driver of CSI 1.x, say what it is. Raises Unimplemented then."""
        client = Client(self._connection.endpoint)
        try:
            await client.get_plugin_info(timeout_s=_EXPLAIN_TIMEOUT_S)
        except Unimplemented:
            raise
        except CsiError:
            return
        finally:
            await client.close()


def _decoded(rpc: Rpc, raw: bytes) -> Message:
    response: Any = rpc.response_proto()
    try:
        response.ParseFromString(raw)
    except DecodeError:
        raise Internal(f"the driver's answer to {rpc.name} is not a {rpc.response_proto.__name__}") from None
    return response  # type: ignore[no-any-return]  # ParseFromString is untyped on the base class
