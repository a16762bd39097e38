"""NodeStageVolume and NodeUnstageVolume: the order of steps and the rows between them."""

from __future__ import annotations

import os
from contextlib import suppress

from msgspec import structs

from moorage.base.faults import declare_step
from moorage.base.run import CommandError
from moorage.framework import device_mount
from moorage.framework.core import Core, log
from moorage.framework.node_journal import NodeJournal, Staged
from moorage.framework.path_errors import about_path, normal, unmount
from moorage.framework.proof import device_showing, mount_at, shows_volume
from moorage.framework.source import BlockDevice, Directory, ImageFile, Source
from moorage.framework.translate import may_still_run
from moorage.framework.values import NodeVolume
from moorage.host.mountinfo import find_mount
from moorage.host.stats import filesystem_stats
from moorage.spec import messages as m
from moorage.spec.access import plugin_context
from moorage.spec.errors import (
    AlreadyExists,
    FailedPrecondition,
    InvalidArgument,
    NotFound,
    ResourceExhausted,
    VolumeInUse,
)
from moorage.spec.locks import content_key
from moorage.spec.sealing import sealed
from moorage.spec.types import VolumeCapability

BEGUN = declare_step("node.stage.begun", "the staging is recorded before its first side effect")
FORMATTING = declare_step("node.stage.formatting", "it is recorded that mkfs may run")
STAGED = declare_step("node.stage.recorded", "the staging is recorded as complete")
UNMOUNTED = declare_step("node.unstage.unmounted", "the staging path is unmounted")
RELEASED = declare_step("node.unstage.released", "the driver has released the volume on this node")
FORGOTTEN = declare_step("node.unstage.forgotten", "the record of the staging is erased")


class Staging:
    """Handlers of stage and unstage."""

    def __init__(self, core: Core, journal: NodeJournal) -> None:
        self._core = core
        self._journal = journal

    async def stage(self, request: m.NodeStageVolumeRequest) -> m.NodeStageVolumeResponse:
        """NodeStageVolume."""
        return await self._core.calls.run("NodeStageVolume", request, lambda: self._stage(request))

    async def _stage(self, request: m.NodeStageVolumeRequest) -> m.NodeStageVolumeResponse:
        capability = request.volume_capability
        if capability is None:
            raise InvalidArgument("volume_capability is missing")
        volume = NodeVolume(
            volume_id=request.volume_id,
            volume_capability=capability,
            volume_context=request.volume_context,
            publish_context=request.publish_context,
            secrets=request.secrets,
        )
        await self.ensure_staged(volume, normal(request.staging_target_path))
        return m.NodeStageVolumeResponse()

    async def ensure_staged(self, volume: NodeVolume, path: str) -> Staged:
        """The volume at its staging path; the caller holds `node_key`."""
        core, capability = self._core, volume.volume_capability
        row = self._journal.staged_at(volume.volume_id, path)
        source: Source = await core.on_node("node_source", volume)
        if reason := core.driver.supports(capability):
            raise FailedPrecondition(f"volume {volume.volume_id!r} cannot be used so: {reason}")
        if row is not None and row.done and await core.invoke.run("node", _in_place, path, row, source):
            if row.volume_capability != sealed(capability):
                raise AlreadyExists(
                    f"volume {volume.volume_id!r} is staged at {path!r} with another capability; unstage it first"
                )
            return row
        row = Staged(
            volume_id=volume.volume_id,
            staging_target_path=path,
            volume_capability=capability,
            source_path=str(source.path),
            volume_context=plugin_context(volume.volume_context),
            publish_context=volume.publish_context,
            formatting=max((other.formatting for other in self._journal.staged(volume.volume_id)), default=""),
        )
        with about_path(path, f"volume {volume.volume_id!r} cannot be staged"):
            await core.invoke.run("node", _check_free, path, source, capability.is_block)
        with BEGUN:
            await self._journal.put(row)
        try:
            row = await self._prepare(row, source, path)
        except Exception as cause:
            if not may_still_run(cause):
                await self._undo(volume.volume_id, path)
            raise
        row = structs.replace(row, done=True)
        others = [other for other in self._journal.staged(volume.volume_id) if other.staging_target_path != path]
        with STAGED:
            await self._journal.put(*(structs.replace(each, formatting="") for each in (row, *others)))
        log.info("volume.staged", volume=volume.volume_id, device=row.device)
        return structs.replace(row, formatting="")

    async def _undo(self, volume_id: str, path: str) -> None:
        """After a final error nothing may be left that an orchestrator would have to unstage."""
        row = self._journal.staged_at(volume_id, path)
        if row is not None and row.formatting:  # the next attempt must know that mkfs may have begun
            return
        try:
            await self.ensure_unstaged(volume_id, path)
        except Exception as failure:
            log.warning("volume.unstage_failed", volume=volume_id, exc_info=failure)

    async def _prepare(self, row: Staged, source: Source, path: str) -> Staged:
        run = self._core.invoke.run
        capability = row.volume_capability
        what = f"volume {row.volume_id!r} cannot be staged"
        if isinstance(source, Directory):
            if capability.is_block:
                raise InvalidArgument(f"volume {row.volume_id!r} is a directory and cannot be used as a block device")
            with about_path(path, what):
                await run("node", device_mount.bind_directory, str(source.path), path)
                await run("node", device_mount.give_to_group, path, capability.mount.volume_mount_group)
            return row
        row = structs.replace(row, device=await run("node", device_mount.attach, source))
        if capability.is_block:
            return row
        row, made = await self._ensure_file_system(row, capability)
        with about_path(path, what):
            await run("node", device_mount.mount_device, row.device, path, capability.mount)
            if made:
                await run("node", device_mount.own_root, path, source.root)
        await run("node", device_mount.grow_mounted, row.device, path)
        with about_path(path, what):
            await run("node", device_mount.give_to_group, path, capability.mount.volume_mount_group)
        return row

    async def _ensure_file_system(self, row: Staged, capability: VolumeCapability) -> tuple[Staged, bool]:
        """Make a file system where there is provably none; the row says so before mkfs begins."""
        run, driver = self._core.invoke.run, self._core.driver
        default = driver.fs_types[0] if driver.fs_types else "ext4"
        interrupted = row.formatting
        fs_type = await run("node", _to_make, row.device, capability.mount.fs_type, default, interrupted)
        if not fs_type:
            return row, bool(interrupted)
        if not driver.formats:
            raise FailedPrecondition(
                f"volume {row.volume_id!r} has no file system and {driver.name} makes none; put one there first"
            )
        row = structs.replace(row, formatting=fs_type)
        # A snapshot or clone of a half-made file system could never be used.
        with self._core.calls.take(f"mkfs of volume {row.volume_id!r}", exclusive=(content_key(row.volume_id),)):
            with FORMATTING:
                await self._journal.put(row)
            await run("node", _make, row, fs_type, bool(interrupted))
        return row, True

    # --- unstage ---

    async def unstage(self, request: m.NodeUnstageVolumeRequest) -> m.NodeUnstageVolumeResponse:
        """NodeUnstageVolume; what is not staged is fine."""
        return await self._core.calls.run(
            "NodeUnstageVolume",
            request,
            lambda: self._unstage(request),
        )

    async def _unstage(self, request: m.NodeUnstageVolumeRequest) -> m.NodeUnstageVolumeResponse:
        await self.ensure_unstaged(request.volume_id, normal(request.staging_target_path))
        return m.NodeUnstageVolumeResponse()

    async def ensure_unstaged(self, volume_id: str, path: str) -> None:
        """Nothing of the volume at its staging path; the caller holds `node_key`."""
        core, run = self._core, self._core.invoke.run
        row = self._journal.staged_at(volume_id, path)
        for published in self._journal.published(volume_id):
            here = published.ephemeral or published.staging_target_path == path
            if here and await run("node", mount_at, published.target_path):
                raise VolumeInUse(
                    f"volume {volume_id!r} is still published at {published.target_path!r}; unpublish it first"
                )
        source_path = row.source_path if row is not None else await self._prove(volume_id, path)
        if source_path is None:
            return
        with UNMOUNTED, about_path(path, f"volume {volume_id!r} cannot be unstaged"):
            await run("node", unmount, path)
        if all(other.staging_target_path == path for other in self._journal.staged(volume_id)):
            await run("node", device_mount.detach, source_path)
            if core.invoke.offers("node_release"):
                with RELEASED:
                    await core.on_node("node_release", volume_id)
        if row is not None:
            with FORGOTTEN:
                await self._journal.drop(row)
        log.info("volume.unstaged", volume=volume_id)

    async def _prove(self, volume_id: str, path: str) -> str | None:
        """Without a row: the source of the volume if it is in use here, None if nothing of it is."""
        core = self._core
        source: Source | None = None
        with suppress(NotFound):
            source = await core.source_of(volume_id)
        if await core.invoke.run("node", mount_at, path) is None:
            left = source is not None and await core.invoke.run("node", _left_over, source)
            return str(source.path) if source is not None and left else None
        if source is None or not await core.invoke.run("node", shows_volume, path, source):
            raise FailedPrecondition(
                f"what is mounted at {path!r} is not known to be volume {volume_id!r}; unmount it by hand if it is"
            )
        return str(source.path)


_ROOM_FOR_MKFS_BYTES = 4 << 20
"""Where less is left under an image, a failed mkfs is taken for a want of space: a loop device says only EIO."""


def _in_place(path: str, row: Staged, source: Source) -> bool:
    """Whether the row is still true: after a reboot it is not."""
    if row.volume_capability.is_block:
        return device_showing(source) is not None
    return shows_volume(path, source)


def _left_over(source: Source) -> bool:
    """Whether a volume of which nothing is recorded and nothing is mounted may still be attached to this node."""
    match source:
        case ImageFile():
            return True
        case BlockDevice(path=path):
            return not path.exists() or not device_mount.users_of(str(path))
        case Directory():
            return False


def _check_free(path: str, source: Source, block: bool) -> None:
    """Nothing foreign may be mounted where the volume goes, and a mount needs a directory. Raises OSError."""
    if find_mount(path) is not None:
        if not shows_volume(path, source):
            raise FailedPrecondition(f"something else is mounted at {path!r}; unmount it and repeat the call")
    elif not block:
        os.close(os.open(path, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC))


def _to_make(device: str, wanted: str, default: str, interrupted: str) -> str:
    return device_mount.file_system_to_make(device, wanted, default, interrupted=interrupted)


def _make(row: Staged, fs_type: str, interrupted: bool) -> None:
    try:
        device_mount.format_device(row.device, fs_type, interrupted=interrupted)
    except CommandError as error:
        found = filesystem_stats(os.path.dirname(row.source_path))
        if found.available_bytes < _ROOM_FOR_MKFS_BYTES:
            raise ResourceExhausted(
                f"the storage has no room for the file system of volume {row.volume_id!r}; free some or add to it"
            ) from error
        raise
