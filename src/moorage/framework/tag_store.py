"""`BackendTags`: the store whose truth is in the storage system, and which has no memory of its own.

Every question is answered by listing what the driver finds there with its tags. Ids are derived
from names, so an intent needs no row: a replay after any crash, on any machine, wishes for the same
id with the same client token. Groups and attachments are read from the members' tags and from the
driver, see `BackendTags`. Records put here are not stored: the tags were, when the object was made.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from msgspec import structs

from moorage.framework.memoryless import Memoryless
from moorage.framework.tags import SnapshotFactsTag, derived_id, read_snapshot_tags, read_volume_tags
from moorage.framework.values import GroupRecord, SnapshotRecord, VolumeRecord
from moorage.spec.types import Snapshot, Volume


class TagStore(Memoryless):
    """A `Store` without state: safe for any number of replicas, at the price of a listing for each question."""

    undoes = True

    async def volume(self, volume_id: str) -> VolumeRecord | None:
        """The volume of this id."""
        return next((r for r in await self.volumes() if r.volume_id == volume_id), None)

    async def volume_named(self, name: str) -> VolumeRecord | None:
        """The volume of this name."""
        return next((r for r in await self.volumes() if r.name == name), None)

    async def volumes(self) -> Sequence[VolumeRecord]:
        """All volumes that carry our tags, ordered by id."""
        listed: Iterable[tuple[Volume, Mapping[str, str]]] = await self._ask("list_tagged_volumes")
        found = []
        for volume, tags in listed:
            record = read_volume_tags(tags)
            if record is not None:
                found.append(
                    structs.replace(
                        record,
                        volume_id=volume.volume_id,
                        capacity_bytes=volume.capacity_bytes,
                        volume_context=volume.volume_context,
                        accessible_topology=volume.accessible_topology or record.accessible_topology,
                    )
                )
        return sorted(found, key=lambda record: record.volume_id)

    async def snapshot(self, snapshot_id: str) -> SnapshotRecord | None:
        """The snapshot of this id."""
        return next((r for r in await self.snapshots() if r.snapshot_id == snapshot_id), None)

    async def snapshot_named(self, name: str) -> SnapshotRecord | None:
        """The snapshot of this name."""
        return next((r for r in await self.snapshots() if r.name == name), None)

    async def snapshots(self, *, source_volume_id: str = "") -> Sequence[SnapshotRecord]:
        """All snapshots that carry our tags, or those of one volume, ordered by id."""
        return [record for record, _ in await self._tagged() if source_volume_id in ("", record.source_volume_id)]

    async def _tagged(self) -> Sequence[tuple[SnapshotRecord, SnapshotFactsTag]]:
        if not self._invoke.offers("list_tagged_snapshots"):
            return ()
        listed: Iterable[tuple[Snapshot, Mapping[str, str]]] = await self._ask("list_tagged_snapshots")
        found = []
        for snapshot, tags in listed:
            facts = read_snapshot_tags(tags)
            if facts is not None:
                record = SnapshotRecord(
                    snapshot_id=snapshot.snapshot_id,
                    name=facts.name,
                    source_volume_id=facts.source_volume_id,
                    creation_time=snapshot.creation_time,
                    size_bytes=snapshot.size_bytes,
                    ready_to_use=snapshot.ready_to_use,
                    parameters=facts.parameters,
                    group_snapshot_id=facts.group_snapshot_id,
                    accessible_topology=snapshot.accessible_topology,
                )
                found.append((record, facts))
        return sorted(found, key=lambda pair: pair[0].snapshot_id)

    async def group(self, group_snapshot_id: str) -> GroupRecord | None:
        """The group of this id, put together from its members.

        While members are missing its creation or its deletion has stopped half way. Which of the two cannot be
        told, and a second cut would be of another instant, so it counts as being deleted.
        """
        pairs = [pair for pair in await self._tagged() if pair[0].group_snapshot_id == group_snapshot_id]
        members = [record for record, _ in pairs]
        if not members:
            return None
        return GroupRecord(
            group_snapshot_id=group_snapshot_id,
            name=members[0].name.partition("\x00")[0],
            source_volume_ids=tuple(member.source_volume_id for member in members),
            snapshot_ids=tuple(member.snapshot_id for member in members),
            creation_time=min(member.creation_time for member in members),
            parameters=members[0].parameters,
            deleting=len(members) < pairs[0][1].group_size,
        )

    async def group_named(self, name: str) -> GroupRecord | None:
        """The group of this name."""
        return await self.group(derived_id("group", name))

    async def _ask(self, method: str) -> Any:
        return await self._invoke.call("controller", method)
