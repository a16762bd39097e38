"""A plugin on a storage system in memory, as a test of the framework sees it: requests in, responses out."""

from __future__ import annotations

import asyncio
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import msgspec

from moorage.base import faults
from moorage.framework.plugin import Plugin
from moorage.framework.states import LocalJournal
from moorage.spec import messages as m
from moorage.spec.types import (
    AccessMode,
    BlockAccess,
    CapacityRange,
    MountAccess,
    SnapshotSource,
    VolumeCapability,
    VolumeSource,
)
from moorage.state.journal import Journal
from moorage.testing.memory import MemoryDriver, MemoryStorage

MIB = 1 << 20
MOUNT = VolumeCapability(AccessMode.SINGLE_NODE_WRITER, MountAccess())
BLOCK = VolumeCapability(AccessMode.SINGLE_NODE_WRITER, BlockAccess())
SHARED = VolumeCapability(AccessMode.MULTI_NODE_MULTI_WRITER, MountAccess())


class Crash(BaseException):
    """The process dies here: nothing may catch it, nothing is written after it."""


class CrashAt(faults.FaultPlan):
    """A fault plan that crashes at one point, once, and tells which points were passed."""

    def __init__(self, point: str = "") -> None:
        super().__init__({}, {}, trace_path=None)
        self.point = point
        self.passed: list[str] = []

    def hit(self, point: str) -> None:
        self.passed.append(point)
        if point == self.point:
            self.point = ""
            raise Crash(point)


class Controller:
    """A plugin whose process may end and be started again; the storage system stays."""

    def __init__(
        self,
        directory: Path,
        *,
        driver: type[MemoryDriver] = MemoryDriver,
        storage: MemoryStorage | None = None,
        limit: int = 256,
    ) -> None:
        self.directory = directory
        self.storage = storage or MemoryStorage()
        self._driver = driver
        self._limit = limit
        self.plugin = self._new()

    def _new(self) -> Plugin:
        return Plugin(self._driver(storage=self.storage), state_dir=self.directory, limit=self._limit)

    async def call(self, request: msgspec.Struct) -> Any:
        """The response to a request; raises what the handler raises."""
        handler: Any = self.plugin.handlers[type(request).__name__.removesuffix("Request")]
        return await handler(request)

    async def messages(self, request: msgspec.Struct) -> list[Any]:
        """All messages of a stream."""
        handler: Any = self.plugin.handlers[type(request).__name__.removesuffix("Request")]
        return [message async for message in handler(request)]

    async def leave(self, request: msgspec.Struct) -> asyncio.Task[Any]:
        """Begin a call that runs on while the test does something else."""
        task = asyncio.create_task(self.call(request))
        await asyncio.sleep(0)
        return task

    async def restart(self) -> None:
        """End the process and start another one on what is left."""
        await self.plugin.stop(grace_s=5.0)
        self.plugin = self._new()
        await self.plugin.start()

    async def rows(self) -> dict[str, list[bytes]]:
        """What the journal holds, by kind; the plugin must be stopped."""
        if not isinstance(self.plugin.driver.state, LocalJournal):
            return {}
        journal = Journal.open(self.directory / "journal.sqlite", owner="a test")
        kinds = ("volume", "snapshot", "group", "attachment", "intent")
        found = {kind: [record.body for record in journal.page(kind, limit=10**6)] for kind in kinds}
        await journal.close()
        return {kind: bodies for kind, bodies in found.items() if bodies}

    async def __aenter__(self) -> Self:
        await self.plugin.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.plugin.stop(grace_s=5.0)


def create(name: str = "pvc-1", size: int = 8 * MIB, **fields: Any) -> m.CreateVolumeRequest:
    """A request for a mounted volume of at least this size."""
    given = {"volume_capabilities": (MOUNT,), "capacity_range": CapacityRange(size), **fields}
    return m.CreateVolumeRequest(name=name, **given)


def clone(name: str, volume_id: str, **fields: Any) -> m.CreateVolumeRequest:
    """A request for a copy of a volume."""
    return create(name, volume_content_source=VolumeSource(volume_id), **fields)


def restore(name: str, snapshot_id: str, **fields: Any) -> m.CreateVolumeRequest:
    """A request for a volume with the content of a snapshot."""
    return create(name, volume_content_source=SnapshotSource(snapshot_id), **fields)


def attach(volume_id: str, node_id: str = "node-1", **fields: Any) -> m.ControllerPublishVolumeRequest:
    """A request to publish a volume to a node."""
    given = {"volume_capability": MOUNT, **fields}
    return m.ControllerPublishVolumeRequest(volume_id, node_id, **given)


async def entered(gate: Any) -> None:
    """Wait until the driver has come to the gate."""
    assert await asyncio.to_thread(gate.entered.wait, 10.0), "the driver was not called"
