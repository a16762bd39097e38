"""The standard gRPC services beside CSI, health checking and reflection: both optional, imported late."""

from __future__ import annotations

import importlib
from collections.abc import Iterable
from typing import Any

import grpc.aio


class Extras:
    """Adds the wanted services to a server; raises ImportError, in a sentence, if one is not installed."""

    def __init__(self, services: Iterable[str], *, health: bool, reflection: bool) -> None:
        self._names = [f"csi.v1.{service}" for service in sorted(services)]
        self._health = _module("grpc_health.v1.health", "grpcio-health-checking") if health else None
        self._reflection = _module("grpc_reflection.v1alpha.reflection", "grpcio-reflection") if reflection else None
        self._servicer: Any = None

    async def add_to(self, server: grpc.aio.Server) -> None:
        """Register with a server that is not started yet; its services count as serving from now on."""
        shown = list(self._names)
        if self._health is not None:
            messages = importlib.import_module("grpc_health.v1.health_pb2")
            stubs = importlib.import_module("grpc_health.v1.health_pb2_grpc")
            self._servicer = self._health.aio.HealthServicer()
            stubs.add_HealthServicer_to_server(self._servicer, server)
            for name in ("", *self._names):
                await self._servicer.set(name, messages.HealthCheckResponse.SERVING)
            shown.append(self._health.SERVICE_NAME)
        if self._reflection is not None:
            self._reflection.enable_server_reflection([*shown, self._reflection.SERVICE_NAME], server)

    async def leave(self) -> None:
        """Say NOT_SERVING to whoever watches."""
        if self._servicer is not None:
            await self._servicer.enter_graceful_shutdown()


def _module(name: str, package: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise ImportError(f"{name.partition('.')[0]} needs the package {package}; install moorage[health]") from error
