"""A volume in use on the node under test: staged, published, written to and read."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from moorage.host.mountinfo import MountEntry, read_mounts
from moorage.spec import messages as m
from moorage.spec.types import ControllerCapability, Volume, VolumeCapability
from moorage.verify.content import Pattern, read_pattern, write_pattern
from moorage.verify.rule import Failed

if TYPE_CHECKING:
    from moorage.verify.exchange import Exchange
    from moorage.verify.lab import Lab

__all__ = ["Use"]


@dataclass(slots=True)
class Use:
    """One volume with its staging path ("" for drivers without staging) and its latest target path."""

    lab: Lab
    volume: Volume
    capability: VolumeCapability
    publish_context: Mapping[str, str] = field(default_factory=dict)
    staging: str = ""
    target: str = ""

    # --- requests, for rules that judge the answers themselves -------------------------------------

    def attach_request(self) -> m.ControllerPublishVolumeRequest:
        """The request that attaches this volume to the node under test."""
        return m.ControllerPublishVolumeRequest(
            volume_id=self.volume.volume_id,
            node_id=self.lab.peer.node.node_id,
            volume_capability=self.capability,
            volume_context=self.volume.volume_context,
        )

    def stage_request(self) -> m.NodeStageVolumeRequest:
        """The request that stages this volume."""
        return m.NodeStageVolumeRequest(
            volume_id=self.volume.volume_id,
            staging_target_path=self.staging,
            volume_capability=self.capability,
            publish_context=self.publish_context,
            volume_context=self.volume.volume_context,
        )

    def publish_request(self, target: str, *, readonly: bool = False) -> m.NodePublishVolumeRequest:
        """The request that publishes this volume at `target`."""
        return m.NodePublishVolumeRequest(
            volume_id=self.volume.volume_id,
            target_path=target,
            volume_capability=self.capability,
            staging_target_path=self.staging,
            readonly=readonly,
            publish_context=self.publish_context,
            volume_context=self.volume.volume_context,
        )

    def unpublish_request(self, target: str = "") -> m.NodeUnpublishVolumeRequest:
        """The request that takes `target` (else the latest) away."""
        return m.NodeUnpublishVolumeRequest(volume_id=self.volume.volume_id, target_path=target or self.target)

    def unstage_request(self) -> m.NodeUnstageVolumeRequest:
        """The request that undoes staging."""
        return m.NodeUnstageVolumeRequest(volume_id=self.volume.volume_id, staging_target_path=self.staging)

    def detach_request(self) -> m.ControllerUnpublishVolumeRequest:
        """The request that detaches the volume from the node under test."""
        node_id = self.lab.peer.node.node_id
        return m.ControllerUnpublishVolumeRequest(volume_id=self.volume.volume_id, node_id=node_id)

    # --- steps that must succeed -------------------------------------------------------------------

    async def stage(self) -> None:
        """Stage, if the driver stages. Raises Failed."""
        if self.staging:
            (await self.lab.settle(self.stage_request())).response(m.NodeStageVolumeResponse)

    async def publish(self, *, target: str = "", readonly: bool = False) -> str:
        """Publish at `target`, else at a new path, which is returned and remembered. Raises Failed."""
        self.target = target or self.lab.path()
        request = self.publish_request(self.target, readonly=readonly)
        (await self.lab.settle(request)).response(m.NodePublishVolumeResponse)
        return self.target

    async def attempt(self) -> Exchange:
        """Attach, stage and publish, as far as the driver has these steps and refuses none; the last exchange."""
        lab = self.lab
        if lab.has(ControllerCapability.PUBLISH_UNPUBLISH_VOLUME):
            attached = await lab.settle(self.attach_request())
            if not attached.ok:
                return attached
            self.publish_context = attached.response(m.ControllerPublishVolumeResponse).publish_context
        if self.staging:
            staged = await lab.settle(self.stage_request())
            if not staged.ok:
                return staged
        self.target = lab.path()
        return await lab.settle(self.publish_request(self.target))

    async def unpublish(self, target: str = "") -> None:
        """Unpublish `target`, else the latest. Raises Failed."""
        (await self.lab.settle(self.unpublish_request(target))).response(m.NodeUnpublishVolumeResponse)

    async def unstage(self) -> None:
        """Unstage, if the driver stages. Raises Failed."""
        if self.staging:
            (await self.lab.settle(self.unstage_request())).response(m.NodeUnstageVolumeResponse)

    async def detach(self) -> None:
        """Detach, if it was attached. Raises Failed."""
        if (self.volume.volume_id, self.lab.peer.node.node_id) in self.lab.ledger.attachments:
            (await self.lab.settle(self.detach_request())).response(m.ControllerUnpublishVolumeResponse)

    async def end(self) -> None:
        """Unpublish what was published last, unstage, detach. Raises Failed."""
        if self.target:
            await self.unpublish()
        await self.unstage()
        await self.detach()

    # --- data --------------------------------------------------------------------------------------

    def place(self, pattern: Pattern, target: str = "") -> str:
        """The path that holds a pattern: a file in the mount, or the device itself."""
        target = target or self.target
        return target if self.capability.is_block else os.path.join(target, f"pattern-{pattern.seed}")

    async def write(self, pattern: Pattern, *, target: str = "") -> None:
        """Write a pattern and force it to storage. Raises Failed when the volume refuses."""
        try:
            await self.lab.io(write_pattern, self.place(pattern, target), pattern)
        except OSError as error:
            raise Failed(f"writing to the published volume failed: {error.strerror}", self.lab.last) from None

    async def holds(self, pattern: Pattern, *, target: str = "") -> bool:
        """Whether the volume holds the pattern. Raises Failed when it cannot be read."""
        try:
            return await self.lab.io(read_pattern, self.place(pattern, target), pattern)
        except OSError as error:
            raise Failed(f"reading the published volume failed: {error.strerror}", self.lab.last) from None

    async def expect_pattern(self, pattern: Pattern, when: str, *, target: str = "") -> None:
        """Raises Failed unless the volume holds the pattern; `when` says at which moment it must."""
        if not await self.holds(pattern, target=target):
            raise Failed(f"the data written before is not there {when}", self.lab.last)

    async def mounts(self, target: str = "") -> list[MountEntry]:
        """The mounts exactly at `target`, lowest first; empty when it is a plain directory or file."""
        path = await self.lab.io(os.path.realpath, target or self.target)
        return [entry for entry in await self.lab.io(read_mounts) if entry.mount_point == path]
