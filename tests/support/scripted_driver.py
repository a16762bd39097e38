"""A driver whose answers are Python functions, behind a real socket: for tests of those who call drivers."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from msgspec import Struct

from moorage.rpc.endpoint import parse_server_endpoint
from moorage.rpc.raw import Answer
from moorage.rpc.relay import Relay
from moorage.rpc.wire import decode, encode
from moorage.spec import messages as m
from moorage.spec.errors import Code, CsiError
from moorage.spec.rules import RPCS
from moorage.spec.types import ControllerCapability, PluginCapability, Volume

Script = Callable[[Any], Any]
"""From a request to a response, or to a coroutine that ends in one; may raise CsiError."""


class ScriptedDriver:
    """Serves at `endpoint` inside `async with`. `script` maps RPC names to functions; others are UNIMPLEMENTED.

    By itself it creates and deletes volumes that hold nothing.
    """

    def __init__(self, directory: Path, **script: Script) -> None:
        self.endpoint = f"unix://{directory}/scripted.sock"
        self.volumes: dict[str, str] = {}
        self.calls: list[str] = []
        self.script: dict[str, Script] = {
            "GetPluginInfo": lambda _: m.GetPluginInfoResponse(name="scripted.example.org", vendor_version="1"),
            "GetPluginCapabilities": lambda _: m.GetPluginCapabilitiesResponse(
                capabilities=frozenset({PluginCapability.CONTROLLER_SERVICE})
            ),
            "Probe": lambda _: m.ProbeResponse(),
            "ControllerGetCapabilities": lambda _: m.ControllerGetCapabilitiesResponse(
                capabilities=frozenset({ControllerCapability.CREATE_DELETE_VOLUME})
            ),
            "CreateVolume": self._create,
            "DeleteVolume": self._delete,
            **script,
        }
        self._relay = Relay(parse_server_endpoint(self.endpoint), self._answer)

    def _create(self, request: m.CreateVolumeRequest) -> m.CreateVolumeResponse:
        volume_id = self.volumes.setdefault(request.name, f"id-{request.name}")
        size_bytes = request.capacity_range.required_bytes if request.capacity_range else 0
        return m.CreateVolumeResponse(volume=Volume(volume_id=volume_id, capacity_bytes=size_bytes))

    def _delete(self, request: m.DeleteVolumeRequest) -> m.DeleteVolumeResponse:
        self.volumes = {name: found for name, found in self.volumes.items() if found != request.volume_id}
        return m.DeleteVolumeResponse()

    async def _answer(self, path: str, body: bytes) -> Answer:
        rpc = next(rpc for rpc in RPCS.values() if rpc.path == path)
        self.calls.append(rpc.name)
        if rpc.name not in self.script:
            return _answer(Code.UNIMPLEMENTED, "not in the script")
        try:
            found = self.script[rpc.name](decode(rpc.request_proto, body))
            response: Struct = await found if asyncio.iscoroutine(found) else found
        except CsiError as error:
            return _answer(error.code, error.message)
        return _answer(Code.OK, "", encode(response))

    async def __aenter__(self) -> Self:
        await self._relay.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._relay.stop()


def _answer(code: Code, message: str, *bodies: bytes) -> Answer:
    return Answer(code=code, message=message, bodies=bodies, details=b"", duration_s=0.0, answered=True)
