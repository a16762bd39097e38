"""64 callers at once on eight volumes, with whatever RPC comes to their minds, for a minute.

Only OK, ABORTED and the codes that the state of things explains may be heard; afterwards what the driver lists, what
its journal says, what is in the pool and what the kernel shows must be one and the same, and all of it must go away
when asked to. `MOORAGE_RACE_SECONDS` shortens the minute for work on this test.
"""

from __future__ import annotations

import asyncio
import os
import random
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import pytest
from tests.support.adversary import NODE, OTHER_NODE, ServedLocal, listed, loops_below, tear_down

from moorage.host.mountinfo import mounts_below
from moorage.spec import messages as m
from moorage.spec.errors import Code, CsiError
from moorage.spec.rules import RPCS
from moorage.spec.types import (
    AccessMode,
    BlockAccess,
    CapacityRange,
    MountAccess,
    SnapshotSource,
    VolumeCapability,
    VolumeSource,
)

pytestmark = [pytest.mark.root, pytest.mark.slow, pytest.mark.timeout(300)]

RACE_S: Final = float(os.environ.get("MOORAGE_RACE_SECONDS", "60"))
CALLERS: Final = 64
VOLUMES: Final = 8
LOOP_LIMIT_S: Final = 0.1
MIB: Final = 1 << 20
MOUNT: Final = VolumeCapability(AccessMode.SINGLE_NODE_MULTI_WRITER, MountAccess())
SINGLE: Final = VolumeCapability(AccessMode.SINGLE_NODE_SINGLE_WRITER, MountAccess())
BLOCK: Final = VolumeCapability(AccessMode.SINGLE_NODE_MULTI_WRITER, BlockAccess())

ALREADY, BUSY, STATE, GONE, RANGE, INVALID = (
    Code.ALREADY_EXISTS,
    Code.ABORTED,
    Code.FAILED_PRECONDITION,
    Code.NOT_FOUND,
    Code.OUT_OF_RANGE,
    Code.INVALID_ARGUMENT,
)
ALLOWED: Final[dict[str, frozenset[Code]]] = {
    "CreateVolume": frozenset({ALREADY, BUSY, GONE, RANGE}),
    "DeleteVolume": frozenset({BUSY, STATE}),
    "ControllerPublishVolume": frozenset({ALREADY, BUSY, STATE, GONE}),
    "ControllerUnpublishVolume": frozenset({BUSY}),
    "ControllerExpandVolume": frozenset({BUSY, GONE, RANGE}),
    "ControllerModifyVolume": frozenset({BUSY, GONE}),
    "ControllerGetVolume": frozenset({GONE}),
    "ControllerGetVolumeHealth": frozenset({GONE}),
    "ValidateVolumeCapabilities": frozenset({GONE}),
    "CreateSnapshot": frozenset({ALREADY, BUSY, GONE}),
    "DeleteSnapshot": frozenset({BUSY, INVALID}),  # INVALID: a member of a group
    "GetSnapshot": frozenset({GONE}),
    "CreateVolumeGroupSnapshot": frozenset({ALREADY, BUSY, STATE, GONE}),
    "DeleteVolumeGroupSnapshot": frozenset({BUSY}),
    "GetVolumeGroupSnapshot": frozenset({GONE}),
    "GetMetadataAllocated": frozenset({BUSY, GONE}),
    "GetMetadataDelta": frozenset({BUSY, STATE, GONE}),
    "NodeStageVolume": frozenset({ALREADY, BUSY, STATE, GONE}),
    "NodeUnstageVolume": frozenset({BUSY, STATE}),
    "NodePublishVolume": frozenset({ALREADY, BUSY, STATE, GONE}),
    "NodeUnpublishVolume": frozenset({BUSY, STATE, GONE}),
    "NodeGetVolumeStats": frozenset({GONE}),
    "NodeExpandVolume": frozenset({BUSY, GONE, RANGE}),
    "NodeGetVolumeHealth": frozenset({GONE}),
}
"""What each RPC may answer besides OK; one that is not listed may answer nothing else."""


@dataclass
class World:
    """What the callers know of the volumes and snapshots that they work on, which may be out of date."""

    driver: ServedLocal
    base: Path
    volume_ids: list[str] = field(default_factory=lambda: ["unknown"])
    snapshot_ids: list[str] = field(default_factory=lambda: ["unknown"])
    groups: dict[str, tuple[str, ...]] = field(default_factory=lambda: {"unknown": ("unknown",)})
    heard: dict[str, Counter[str]] = field(default_factory=dict)
    wrong: list[str] = field(default_factory=list)

    async def call(self, rpc: str, request: Any, *, timeout_s: float = 120.0) -> Any:
        """The answer, or None for an error, which is held against the table."""
        code, text = Code.OK, ""
        answer: Any = None
        try:
            if RPCS[rpc].streaming:
                client = self.driver.client
                stream = client.stream(rpc, request, RPCS[rpc].response, timeout_s=timeout_s)
                answer = [message async for message in stream]
            else:
                answer = await self.driver.client.call(rpc, request, timeout_s=timeout_s)
        except CsiError as error:
            code, text = error.code, error.message
        self.heard.setdefault(rpc, Counter())[code.name] += 1
        gave_up = code is Code.DEADLINE_EXCEEDED and timeout_s < 1
        unable = "CAP_SYS_RESOURCE" in text  # a machine on which no mounted ext4 can grow
        if code is not Code.OK and code not in ALLOWED.get(rpc, frozenset()) and not (gave_up or unable):
            self.wrong.append(f"{rpc}: {code.name}: {text}")
        return answer

    def staging(self, volume_id: str) -> str:
        path = self.base / "staging" / volume_id
        path.mkdir(parents=True, exist_ok=True)
        return str(path)

    def target(self, volume_id: str, number: int) -> str:
        return str(self.base / "targets" / f"{volume_id}-{number}")


class Caller:
    """One of the callers: a source of requests that are plausible at some time."""

    def __init__(self, world: World, seed: int) -> None:
        self.world = world
        self.random = random.Random(seed)
        self.actions: list[tuple[Callable[[], Awaitable[None]], int]] = [
            (self.create, 6),
            (self.delete, 3),
            (self.attach, 3),
            (self.detach, 3),
            (self.snapshot, 4),
            (self.delete_snapshot, 3),
            (self.group, 2),
            (self.delete_group, 2),
            (self.change, 3),
            (self.stage, 8),
            (self.publish, 12),
            (self.unpublish, 10),
            (self.unstage, 6),
            (self.ask, 8),
            (self.ask_node, 6),
            (self.list, 3),
            (self.stream, 2),
        ]

    async def run(self, until_s: float) -> None:
        work, weights = zip(*self.actions, strict=True)
        while time.monotonic() < until_s:
            await self.random.choices(work, weights)[0]()
            await asyncio.sleep(0)

    # --- choices ---

    def volume(self) -> str:
        return self.random.choice(self.world.volume_ids[-3 * VOLUMES :])

    def a_snapshot(self) -> str:
        return self.random.choice(self.world.snapshot_ids[-3 * VOLUMES :])

    def name(self) -> str:
        return f"volume {self.random.randrange(VOLUMES)}"

    def capability(self) -> VolumeCapability:
        return self.random.choices((MOUNT, SINGLE, BLOCK), (8, 1, 2))[0]

    def node(self) -> str:
        return self.random.choice((NODE, OTHER_NODE))

    def patience_s(self) -> float:
        """Now and then a caller gives up long before the work is done."""
        return self.random.choice((0.005, 0.02, 0.08)) if self.random.random() < 0.05 else 120.0

    async def call(self, rpc: str, request: Any) -> Any:
        return await self.world.call(rpc, request, timeout_s=self.patience_s())

    # --- controller ---

    async def create(self) -> None:
        name = self.name()
        number = int(name.rpartition(" ")[2])
        source: Any = None
        if number >= VOLUMES // 2 and self.random.random() < 0.7:
            source = self.random.choice((SnapshotSource(self.a_snapshot()), VolumeSource(self.volume())))
        capabilities = (BLOCK,) if number == 3 else (MOUNT,) if self.random.random() < 0.9 else (SINGLE,)
        size = CapacityRange(32 * MIB) if self.random.random() < 0.9 else CapacityRange(16 * MIB, 24 * MIB)
        request = m.CreateVolumeRequest(name, capabilities, size, volume_content_source=source)
        if answer := await self.call("CreateVolume", request):
            self.world.volume_ids.append(answer.volume.volume_id)

    async def delete(self) -> None:
        await self.call("DeleteVolume", m.DeleteVolumeRequest(self.volume()))

    async def attach(self) -> None:
        request = m.ControllerPublishVolumeRequest(self.volume(), self.node(), self.capability())
        await self.call("ControllerPublishVolume", request)

    async def detach(self) -> None:
        node = self.random.choice(("", NODE, OTHER_NODE))
        await self.call("ControllerUnpublishVolume", m.ControllerUnpublishVolumeRequest(self.volume(), node))

    async def snapshot(self) -> None:
        name = f"snapshot {self.random.randrange(VOLUMES)}"
        if answer := await self.call("CreateSnapshot", m.CreateSnapshotRequest(self.volume(), name)):
            assert answer.snapshot.ready_to_use
            self.world.snapshot_ids.append(answer.snapshot.snapshot_id)

    async def delete_snapshot(self) -> None:
        await self.call("DeleteSnapshot", m.DeleteSnapshotRequest(self.a_snapshot()))

    async def group(self) -> None:
        sources = tuple({self.volume() for _ in range(self.random.randrange(1, 4))})
        request = m.CreateVolumeGroupSnapshotRequest(f"group {self.random.randrange(3)}", sources)
        if answer := await self.call("CreateVolumeGroupSnapshot", request):
            members = tuple(member.snapshot_id for member in answer.group_snapshot.snapshots)
            assert len(members) == len(sources)
            self.world.groups[answer.group_snapshot.group_snapshot_id] = members
            self.world.snapshot_ids.extend(members)

    async def delete_group(self) -> None:
        group_id, members = self.random.choice(list(self.world.groups.items())[-4:])
        await self.call("DeleteVolumeGroupSnapshot", m.DeleteVolumeGroupSnapshotRequest(group_id, members))

    async def change(self) -> None:
        if self.random.random() < 0.5:
            size = CapacityRange(self.random.choice((32, 48, 64)) * MIB)
            await self.call("ControllerExpandVolume", m.ControllerExpandVolumeRequest(self.volume(), size))
        else:
            mutable = {"readAheadKiB": self.random.choice(("128", "256"))}
            await self.call("ControllerModifyVolume", m.ControllerModifyVolumeRequest(self.volume(), mutable))

    # --- node ---

    async def stage(self) -> None:
        volume = self.volume()
        request = m.NodeStageVolumeRequest(volume, self.world.staging(volume), self.capability())
        await self.call("NodeStageVolume", request)

    async def publish(self) -> None:
        volume = self.volume()
        request = m.NodePublishVolumeRequest(
            volume,
            self.world.target(volume, self.random.randrange(3)),
            self.capability(),
            self.world.staging(volume),
            self.random.random() < 0.2,
        )
        await self.call("NodePublishVolume", request)

    async def unpublish(self) -> None:
        volume = self.volume()
        target = self.world.target(volume, self.random.randrange(3))
        if self.random.random() < 0.05:
            volume = self.volume()  # of another volume, perhaps
        await self.call("NodeUnpublishVolume", m.NodeUnpublishVolumeRequest(volume, target))

    async def unstage(self) -> None:
        volume = self.volume()
        await self.call("NodeUnstageVolume", m.NodeUnstageVolumeRequest(volume, self.world.staging(volume)))

    async def ask_node(self) -> None:
        volume, number = self.volume(), self.random.randrange(3)
        target, staging = self.world.target(volume, number), self.world.staging(volume)
        rpc, request = self.random.choice(
            (
                ("NodeGetVolumeStats", m.NodeGetVolumeStatsRequest(volume, target)),
                ("NodeGetVolumeStats", m.NodeGetVolumeStatsRequest(volume, staging)),
                ("NodeExpandVolume", m.NodeExpandVolumeRequest(volume, target)),
                ("NodeGetVolumeHealth", m.NodeGetVolumeHealthRequest(volume, target)),
                ("NodeGetStorageHealth", m.NodeGetStorageHealthRequest()),
                ("NodeGetInfo", m.NodeGetInfoRequest()),
            )
        )
        await self.call(rpc, request)

    # --- questions ---

    async def ask(self) -> None:
        rpc, request = self.random.choice(
            (
                ("ControllerGetVolume", m.ControllerGetVolumeRequest(self.volume())),
                ("ControllerGetVolumeHealth", m.ControllerGetVolumeHealthRequest(self.volume())),
                ("ValidateVolumeCapabilities", m.ValidateVolumeCapabilitiesRequest(self.volume(), (MOUNT,))),
                ("GetSnapshot", m.GetSnapshotRequest(self.a_snapshot())),
                ("GetCapacity", m.GetCapacityRequest()),
                ("Probe", m.ProbeRequest()),
                ("GetPluginInfo", m.GetPluginInfoRequest()),
                ("ControllerGetCapabilities", m.ControllerGetCapabilitiesRequest()),
            )
        )
        await self.call(rpc, request)
        group_id, members = self.random.choice(list(self.world.groups.items())[-4:])
        await self.call("GetVolumeGroupSnapshot", m.GetVolumeGroupSnapshotRequest(group_id, members))

    async def list(self) -> None:
        await self.call("ListVolumes", m.ListVolumesRequest(self.random.randrange(5)))
        await self.call("ListSnapshots", m.ListSnapshotsRequest(source_volume_id=self.volume()))
        await self.call("ControllerListVolumeHealth", m.ControllerListVolumeHealthRequest())

    async def stream(self) -> None:
        await self.call("GetMetadataAllocated", m.GetMetadataAllocatedRequest(self.a_snapshot()))
        delta = m.GetMetadataDeltaRequest(self.a_snapshot(), self.a_snapshot())
        await self.call("GetMetadataDelta", delta)


def ids(rows: list[dict[str, Any]] | None, key: str) -> set[str]:
    return {str(row[key]) for row in rows or ()}


async def check_consistent(world: World) -> None:
    """Lists, journal, pool and kernel tell the same story."""
    driver, rows = world.driver, world.driver.rows()
    volumes, snapshots = await listed(driver)
    assert "intent" not in rows
    assert volumes == ids(rows.get("volume"), "volume_id") == set(os.listdir(driver.pool / "volumes"))
    assert snapshots == ids(rows.get("snapshot"), "snapshot_id") == set(os.listdir(driver.pool / "snapshots"))
    assert os.listdir(driver.pool / "tmp") == []
    assert ids(rows.get("attachment"), "volume_id") <= volumes
    mounted = {each.mount_point for each in mounts_below(str(world.base))}
    staged = [row for row in rows.get("staged", ()) if row.get("done")]
    published = ids([row for row in rows.get("published", ()) if row.get("done")], "target_path")
    expected = {
        row["staging_target_path"] for row in staged if row["volume_capability"]["access_type"]["type"] == "mount"
    }
    assert mounted - {str(driver.pool.parent)} == published | expected
    images = {device.backing_path.split("/")[-2] for device in loops_below(driver.pool)}
    assert images == ids(staged, "volume_id")


async def test_64_callers_at_once(tmp_path: Path, pool: Path) -> None:
    base = tmp_path / "node"
    base.mkdir()
    driver = ServedLocal(tmp_path, pool)
    await driver.start()
    world = World(driver, base)
    seed = random.randrange(1 << 32)
    print(f"\nseed {seed}")
    try:
        await Caller(world, seed).create()
        await driver.fetch("/metrics")
        before = driver.descriptors()
        until_s = time.monotonic() + RACE_S
        async with asyncio.TaskGroup() as callers:
            for number in range(CALLERS):
                callers.create_task(Caller(world, seed + number).run(until_s))
        await driver.idle()
        for rpc, codes in sorted(world.heard.items()):
            print(f"  {rpc:28} {dict(codes)}")
        assert not world.wrong, "\n".join(
            f"{count} times {text}" for text, count in Counter(world.wrong).most_common(20)
        )
        await check_consistent(world)
        await tear_down(driver)
        assert driver.rows() == {}
        assert await listed(driver) == (set(), set())
        assert [str(path) for path in pool.rglob("*") if path.parent != pool] == []
        assert [each.mount_point for each in mounts_below(str(tmp_path))] == [str(pool.parent)]
        assert loops_below(pool) == []
        assert list((base / "targets").iterdir()) == []
        assert driver.descriptors() - before == Counter()
    finally:
        status = await driver.stop()
    assert status == 0
    slowest_s, callback = driver.slowest_callback_s()
    print(f"  slowest callback {slowest_s * 1e3:.1f} ms: {callback}")
    assert slowest_s < LOOP_LIMIT_S, callback
    assert [rpc for rpc in ALLOWED if not world.heard[rpc]["OK"]] == []
