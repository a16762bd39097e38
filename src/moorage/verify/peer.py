"""The driver under test: where it listens, what it declares, and how it is restarted.

All calls of a run go through here, and all are kept, so that rules about every answer can judge every answer.
This module knows no rule.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shlex
import socket
import struct
import time
from collections.abc import AsyncIterator
from typing import Final, TypeVar

from msgspec import Struct

from moorage.base.run import CommandError, run
from moorage.rpc.calls import Calls
from moorage.rpc.peer import declared_by, wait_ready
from moorage.rpc.raw import Answer, RawClient
from moorage.rpc.wire import encode
from moorage.spec.capabilities import Declared
from moorage.spec.errors import Code, CsiError, Internal, Unavailable, Unimplemented, error_for
from moorage.spec.messages import GetPluginInfoResponse, NodeGetInfoResponse
from moorage.spec.rules import BY_REQUEST, RPCS, Rpc
from moorage.spec.types import VolumeCapability
from moorage.verify.exchange import Exchange
from moorage.verify.rule import Failed

__all__ = ["Peer", "PeerError"]

ResponseT = TypeVar("ResponseT", bound=Struct)
_READY_S: Final = 30.0
_RESTART_S: Final = 60.0
_RESTART_PAUSE_S: Final = 0.02
_ALIVE_S: Final = 5.0


class PeerError(Exception):
    """The driver cannot be examined at all; the message says why and what to do."""


class Peer(Calls):
    """One driver at one socket, or with its controller and its node service at two.

    `declared`, `info` and `node` are known after `learn`. It belongs to one event loop.
    """

    def __init__(self, endpoint: str, *, node_endpoint: str | None = None, restart_command: str = "") -> None:
        self.endpoint = endpoint
        self.node_endpoint = node_endpoint or endpoint
        self.restart_command = restart_command
        self.exchanges: list[Exchange] = []
        self.declared = Declared()
        self.info = GetPluginInfoResponse(name="", vendor_version="")
        self.node = NodeGetInfoResponse(node_id="")
        self.supported: dict[VolumeCapability, bool] = {}
        """Which capabilities volumes can be made with, as far as somebody asked."""
        self.toured = False
        """Whether the calls of `moorage.verify.tour` were made in this run."""
        self._directory = os.getcwd()
        self._controller = RawClient(endpoint)
        self._node = RawClient(node_endpoint) if node_endpoint else self._controller

    async def close(self) -> None:
        """Close the connections."""
        await self._controller.close()
        if self._node is not self._controller:
            await self._node.close()

    async def learn(self, *, timeout_s: float = _READY_S) -> None:
        """Wait until the driver is ready, and ask who it is and what it declares.

        Raises PeerError when it does not answer or is no CSI driver.
        """
        try:
            await wait_ready(self, timeout_s=timeout_s, where=self.endpoint)
            self.info = await self.get_plugin_info(timeout_s=timeout_s)
            self.declared = await declared_by(self, timeout_s=timeout_s)
            if self._node is not self._controller:
                self.declared = _merged(self.declared, await self._declared_by_node(timeout_s))
            if "Node" in self.declared.services:
                self.node = await self.node_get_info(timeout_s=timeout_s)
        except Unimplemented:
            raise PeerError(
                f"what listens at {self.endpoint} does not serve csi.v1.Identity, so it is no CSI 1.x driver; "
                "give the address of the driver's socket"
            ) from None
        except (CsiError, Failed) as error:
            raise PeerError(error.message) from None

    async def _declared_by_node(self, timeout_s: float) -> Declared:
        try:
            node = (await self.node_get_capabilities(timeout_s=timeout_s)).capabilities
        except Unimplemented:
            return Declared()
        return Declared(node=node, services=frozenset({"Node"}))

    def endpoint_of(self, rpc: Rpc) -> str:
        """The socket that serves this RPC."""
        return self.node_endpoint if rpc.service == "Node" else self.endpoint

    async def send(self, request: Struct, *, timeout_s: float) -> Exchange:
        """Make the call that this request belongs to; never raises for what the driver does."""
        return await self.send_bytes(BY_REQUEST[type(request)], encode(request), request, timeout_s=timeout_s)

    async def send_bytes(self, rpc: Rpc, body: bytes, request: Struct, *, timeout_s: float) -> Exchange:
        """As `send`, with a body that no struct can express; `request` is what reports show of it."""
        client = self._node if rpc.service == "Node" else self._controller
        answer = await client.call(rpc.path, body, timeout_s=timeout_s, streaming=rpc.streaming)
        exchange = Exchange(rpc=rpc, endpoint=self.endpoint_of(rpc), request=request, answer=answer)
        self.exchanges.append(exchange)
        return exchange

    async def is_alive(self) -> bool:
        """Whether the driver answers Probe at every socket within a few seconds, healthy or not."""
        return all(answer.answered for answer in await self._probe())

    async def is_down(self) -> bool:
        """Whether nobody listens at a socket; also when something in between says so in the driver's place."""
        return any(answer.code is Code.UNAVAILABLE for answer in await self._probe())

    async def _probe(self) -> list[Answer]:
        clients = dict.fromkeys((self._controller, self._node))
        return await asyncio.gather(*(client.call(RPCS["Probe"].path, b"", timeout_s=_ALIVE_S) for client in clients))

    async def restart(self, *, environment: dict[str, str] | None = None) -> None:
        """Run the restart command and wait until the driver is ready again.

        `environment` is added to the command's own. Raises Failed when the driver does not come back, and
        PeerError when the command fails or nothing shows that it ended the driver.
        """
        before = self._listeners()
        was_down = asyncio.Event()
        watch = asyncio.create_task(self._watch_for_absence(was_down), name="watch the driver end")
        try:
            await self._run_restart_command(environment=environment)
            await self._wait_back(was_down)
        finally:
            watch.cancel()
        if not was_down.is_set() and self._listeners() == before:
            raise PeerError(
                "the restart command did not end the driver: nobody saw its socket without a listener, and the process "
                "behind it is the same as before; the command must kill the driver with SIGKILL and start it again"
            )
        try:
            await wait_ready(self, timeout_s=_READY_S, where=self.endpoint)
        except CsiError as error:
            raise Failed(f"the driver was killed and started again, and then: {error.message}") from None

    async def _watch_for_absence(self, was_down: asyncio.Event) -> None:
        while True:
            if await self.is_down():
                was_down.set()
                return
            await asyncio.sleep(_RESTART_PAUSE_S)

    async def _wait_back(self, was_down: asyncio.Event) -> None:
        """Wait until somebody listens again, for `wait_ready` pauses longer than a driver takes to start."""
        give_up_s = time.monotonic() + _READY_S
        while time.monotonic() < give_up_s:
            if not await self.is_down():
                return
            was_down.set()
            await asyncio.sleep(_RESTART_PAUSE_S)

    async def _run_restart_command(self, *, environment: dict[str, str] | None) -> None:
        """Run the restart command to its end, in this process's directory. Raises PeerError."""
        env = {**os.environ, **(environment or {})}
        script = f"cd {shlex.quote(self._directory)} && {self.restart_command}"
        try:
            done = await run(["/bin/sh", "-c", script], timeout_s=_RESTART_S, env=env, check=False)
        except (OSError, CommandError) as error:
            raise PeerError(f"the restart command did not come to its end: {error}") from None
        if done.returncode != 0:
            said = done.stderr.strip()[-300:]
            raise PeerError(f"the restart command ended with status {done.returncode}: {said or 'it said nothing'}")

    def _listeners(self) -> tuple[object, ...]:
        """What changes when another process listens: its id and start time, and the socket file."""
        found: list[object] = []
        for endpoint in sorted({self.endpoint, self.node_endpoint}):
            with contextlib.suppress(OSError):
                status = os.stat(_path_of(endpoint))
                found.append((status.st_ino, status.st_ctime_ns))
            with contextlib.suppress(OSError):
                process = f"/proc/{_listener_of(endpoint)}/stat"
                with open(process, encoding="ascii", errors="replace") as file:
                    found.append(file.read().rpartition(")")[2].split()[19])
        return tuple(found)

    def pids(self) -> tuple[int, ...]:
        """The processes that listen at the sockets, where this process can see them."""
        found = {pid for path in {self.endpoint, self.node_endpoint} if (pid := _listener_of(path))}
        return tuple(sorted(pid for pid in found if os.path.isdir(f"/proc/{pid}")))

    async def unary(
        self, rpc_name: str, request: Struct, response_type: type[ResponseT], *, timeout_s: float | None
    ) -> ResponseT:
        """Make a call with one answer. Raises the CsiError of its status."""
        exchange = await self.send(request, timeout_s=timeout_s or _READY_S)
        if not exchange.ok:
            if not exchange.answer.answered:
                raise Unavailable(f"the driver at {exchange.endpoint} does not answer: {exchange.message}")
            raise error_for(exchange.code, exchange.message)
        return exchange.response(response_type)

    async def stream(
        self, rpc_name: str, request: Struct, response_type: type[ResponseT], *, timeout_s: float | None
    ) -> AsyncIterator[ResponseT]:
        """Make a call with a stream of answers. Raises the CsiError of its status after the last."""
        exchange = await self.send(request, timeout_s=timeout_s or _READY_S)
        for response in exchange.responses(response_type):
            yield response
        if exchange.code is not Code.OK:
            raise error_for(exchange.code, exchange.message or Internal.__name__)


def _merged(controller: Declared, node: Declared) -> Declared:
    return Declared(
        plugin=controller.plugin,
        expansion=controller.expansion,
        controller=controller.controller,
        group=controller.group,
        node=node.node,
        services=(controller.services - {"Node"}) | node.services,
    )


def _path_of(endpoint: str) -> str:
    return endpoint.removeprefix("unix://").removeprefix("unix:")


def _listener_of(endpoint: str) -> int:
    """The process id behind a unix socket, 0 when it cannot be told."""
    path = _path_of(endpoint)
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as peer:
        try:
            peer.settimeout(1.0)
            peer.connect(path)
            credentials = peer.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
        except OSError:
            return 0
    pid: int = struct.unpack("3i", credentials)[0]
    return pid
