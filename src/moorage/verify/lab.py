"""What a rule works with: calls to the driver, volumes made and used in the right order, files off the loop.

Everything made here is taken back after the rule by its ledger. This module judges only what every rule takes
for granted (a volume can be made, staged, published); it knows no particular rule.
"""

from __future__ import annotations

import asyncio
import os
import random
import time
import uuid
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final, ParamSpec, TypeVar

import msgspec
from msgspec import Struct

from moorage.base.threads import DaemonPool
from moorage.spec import messages as m
from moorage.spec.capabilities import Declared
from moorage.spec.errors import Code
from moorage.spec.rules import BY_REQUEST, Rpc
from moorage.spec.types import (
    AccessMode,
    BlockAccess,
    CapacityRange,
    ControllerCapability,
    MountAccess,
    NodeCapability,
    OpenEnum,
    PluginCapability,
    Secrets,
    Snapshot,
    TopologyRequirement,
    Volume,
    VolumeCapability,
)
from moorage.verify.exchange import Exchange
from moorage.verify.ledger import Ledger
from moorage.verify.peer import Peer
from moorage.verify.rule import Failed, Skipped
from moorage.verify.settings import Settings, secrets_for
from moorage.verify.use import Use

__all__ = ["Lab"]

P = ParamSpec("P")
T = TypeVar("T")
_IO_TIMEOUT_S: Final = 30.0
_FIRST_PAUSE_S: Final = 0.05
_LONGEST_PAUSE_S: Final = 1.0


class Lab:
    """One rule's workplace; `random` follows from the run's seed and the rule's id.

    `directory` is an empty directory of this rule alone, `last` the latest call. `read_only` says that nothing
    may be made or changed.
    """

    def __init__(
        self,
        peer: Peer,
        settings: Settings,
        *,
        rule_id: str,
        directory: Path,
        pool: DaemonPool,
        read_only: bool = False,
    ) -> None:
        self.peer = peer
        self.settings = settings
        self.read_only = read_only
        self.directory = directory
        self.ledger = Ledger()
        self.random = random.Random(f"{settings.seed}/{rule_id}")
        self.last: Exchange | None = None
        self._pool = pool
        self._names = 0

    @property
    def declared(self) -> Declared:
        """What the driver declares."""
        return self.peer.declared

    def has(self, *capabilities: OpenEnum) -> bool:
        """Whether the driver declares all of these."""
        return all(self.declared.has(capability) for capability in capabilities)

    # --- calls -------------------------------------------------------------------------------------

    async def call(self, request: Struct, *, timeout_s: float | None = None) -> Exchange:
        """Make a call and tell what came back, whatever it is; the run's secrets are added where they belong."""
        request = self._with_secrets(request)
        self.ledger.begin(request)
        return self._noted(await self.peer.send(request, timeout_s=timeout_s or self.settings.call_timeout_s))

    async def call_bytes(self, rpc: Rpc, body: bytes, request: Struct) -> Exchange:
        """Make a call with a body that no struct can express; reports show `request` instead."""
        return self._noted(await self.peer.send_bytes(rpc, body, request, timeout_s=self.settings.call_timeout_s))

    async def settle(self, request: Struct, *, patience_s: float | None = None) -> Exchange:
        """Make a call again and again until its outcome is final or the run's patience is over; the last exchange."""
        give_up_s = time.monotonic() + (patience_s or self.settings.patience_s)
        pause_s = _FIRST_PAUSE_S
        while True:
            exchange = await self.call(request)
            if exchange.final or time.monotonic() + pause_s > give_up_s:
                return exchange
            await asyncio.sleep(pause_s)
            pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)

    def _with_secrets(self, request: Struct) -> Struct:
        rpc = BY_REQUEST[type(request)]
        if not rpc.secret_fields or getattr(request, "secrets", None):
            return request
        secrets = secrets_for(rpc.name, self.settings.secrets)
        return msgspec.structs.replace(request, secrets=secrets) if secrets else request

    def _noted(self, exchange: Exchange) -> Exchange:
        self.last = exchange
        self.ledger.record(exchange)
        return exchange

    # --- names, places, files ----------------------------------------------------------------------

    def name(self, prefix: str = "verify") -> str:
        """A name that nothing else has, of a form that every driver takes."""
        return f"{prefix}-{uuid.uuid4()}"

    def path(self, prefix: str = "target") -> str:
        """A path in this rule's directory where nothing is yet; its parent exists."""
        self._names += 1
        return str(self.directory / f"{prefix}-{self._names}")

    async def io(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run a blocking function off the loop, within 30 s: a dead mount must not stop the suite.

        Raises Failed when it does not come back, and whatever the function raises.
        """
        limit = asyncio.timeout(_IO_TIMEOUT_S)
        try:
            async with limit:
                return await self._pool.call(function, *args, **kwargs)
        except TimeoutError:
            if not limit.expired():  # the kernel's own ETIMEDOUT
                raise
            name = getattr(function, "__name__", "a file operation")
            raise Failed(f"{name} on the volume's path did not come back within {_IO_TIMEOUT_S:g} s") from None

    async def close(self) -> None:
        """Let go of the threads; one that hangs in the kernel is abandoned."""
        await self._pool.close(0.0)

    # --- requests ----------------------------------------------------------------------------------

    def capability(
        self,
        mode: AccessMode | None = None,
        *,
        block: bool | None = None,
        fs_type: str | None = None,
        mount_flags: tuple[str, ...] = (),
        group: str = "",
    ) -> VolumeCapability:
        """A capability; without `mode` and `block` as the run's settings and the driver's abilities say."""
        mode = self.settings.access_mode if mode is None else mode
        if block if block is not None else self.settings.access == "block":
            return VolumeCapability(access_mode=mode, access_type=BlockAccess())
        fs = self.settings.fs_type if fs_type is None else fs_type
        mount = MountAccess(fs_type=fs, mount_flags=mount_flags, volume_mount_group=group)
        return VolumeCapability(access_mode=mode, access_type=mount)

    def create_request(self, **fields: Any) -> m.CreateVolumeRequest:
        """A request for a new volume of the run's size and parameters, reachable from the node under test.

        `fields` are those of CreateVolumeRequest and win.
        """
        defaults: dict[str, Any] = {
            "name": self.name(),
            "volume_capabilities": (self.capability(),),
            "capacity_range": CapacityRange(required_bytes=self.settings.size_bytes),
            "parameters": self.settings.parameters,
            "accessibility_requirements": self.requirement(),
        }
        return m.CreateVolumeRequest(**{**defaults, **fields})

    def requirement(self) -> TopologyRequirement | None:
        """The topology of the node under test as a requirement; None for drivers without topology."""
        place = self.peer.node.accessible_topology
        if not self.has(PluginCapability.VOLUME_ACCESSIBILITY_CONSTRAINTS) or place is None:
            return None
        return TopologyRequirement(requisite=(place,), preferred=(place,))

    async def supports(self, capability: VolumeCapability) -> bool:
        """Whether a volume of this capability can be made; asked once a run by making one."""
        known: dict[VolumeCapability, bool] = self.peer.supported
        if capability not in known:
            exchange = await self.settle(self.create_request(volume_capabilities=(capability,)))
            if not exchange.ok and exchange.code is not Code.INVALID_ARGUMENT:
                exchange.response(m.CreateVolumeResponse)
            known[capability] = exchange.ok
            if exchange.ok:
                await self.delete(exchange.response(m.CreateVolumeResponse).volume.volume_id)
        return known[capability]

    async def require(self, capability: VolumeCapability, what: str) -> None:
        """Raises Skipped unless volumes of this capability can be made; `what` names it in the reason."""
        if not await self.supports(capability):
            raise Skipped(f"the driver makes no volumes with {what}")

    # --- volumes and snapshots ---------------------------------------------------------------------

    async def create(self, **fields: Any) -> Volume:
        """Make a volume and return it. Raises Failed when the driver does not."""
        exchange = await self.settle(self.create_request(**fields))
        return exchange.response(m.CreateVolumeResponse).volume

    async def create_or_skip(self, what: str, **fields: Any) -> Volume:
        """Make a volume with `what`, which a driver may lack. Raises Skipped when it says so, Failed otherwise."""
        exchange = await self.settle(self.create_request(**fields))
        if exchange.code in (Code.INVALID_ARGUMENT, Code.OUT_OF_RANGE):
            raise Skipped(f"the driver makes no volumes with {what}: it answered {exchange.described()}")
        return exchange.response(m.CreateVolumeResponse).volume

    async def delete(self, volume_id: str) -> None:
        """Delete a volume. Raises Failed."""
        (await self.settle(m.DeleteVolumeRequest(volume_id=volume_id))).response(m.DeleteVolumeResponse)

    async def snapshot(self, volume_id: str, *, name: str = "") -> Snapshot:
        """Cut a snapshot and wait until it is ready. Raises Failed."""
        request = m.CreateSnapshotRequest(
            source_volume_id=volume_id,
            name=name or self.name("snap"),
            parameters=self.settings.snapshot_parameters,
        )
        give_up_s = time.monotonic() + self.settings.patience_s
        pause_s = _FIRST_PAUSE_S
        while True:
            exchange = await self.settle(request)
            found = exchange.response(m.CreateSnapshotResponse).snapshot
            if found.ready_to_use:
                return found
            if time.monotonic() > give_up_s:
                raise Failed(f"the snapshot was not ready to use after {self.settings.patience_s:g} s", exchange)
            await asyncio.sleep(pause_s)
            pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)

    async def delete_snapshot(self, snapshot_id: str) -> None:
        """Delete a snapshot. Raises Failed."""
        (await self.settle(m.DeleteSnapshotRequest(snapshot_id=snapshot_id))).response(m.DeleteSnapshotResponse)

    # --- use on a node -----------------------------------------------------------------------------

    async def attach(
        self, volume: Volume, capability: VolumeCapability, *, node_id: str = "", readonly: bool = False
    ) -> Mapping[str, str]:
        """ControllerPublish to the node under test, if the driver attaches at all; the publish context."""
        if not self.has(ControllerCapability.PUBLISH_UNPUBLISH_VOLUME):
            return {}
        request = m.ControllerPublishVolumeRequest(
            volume_id=volume.volume_id,
            node_id=node_id or self.peer.node.node_id,
            volume_capability=capability,
            readonly=readonly and self.has(ControllerCapability.PUBLISH_READONLY),
            volume_context=volume.volume_context,
        )
        return (await self.settle(request)).response(m.ControllerPublishVolumeResponse).publish_context

    async def placed(self, volume: Volume, capability: VolumeCapability | None = None) -> Use:
        """A volume with a new staging directory, where the driver stages; nothing has been called yet."""
        staging = ""
        if self.has(NodeCapability.STAGE_UNSTAGE_VOLUME):
            staging = self.path("staging")
            await self.io(os.mkdir, staging)
        return Use(self, volume=volume, capability=capability or self.capability(), staging=staging)

    async def ready(self, volume: Volume, capability: VolumeCapability | None = None, *, readonly: bool = False) -> Use:
        """The same, attached to the node under test, where the driver attaches. Raises Failed."""
        use = await self.placed(volume, capability)
        use.publish_context = await self.attach(volume, use.capability, readonly=readonly)
        return use

    async def use(
        self,
        volume: Volume,
        capability: VolumeCapability | None = None,
        *,
        readonly: bool = False,
        target: str = "",
    ) -> Use:
        """Attach, stage and publish a volume, as far as the driver has these steps. Raises Failed."""
        use = await self.ready(volume, capability, readonly=readonly)
        await use.stage()
        await use.publish(target=target, readonly=readonly)
        return use

    def secrets(self, rpc_name: str) -> Secrets:
        """The run's secrets for one RPC."""
        return secrets_for(rpc_name, self.settings.secrets)
