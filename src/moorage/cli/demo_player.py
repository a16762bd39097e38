"""Performs the acts of the demo with the orchestrator, and looks at the result with its own eyes."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterable
from dataclasses import dataclass, field

from moorage.base.units import format_bytes
from moorage.cli import demo_files as files
from moorage.cli import demo_script as script
from moorage.cli.demo_screen import Screen
from moorage.orchestrator.access import access_mode
from moorage.orchestrator.calling import CallFailed
from moorage.orchestrator.groups import Groups
from moorage.orchestrator.model import OrchestratorError
from moorage.orchestrator.queries import Queries
from moorage.orchestrator.snapshots import Snapshots
from moorage.orchestrator.volumes import NewVolume, Volumes
from moorage.orchestrator.workspace import Workspace
from moorage.spec.capabilities import Declared
from moorage.spec.types import (
    BlockAccess,
    ContentSource,
    MountAccess,
    NodeCapability,
    SnapshotSource,
    UsageUnit,
    VolumeCapability,
    VolumeSource,
    VolumeUsage,
)


@dataclass(slots=True)
class Player:
    """Plays acts for one driver, registered as `driver`; volumes are mounted below `mount_dir`.

    `figures_must_grow`: after an expansion the file system or the driver's statistics must show more space.
    """

    workspace: Workspace
    driver: str
    declared: Declared
    screen: Screen
    mount_dir: str
    fs_type: str = ""
    figures_must_grow: bool = False
    _declined: set[str] = field(default_factory=set)

    async def play(self, acts: Iterable[script.Act]) -> None:
        """Perform the acts in order. Raises OrchestratorError, ContentWrong or OSError at the first that fails."""
        for act in acts:
            if await self._is_moot(act):
                continue
            self.screen.act(act.title)
            if isinstance(act, script.Left):
                self.screen.ended("left", "not offered by this driver")
                continue
            try:
                detail = await self._perform(act)
            except CallFailed as failure:
                if failure.error.code not in act.tolerated:
                    raise
                if not isinstance(act, script.Expand):  # then the volume is still there, as large as before
                    self._declined.add(getattr(act, "name", ""))
                self.screen.ended("left", f"declined by the driver: {failure.error.message}")
                continue
            self.screen.ended("done", detail)

    async def _is_moot(self, act: script.Act) -> bool:
        """Whether the act is about a volume that the driver declined, or that is not there to be removed."""
        name = getattr(act, "name", "")
        if isinstance(act, script.Unmount | script.Delete):
            return await self._volumes.find(name) is None
        return name in self._declined

    async def _perform(self, act: script.Act) -> str:
        match act:
            case script.Create() | script.Copy() | script.Delete():
                return await self._storage(act)
            case script.Mount(name=name):
                await self._volumes.mount(name, self._path(name))
            case script.Unmount(name=name):
                await self._volumes.unmount(name)
            case script.Write(name=name, files=wanted):
                await asyncio.to_thread(files.write, self._path(name), wanted)
                return f"{len(wanted)} x {format_bytes(files.FILE_BYTES)}"
            case script.Verify(name=name, files=wanted):
                return "sha256 " + await asyncio.to_thread(files.verify, self._path(name), wanted)
            case script.Stats(name=name):
                return await self._stats(name)
            case script.Expand(name=name):
                return await self._expand(name)
            case _:
                return await self._copies(act)
        return ""

    async def _storage(self, act: script.Create | script.Copy | script.Delete) -> str:
        match act:
            case script.Create(name=name, size_bytes=size_bytes, block=block):
                access = BlockAccess() if block else MountAccess(self.fs_type)
                capability = VolumeCapability(access_mode("rwo", self.declared), access)
                return await self._create(name, size_bytes, capability, None)
            case script.Copy(name=name, snapshot=snapshot, volume=volume):
                pattern = await self._volumes.get(volume or "data")
                source: ContentSource = VolumeSource(pattern.actual.volume_id)
                size_bytes = pattern.actual.capacity_bytes
                if snapshot:
                    cut = await Snapshots(self.workspace).ready(snapshot)
                    source, size_bytes = SnapshotSource(cut.snapshot_id), cut.size_bytes or size_bytes
                return await self._create(name, size_bytes, pattern.capability, source)
            case script.Delete(name=name):
                await self._volumes.delete(name)
        return ""

    async def _create(
        self, name: str, size_bytes: int, capability: VolumeCapability, source: ContentSource | None
    ) -> str:
        new = NewVolume(name=name, driver=self.driver, capability=capability, size_bytes=size_bytes, source=source)
        made = (await self._volumes.create(new)).actual
        size = format_bytes(made.capacity_bytes)
        if made.capacity_bytes > size_bytes:
            size += f" (the driver makes no smaller one that fits; {format_bytes(size_bytes)} were asked for)"
        return f"{size}, id {made.volume_id}"

    async def _copies(self, act: script.Act) -> str:
        snapshots, groups = Snapshots(self.workspace), Groups(self.workspace)
        match act:
            case script.Snapshot(volume=volume, name=name):
                cut = await snapshots.create(await self._volumes.get(volume), name, parameters={})
                return f"id {cut.snapshot_id}"
            case script.GroupSnapshot(name=name, volumes=volumes):
                group = await groups.create(
                    [await self._volumes.get(volume) for volume in volumes], name, parameters={}
                )
                return f"{len(group.snapshot_ids)} snapshots, id {group.group_snapshot_id}"
            case script.DeleteCopies(names=names):
                for name in names:
                    await snapshots.delete(name)
                    await groups.delete(name)
                return ""
        raise AssertionError(f"the script has an unknown act {act!r}")

    async def _stats(self, name: str) -> str:
        usage = await self._usage(name)
        if usage is None:
            return "no figure in bytes"
        return f"{format_bytes(usage.used)} of {format_bytes(usage.total)} used"

    async def _usage(self, name: str) -> VolumeUsage | None:
        answer = await Queries(self.workspace).stats(await self._volumes.get(name))
        return next((usage for usage in answer.usage if usage.unit is UsageUnit.BYTES), None)

    async def _totals(self, name: str) -> dict[str, int]:
        """What tells the size of a mounted volume, in bytes: its file system, and the driver's statistics."""
        totals = {"file system": files.total_bytes(self._path(name))}
        if NodeCapability.GET_VOLUME_STATS in self.declared.node:
            usage = await self._usage(name)
            totals["statistics"] = usage.total if usage else 0
        return totals

    async def _expand(self, name: str) -> str:
        volume = await self._volumes.get(name)
        mounted = bool(volume.actual.mounts)
        before = await self._totals(name) if mounted else {}
        grown = await self._volumes.expand(name, 2 * volume.actual.capacity_bytes)
        text = f"{format_bytes(volume.actual.capacity_bytes)} -> {format_bytes(grown.actual.capacity_bytes)}"
        if not mounted:
            return text
        after = await self._totals(name)
        for figure, before_bytes in before.items():
            if after[figure] > before_bytes:
                return f"{text}, {figure} {format_bytes(before_bytes)} -> {format_bytes(after[figure])}"
        unchanged = " and ".join(f"{figure} ({format_bytes(after_bytes)})" for figure, after_bytes in after.items())
        if self.figures_must_grow:
            raise OrchestratorError(
                f"the driver answered that {name!r} is expanded, but nothing has grown at {self._path(name)}: "
                f"{unchanged}; look at the driver's log"
            )
        return f"{text} says the driver; not seen from here, as this did not change: {unchanged}"

    @property
    def _volumes(self) -> Volumes:
        return Volumes(self.workspace)

    def _path(self, name: str) -> str:
        return os.path.join(self.mount_dir, name)
