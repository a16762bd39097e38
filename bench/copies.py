"""Snapshot, restore and clone of a mounted volume with 1 GiB of data, against copying it by hand.

The local driver runs as a process of its own and is called over its socket; `cp` and `tar` copy the same image and
the same files on the same pool, in the same run. The commands are not made to sync, the driver's answers are durable.

    python -m bench.copies
"""

from __future__ import annotations

import argparse
import asyncio
import fcntl
import os
import time
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from bench import measure, pools

from moorage.host import ioctl, syscalls
from moorage.host.fiemap import file_extents
from moorage.rpc.client import Client
from moorage.spec import messages as m
from moorage.spec.types import (
    AccessMode,
    CapacityRange,
    ContentSource,
    MountAccess,
    SnapshotSource,
    VolumeCapability,
    VolumeSource,
)
from moorage.testing.driver import DriverProcess

DATA_BYTES = 1 << 30
BLOCK_BYTES = 64 << 20  # repeated: gzip looks back 32 KiB, so this is as good as random
VOLUME_BYTES = 3 << 29
POOL_BYTES = 32 << 30
FILLED_BYTES = 6 << 30
SNAPSHOTS, COPIES = 11, 5
MARGIN_S = 0.020
CAPABILITY = VolumeCapability(AccessMode.SINGLE_NODE_WRITER, MountAccess("ext4"))


@dataclass(frozen=True, slots=True)
class Mounted:
    """A volume in use: where its image is and where it is mounted."""

    volume_id: str
    image: Path
    staging: Path
    target: Path


async def mounted(client: Client, name: str, *, directory: Path, pool: Path) -> Mounted:
    """Make a volume and publish it, as an orchestrator does, then fill it."""
    wish = m.CreateVolumeRequest(name, (CAPABILITY,), CapacityRange(required_bytes=VOLUME_BYTES))
    volume_id = (await client.create_volume(wish)).volume.volume_id
    staging, target = directory / f"staging-{name}", directory / f"target-{name}"
    staging.mkdir()
    await client.node_stage_volume(m.NodeStageVolumeRequest(volume_id, str(staging), CAPABILITY))
    await client.node_publish_volume(
        m.NodePublishVolumeRequest(volume_id, str(target), CAPABILITY, staging_target_path=str(staging))
    )
    await asyncio.to_thread(fill, target / "data")
    return Mounted(volume_id, pool / "volumes" / volume_id / "disk.img", staging, target)


def fill(path: Path) -> None:
    """Incompressible data, on disk."""
    block = os.urandom(BLOCK_BYTES)
    with path.open("wb", buffering=0) as file:
        for _ in range(DATA_BYTES // BLOCK_BYTES):
            file.write(block)
        os.fsync(file.fileno())


def settle(paths: Iterable[Path]) -> None:
    """Write out everything on these file systems, so that no measurement pays for another."""
    for path in paths:
        fd = os.open(path, os.O_RDONLY)
        try:
            syscalls.syncfs(fd)
        finally:
            os.close(fd)


def freeze_clone_thaw(source: Mounted, target: Path) -> float:
    """How long the kernel takes for a consistent clone, in seconds: three ioctls and nothing else."""
    with source.image.open("rb") as image, target.open("wb") as clone:
        mount_fd = os.open(source.target, os.O_RDONLY)
        try:
            began_s = time.perf_counter()
            fcntl.ioctl(mount_fd, ioctl.FIFREEZE, 0)
            try:
                fcntl.ioctl(clone.fileno(), ioctl.FICLONE, image.fileno())
            finally:
                fcntl.ioctl(mount_fd, ioctl.FITHAW, 0)
            return time.perf_counter() - began_s
        finally:
            os.close(mount_fd)


class Copying:
    """The measurements, on two volumes that are in use: one is copied, the other is for the raw ioctls."""

    def __init__(self, client: Client, volume: Mounted, sibling: Mounted, *, scratch: Path) -> None:
        self._client = client
        self._volume = volume
        self._sibling = sibling
        self._scratch = scratch
        self._made = 0

    def _settle(self) -> None:
        settle((self._volume.target, self._sibling.target, self._scratch))

    async def snapshot(self) -> str:
        self._made += 1
        request = m.CreateSnapshotRequest(self._volume.volume_id, f"snapshot-{self._made}")
        return (await self._client.create_snapshot(request)).snapshot.snapshot_id

    async def copy_of(self, source: ContentSource) -> str:
        self._made += 1
        wish = m.CreateVolumeRequest(
            f"copy-{self._made}",
            (CAPABILITY,),
            CapacityRange(required_bytes=VOLUME_BYTES),
            volume_content_source=source,
        )
        return (await self._client.create_volume(wish)).volume.volume_id

    async def snapshots(self) -> tuple[float, float]:
        """Seconds of CreateSnapshot and of the raw ioctls, by turns, p50 of each."""
        through_rpc, raw = [], []
        for number in range(SNAPSHOTS):
            self._settle()
            raw.append(freeze_clone_thaw(self._sibling, self._scratch / "raw.img"))
            self._settle()
            began_s = time.perf_counter()
            snapshot_id = await self.snapshot()
            if number:  # the first call after a start is no measure of the others
                through_rpc.append(time.perf_counter() - began_s)
            await self._client.delete_snapshot(m.DeleteSnapshotRequest(snapshot_id))
        return measure.p50(through_rpc), measure.p50(raw)

    async def volumes(self, source: ContentSource) -> float:
        """Seconds of CreateVolume from a source, p50."""

        async def once() -> float:
            began_s = time.perf_counter()
            volume_id = await self.copy_of(source)
            elapsed_s = time.perf_counter() - began_s
            await self._client.delete_volume(m.DeleteVolumeRequest(volume_id))
            return elapsed_s

        return await self._median(once, COPIES)

    async def restore(self) -> float:
        """Seconds of CreateVolume from a snapshot, p50."""
        snapshot_id = await self.snapshot()
        elapsed_s = await self.volumes(SnapshotSource(snapshot_id))
        await self._client.delete_snapshot(m.DeleteSnapshotRequest(snapshot_id))
        return elapsed_s

    async def clone(self) -> float:
        """Seconds of CreateVolume from the volume while it is mounted, p50."""
        return await self.volumes(VolumeSource(self._volume.volume_id))

    async def by_hand(self) -> dict[str, float]:
        """Seconds of the commands that people use instead."""
        image, copy, archive = self._volume.image, self._scratch / "copy.img", self._scratch / "data.tar.gz"

        async def command(*argv: object) -> float:
            elapsed_s = await measure.command_s(*map(str, argv))
            copy.unlink(missing_ok=True)
            return elapsed_s

        return {
            "cp --reflink=always": await self._median(lambda: command("cp", "--reflink=always", image, copy), COPIES),
            "cp": await self._median(lambda: command("cp", "--reflink=never", image, copy), 2),
            "tar -cz": await self._median(lambda: command("tar", "-czf", archive, "-C", self._volume.target, "."), 1),
        }

    async def _median(self, once: Callable[[], Awaitable[float]], times: int) -> float:
        samples = []
        for _ in range(times):
            self._settle()
            samples.append(await once())
        return measure.p50(samples)


async def unmount(client: Client, volume: Mounted) -> None:
    """The way back of `mounted`."""
    await client.node_unpublish_volume(m.NodeUnpublishVolumeRequest(volume.volume_id, str(volume.target)))
    await client.node_unstage_volume(m.NodeUnstageVolumeRequest(volume.volume_id, str(volume.staging)))
    await client.delete_volume(m.DeleteVolumeRequest(volume.volume_id))


def tell(table: measure.Table, ours: dict[str, float], by_hand: dict[str, float]) -> None:
    """Every ratio; copies that share blocks are to be faster than copies of bytes."""
    for name, seconds in by_hand.items():
        table.time(name, seconds)
    for name, seconds in ours.items():
        table.time(name, seconds)
        for other, reference_s in by_hand.items():
            limit = None if "reflink" in other else 1.0
            table.ratio(f"{name} / {other}", seconds, reference_s, limit=limit)


async def benchmark() -> None:
    if os.geteuid() != 0:
        print("copies of mounted volumes are not measured: loop devices and mounts need root; run this as root")
        return
    table = measure.Table("Copies of a mounted ext4 volume of 1.5 GiB with 1 GiB of data, on xfs with reflinks")
    with (
        measure.workspace() as directory,
        pools.xfs(directory, size_bytes=POOL_BYTES, filled_bytes=FILLED_BYTES) as disk,
    ):
        pool, scratch = disk / "pool", disk / "scratch"
        scratch.mkdir()
        driver = DriverProcess("local", directory=directory, arguments=["--pool", str(pool)])
        try:
            await driver.start()
            volume, sibling = [
                await mounted(driver.client, name, directory=directory, pool=pool) for name in ("data", "sibling")
            ]
            copying = Copying(driver.client, volume, sibling, scratch=scratch)
            table.row("extents of the image", str(len(list(file_extents(str(volume.image))))))
            snapshot_s, raw_s = await copying.snapshots()
            table.time("FIFREEZE, FICLONE, FITHAW alone, p50", raw_s)
            table.at_most("CreateSnapshot, p50", snapshot_s * 1e3, (raw_s + MARGIN_S) * 1e3, unit="ms", digits=1)
            table.at_most("  more than the ioctls", (snapshot_s - raw_s) * 1e3, MARGIN_S * 1e3, unit="ms", digits=1)
            ours = {"snapshot": snapshot_s, "restore": await copying.restore(), "clone": await copying.clone()}
            tell(table, ours, await copying.by_hand())
            for used in (volume, sibling):
                await unmount(driver.client, used)
        finally:
            await driver.stop()


def main() -> None:
    argparse.ArgumentParser(description="Compare snapshot, restore and clone with cp and tar.").parse_args()
    measure.run(benchmark)


if __name__ == "__main__":
    main()
