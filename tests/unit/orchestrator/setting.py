"""A volume, a machine and a store that exist only in memory, for the tests of the orchestrator."""

from __future__ import annotations

import asyncio
from collections.abc import Set
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

from tests.unit.orchestrator.memory_driver import MemoryDriver

from moorage.base.backoff import Backoff
from moorage.orchestrator.calling import Caller, Patience, Progress, Silent
from moorage.orchestrator.drivers import Drivers
from moorage.orchestrator.execute import Executor
from moorage.orchestrator.groups import Groups
from moorage.orchestrator.model import Actual, Desired, Mount, Mounted, Presence, VolumeRecord
from moorage.orchestrator.requests import NodeFacts
from moorage.orchestrator.snapshots import Snapshots
from moorage.orchestrator.volumes import NewVolume, Volumes
from moorage.orchestrator.workspace import Workspace, open_workspace
from moorage.spec.capabilities import Declared
from moorage.spec.types import (
    AccessMode,
    BlockAccess,
    CapacityRange,
    ControllerCapability,
    MountAccess,
    NodeCapability,
    VolumeCapability,
    VolumeExpansion,
)

MIB = 1 << 20
FILE_SYSTEM = VolumeCapability(AccessMode.SINGLE_NODE_WRITER, MountAccess("ext4"))
BLOCK = VolumeCapability(AccessMode.SINGLE_NODE_WRITER, BlockAccess())


def declared(*names: str, expansion: VolumeExpansion = VolumeExpansion.ONLINE, node_expands: bool = False) -> Declared:
    """Capabilities by short names: create, attach, stage, expand."""
    controller = {
        "create": ControllerCapability.CREATE_DELETE_VOLUME,
        "attach": ControllerCapability.PUBLISH_UNPUBLISH_VOLUME,
        "expand": ControllerCapability.EXPAND_VOLUME,
    }
    node = {NodeCapability.EXPAND_VOLUME} if node_expands else set()
    if "stage" in names:
        node.add(NodeCapability.STAGE_UNSTAGE_VOLUME)
    return Declared(
        expansion=frozenset({expansion}),
        controller=frozenset(controller[name] for name in names if name in controller),
        node=frozenset(node),
        services=frozenset({"Identity", "Controller", "Node"}),
    )


def a_volume(
    *,
    created: Presence = Presence.ABSENT,
    attached: Presence = Presence.ABSENT,
    staged: Presence = Presence.ABSENT,
    mounts: tuple[Mounted, ...] = (),
    wanted: tuple[Mount, ...] = (),
    exists: bool = True,
    size_bytes: int = 0,
    node_expansion_bytes: int = 0,
    capability: VolumeCapability = FILE_SYSTEM,
) -> VolumeRecord:
    """A volume of 64 MiB in the state given."""
    made = created is not Presence.ABSENT
    actual = Actual(
        created=created,
        volume_id="v1" if made else "",
        capacity_bytes=64 * MIB if made else 0,
        attached=attached,
        staged=staged,
        staging_path="/staging/data" if staged is not Presence.ABSENT else "",
        mounts=mounts,
        node_expansion_bytes=node_expansion_bytes,
    )
    return VolumeRecord(
        name="data",
        driver="memory",
        request_name="data-1",
        capability=capability,
        capacity_range=CapacityRange(required_bytes=64 * MIB),
        desired=Desired(exists=exists, size_bytes=size_bytes, mounts=wanted),
        actual=actual,
    )


@dataclass
class MemoryStore:
    """Records that are as durable as the test process."""

    volumes: dict[str, VolumeRecord] = field(default_factory=dict)

    async def save_volume(self, volume: VolumeRecord) -> None:
        self.volumes[volume.name] = volume

    async def drop_volume(self, name: str) -> None:
        self.volumes.pop(name, None)


@dataclass
class MemoryMachine:
    """Knows which paths the memory driver mounted, and which staging directories were made."""

    driver: MemoryDriver
    boot: str = "boot-1"
    staging: set[str] = field(default_factory=set)
    parents: list[str] = field(default_factory=list)

    def boot_id(self) -> str:
        return self.boot

    def mounted(self, paths: Set[str]) -> frozenset[str]:
        return frozenset(paths & self.driver.mounts)

    def make_staging(self, path: str) -> None:
        self.staging.add(path)

    def remove_staging(self, path: str) -> str:
        self.staging.discard(path)
        return ""

    def make_parent(self, path: str, *, block: bool) -> None:
        self.parents.append(path)


class JumpingClock:
    """Time that passes by sleeping only: no test waits."""

    def __init__(self) -> None:
        self.now_s = 0.0
        self.naps: list[float] = []

    def monotonic(self) -> float:
        return self.now_s

    def wall_time(self) -> datetime:
        return datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=self.now_s)

    async def sleep(self, duration_s: float) -> None:
        self.naps.append(duration_s)
        self.now_s += duration_s


def an_executor(
    driver: MemoryDriver,
    store: MemoryStore,
    *,
    machine: MemoryMachine | None = None,
    clock: JumpingClock | None = None,
    nomad_order: bool = False,
    progress: Progress | None = None,
) -> Executor:
    """An executor with 100 s of patience."""
    caller = Caller(
        calls=driver,
        patience=Patience(limit_s=100, backoff=Backoff(initial_s=1, maximum_s=30)),
        deadline_s=100,
        clock=clock or JumpingClock(),
        progress=progress or Silent(),
    )
    return Executor(
        caller=caller,
        declared=driver.capabilities,
        node=NodeFacts("node-1"),
        store=store,
        machine=machine or MemoryMachine(driver),
        staging_base="/base",
        nomad_order=nomad_order,
    )


class Notes(Silent):
    """Progress that remembers the calls and the notes."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.notes: list[str] = []

    def finished(self, rpc: str, subject: str, *, elapsed_s: float) -> None:
        self.calls.append(rpc)

    def note(self, text: str) -> None:
        self.notes.append(text)


class QuickClock(JumpingClock):
    """Jumps, but lets other tasks and other processes have their turn."""

    async def sleep(self, duration_s: float) -> None:
        await super().sleep(duration_s)
        await asyncio.sleep(0.001)


@dataclass
class Desk:
    """A workspace on a real directory, in front of a driver in memory."""

    driver: MemoryDriver
    workspace: Workspace
    machine: MemoryMachine
    clock: QuickClock
    notes: Notes

    @property
    def volumes(self) -> Volumes:
        return Volumes(self.workspace)

    @property
    def snapshots(self) -> Snapshots:
        return Snapshots(self.workspace)

    @property
    def groups(self) -> Groups:
        return Groups(self.workspace)

    async def register(self) -> str:
        """Register the driver; its name."""
        return (await Drivers(self.workspace).add("/run/memory.sock", name="memory")).name


def a_desk(directory: Path, driver: MemoryDriver | None = None, *, nomad_order: bool = False) -> Desk:
    """A workspace below `directory`; a second one on the same directory is a second process."""
    driver = driver or MemoryDriver()
    machine, clock, notes = MemoryMachine(driver), QuickClock(), Notes()
    workspace = open_workspace(
        str(directory),
        patience=Patience(limit_s=100, backoff=Backoff(initial_s=1, maximum_s=30)),
        progress=notes,
        connect=lambda _: driver,
        machine=machine,
        clock=clock,
        nomad_order=nomad_order,
    )
    return Desk(driver, workspace, machine, clock, notes)


def a_wish(name: str = "data", *, size_bytes: int = 64 * MIB) -> NewVolume:
    """What a user would ask for."""
    return NewVolume(name=name, driver="memory", capability=FILE_SYSTEM, size_bytes=size_bytes)
