"""NodeGetVolumeStats, NodeExpandVolume and the node's health answers: for proved mounts only."""

from __future__ import annotations

from moorage.base.faults import declare_step
from moorage.framework.condition import condition_of
from moorage.framework.core import Core
from moorage.framework.device_mount import grow_mounted
from moorage.framework.invoke import Side
from moorage.framework.network_mounts import NetworkMounts
from moorage.framework.node_journal import NodeJournal
from moorage.framework.node_sources import NodeSources
from moorage.framework.path_errors import normal
from moorage.framework.proof import bound_device, device_showing, mount_at, readers_of, shows_volume
from moorage.framework.source import Directory, NetworkMount, Source
from moorage.host import loop
from moorage.host.device import size_of
from moorage.host.stats import FilesystemStats, filesystem_stats
from moorage.spec import messages as m
from moorage.spec.errors import NotFound, OutOfRange, Unimplemented
from moorage.spec.types import UsageUnit, VolumeHealth, VolumeUsage

GROWN = declare_step("node.expand.grown", "the node sees the new size")


class Usage:
    """Handlers of the RPCs about a volume that is in use on this node."""

    def __init__(self, core: Core, journal: NodeJournal, sources: NodeSources, network: NetworkMounts) -> None:
        self._core = core
        self._journal = journal
        self._sources = sources
        self._network = network

    async def stats(self, request: m.NodeGetVolumeStatsRequest) -> m.NodeGetVolumeStatsResponse:
        """NodeGetVolumeStats."""
        core = self._core
        path = normal(request.volume_path)
        source = await self._proved("query", request.volume_id, path)
        shared = isinstance(source, Directory | NetworkMount)
        if shared and core.invoke.offers("node_usage"):
            usage = await core.invoke.call("query", "node_usage", request.volume_id, path)
        elif isinstance(source, Directory | NetworkMount) and not source.own_filesystem:
            raise Unimplemented(
                f"{core.driver.name} cannot tell the usage of a directory; it needs node_usage for that"
            )
        elif isinstance(source, NetworkMount):
            usage = await self._network_usage(path, source)
        else:
            usage = await core.invoke.run("query", _usage_at, path, source)
        condition = None
        if core.invoke.offers("node_volume_health"):
            entries = await core.invoke.call("query", "node_volume_health", request.volume_id)
            condition = condition_of(entries)
        return m.NodeGetVolumeStatsResponse(usage=tuple(usage), volume_condition=condition)

    async def _network_usage(self, path: str, source: NetworkMount) -> tuple[VolumeUsage, ...]:
        entry = await self._core.invoke.run("query", mount_at, path)
        found = await self._network.usage(source, path)
        if await self._core.invoke.run("query", mount_at, path) != entry:
            raise NotFound(f"the volume is no longer in use at {path!r}")
        return _as_usage(found)

    async def expand(self, request: m.NodeExpandVolumeRequest) -> m.NodeExpandVolumeResponse:
        """NodeExpandVolume: loop device and file system grow to what the controller made."""
        return await self._core.calls.run(
            "NodeExpandVolume",
            request,
            lambda: self._expand(request),
        )

    async def _expand(self, request: m.NodeExpandVolumeRequest) -> m.NodeExpandVolumeResponse:
        path = normal(request.volume_path)
        source = await self._proved("node", request.volume_id, path)
        if isinstance(source, Directory | NetworkMount):
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
        entries = await self._core.invoke.call("query", "node_volume_health", request.volume_id)
        return m.NodeGetVolumeHealthResponse(
            volume_health=VolumeHealth(volume_id=request.volume_id, health_statuses=tuple(entries))
        )

    async def storage(self, request: m.NodeGetStorageHealthRequest) -> m.NodeGetStorageHealthResponse:
        """NodeGetStorageHealth."""
        del request
        found = await self._core.invoke.call("query", "node_storage_health")
        return m.NodeGetStorageHealthResponse(backend_health=tuple(found))

    async def _proved(self, side: Side, volume_id: str, path: str) -> Source:
        """The source of the volume, which is in use at this very path; raises `NotFound` otherwise."""
        invoke = self._core.invoke
        source = await self._sources.find_known(volume_id, side=side)
        if source is None:
            raise NotFound(f"volume {volume_id!r} is not connected to this node; stage it again")
        published, staged = self._journal.published_at(path), self._journal.staged_at(volume_id, path)
        if isinstance(source, NetworkMount):  # nothing but the mount table may be looked at
            if await invoke.run(side, shows_volume, path, source):
                return source
        elif published is not None and published.volume_id == volume_id:
            if await invoke.run(side, mount_at, path) is not None:
                return source
        elif staged is not None and staged.volume_capability.is_block:  # its staging path holds no mount
            if await invoke.run(side, device_showing, source) is not None:
                return source
        elif await invoke.run(side, shows_volume, path, source):
            return source
        raise NotFound(f"volume {volume_id!r} is not in use at {path!r}")


def _usage_at(path: str, source: Source) -> tuple[VolumeUsage, ...]:
    """What the mount at `path` tells; never what the host's file system under it does."""
    if bound_device(path) is not None:
        return (VolumeUsage(unit=UsageUnit.BYTES, total=size_of(path)),)
    entry = mount_at(path)
    if entry is None:
        if (device := device_showing(source)) is None:
            raise NotFound(f"the volume is no longer in use at {path!r}")
        return (VolumeUsage(unit=UsageUnit.BYTES, total=size_of(device)),)
    found = filesystem_stats(path)
    if mount_at(path) != entry:
        raise NotFound(f"the volume is no longer in use at {path!r}")
    return _as_usage(found)


def _as_usage(found: FilesystemStats) -> tuple[VolumeUsage, ...]:
    return (
        VolumeUsage(UsageUnit.BYTES, found.total_bytes, found.available_bytes, found.used_bytes),
        VolumeUsage(UsageUnit.INODES, found.total_inodes, found.available_inodes, found.used_inodes),
    )


def _grow(path: str, source: Source) -> int:
    """Let the device, those of its readers, then the file system mounted at `path`, grow; the size in bytes."""
    with GROWN:
        device_path = device_showing(source)
        if device_path is None:
            raise NotFound(f"the device of the volume at {path!r} is gone; stage the volume again")
        loops = {device.path: device for device in loop.list_loops()}
        for each in (device_path, *readers_of(device_path)):  # readers show what the device has, so it goes first
            if each in loops:
                loop.refresh_capacity(loops[each])
        if bound_device(path) is None:
            grow_mounted(device_path, path)
    return size_of(device_path)
