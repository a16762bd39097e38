"""A server in bytes: every call of every method goes to one function, whose answer is sent as it is.

For tests that put themselves between an orchestrator and a driver. Nothing is validated, logged or redacted, so
it is of no use for serving a driver.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, Final

import grpc
import grpc.aio

from moorage.rpc.endpoint import Endpoint
from moorage.rpc.raw import DETAILS_KEY, Answer
from moorage.rpc.status import GRPC_STATUS
from moorage.spec.errors import Code
from moorage.spec.rules import RPCS

__all__ = ["Relay"]

Reply = Callable[[str, bytes], Awaitable[Answer]]
"""The answer to a call, from the path of its method and its body."""

_STREAMING: Final = frozenset(rpc.path for rpc in RPCS.values() if rpc.streaming)


class Relay(grpc.GenericRpcHandler):
    """Listens at `endpoint` between `start` and `stop`. It belongs to one event loop."""

    def __init__(self, endpoint: Endpoint, reply: Reply) -> None:
        self._endpoint = endpoint
        self._reply = reply
        self._server: grpc.aio.Server | None = None

    async def start(self) -> None:
        """Bind and serve. Raises RuntimeError when the address cannot be bound."""
        self._server = grpc.aio.server()
        self._server.add_generic_rpc_handlers((self,))
        self._server.add_insecure_port(self._endpoint.target)
        await self._server.start()

    async def stop(self) -> None:
        """End what runs and stop listening."""
        if self._server is not None:
            await self._server.stop(0)

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> Any:
        """gRPC's question how a method is served."""
        path = handler_call_details.method

        async def unary(body: bytes, context: grpc.aio.ServicerContext[bytes, bytes]) -> bytes:
            answer = await self._reply(path, body)
            await _abort_unless_ok(answer, context)
            return answer.bodies[0] if answer.bodies else b""

        async def stream(body: bytes, context: grpc.aio.ServicerContext[bytes, bytes]) -> AsyncIterator[bytes]:
            answer = await self._reply(path, body)
            for message in answer.bodies:
                yield message
            await _abort_unless_ok(answer, context)

        if path in _STREAMING:
            return grpc.unary_stream_rpc_method_handler(stream)
        return grpc.unary_unary_rpc_method_handler(unary)


async def _abort_unless_ok(answer: Answer, context: grpc.aio.ServicerContext[bytes, bytes]) -> None:
    if answer.code is not Code.OK:
        trailing = ((DETAILS_KEY, answer.details),) if answer.details else ()
        await context.abort(GRPC_STATUS[answer.code], answer.message, trailing)
