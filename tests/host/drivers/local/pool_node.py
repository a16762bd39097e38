"""Real pools on loop devices, and volumes used as a node uses them: attached, formatted, mounted."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from msgspec import structs

from moorage.drivers.local import LocalConfig, LocalDriver
from moorage.framework.source import Directory, ImageFile
from moorage.framework.values import NewSnapshot, NewVolume, NodeVolume, SnapshotRecord, VolumeRecord
from moorage.host.filesystem import ensure_filesystem, make_filesystem
from moorage.host.loop import attach, detach, list_loops
from moorage.host.mount import ensure_bind_mounted, ensure_unmounted, mount_filesystem
from moorage.spec.types import (
    AccessMode,
    BlockAccess,
    MountAccess,
    Snapshot,
    SnapshotSource,
    Volume,
    VolumeCapability,
    VolumeSource,
)

MIB = 1 << 20
MOUNTED = VolumeCapability(AccessMode.SINGLE_NODE_WRITER, MountAccess())
RAW = VolumeCapability(AccessMode.SINGLE_NODE_WRITER, BlockAccess())


@contextmanager
def mounted_pool(directory: Path, fs_type: str, *, size_bytes: int = 768 * MIB) -> Iterator[Path]:
    """A fresh file system on a sparse file, mounted; all of it gone afterwards."""
    image, point = directory / f"{fs_type}.pool", directory / f"{fs_type}-pool"
    with image.open("wb") as file:
        file.truncate(size_bytes)
    point.mkdir()
    device = attach(str(image), direct_io=False)
    try:
        make_filesystem(device.path, fs_type)
        mount_filesystem(device.path, str(point), fs_type=fs_type)
        try:
            yield point
        finally:
            ensure_unmounted(str(point))
    finally:
        detach(device.path, expected_backing=str(image))


@dataclass
class Node:
    """A driver on one pool, and this machine as its node."""

    driver: LocalDriver
    pool: Path
    mounts: Path
    stack: ExitStack

    @property
    def reflink(self) -> bool:
        return self.driver._pools.default.facts.reflink

    def again(self, **settings: object) -> LocalDriver:
        """The driver as a process that was started anew, after the end of the one before."""
        self.driver.stop()
        driver = LocalDriver(LocalConfig(pool=(str(self.pool),), node_id="node-a", **settings))  # type: ignore[arg-type]  # test settings
        driver.start()
        self.driver = driver
        return driver

    def stop(self) -> None:
        """End the driver, whichever it is by now."""
        self.driver.stop()

    def create(
        self,
        volume_id: str,
        *,
        size_bytes: int = 32 * MIB,
        capability: VolumeCapability = MOUNTED,
        parameters: Mapping[str, str] | None = None,
    ) -> VolumeRecord:
        made = self.driver.create_volume(new_volume(volume_id, size_bytes, capability, parameters or {}))
        return record_of(made, capability)

    def snapshot(self, snapshot_id: str, source: VolumeRecord) -> SnapshotRecord:
        new = NewSnapshot(snapshot_id=snapshot_id, name=f"name of {snapshot_id}", source_volume_id=source.volume_id)
        return snapshot_record(self.driver.create_snapshot(new, source))

    def restore(
        self,
        volume_id: str,
        snapshot: SnapshotRecord,
        *,
        size_bytes: int = 0,
        capability: VolumeCapability = MOUNTED,
        parameters: Mapping[str, str] | None = None,
    ) -> VolumeRecord:
        new = new_volume(volume_id, size_bytes or snapshot.size_bytes, capability, parameters or {})
        new = _with_source(new, SnapshotSource(snapshot.snapshot_id))
        return record_of(self.driver.restore_snapshot(new, snapshot), capability)

    def clone(
        self,
        volume_id: str,
        source: VolumeRecord,
        *,
        size_bytes: int = 0,
        capability: VolumeCapability = MOUNTED,
        parameters: Mapping[str, str] | None = None,
    ) -> VolumeRecord:
        new = new_volume(volume_id, size_bytes or source.capacity_bytes, capability, parameters or {})
        new = _with_source(new, VolumeSource(source.volume_id))
        return record_of(self.driver.clone_volume(new, source), capability)

    def mount(self, volume_id: str, fs_type: str = "ext4") -> Path:
        """Use a volume as a node does; undone at the end of the test, or by `unmount`."""
        source = self.driver.node_source(NodeVolume(volume_id=volume_id, volume_capability=MOUNTED))
        target = self.mounts / volume_id
        target.mkdir(exist_ok=True)
        if isinstance(source, Directory):
            ensure_bind_mounted(str(source.path), str(target))
        else:
            assert isinstance(source, ImageFile)
            device = attach(str(source.path), direct_io=False)
            ensure_filesystem(device.path, fs_type)
            mount_filesystem(device.path, str(target), fs_type=fs_type)
        self.stack.callback(self.unmount, volume_id)
        return target

    def unmount(self, volume_id: str) -> None:
        target = self.mounts / volume_id
        ensure_unmounted(str(target))
        image = self.pool / "volumes" / volume_id / "disk.img"
        if image.exists():
            self.detach(volume_id)

    def attach_raw(self, volume_id: str) -> str:
        """Use a volume as a raw block device; its path."""
        source = self.driver.node_source(NodeVolume(volume_id=volume_id, volume_capability=RAW))
        assert isinstance(source, ImageFile)
        device = attach(str(source.path), direct_io=False)
        self.stack.callback(self.detach, volume_id)
        return device.path

    def detach(self, volume_id: str) -> None:
        image = self.pool / "volumes" / volume_id / "disk.img"
        if image.exists():
            info = image.stat()
            for device in list_loops():
                if device.backing == (info.st_dev, info.st_ino):
                    detach(device.path, expected_backing=device.backing)

    def image(self, volume_id: str) -> Path:
        return self.pool / "volumes" / volume_id / "disk.img"

    def left(self) -> list[str]:
        """Names of all objects and leftovers in the pool."""
        return sorted(
            f"{home}/{name}" for home in ("volumes", "snapshots", "tmp") for name in os.listdir(self.pool / home)
        )


def new_volume(
    volume_id: str, size_bytes: int, capability: VolumeCapability, parameters: Mapping[str, str]
) -> NewVolume:
    return NewVolume(
        volume_id=volume_id,
        name=f"name of {volume_id}",
        size_bytes=size_bytes,
        volume_capabilities=(capability,),
        parameters=parameters,
    )


def _with_source(new: NewVolume, source: SnapshotSource | VolumeSource) -> NewVolume:
    return structs.replace(new, content_source=source)


def record_of(volume: Volume, capability: VolumeCapability) -> VolumeRecord:
    return VolumeRecord(
        volume_id=volume.volume_id,
        name=f"name of {volume.volume_id}",
        capacity_bytes=volume.capacity_bytes,
        volume_capabilities=(capability,),
        content_source=volume.content_source,
    )


def snapshot_record(snapshot: Snapshot) -> SnapshotRecord:
    return SnapshotRecord(
        snapshot_id=snapshot.snapshot_id,
        name="",
        source_volume_id=snapshot.source_volume_id,
        creation_time=snapshot.creation_time,
        size_bytes=snapshot.size_bytes,
        group_snapshot_id=snapshot.group_snapshot_id,
    )


def run(*argv: str) -> str:
    return subprocess.run(argv, check=True, capture_output=True, text=True).stdout


MakeNode = Callable[..., Node]

on_every_pool = pytest.mark.parametrize("node", ["xfs", "ext4", "btrfs"], indirect=True)
on_reflink_pools = pytest.mark.parametrize("node", ["xfs", "btrfs"], indirect=True)
