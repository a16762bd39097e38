"""A driver, made into the handlers of a CSI plugin.

This is where a driver class, a store, the locks and the handlers meet; `moorage.framework.serving`
puts the result behind a socket. Knows nothing of gRPC.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any, cast

from moorage.base.clock import Clock, SystemClock
from moorage.base.locks import KeyedLocks
from moorage.base.log import get_logger
from moorage.base.operations import RunningOperation
from moorage.base.scrubber import SecretScrubber
from moorage.framework.attach import Attachments
from moorage.framework.call_secrets import stream_with_secrets, with_secrets
from moorage.framework.calls import Calls
from moorage.framework.changes import Changes
from moorage.framework.core import Core
from moorage.framework.driver import Driver
from moorage.framework.ephemeral import Ephemeral
from moorage.framework.groups import Groups
from moorage.framework.identity import Identity
from moorage.framework.inference import Mode, all_problems, declare
from moorage.framework.invoke import Invoker
from moorage.framework.journal_store import JournalStore
from moorage.framework.listing import Listing
from moorage.framework.metadata import Metadata
from moorage.framework.network_mounts import NetworkMounts
from moorage.framework.node_journal import NodeJournal
from moorage.framework.node_sources import NodeSources
from moorage.framework.publishing import Publishing
from moorage.framework.removal import Removal
from moorage.framework.snapshots import Snapshots
from moorage.framework.staging import Staging
from moorage.framework.stateless_store import StatelessStore
from moorage.framework.states import LocalJournal, Stateless
from moorage.framework.store import Store
from moorage.framework.tag_store import TagStore
from moorage.framework.usage import Usage
from moorage.framework.volumes import Volumes
from moorage.spec.names import driver_name_problem
from moorage.spec.rules import RPCS
from moorage.state.journal import Journal

log = get_logger(__name__)

Handler = Callable[[Any], Awaitable[Any]] | Callable[[Any], AsyncIterator[Any]]


class PluginError(Exception):
    """A driver cannot be served as it is; the message says why and what to change."""


class Plugin:
    """One driver object, ready to answer.

    mode: which services this process serves; plugin capabilities are the same in all modes.
    scrubber: hides the secrets of running operations from the log, also after their caller has gone.
    limit: how many operations may run at once, for the controller and for the node each.
    network: what mounts the volumes of servers, closed with this plugin.
    state_dir: holds the journal of this process: `journal.sqlite` and the staging of inline volumes.
    Raises `PluginError` when the driver contradicts itself.
    """

    def __init__(
        self,
        driver: Driver,
        *,
        state_dir: Path,
        mode: Mode = "all",
        clock: Clock | None = None,
        scrubber: SecretScrubber | None = None,
        limit: int = 256,
        network: NetworkMounts | None = None,
    ) -> None:
        if not isinstance(getattr(driver, "name", None), str):
            raise PluginError(f"{type(driver).__name__} has no name; give it one, such as storage.example.org")
        self.driver = driver
        self.name, self.version = driver.name, driver.version
        self.mode = mode
        self.declared = declare(driver, mode)
        problems = all_problems(driver, self.declared)
        if name_problem := driver_name_problem(driver.name):
            problems.insert(0, name_problem)
        if problems:
            raise PluginError("; ".join(problems))
        if self.declared.services == {"Identity"}:
            raise PluginError(f"{self.name} has nothing to serve in mode {mode}; choose another mode")
        self._state_dir = state_dir
        self._clock = clock or SystemClock()
        self._invoke = Invoker(driver)
        self._network = network or NetworkMounts()
        self._calls = Calls(limit=limit, clock=self._clock, locks=KeyedLocks(), scrubber=scrubber or SecretScrubber())
        self._journal: Journal | None = None
        self._driver_started = False
        self.handlers: Mapping[str, Handler] = {}

    async def start(self) -> None:
        """Open the journal, start the driver, make the handlers. Raises what those raise."""
        if self._needs_journal():
            self._state_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._journal = Journal.open(self._state_dir / "journal.sqlite", owner=f"moorage serve {self.name}")
        try:
            if self._invoke.offers("start"):
                await self._invoke.call("controller", "start")
            self._driver_started = True
        except BaseException:
            if self._journal is not None:
                await self._journal.close()
            raise
        self.handlers = self._handlers()
        log.info("plugin.started", driver=self.name, version=self.version, mode=self.mode)

    async def stop(self, grace_s: float = 20.0) -> list[RunningOperation]:
        """Wait for running operations, stop a driver that was started, close the journal; returns what still runs."""
        left = await self._calls.drain(grace_s)
        try:
            if self._driver_started and not left and self._invoke.offers("stop"):
                await self._invoke.call("controller", "stop")
        finally:
            await self._invoke.close()
            await self._network.close()
            if self._journal is not None:
                await self._journal.close()
        log.info("plugin.stopped", driver=self.name, left=len(left))
        return left

    def running(self) -> list[RunningOperation]:
        """The operations that run now, oldest first."""
        return self._calls.running()

    def _needs_journal(self) -> bool:
        return isinstance(self.driver.state, LocalJournal) or "Node" in self.declared.services

    def _store(self) -> Store:
        if isinstance(self.driver.state, LocalJournal):
            if self._journal is None:
                raise PluginError(f"{self.name} keeps its state in a journal, which is not open")
            return JournalStore(self._journal)
        if isinstance(self.driver.state, Stateless):
            return StatelessStore(self._invoke)
        return TagStore(self._invoke)

    def _handlers(self) -> dict[str, Handler]:
        node = NodeJournal(self._journal) if self._journal is not None else None
        core = Core(
            driver=self.driver,
            declared=self.declared,
            invoke=self._invoke,
            calls=self._calls,
            store=self._store(),
            clock=self._clock,
            node=node,
        )
        handlers: dict[str, Handler] = {}
        handlers.update(_identity(Identity(core)))
        handlers.update(_controller(core))
        if node is not None:
            handlers.update(_node(core, node, self._network, self._state_dir))
        return {name: _carrying(name, handler) for name, handler in handlers.items()}


def _carrying(name: str, handler: Any) -> Handler:
    """The handler of an RPC that has secrets, with these at hand for the driver."""
    rpc = RPCS[name]
    if not rpc.secret_fields:
        return cast("Handler", handler)
    return stream_with_secrets(handler) if rpc.streaming else with_secrets(handler)


def _identity(identity: Identity) -> dict[str, Handler]:
    return {
        "GetPluginInfo": identity.info,
        "GetPluginCapabilities": identity.capabilities,
        "Probe": identity.probe,
        "ControllerGetCapabilities": identity.controller,
        "GroupControllerGetCapabilities": identity.group,
        "NodeGetCapabilities": identity.node,
        "NodeGetInfo": identity.node_info,
    }


def _controller(core: Core) -> dict[str, Handler]:
    volumes, removal, snapshots, changes = Volumes(core), Removal(core), Snapshots(core), Changes(core)
    attachments, listing, metadata = Attachments(core), Listing(core), Metadata(core)
    groups = Groups(core, snapshots)
    return {
        "CreateVolume": volumes.create,
        "DeleteVolume": removal.delete,
        "ValidateVolumeCapabilities": listing.validate,
        "ControllerGetVolume": listing.get,
        "ControllerPublishVolume": attachments.publish,
        "ControllerUnpublishVolume": attachments.unpublish,
        "ControllerExpandVolume": changes.expand,
        "ControllerModifyVolume": changes.modify,
        "ListVolumes": listing.volumes,
        "ListSnapshots": listing.snapshots,
        "GetCapacity": listing.capacity,
        "ControllerGetVolumeHealth": listing.health,
        "ControllerListVolumeHealth": listing.unhealthy,
        "CreateSnapshot": snapshots.create,
        "DeleteSnapshot": snapshots.delete,
        "GetSnapshot": snapshots.get,
        "CreateVolumeGroupSnapshot": groups.create,
        "DeleteVolumeGroupSnapshot": groups.delete,
        "GetVolumeGroupSnapshot": groups.get,
        "GetMetadataAllocated": metadata.allocated,
        "GetMetadataDelta": metadata.delta,
    }


def _node(core: Core, journal: NodeJournal, network: NetworkMounts, state_dir: Path) -> dict[str, Handler]:
    sources = NodeSources(core, journal)
    staging, usage = Staging(core, journal, sources, network), Usage(core, journal, sources, network)
    ephemeral = Ephemeral(core, staging, state_dir)
    publishing = Publishing(core, journal, sources, network, staging=staging, ephemeral=ephemeral)
    return {
        "NodeStageVolume": staging.stage,
        "NodeUnstageVolume": staging.unstage,
        "NodePublishVolume": publishing.publish,
        "NodeUnpublishVolume": publishing.unpublish,
        "NodeGetVolumeStats": usage.stats,
        "NodeExpandVolume": usage.expand,
        "NodeGetVolumeHealth": usage.health,
        "NodeGetStorageHealth": usage.storage,
    }
