"""A toy plugin on real loop devices and mounts, called without gRPC."""

from __future__ import annotations

import contextlib
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from examples.toy_driver import ToyConfig, ToyDriver

from moorage.framework import Driver
from moorage.framework.plugin import Plugin
from moorage.host import loop
from moorage.host.mount import ensure_unmounted
from moorage.host.mountinfo import mounts_below
from moorage.spec import messages as m
from moorage.spec.types import (
    AccessMode,
    BlockAccess,
    CapacityRange,
    ContentSource,
    MountAccess,
    VolumeCapability,
)

MIB = 1 << 20


class Bench:
    """One plugin on one directory, with the calls of an orchestrator as short methods."""

    def __init__(self, directory: Path, driver_class: type[Driver] = ToyDriver) -> None:
        self.directory = directory
        self.pool = directory / "pool"
        self.driver_class = driver_class
        self.plugin = self._make()

    def _make(self) -> Plugin:
        driver = self.driver_class(ToyConfig(root=self.pool))
        return Plugin(driver, state_dir=self.directory / "state")

    async def restart(self, *, forget: bool = False) -> None:
        """A new process, as far as state goes; with `forget` the journal is lost."""
        await self.plugin.stop(1.0)
        if forget:
            for path in (self.directory / "state").glob("journal*"):
                path.unlink()
        self.plugin = self._make()
        await self.plugin.start()

    async def call(self, rpc: str, request: Any) -> Any:
        return await self.plugin.handlers[rpc](request)  # type: ignore[misc]  # only unary handlers are called here

    async def create(
        self,
        name: str = "one",
        *,
        capability: VolumeCapability | None = None,
        size_bytes: int = 64 * MIB,
        source: ContentSource | None = None,
    ) -> str:
        request = m.CreateVolumeRequest(
            name=name,
            volume_capabilities=(capability or mounted(),),
            capacity_range=CapacityRange(required_bytes=size_bytes),
            volume_content_source=source,
        )
        volume_id: str = (await self.call("CreateVolume", request)).volume.volume_id
        return volume_id

    def staging(self, volume_id: str) -> str:
        path = self.directory / "staging" / volume_id
        path.mkdir(parents=True, exist_ok=True)
        return str(path)

    def target(self, name: str) -> str:
        parent = self.directory / "targets"
        parent.mkdir(exist_ok=True)
        return str(parent / name)

    async def stage(self, volume_id: str, capability: VolumeCapability | None = None) -> str:
        path = self.staging(volume_id)
        await self.call("NodeStageVolume", m.NodeStageVolumeRequest(volume_id, path, capability or mounted()))
        return path

    async def publish(
        self, volume_id: str, name: str = "t1", *, capability: VolumeCapability | None = None, **fields: Any
    ) -> str:
        path = self.target(name)
        fields.setdefault("staging_target_path", self.staging(volume_id))
        request = m.NodePublishVolumeRequest(volume_id, path, capability or mounted(), **fields)
        await self.call("NodePublishVolume", request)
        return path

    async def unpublish(self, volume_id: str, name: str = "t1") -> None:
        await self.call("NodeUnpublishVolume", m.NodeUnpublishVolumeRequest(volume_id, self.target(name)))

    async def unstage(self, volume_id: str) -> None:
        await self.call("NodeUnstageVolume", m.NodeUnstageVolumeRequest(volume_id, self.staging(volume_id)))

    async def stats(self, volume_id: str, path: str) -> Any:
        return (await self.call("NodeGetVolumeStats", m.NodeGetVolumeStatsRequest(volume_id, path))).usage

    async def delete(self, volume_id: str) -> None:
        await self.call("DeleteVolume", m.DeleteVolumeRequest(volume_id))

    def image(self, volume_id: str) -> Path:
        return self.pool / f"{volume_id}.img"

    def sweep(self) -> list[str]:
        """Unmount and detach whatever a failed test left; what that was."""
        left = [entry.mount_point for entry in mounts_below(str(self.directory))]
        for path in left:
            ensure_unmounted(path, lazy=True)
        for device in reversed(loop.list_loops()):
            inside = device.backing_path.startswith(str(self.directory))
            if inside or device.readonly:
                left.append(device.path)
                with contextlib.suppress(OSError):
                    loop.detach(device.path, expected_backing=device.backing)
        return left


def mounted(
    mode: AccessMode = AccessMode.SINGLE_NODE_MULTI_WRITER, fs_type: str = "", **fields: Any
) -> VolumeCapability:
    return VolumeCapability(mode, MountAccess(fs_type, **fields))


def block(mode: AccessMode = AccessMode.SINGLE_NODE_WRITER) -> VolumeCapability:
    return VolumeCapability(mode, BlockAccess())


def write(path: str, text: str) -> None:
    Path(path).write_text(text)
    os.sync()


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    made = Bench(tmp_path)
    await made.plugin.start()
    yield made
    await made.plugin.stop(1.0)
    made.sweep()
