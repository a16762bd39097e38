"""A driver whose storage system is an object in memory, with every fault that a test can wish for.

    storage = MemoryStorage()                      # outlives any number of drivers and plugins
    driver = MemoryDriver(storage=storage)
    storage.fail("create_volume", Unavailable("the array reboots"))     # once, before the effect
    gate = storage.hold("clone_volume")            # the next clone waits until gate.release()

The volume's data is one string. With `MemoryConfig.file` the storage is kept in a JSON file, so that it also
outlives a process that is killed. Controller side only. Public: part of `moorage.testing`.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import msgspec

import moorage.framework as csi
from moorage.testing.memory_storage import Gate, MemoryContent, MemoryStorage, StoredSnapshot, StoredVolume

__all__ = ["Gate", "MemoryConfig", "MemoryDriver", "MemoryStorage", "StoredSnapshot", "StoredVolume", "TaggedDriver"]


class MemoryConfig(csi.Config):
    """Settings of the memory drivers."""

    file: Annotated[Path | None, csi.Option("JSON file that keeps the storage; none: memory only")] = None


class MemoryDriver(csi.Driver):
    """Everything a controller can do, with its records in the framework's journal."""

    name = "memory.example.org"
    Config = MemoryConfig
    access_modes = frozenset(csi.AccessMode) - {csi.AccessMode.UNKNOWN}

    def __init__(self, config: MemoryConfig | None = None, *, storage: MemoryStorage | None = None) -> None:
        super().__init__(config or MemoryConfig())
        self.storage = storage or MemoryStorage(self.config.file)

    def _store(self, content: MemoryContent, wish: csi.NewVolume, data: str) -> None:
        known = content.volumes.get(wish.volume_id)
        if known is None:
            content.volumes[wish.volume_id] = StoredVolume(
                volume_id=wish.volume_id,
                size_bytes=wish.size_bytes,
                data=data,
                settings=dict(wish.mutable_parameters),
                tags=dict(wish.tags),
            )

    def create_volume(self, volume: csi.NewVolume) -> csi.Volume | None:
        with self.storage.acting("create_volume") as content:
            self._store(content, volume, "")
        return None

    def restore_snapshot(self, volume: csi.NewVolume, snapshot: csi.SnapshotRecord) -> csi.Volume | None:
        with self.storage.acting("restore_snapshot") as content:
            self._store(content, volume, content.snapshots[snapshot.snapshot_id].data)
        return None

    def clone_volume(self, volume: csi.NewVolume, source: csi.VolumeRecord) -> csi.Volume | None:
        with self.storage.acting("clone_volume") as content:
            self._store(content, volume, content.volumes[source.volume_id].data)
        return None

    def delete_volume(self, volume: csi.VolumeRecord) -> None:
        with self.storage.acting("delete_volume") as content:
            content.volumes.pop(volume.volume_id, None)

    def expand_volume(self, volume: csi.VolumeRecord, size_bytes: int) -> int:
        with self.storage.acting("expand_volume") as content:
            stored = content.volumes[volume.volume_id]
            stored.size_bytes = max(stored.size_bytes, size_bytes)
            return stored.size_bytes

    def modify_volume(self, volume: csi.VolumeRecord, parameters: Mapping[str, str]) -> None:
        with self.storage.acting("modify_volume") as content:
            content.volumes[volume.volume_id].settings.update(parameters)

    def create_snapshot(self, snapshot: csi.NewSnapshot, source: csi.VolumeRecord) -> csi.Snapshot | None:
        with self.storage.acting("create_snapshot") as content:
            return self._cut(content, snapshot, datetime.now(UTC))

    def create_group_snapshot(
        self, group: csi.NewGroupSnapshot, sources: tuple[csi.VolumeRecord, ...]
    ) -> tuple[csi.Snapshot, ...] | None:
        with self.storage.acting("create_group_snapshot") as content:
            now = datetime.now(UTC)
            return tuple(self._cut(content, member, now) for member in group.members)

    def _cut(self, content: MemoryContent, wish: csi.NewSnapshot, now: datetime) -> csi.Snapshot:
        source = content.volumes[wish.source_volume_id]
        fresh = csi.Snapshot(
            wish.snapshot_id, source.volume_id, now, source.size_bytes, group_snapshot_id=wish.group_snapshot_id
        )
        stored = StoredSnapshot(snapshot=fresh, data=source.data, tags=dict(wish.tags))
        return content.snapshots.setdefault(wish.snapshot_id, stored).snapshot

    def delete_snapshot(self, snapshot: csi.SnapshotRecord) -> None:
        with self.storage.acting("delete_snapshot") as content:
            content.snapshots.pop(snapshot.snapshot_id, None)

    def controller_publish(self, volume: csi.VolumeRecord, attachment: csi.Attachment) -> Mapping[str, str]:
        with self.storage.acting("controller_publish") as content:
            context = {"lun": attachment.node_id}
            done = msgspec.structs.replace(attachment, publish_context=context)
            content.attached[f"{volume.volume_id} {attachment.node_id}"] = done
            return context

    def controller_unpublish(self, attachment: csi.Attachment) -> None:
        with self.storage.acting("controller_unpublish") as content:
            content.attached.pop(f"{attachment.volume_id} {attachment.node_id}", None)

    def capacity(self, query: csi.CapacityQuery) -> csi.Capacity:
        with self.storage.acting("capacity") as content:
            used = sum(volume.size_bytes for volume in content.volumes.values())
            return csi.Capacity(available_bytes=(1 << 40) - used)


class TaggedDriver(MemoryDriver):
    """The same storage, with no memory but the tags of what is in it."""

    name = "tagged.example.org"
    state = csi.BackendTags()

    def list_tagged_volumes(self) -> list[tuple[csi.Volume, Mapping[str, str]]]:
        with self.storage.acting("list_tagged_volumes") as content:
            return [(csi.Volume(v.volume_id, v.size_bytes), dict(v.tags)) for v in content.volumes.values()]

    def list_tagged_snapshots(self) -> list[tuple[csi.Snapshot, Mapping[str, str]]]:
        with self.storage.acting("list_tagged_snapshots") as content:
            return [(stored.snapshot, dict(stored.tags)) for stored in content.snapshots.values()]

    def list_attachments(self) -> list[csi.Attachment]:
        with self.storage.acting("list_attachments") as content:
            return list(content.attached.values())
