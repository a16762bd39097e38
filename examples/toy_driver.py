"""A complete CSI driver in one screen: a volume is a sparse file, a snapshot is a copy of it."""

import os
import shutil
import socket
from pathlib import Path
from typing import Annotated

import moorage.framework as csi


class ToyConfig(csi.Config):
    root: Annotated[Path, csi.Option("directory that holds volumes and snapshots", metavar="DIR")]


class ToyDriver(csi.Driver):
    name = "toy.example.com"
    Config = ToyConfig

    def start(self) -> None:
        self.config.root.mkdir(parents=True, exist_ok=True)

    def path(self, object_id: str) -> Path:
        return Path(self.config.root) / f"{os.path.basename(object_id)}.img"

    def copy(self, source_id: str, target_id: str, size_bytes: int) -> None:
        shutil.copyfile(self.path(source_id), self.path(target_id))
        os.truncate(self.path(target_id), size_bytes)

    def create_volume(self, volume: csi.NewVolume) -> None:
        self.path(volume.volume_id).touch()
        os.truncate(self.path(volume.volume_id), volume.size_bytes)

    def clone_volume(self, volume: csi.NewVolume, source: csi.VolumeRecord) -> None:
        self.copy(source.volume_id, volume.volume_id, volume.size_bytes)

    def restore_snapshot(self, volume: csi.NewVolume, snapshot: csi.SnapshotRecord) -> None:
        self.copy(snapshot.snapshot_id, volume.volume_id, volume.size_bytes)

    def delete_volume(self, volume: csi.VolumeRecord) -> None:
        self.path(volume.volume_id).unlink(missing_ok=True)

    def expand_volume(self, volume: csi.VolumeRecord, size_bytes: int) -> int:
        os.truncate(self.path(volume.volume_id), size_bytes)
        return size_bytes

    def create_snapshot(self, snapshot: csi.NewSnapshot, source: csi.VolumeRecord) -> None:
        self.copy(source.volume_id, snapshot.snapshot_id, source.capacity_bytes)

    def delete_snapshot(self, snapshot: csi.SnapshotRecord) -> None:
        self.path(snapshot.snapshot_id).unlink(missing_ok=True)

    def node_info(self) -> csi.NodeInfo:
        return csi.NodeInfo(node_id=socket.gethostname())

    def node_source(self, volume: csi.NodeVolume) -> csi.ImageFile:
        if not os.path.exists(self.path(volume.volume_id)):
            raise csi.VolumeNotFound(volume.volume_id)
        return csi.ImageFile(self.path(volume.volume_id))
