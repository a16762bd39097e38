"""NodePublishVolume and NodeUnpublishVolume: the order of steps and the rows between them.

A mounted volume is bound from its staging path; a block volume is its device node, bound on a file.
The target is made here and removed here, after proof that nothing is mounted on it any more.
Source: contract spec, section 2, second-publish table; contract node, CSIDriver (ephemeral volumes).
"""

from __future__ import annotations

import os
import stat
from contextlib import suppress

from msgspec import structs

from moorage.base.faults import declare_step
from moorage.framework.core import Core, log
from moorage.framework.device_mount import users_of
from moorage.framework.ephemeral import Ephemeral
from moorage.framework.network_mounts import NetworkMounts
from moorage.framework.node_journal import NodeJournal, Published, Staged
from moorage.framework.node_sources import NodeSources
from moorage.framework.path_errors import about_path, normal, unmount
from moorage.framework.proof import bound_device, mount_at, shows_volume
from moorage.framework.publish_context import for_driver, is_readonly
from moorage.framework.source import network_source
from moorage.framework.staging import Staging
from moorage.framework.translate import may_still_run
from moorage.framework.values import NodeVolume
from moorage.host import loop
from moorage.host.mount import ensure_bind_file, ensure_bind_mounted
from moorage.host.mountinfo import find_mount
from moorage.host.paths import ensure_directory, ensure_removed_target
from moorage.spec import messages as m
from moorage.spec.access import is_reader_only, plugin_context, same_publish_arguments, second_publish
from moorage.spec.errors import AlreadyExists, FailedPrecondition, InvalidArgument, NotFound
from moorage.spec.sealing import sealed, unsealed
from moorage.spec.types import NodeCapability, VolumeCapability
from moorage.spec.validate import is_ephemeral

BEGUN = declare_step("node.publish.begun", "the publishing is recorded before its first side effect")
MOUNTED = declare_step("node.publish.mounted", "the volume is bound at the target path")
PUBLISHED = declare_step("node.publish.recorded", "the publishing is recorded as complete")
UNMOUNTED = declare_step("node.unpublish.unmounted", "the target path is unmounted")
REMOVED = declare_step("node.unpublish.removed", "the target path is removed")
FORGOTTEN = declare_step("node.unpublish.forgotten", "the record of the publishing is erased")


class Publishing:
    """Handlers of publish and unpublish."""

    def __init__(
        self,
        core: Core,
        journal: NodeJournal,
        sources: NodeSources,
        network: NetworkMounts,
        *,
        staging: Staging,
        ephemeral: Ephemeral,
    ) -> None:
        self._core = core
        self._journal = journal
        self._sources = sources
        self._network = network
        self._staging = staging
        self._ephemeral = ephemeral

    async def publish(self, request: m.NodePublishVolumeRequest) -> m.NodePublishVolumeResponse:
        """NodePublishVolume."""
        return await self._core.calls.run(
            "NodePublishVolume",
            request,
            lambda: self._publish(request),
        )

    async def _publish(self, request: m.NodePublishVolumeRequest) -> m.NodePublishVolumeResponse:
        capability = request.volume_capability
        if capability is None:
            raise InvalidArgument("volume_capability is missing")
        if reason := self._core.driver.supports(capability):
            raise FailedPrecondition(f"volume {request.volume_id!r} cannot be used so: {reason}")
        row = _wish(request, capability)
        present = await self._second(row)
        if present is not None:
            return m.NodePublishVolumeResponse()
        try:
            if row.ephemeral:
                staged = await self._ephemeral.ensure(request, capability)
            else:
                staged = await self._staged(request, row)
            row = await self._bound(row, staged)
        except Exception as cause:
            if row.ephemeral and not may_still_run(cause):
                await self._forget_inline(row.volume_id)
            raise
        with PUBLISHED:
            await self._journal.put(row)
        log.info("volume.published", volume=row.volume_id, target=row.target_path, readonly=row.readonly)
        return m.NodePublishVolumeResponse()

    async def _bound(self, row: Published, staged: Staged) -> Published:
        """The volume bound at its target, or, after a final error, nothing there and no row of it."""
        run, path = self._core.invoke.run, row.target_path
        await self._check_target(row)
        was_there: bool = await run("node", _is_there, path)
        row = structs.replace(row, network_source=staged.network_source)
        own_loop = ""
        with BEGUN:
            await self._journal.put(row)
        try:
            with about_path(path, f"volume {row.volume_id!r} cannot be published"):
                if staged.network_source:
                    await run("node", _make_target, path)
                    readonly = await run("node", _is_readonly, row, staged)
                    with MOUNTED:
                        await self._network.bind(
                            staged.network_source, staged.staging_target_path, path, readonly=readonly
                        )
                else:
                    own_loop = await run("node", _bind, row, staged)
        except Exception as cause:
            if not may_still_run(cause):
                await self._unbind(row, remove=not was_there)
            raise
        return structs.replace(row, loop=own_loop, done=True)

    async def _check_target(self, row: Published) -> None:
        """Nothing foreign may be mounted at the target: what a row names is unmounted one day."""
        core, path = self._core, row.target_path
        if await core.invoke.run("node", mount_at, path) is None:
            return
        source = await self._sources.find_known(row.volume_id)
        if not await core.invoke.run("node", shows_volume, path, source):
            raise FailedPrecondition(f"something else is mounted at {path!r}; unmount it and repeat the call")

    async def _unbind(self, row: Published, *, remove: bool) -> None:
        run = self._core.invoke.run
        try:
            if own_loop := await self._unmounted(row):
                await run("node", _detach_reader, own_loop)
            if remove:
                with suppress(OSError):
                    await run("node", ensure_removed_target, row.target_path)
            await self._journal.drop(row)
        except Exception as failure:
            log.warning("volume.unpublish_failed", volume=row.volume_id, target=row.target_path, exc_info=failure)

    async def _unmounted(self, row: Published) -> str:
        """Nothing mounted at the target; the read-only loop device that was bound there, if any."""
        if row.network_source:
            await self._network.unmount(row.network_source, row.target_path)
            return ""
        own_loop: str = await self._core.invoke.run("node", _unmount, row.target_path, row.loop)
        return own_loop

    async def _forget_inline(self, volume_id: str) -> None:
        try:
            await self._ephemeral.remove(volume_id)
        except Exception as failure:
            log.warning("volume.delete_failed", volume=volume_id, exc_info=failure)

    async def _second(self, row: Published) -> Published | None:
        """The publishing that satisfies this one already; raises when the table says that it may not be."""
        other = self._journal.published_at(row.target_path)
        if other is not None and other.volume_id != row.volume_id and await self._in_place(other):
            raise AlreadyExists(f"volume {other.volume_id!r} is published at {row.target_path!r}; unpublish it first")
        multi = NodeCapability.SINGLE_NODE_MULTI_WRITER in self._core.declared.node
        for each in self._journal.published(row.volume_id):
            if not each.done or not await self._in_place(each):
                continue
            same_target = each.target_path == row.target_path
            match second_publish(
                row.volume_capability.access_mode,
                same_target=same_target,
                same_arguments=_same_arguments(row, each),
                multi_writer_declared=multi,
            ):
                case "already-exists":
                    raise AlreadyExists(
                        f"volume {row.volume_id!r} is published at {row.target_path!r} in another way; "
                        "unpublish it first"
                    )
                case "failed-precondition":
                    raise FailedPrecondition(
                        f"volume {row.volume_id!r} is published at {each.target_path!r} "
                        "and its access mode allows no second target"
                    )
                case _:
                    if same_target:
                        return each
        return None

    async def _in_place(self, row: Published) -> bool:
        return await self._core.invoke.run("node", mount_at, row.target_path) is not None

    async def _staged(self, request: m.NodePublishVolumeRequest, wish: Published) -> Staged:
        """The staging that this publishing builds on, made good when the mount table lost it."""
        path, capability = wish.staging_target_path, wish.volume_capability
        row = self._journal.staged_at(request.volume_id, path)
        volume = NodeVolume(
            volume_id=request.volume_id,
            volume_capability=unsealed(row.volume_capability, capability) if row is not None else capability,
            volume_context=request.volume_context,
            publish_context=request.publish_context,
            secrets=request.secrets,
        )
        source = await self._sources.find(volume)
        if row is None and not await self._core.invoke.run("node", shows_volume, path, source):
            raise FailedPrecondition(
                f"volume {request.volume_id!r} is not staged at {path!r}; call NodeStageVolume first"
            )
        if row is not None and row.volume_capability.is_block != capability.is_block:
            raise FailedPrecondition(f"volume {request.volume_id!r} is staged for another access type; stage it again")
        if row is not None and is_readonly(row.publish_context) and not is_readonly(request.publish_context):
            raise FailedPrecondition(f"volume {request.volume_id!r} is staged read-only; stage it again for writing")
        return await self._staging.ensure_staged(volume, path)

    # --- unpublish ---

    async def unpublish(self, request: m.NodeUnpublishVolumeRequest) -> m.NodeUnpublishVolumeResponse:
        """NodeUnpublishVolume; what is not published is fine."""
        return await self._core.calls.run(
            "NodeUnpublishVolume",
            request,
            lambda: self._unpublish(request),
        )

    async def _unpublish(self, request: m.NodeUnpublishVolumeRequest) -> m.NodeUnpublishVolumeResponse:
        run, path = self._core.invoke.run, normal(request.target_path)
        row = self._journal.published_at(path)
        if row is not None and row.volume_id != request.volume_id:
            raise NotFound(f"volume {request.volume_id!r} is not published at {path!r}; another volume is")
        left = row or await self._prove(request.volume_id, path)
        if left is None:
            await self._ephemeral.remove(request.volume_id)  # made by a publish that was killed before its row
            return m.NodeUnpublishVolumeResponse()
        with about_path(path, f"volume {request.volume_id!r} cannot be unpublished"):
            with UNMOUNTED:
                own_loop = await self._unmounted(left)
            with REMOVED:
                await run("node", ensure_removed_target, path)
        if own_loop:
            await run("node", _detach_reader, own_loop)
        await self._ephemeral.remove(request.volume_id)
        if row is not None:
            with FORGOTTEN:
                await self._journal.drop(row)
        log.info("volume.unpublished", volume=request.volume_id, target=path)
        return m.NodeUnpublishVolumeResponse()

    async def _prove(self, volume_id: str, path: str) -> Published | None:
        """Without a row: what a row would say of the volume or of an empty leftover of it, None for neither."""
        run = self._core.invoke.run
        known, source = True, None
        try:
            source = await self._sources.find_known(volume_id)
        except NotFound:
            known = False
        if await run("node", mount_at, path) is None:
            if not known or not await run("node", _is_leftover, path):
                return None
        elif not await run("node", shows_volume, path, source):
            raise FailedPrecondition(
                f"what is mounted at {path!r} is not known to be volume {volume_id!r}; unmount it by hand if it is"
            )
        return Published(
            volume_id=volume_id,
            target_path=path,
            volume_capability=self._sources.known(volume_id).volume_capability,
            network_source=network_source(source),
        )


def _wish(request: m.NodePublishVolumeRequest, capability: VolumeCapability) -> Published:
    return Published(
        volume_id=request.volume_id,
        target_path=normal(request.target_path),
        staging_target_path=normal(request.staging_target_path),
        volume_capability=capability,
        readonly=request.readonly,
        volume_context=plugin_context(request.volume_context),
        publish_context=request.publish_context,
        ephemeral=is_ephemeral(request),
    )


def _same_arguments(a: Published, b: Published) -> bool:
    return same_publish_arguments(_as_request(a), _as_request(b))


def _as_request(row: Published) -> m.NodePublishVolumeRequest:
    return m.NodePublishVolumeRequest(
        volume_id=row.volume_id,
        target_path=row.target_path,
        staging_target_path=row.staging_target_path,
        volume_capability=sealed(row.volume_capability),
        readonly=row.readonly or is_readonly(row.publish_context),
        publish_context=for_driver(row.publish_context),
        volume_context=row.volume_context,
    )


def _is_readonly(row: Published, staged: Staged) -> bool:
    """Whether the target refuses writes; that of a volume mounted read-only does, also when it is bound again."""
    if row.readonly or is_readonly(row.publish_context) or is_reader_only(row.volume_capability.access_mode):
        return True
    entry = find_mount(staged.staging_target_path)
    return entry is not None and "ro" in entry.options


def _is_there(path: str) -> bool:
    """Whether there is anything at the path; what is mounted there is not looked at, it may be dead."""
    return find_mount(path) is not None or os.path.lexists(path)


def _make_target(path: str) -> None:
    os.makedirs(os.path.dirname(path), mode=0o750, exist_ok=True)
    ensure_directory(path, mode=0o750)


def _bind(row: Published, staged: Staged) -> str:
    """Bind the volume at the target; the read-only loop device made for it, if one was."""
    readonly = _is_readonly(row, staged)
    if not row.volume_capability.is_block:
        _make_target(row.target_path)
        with MOUNTED:
            ensure_bind_mounted(staged.staging_target_path, row.target_path, readonly=readonly)
        return ""
    os.makedirs(os.path.dirname(row.target_path), mode=0o750, exist_ok=True)
    device = staged.device
    if readonly:
        device = loop.attach(staged.device, readonly=True, direct_io=False).path
    with MOUNTED:
        ensure_bind_file(device, row.target_path, readonly=readonly)
    return device if readonly else ""


def _unmount(path: str, own_loop: str) -> str:
    """Unmount the target; the read-only loop device that was bound there, recorded or not."""
    number = bound_device(path) if find_mount(path) is not None else None
    if number is not None and not own_loop:
        for device in loop.list_loops():
            if device.readonly and os.stat(device.path).st_rdev == number:
                own_loop = device.path
    unmount(path)
    return own_loop


def _detach_reader(device: str) -> None:
    """Give back a read-only loop device, unless another target shows it too."""
    if users_of(device):
        return
    for found in loop.list_loops():
        if found.path == device and found.readonly:
            loop.detach(device, expected_backing=found.backing)


def _is_leftover(path: str) -> bool:
    """An empty directory or an empty file, as an interrupted publish leaves it."""
    try:
        found = os.lstat(path)
        if stat.S_ISDIR(found.st_mode):
            return not os.listdir(path)
    except OSError:  # whatever is there, no publish left it
        return False
    return stat.S_ISREG(found.st_mode) and found.st_size == 0
