"""`kill -9` at every durable step of the framework and the local driver, then a replay.

A volume, its snapshot, restore, clone, expansion, group snapshot and all ways of using it live and
die on each kind of pool while the driver is killed before and after each step that it passes. At
the end there is what was asked for, once, with the right content, and then nothing at all. A step
at which no run was killed fails the test.
"""

from __future__ import annotations

import importlib
import os
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from tests.support.survivor import Survivor

from moorage.base.faults import declared_steps
from moorage.host import loop
from moorage.host.device import size_of
from moorage.host.mountinfo import find_mount, mounts_below
from moorage.spec import messages as m
from moorage.spec.errors import CsiError, FailedPrecondition, ResourceExhausted
from moorage.spec.types import (
    AccessMode,
    BlockAccess,
    CapacityRange,
    MountAccess,
    SnapshotSource,
    VolumeCapability,
    VolumeSource,
)
from moorage.testing.driver import DriverProcess

pytestmark = [pytest.mark.root, pytest.mark.slow, pytest.mark.timeout(900)]

MIB = 1 << 20
SIZE = CapacityRange(required_bytes=64 * MIB)
GROWN = CapacityRange(required_bytes=96 * MIB)
MOUNT = VolumeCapability(AccessMode.SINGLE_NODE_MULTI_WRITER, MountAccess())
BLOCK = VolumeCapability(AccessMode.SINGLE_NODE_MULTI_WRITER, BlockAccess())
NODE = "node-1"


def all_points() -> set[str]:
    """Before and after every step that the framework and the local driver declare; importing them declares."""
    importlib.import_module("moorage.framework.plugin")
    importlib.import_module("moorage.drivers.local")
    ours = [name for name, _ in declared_steps() if name.startswith(("framework.", "node.", "local."))]
    return {f"{when}:{name}" for name in ours for when in ("before", "after")}


@dataclass
class Life:
    """The calls of an orchestrator, each repeated until it succeeds."""

    survivor: Survivor
    base: Path
    mutable: dict[str, str]
    attach: bool = True

    async def call(self, rpc: str, request: Any) -> Any:
        return await self.survivor.call(rpc, request)

    async def create(self, name: str, source: Any = None, capability: VolumeCapability = MOUNT) -> str:
        request = m.CreateVolumeRequest(name, (capability,), SIZE, volume_content_source=source)
        volume_id: str = (await self.call("CreateVolume", request)).volume.volume_id
        return volume_id

    async def delete(self, volume_id: str) -> None:
        await self.call("DeleteVolume", m.DeleteVolumeRequest(volume_id))

    async def snapshot(self, volume_id: str, name: str) -> str:
        while True:
            answer = await self.call("CreateSnapshot", m.CreateSnapshotRequest(volume_id, name))
            if answer.snapshot.ready_to_use:
                snapshot_id: str = answer.snapshot.snapshot_id
                return snapshot_id

    async def use(
        self,
        volume_id: str,
        work: Callable[[str], Awaitable[None]],
        *,
        capability: VolumeCapability = MOUNT,
        readonly: bool = False,
    ) -> None:
        """Attach, stage, publish, work, and back."""
        staging, target = self.base / f"stage-{volume_id}", self.base / f"target-{volume_id}"
        staging.mkdir(exist_ok=True)
        if self.attach:
            await self.call("ControllerPublishVolume", m.ControllerPublishVolumeRequest(volume_id, NODE, capability))
        await self.call("NodeStageVolume", m.NodeStageVolumeRequest(volume_id, str(staging), capability))
        publish = m.NodePublishVolumeRequest(volume_id, str(target), capability, str(staging), readonly)
        await self.call("NodePublishVolume", publish)
        await work(str(target))
        await self.call("NodeUnpublishVolume", m.NodeUnpublishVolumeRequest(volume_id, str(target)))
        assert not target.exists()
        await self.call("NodeUnstageVolume", m.NodeUnstageVolumeRequest(volume_id, str(staging)))
        if self.attach:
            await self.call("ControllerUnpublishVolume", m.ControllerUnpublishVolumeRequest(volume_id, NODE))
        staging.rmdir()

    async def expect(self, volume_id: str, text: str | None) -> None:
        async def look(target: str) -> None:
            assert text is None or Path(target, "file").read_text() == text

        await self.use(volume_id, look)

    async def names(self) -> tuple[int, int]:
        """How many volumes and snapshots are listed."""
        volumes = await self.call("ListVolumes", m.ListVolumesRequest())
        snapshots = await self.call("ListSnapshots", m.ListSnapshotsRequest())
        return len(volumes.entries), len(snapshots.entries)


async def live(life: Life, *, images: bool) -> None:
    """The whole life of a few volumes."""
    one = await life.create("one")

    async def first(target: str) -> None:
        Path(target, "file").write_text("first")
        os.sync()

    await life.use(one, first)
    snapshot = await life.snapshot(one, "cut")

    async def second(target: str) -> None:
        Path(target, "file").write_text("second")
        os.sync()
        if images:
            await life.call("CreateSnapshot", m.CreateSnapshotRequest(one, "while in use"))
        grown = await life.call("ControllerExpandVolume", m.ControllerExpandVolumeRequest(one, GROWN))
        assert grown.capacity_bytes == GROWN.required_bytes
        try:
            await life.call("NodeExpandVolume", m.NodeExpandVolumeRequest(one, target))
        except CsiError as refused:  # growing a mounted ext4 needs CAP_SYS_RESOURCE
            assert "CAP_SYS_RESOURCE" in refused.message  # noqa: PT017 - any other refusal fails here

    await life.use(one, second)
    if life.mutable:
        await life.call("ControllerModifyVolume", m.ControllerModifyVolumeRequest(one, life.mutable))
    restored = await life.create("restored", SnapshotSource(snapshot))
    await life.expect(restored, "first")
    clone = await life.create("clone", VolumeSource(restored))
    await life.expect(clone, "first")
    await life.expect(one, "second")
    assert await life.names() == (3, 2 if images else 1)
    if images:
        await groups(life, restored, clone)
        await raw(life)
    await inline(life)
    for volume_id in (one, clone, restored):
        await life.delete(volume_id)
    for entry in (await life.call("ListSnapshots", m.ListSnapshotsRequest())).entries:
        await life.call("DeleteSnapshot", m.DeleteSnapshotRequest(entry.snapshot_id))
    assert await life.names() == (0, 0)


async def groups(life: Life, *volume_ids: str) -> None:
    answer = await life.call("CreateVolumeGroupSnapshot", m.CreateVolumeGroupSnapshotRequest("group", volume_ids))
    group = answer.group_snapshot
    assert len(group.snapshots) == len(volume_ids)
    members = tuple(member.snapshot_id for member in group.snapshots)
    await life.call("DeleteVolumeGroupSnapshot", m.DeleteVolumeGroupSnapshotRequest(group.group_snapshot_id, members))


async def raw(life: Life) -> None:
    volume = await life.create("raw", capability=BLOCK)

    async def grow(target: str) -> None:
        await life.call("ControllerExpandVolume", m.ControllerExpandVolumeRequest(volume, GROWN))
        await life.call("NodeExpandVolume", m.NodeExpandVolumeRequest(volume, target))
        assert size_of(target) == GROWN.required_bytes

    async def look(target: str) -> None:
        assert size_of(target) == GROWN.required_bytes

    await life.use(volume, grow, capability=BLOCK)
    await life.use(volume, look, capability=BLOCK, readonly=True)
    await life.delete(volume)


async def inline(life: Life) -> None:
    """An ephemeral volume, as kubelet asks for it."""
    target = life.base / "inline"
    context = {"csi.storage.k8s.io/ephemeral": "true", "size": "64Mi"}
    await life.call(
        "NodePublishVolume", m.NodePublishVolumeRequest("csi-inline", str(target), MOUNT, volume_context=context)
    )
    assert find_mount(str(target)) is not None
    await life.call("NodeUnpublishVolume", m.NodeUnpublishVolumeRequest("csi-inline", str(target)))


async def fail(life: Life) -> None:
    """Creations that end in a final error, killed while they are undone."""
    one = await life.create("source")
    two = await life.create("other source")
    last_steps = ("before:local.volume.placed", "before:local.snapshot.placed", "before:local.group.cut")
    await life.survivor.begin(*({"point": point, "action": "errno:ENOSPC", "times": None} for point in last_steps))
    with pytest.raises(ResourceExhausted):
        await life.create("impossible", VolumeSource(one))
    with pytest.raises(ResourceExhausted):
        await life.snapshot(one, "impossible")
    with pytest.raises(ResourceExhausted):
        await life.call("CreateVolumeGroupSnapshot", m.CreateVolumeGroupSnapshotRequest("impossible", (one, two)))
    await life.survivor.begin()
    assert await life.names() == (2, 0)
    await life.delete(one)
    await life.delete(two)


async def hold(life: Life, pool: Path) -> None:
    """Deletions that the storage system refuses, and then does not.

    What was marked for deletion before a death stays hidden until it is deleted; what was not is as before.
    """
    held = pool / "held.img"
    volumes = [await life.create(f"held {number}") for number in range(3)]
    snapshots = [await life.snapshot(volume, f"held {volume}") for volume in volumes]
    held.touch()
    for volume, snapshot in zip(volumes, snapshots, strict=True):
        with pytest.raises(FailedPrecondition):
            await life.call("DeleteSnapshot", m.DeleteSnapshotRequest(snapshot))
        with pytest.raises(FailedPrecondition):
            await life.delete(volume)
    await life.expect(volumes[-1], None)
    held.unlink()
    for volume, snapshot in zip(volumes, snapshots, strict=True):
        await life.call("DeleteSnapshot", m.DeleteSnapshotRequest(snapshot))
        await life.delete(volume)


def nothing_left(pool: Path, base: Path) -> None:
    """No file of a volume, no mount, no loop device."""
    left = [str(path.relative_to(pool)) for path in pool.rglob("*") if path.parent != pool]
    assert left == []
    assert [entry.mount_point for entry in mounts_below(str(base)) if entry.mount_point != str(pool.parent)] == []
    assert [device.backing_path for device in loop.list_loops() if str(pool) in device.backing_path] == []


@dataclass(frozen=True)
class Kind:
    """A kind of pool, and what its volumes can do."""

    title: str
    fs_type: str
    driver: str = "local"
    arguments: tuple[str, ...] = ()
    mutable: tuple[tuple[str, str], ...] = ()
    images: bool = False


KINDS = (
    Kind("images on a pool with reflink", "xfs", mutable=(("readAheadKiB", "256"),), images=True),
    Kind("images on a pool without reflink", "ext4", mutable=(("allocation", "reserved"),), images=True),
    Kind("subvolumes", "btrfs", mutable=(("compression", "zstd"),)),
    Kind("directories", "ext4", arguments=("--backend", "directory")),
    Kind("a driver whose snapshots are ready late", "ext4", driver="tests.support.late_toy:LateToy"),
)


async def run(kind: Kind, directory: Path, pool: Path, points: set[str]) -> list[str]:
    """Live on one kind of pool, killed at each of the points that are passed; where that was."""
    where = (
        ["--root", str(pool)] if kind.driver != "local" else ["--pool", str(pool), "--attach", "--attach-node", NODE]
    )
    process = DriverProcess(kind.driver, directory=directory, arguments=[*where, *kind.arguments])
    survivor = Survivor(process, points)
    life = Life(survivor, directory, dict(kind.mutable), attach=kind.driver == "local")
    try:
        await survivor.begin()
        await live(life, images=kind.images)
        if kind.images:
            await fail(life)
        if kind.driver != "local":
            await hold(life, pool)
        assert await life.names() == (0, 0)
    finally:
        await process.stop()
    nothing_left(pool, directory)
    return survivor.killed


async def test_killed_at_every_durable_step(tmp_path: Path, pool_of: Callable[[str], Path]) -> None:
    everywhere = all_points()
    killed: set[str] = set()
    for number, kind in enumerate(KINDS):
        directory = tmp_path / str(number)
        directory.mkdir()
        again = {point for point in everywhere if ":local." in point}
        deaths = await run(kind, directory, pool_of(kind.fs_type), (everywhere - killed) | again)
        print(f"\n{kind.title}: killed {len(deaths)} times", *deaths, sep="\n  ")
        killed.update(deaths)
    print(f"\n{len(killed)} of {len(everywhere)} points, before and after {len(everywhere) // 2} durable steps")
    assert sorted(everywhere - killed) == []
