"""A folder for sockets, a server of ours, a bare grpc.aio peer, and a log to look into."""

from __future__ import annotations

import contextlib
import io
import shutil
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest

from moorage.base import faults
from moorage.base.log import SecretScrubber, configure
from moorage.rpc.client import Client
from moorage.rpc.server import Server
from moorage.spec.capabilities import Declared
from moorage.spec.types import (
    ControllerCapability,
    GroupControllerCapability,
    NodeCapability,
    PluginCapability,
    VolumeExpansion,
)

EVERYTHING = Declared(
    plugin=frozenset(PluginCapability) - {PluginCapability.UNKNOWN},
    expansion=frozenset({VolumeExpansion.ONLINE}),
    controller=frozenset(ControllerCapability) - {ControllerCapability.UNKNOWN},
    group=frozenset(GroupControllerCapability) - {GroupControllerCapability.UNKNOWN},
    node=frozenset(NodeCapability) - {NodeCapability.UNKNOWN},
    services=frozenset({"Identity", "Controller", "GroupController", "SnapshotMetadata", "Node"}),
)


@pytest.fixture
def folder() -> Iterator[Path]:
    """A directory with a short path: socket paths end at 107 bytes."""
    path = Path(tempfile.mkdtemp(prefix="mr-"))
    yield path
    shutil.rmtree(path)


@pytest.fixture
def address(folder: Path) -> str:
    return f"unix://{folder}/csi.sock"


@pytest.fixture
def everything() -> Declared:
    """Every service and capability."""
    return EVERYTHING


@pytest.fixture
def scrubber() -> SecretScrubber:
    return SecretScrubber()


@pytest.fixture
def log_lines(scrubber: SecretScrubber) -> Iterator[Callable[[], str]]:
    """All that was logged since the test began, at debug level, as JSON lines."""
    stream = io.StringIO()
    configure("json", "debug", stream=stream, scrubber=scrubber)
    yield stream.getvalue
    configure("console", "warning")


Serve = Callable[..., contextlib.AbstractAsyncContextManager[Client]]


@pytest.fixture
def serve(address: str, scrubber: SecretScrubber) -> Serve:
    """`async with serve({"Probe": handler}) as client:` a server of ours and a client of it."""

    @contextlib.asynccontextmanager
    async def start(handlers: Mapping[str, Any], **options: Any) -> AsyncIterator[Client]:
        client_options = options.pop("client", {})
        declared = options.pop("declared", EVERYTHING)
        server = Server(
            handlers,
            declared,
            driver_name="test.moorage.example",
            endpoint=address,
            scrubber=scrubber,
            **options,
        )
        async with server, Client(address, **client_options) as client:
            yield client

    return start


class BareHandlers(grpc.GenericRpcHandler):
    """Serves coroutines by method path on raw bytes, as any foreign driver might."""

    def __init__(self, methods: Mapping[str, Any]) -> None:
        self._methods = methods

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> Any:
        method = self._methods.get(handler_call_details.method)
        if method is None:
            return None
        if getattr(method, "streams", False):
            return grpc.unary_stream_rpc_method_handler(method)
        return grpc.unary_unary_rpc_method_handler(method)


BarePeer = Callable[[Mapping[str, Any]], contextlib.AbstractAsyncContextManager[grpc.aio.Server]]


@pytest.fixture
def bare_peer(folder: Path) -> BarePeer:
    """`async with bare_peer({path: coroutine}):` a foreign driver at the same address, without any of our code."""

    @contextlib.asynccontextmanager
    async def start(methods: Mapping[str, Any]) -> AsyncIterator[grpc.aio.Server]:
        server = grpc.aio.server()
        server.add_generic_rpc_handlers((BareHandlers(methods),))
        server.add_insecure_port(f"unix:{folder}/csi.sock")
        await server.start()
        try:
            yield server
        finally:
            await server.stop(0)

    return start


@pytest.fixture
async def bare_client(folder: Path) -> AsyncIterator[grpc.aio.Channel]:
    """A channel without any of our code."""
    options = [("grpc.default_authority", "localhost"), ("grpc.use_local_subchannel_pool", 1)]
    async with grpc.aio.insecure_channel(f"unix:{folder}/csi.sock", options=options) as channel:
        yield channel


@pytest.fixture
def fault_plan() -> Iterator[Callable[[str], None]]:
    """Installs a fault plan, given as JSON text, until the test ends."""
    yield lambda text: faults.install(faults.load_plan(text))
    faults.install(None)
