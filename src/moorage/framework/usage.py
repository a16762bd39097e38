"""NodeGetVolumeStats, NodeExpandVolume and the node's health answers: for proved mounts only."""

from __future__ import annotations

import os
import stat
from contextlib import suppress

from moorage.base.faults import declare_step
from moorage.framework.condition import condition_of
from moorage.framework.core import Core
from moorage.framework.device_mount import grow_mounted
from moorage.framework.node_journal import NodeJournal
from moorage.framework.path_errors import normal
from moorage.framework.proof import bound_device, device_showing, mount_at, shows_volume
from moorage.framework.source import Directory, ImageFile, Source
from moorage.framework.values import NodeVolume
from moorage.host import loop
from moorage.host.device import size_of
from moorage.host.stats import filesystem_stats
from moorage.spec import messages as m
from moorage.spec.errors import NotFound, OutOfRange
from moorage.spec.types import AccessMode, UsageUnit, VolumeCapability, VolumeHealth, VolumeUsage

GROWN = declare_step("node.expand.grown", "the node sees the new size")

_ANY = VolumeCapability(access_mode=AccessMode.SINGLE_NODE_WRITER)


class Usage:
    """Handlers of the RPCs about a volume that is in use on this node."""

    def __init__(self, core: Core, journal: NodeJournal) -> None:
        self._core = core
        self._journal = journal

    async def stats(self, request: m.NodeGetVolumeStatsRequest) -> m.NodeGetVolumeStatsResponse:
        """NodeGetVolumeStats."""
        core = self._core
        path = normal(request.volume_path)
        source = await self._proved(request.volume_id, path)
        if core.invoke.offers("node_usage") and isinstance(source, Directory):
            usage = await core.on_node("node_usage", request.volume_id, path)
        else:
            usage = await core.invoke.run("node", _usage_at, path)
        condition = None
        if core.invoke.offers("node_volume_health"):
            condition = condition_of(await core.on_node("node_volume_health", request.volume_id))
        return m.NodeGetVolumeStatsResponse(usage=tuple(usage), volume_condition=condition)

    async def expand(self, request: m.NodeExpandVolumeRequest) -> m.NodeExpandVolumeResponse:
        """NodeExpandVolume: loop device and file system grow to what the controller made."""
        return await self._core.calls.run(
            "NodeExpandVolume",
            request,
            lambda: self._expand(request),
        )

    async def _expand(self, request: m.NodeExpandVolumeRequest) -> m.NodeExpandVolumeResponse:
        path = normal(request.volume_path)
        source = await self._proved(request.volume_id, path)
        if isinstance(source, Directory):
            record = await self._core.store.volume(request.volume_id)
            return m.NodeExpandVolumeResponse(capacity_bytes=record.capacity_bytes if record is not None else 0)
        size: int = await self._core.invoke.run("node", _grow, path, source)
        if request.capacity_range is not None and size < request.capacity_range.required_bytes:
            raise OutOfRange(
                f"volume {request.volume_id!r} has {size} bytes; call ControllerExpandVolume first for more"
            )
        return m.NodeExpandVolumeResponse(capacity_bytes=size)

    async def health(self, request: m.NodeGetVolumeHealthRequest) -> m.NodeGetVolumeHealthResponse:
        """NodeGetVolumeHealth; also for a volume that was never staged here."""
        entries = await self._core.on_node("node_volume_health", request.volume_id)
        return m.NodeGetVolumeHealthResponse(
            volume_health=VolumeHealth(volume_id=request.volume_id, health_statuses=tuple(entries))
        )

    async def storage(self, request: m.NodeGetStorageHealthRequest) -> m.NodeGetStorageHealthResponse:
        """NodeGetStorageHealth."""
        del request
        return m.NodeGetStorageHealthResponse(backend_health=tuple(await self._core.on_node("node_storage_health")))

    async def _proved(self, volume_id: str, path: str) -> Source:
        """The source of the volume, which is in use at this very path; raises `NotFound` otherwise."""
        core = self._core
        source: Source = await core.on_node("node_source", NodeVolume(volume_id=volume_id, volume_capability=_ANY))
        published = self._journal.published_at(path)
        if published is not None and published.volume_id == volume_id:
            if await core.invoke.run("node", mount_at, path) is not None:
                return source
        elif self._journal.staged_at(volume_id, path) is not None and not isinstance(source, Directory):
            if await core.invoke.run("node", device_showing, source) is not None:
                return source
        elif await core.invoke.run("node", shows_volume, path, source):
            return source
        raise NotFound(f"volume {volume_id!r} is not in use at {path!r}")


def _usage_at(path: str) -> tuple[VolumeUsage, ...]:
    number = bound_device(path)
    if number is not None:
        return (VolumeUsage(unit=UsageUnit.BYTES, total=size_of(path)),)
    with suppress(OSError):
        if stat.S_ISBLK(os.stat(path).st_mode):
            return (VolumeUsage(unit=UsageUnit.BYTES, total=size_of(path)),)
    found = filesystem_stats(path)
    return (
        VolumeUsage(UsageUnit.BYTES, found.total_bytes, found.available_bytes, found.used_bytes),
        VolumeUsage(UsageUnit.INODES, found.total_inodes, found.available_inodes, found.used_inodes),
    )


def _grow(path: str, source: Source) -> int:
    """Let the device, then the file system mounted at `path`, grow; the device's size in bytes."""
    with GROWN:
        if isinstance(source, ImageFile):
            for device in loop.list_loops():
                if device.backing == _identity(str(source.path)):
                    loop.refresh_capacity(device)
        device_path = device_showing(source)
        if device_path is None:
            raise NotFound(f"the device of the volume at {path!r} is gone; stage the volume again")
        if bound_device(path) is None:
            grow_mounted(device_path, path)
    return size_of(device_path)


def _identity(path: str) -> tuple[int, int]:
    info = os.stat(path)
    return info.st_dev, info.st_ino
