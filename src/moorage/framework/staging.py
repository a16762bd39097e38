"""NodeStageVolume and NodeUnstageVolume: the order of steps and the rows between them."""

from __future__ import annotations

import os

from msgspec import structs

from moorage.base.faults import declare_step
from moorage.base.run import CommandError
from moorage.framework import device_mount
from moorage.framework.core import Core, log
from moorage.framework.network_mounts import NetworkMounts
from moorage.framework.node_journal import NodeJournal, Staged
from moorage.framework.node_sources import NodeSources
from moorage.framework.path_errors import about_path, normal, unmount
from moorage.framework.proof import device_showing, mount_at, places_of, shows_volume
from moorage.framework.publish_context import is_readonly
from moorage.framework.source import BlockDevice, ImageFile, NetworkMount, Source, local_path, network_source
from moorage.framework.translate import may_still_run
from moorage.framework.values import NodeVolume
from moorage.host.mountinfo import find_mount
from moorage.host.mountoptions import bind_flags
from moorage.host.stats import filesystem_stats
from moorage.spec import messages as m
from moorage.spec.access import plugin_context
from moorage.spec.errors import (
    AlreadyExists,
    FailedPrecondition,
    Internal,
    InvalidArgument,
    NotFound,
    ResourceExhausted,
    VolumeInUse,
)
from moorage.spec.locks import content_key
from moorage.spec.sealing import sealed
from moorage.spec.types import MountAccess, VolumeCapability

BEGUN = declare_step("node.stage.begun", "the staging is recorded before its first side effect")
LOCATED = declare_step("node.stage.located", "it is recorded where the volume is, which connecting it has shown")
FORMATTING = declare_step("node.stage.formatting", "it is recorded that mkfs may run")
STAGED = declare_step("node.stage.recorded", "the staging is recorded as complete")
UNMOUNTED = declare_step("node.unstage.unmounted", "the staging path is unmounted")
FORGOTTEN = declare_step("node.unstage.forgotten", "the record of the staging is erased")


class Staging:
    """Handlers of stage and unstage."""

    def __init__(self, core: Core, journal: NodeJournal, sources: NodeSources, network: NetworkMounts) -> None:
        self._core = core
        self._journal = journal
        self._sources = sources
        self._network = network

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
        source = await self._sources.find(volume)
        if reason := core.driver.supports(capability):
            raise FailedPrecondition(f"volume {volume.volume_id!r} cannot be used so: {reason}")
        if row is not None and row.done and await core.invoke.run("node", _in_place, path, row, source):
            if row.volume_capability != sealed(capability):
                raise AlreadyExists(
                    f"volume {volume.volume_id!r} is staged at {path!r} with another capability; unstage it first"
                )
            if is_readonly(row.publish_context) and not is_readonly(volume.publish_context):
                raise AlreadyExists(f"volume {volume.volume_id!r} is staged read-only at {path!r}; unstage it first")
            return row
        row = Staged(
            volume_id=volume.volume_id,
            staging_target_path=path,
            volume_capability=capability,
            source_path=local_path(source),
            network_source=network_source(source),
            volume_context=plugin_context(volume.volume_context),
            publish_context=volume.publish_context,
            formatting=max((other.formatting for other in self._journal.staged(volume.volume_id)), default=""),
        )
        with about_path(path, f"volume {volume.volume_id!r} cannot be staged"):
            await core.invoke.run("node", _check_free, path, source, capability.is_block)
        with BEGUN:
            await self._journal.put(row)
        try:
            row = await self._prepare(row, volume, source)
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
        try:
            await self.ensure_unstaged(volume_id, path, refused=True)
        except Exception as failure:
            log.warning("volume.unstage_failed", volume=volume_id, exc_info=failure)

    async def _prepare(self, row: Staged, volume: NodeVolume, found: Source | None) -> Staged:
        source = found
        if self._sources.connects:
            source = await self._sources.connect(volume)
            row = await self._noted(row, source)
        if source is None:
            raise Internal(f"volume {row.volume_id!r} is nowhere on this node; this is a defect of the driver")
        if isinstance(source, ImageFile | BlockDevice):
            return await self._prepare_device(row, source)
        if row.volume_capability.is_block:
            raise InvalidArgument(f"volume {row.volume_id!r} is a file system and cannot be used as a block device")
        path, access = row.staging_target_path, _access(row)
        with about_path(path, f"volume {row.volume_id!r} cannot be staged"):
            if isinstance(source, NetworkMount):  # its group and owners are the server's business
                with device_mount.MOUNTED:
                    await self._network.mount(source, path, access.mount_flags)
                return row
            flags = _bind_flags(row.volume_id, access)
            await self._core.invoke.run("node", device_mount.bind_directory, str(source.path), path, flags)
            await self._core.invoke.run("node", device_mount.give_to_group, path, access.volume_mount_group)
        return row

    async def _noted(self, row: Staged, source: Source) -> Staged:
        """The row with what is known of the source since it was connected: what is attached to it is found by that."""
        noted = structs.replace(row, source_path=local_path(source), network_source=network_source(source))
        if noted != row:
            with LOCATED:
                await self._journal.put(noted)
        return noted

    async def _prepare_device(self, row: Staged, source: ImageFile | BlockDevice) -> Staged:
        run = self._core.invoke.run
        capability, path = row.volume_capability, row.staging_target_path
        what = f"volume {row.volume_id!r} cannot be staged"
        row = structs.replace(row, device=await run("node", device_mount.attach, source))
        if capability.is_block:
            return row
        row, made = await self._ensure_file_system(row, capability)
        with about_path(path, what):
            await run("node", device_mount.mount_device, row.device, path, _access(row))
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
        if is_readonly(row.publish_context):
            raise FailedPrecondition(
                f"volume {row.volume_id!r} has no file system and is published read-only; "
                "publish it for writing once, or put a file system there"
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

    async def ensure_unstaged(self, volume_id: str, path: str, *, refused: bool = False) -> None:
        """Nothing of the volume at its staging path; the caller holds `node_key`.

        After a `refused` staging, the next attempt must know that mkfs may have begun: the row is kept for that.
        """
        run = self._core.invoke.run
        row = self._journal.staged_at(volume_id, path)
        for published in self._journal.published(volume_id):
            here = published.ephemeral or published.staging_target_path == path
            if here and await run("node", mount_at, published.target_path):
                raise VolumeInUse(
                    f"volume {volume_id!r} is still published at {published.target_path!r}; unpublish it first"
                )
        left = row or await self._prove(volume_id, path)
        if left is None:
            return
        with UNMOUNTED, about_path(path, f"volume {volume_id!r} cannot be unstaged"):
            if left.network_source:
                await self._network.unmount(left.network_source, path)
            else:
                await run("node", unmount, path)
        if all(other.staging_target_path == path for other in self._journal.staged(volume_id)):
            if left.source_path:
                await run("node", device_mount.detach, left.source_path)
            if self._sources.connects:
                await self._sources.disconnect(self._sources.known(volume_id))
        if row is not None:
            with FORGOTTEN:
                if refused and row.formatting:
                    await self._journal.put(structs.replace(row, device="", at_rest=True))
                else:
                    await self._journal.drop(row)
        log.info("volume.unstaged", volume=volume_id)

    async def _prove(self, volume_id: str, path: str) -> Staged | None:
        """Without a row: what a row would say of the volume, None if nothing of it is in use here."""
        run = self._core.invoke.run
        known, source = True, None
        try:
            source = await self._sources.find_known(volume_id)
        except NotFound:
            known = False
        if await run("node", mount_at, path) is not None:
            if not await run("node", shows_volume, path, source):
                raise FailedPrecondition(
                    f"what is mounted at {path!r} is not known to be volume {volume_id!r}; unmount it by hand if it is"
                )
        elif not known or not await run("node", _left_over, source, self._sources.connects):
            return None
        return Staged(
            volume_id=volume_id,
            staging_target_path=path,
            volume_capability=self._sources.known(volume_id).volume_capability,
            source_path=local_path(source),
            network_source=network_source(source),
        )


_ROOM_FOR_MKFS_BYTES = 4 << 20
"""Where less is left under an image, a failed mkfs is taken for a want of space: a loop device says only EIO."""


def _access(row: Staged) -> MountAccess:
    """How the volume is mounted: read-only if the controller published it so."""
    access = row.volume_capability.mount
    if not is_readonly(row.publish_context):
        return access
    return structs.replace(access, mount_flags=(*access.mount_flags, "ro"))


def _bind_flags(volume_id: str, access: MountAccess) -> int:
    try:
        return bind_flags(access.mount_flags)
    except ValueError as error:
        raise InvalidArgument(f"volume {volume_id!r} is a directory, which limits its mount_flags: {error}") from None


def _in_place(path: str, row: Staged, source: Source | None) -> bool:
    """Whether the row is still true: after a reboot it is not."""
    if row.volume_capability.is_block:
        return device_showing(source) is not None
    return shows_volume(path, source)


def _left_over(source: Source | None, connects: bool) -> bool:
    """Whether a volume of which nothing is recorded and nothing is mounted may still be attached to this node."""
    match source:
        case ImageFile() | None:
            return True
        case BlockDevice(path=path):
            return not path.exists() or not places_of(source)
        case _:
            return connects and not places_of(source)


def _check_free(path: str, source: Source | None, block: bool) -> None:
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
