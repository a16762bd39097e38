"""The toy driver with what few drivers need: snapshots that are ready later, and volumes to be connected."""

from __future__ import annotations

from datetime import UTC, datetime

from examples.toy_driver import ToyDriver

import moorage.framework as csi


class LateToy(ToyDriver):
    """Snapshots become ready when they are asked about again; what is held is not deleted."""

    name = "late.example.com"
    ephemeral = True

    def create_snapshot(self, snapshot: csi.NewSnapshot, source: csi.VolumeRecord) -> csi.Snapshot:  # type: ignore[override]  # a toy says less
        super().create_snapshot(snapshot, source)
        return csi.Snapshot(
            snapshot.snapshot_id, source.volume_id, datetime.now(UTC), source.capacity_bytes, ready_to_use=False
        )

    def snapshot_ready(self, snapshot: csi.SnapshotRecord) -> bool:
        return self.path(snapshot.snapshot_id).exists()

    def delete_volume(self, volume: csi.VolumeRecord) -> None:
        self.refuse_to_delete()
        super().delete_volume(volume)

    def delete_snapshot(self, snapshot: csi.SnapshotRecord) -> None:
        self.refuse_to_delete()
        super().delete_snapshot(snapshot)

    def refuse_to_delete(self) -> None:
        """A storage system that keeps what someone holds on to, as a file says."""
        if self.path("held").exists():
            raise csi.FailedPrecondition("the object is held; let go of it first")

    def node_source(self, volume: csi.NodeVolume) -> csi.ImageFile | None:  # type: ignore[override]  # a toy says less
        source = super().node_source(volume)
        return source if self.path(f"used-{volume.volume_id}").exists() else None

    def node_connect(self, volume: csi.NodeVolume) -> None:
        self.path(f"used-{volume.volume_id}").touch()

    def node_disconnect(self, volume: csi.NodeVolume) -> None:
        self.path(f"used-{volume.volume_id}").unlink(missing_ok=True)
