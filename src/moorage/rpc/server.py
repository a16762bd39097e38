"""A CSI server on a unix socket: handlers by RPC name in, a correct plugin endpoint out.

    server = Server(handlers, declared, driver_name="local.example.org", endpoint="unix:///run/csi/csi.sock")
    await server.start()
    ...
    await server.stop(grace_s=25)

It knows no driver class and no volume: `moorage.framework` builds the handlers. gRPC allows one event loop
per process, and no fork once a server has started. Always await `stop` before the loop ends.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from types import TracebackType
from typing import Any, Final, Self

import grpc
import grpc.aio

from moorage.base.log import SecretScrubber, get_logger
from moorage.rpc import legacy
from moorage.rpc.admission import MAX_CALLS, Admission
from moorage.rpc.attempt import Observe
from moorage.rpc.context import Call
from moorage.rpc.dispatch import CALL_LIMIT_S, Handler, Served, Shared, StreamHandler
from moorage.rpc.endpoint import SOCKET_MODE, Endpoint, EndpointError, ServerSocket, parse_server_endpoint
from moorage.rpc.extras import Extras
from moorage.spec.capabilities import Declared
from moorage.spec.rules import RPCS

ABORT_S: Final = 2.0
"""How long cancelled calls get to send their status."""

_OPTIONS: Final = (
    ("grpc.so_reuseport", 0),
    # Clients that keep their connection alive with pings must not be sent away for it.
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.min_ping_interval_without_data_ms", 10_000),
)

# grpcio stops a server that nobody refers to any more; ours serve until they are told to stop.
_serving: set[Server] = set()

log = get_logger(__name__)


class Server:
    """Serves the handlers, and UNIMPLEMENTED for every other RPC.

    `handlers` maps RPC names ("CreateVolume") to async functions of one request struct; `declared` opens and
    closes their gates. `scrubber` should be the one that the log was configured with, so that a secret of a
    running request appears in no line. `observe(path, code, duration_s)` is told of every finished call.
    `health` and `reflection` add the standard gRPC services; ImportError with a sentence if not installed.
    """

    def __init__(
        self,
        handlers: Mapping[str, Handler | StreamHandler],
        declared: Declared,
        *,
        driver_name: str,
        endpoint: str | Endpoint,
        mode: int = SOCKET_MODE,
        scrubber: SecretScrubber | None = None,
        observe: Observe | None = None,
        max_calls: int = MAX_CALLS,
        call_limit_s: float = CALL_LIMIT_S,
        health: bool = False,
        reflection: bool = False,
    ) -> None:
        if unknown := sorted(set(handlers) - set(RPCS)):
            raise ValueError(f"handlers name RPCs that CSI 1.13 does not have: {', '.join(unknown)}; rename them")
        self.endpoint = parse_server_endpoint(endpoint) if isinstance(endpoint, str) else endpoint
        self.driver_name = driver_name
        self._admission = Admission(driver_name=driver_name, max_calls=max_calls)
        self._socket = ServerSocket(self.endpoint, mode=mode)
        shared = Shared(
            declared=declared,
            admission=self._admission,
            scrubber=scrubber or SecretScrubber(),
            observe=observe,
            call_limit_s=call_limit_s,
        )
        self._methods = _Methods(
            {rpc.path: Served(rpc, handlers.get(name), shared=shared).grpc_handler() for name, rpc in RPCS.items()}
        )
        self._extras = Extras(declared.services, health=health, reflection=reflection)
        self._server: grpc.aio.Server | None = None

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop(grace_s=0.0 if error else 1.0)

    async def start(self) -> None:
        """Bind the socket and serve. Raises EndpointError when the socket cannot be ours."""
        if self._server is not None:
            raise RuntimeError(f"the server of {self.endpoint} was started before; make a new one")
        server = grpc.aio.server(options=_OPTIONS)
        # The extras come first: what they do not know ends in our own answer for unknown methods.
        await self._extras.add_to(server)
        server.add_generic_rpc_handlers((self._methods,))
        try:
            with self._socket.binding() as address:
                server.add_insecure_port(f"unix:{address}")
        except RuntimeError as error:
            raise EndpointError(
                f"cannot listen at {self.endpoint}; check that its directory can be written to"
            ) from error
        self._server = server
        _serving.add(self)
        await server.start()
        log.info("rpc.listening", endpoint=str(self.endpoint), driver=self.driver_name)

    async def stop(self, *, grace_s: float) -> None:
        """Take the socket away, wait `grace_s` for running calls, answer UNAVAILABLE to the rest.

        May be called again, and before `start`.
        """
        server, self._server = self._server, None
        if server is None:
            return
        self._socket.release()
        await self._extras.leave()
        stopping = asyncio.ensure_future(server.stop(grace_s + ABORT_S))
        await self._admission.drain(grace_s=grace_s, abort_s=ABORT_S)
        await stopping
        self._socket.close()
        _serving.discard(self)
        log.info("rpc.stopped", endpoint=str(self.endpoint), driver=self.driver_name)

    def calls(self) -> list[Call]:
        """The RPCs that run now, oldest first."""
        return self._admission.calls()


class _Methods(grpc.GenericRpcHandler):
    """All methods by path; any other path is answered in words, whatever its package."""

    def __init__(self, methods: Mapping[str, grpc.RpcMethodHandler[Any, Any]]) -> None:
        self._methods = methods

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler[Any, Any]:
        path = handler_call_details.method
        known = self._methods.get(path)
        return known if known is not None else _unknown(path)


def _unknown(path: str) -> grpc.RpcMethodHandler[Any, Any]:
    async def refuse(raw: bytes, context: Any) -> bytes:
        await context.abort(grpc.StatusCode.UNIMPLEMENTED, legacy.refusal_to_caller(path))
        return b""

    return grpc.unary_unary_rpc_method_handler(refuse)
