"""`LocalJournal`: the store whose truth is a journal on this machine's disk."""

from __future__ import annotations

from collections.abc import Sequence
from uuid import uuid4

from msgspec import structs

from moorage.framework.store import ID_PREFIX, Intent, Record
from moorage.framework.values import Attachment, GroupRecord, SnapshotRecord, VolumeRecord
from moorage.spec.sealing import sealed
from moorage.state.collection import Collection
from moorage.state.journal import Change, Journal


class JournalStore:
    """A `Store` of journal rows; reads come from memory, each change is one durable commit."""

    undoes = True

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self._volumes = Collection(
            journal, "volume", type_=VolumeRecord, id_of=lambda r: r.volume_id, name_of=lambda r: r.name or None
        )
        self._snapshots = Collection(
            journal,
            "snapshot",
            type_=SnapshotRecord,
            id_of=lambda r: r.snapshot_id,
            name_of=lambda r: r.name or None,
            parent_of=lambda r: r.source_volume_id,
        )
        self._groups = Collection(
            journal, "group", type_=GroupRecord, id_of=lambda r: r.group_snapshot_id, name_of=lambda r: r.name or None
        )
        self._attachments = Collection(
            journal, "attachment", type_=Attachment, id_of=_attachment_id, parent_of=lambda r: r.volume_id
        )
        self._intents = Collection(journal, "intent", type_=Intent, id_of=lambda r: r.key)

    async def volume(self, volume_id: str) -> VolumeRecord | None:
        """The volume of this id."""
        return self._volumes.get(volume_id)

    async def volume_named(self, name: str) -> VolumeRecord | None:
        """The volume of this name."""
        return self._volumes.by_name(name)

    async def volumes(self) -> Sequence[VolumeRecord]:
        """All volumes, ordered by id."""
        return list(self._volumes.all())

    async def snapshot(self, snapshot_id: str) -> SnapshotRecord | None:
        """The snapshot of this id."""
        return self._snapshots.get(snapshot_id)

    async def snapshot_named(self, name: str) -> SnapshotRecord | None:
        """The snapshot of this name."""
        return self._snapshots.by_name(name)

    async def snapshots(self, *, source_volume_id: str = "") -> Sequence[SnapshotRecord]:
        """All snapshots, or those of one volume, ordered by id."""
        return self._snapshots.children(source_volume_id) if source_volume_id else list(self._snapshots.all())

    async def group(self, group_snapshot_id: str) -> GroupRecord | None:
        """The group snapshot of this id."""
        return self._groups.get(group_snapshot_id)

    async def group_named(self, name: str) -> GroupRecord | None:
        """The group snapshot of this name."""
        return self._groups.by_name(name)

    async def attachments(self, *, volume_id: str = "") -> Sequence[Attachment]:
        """Where volumes are published by the controller; all of them, or one volume's."""
        return self._attachments.children(volume_id) if volume_id else list(self._attachments.all())

    async def intent(self, kind: str, name: str) -> Intent | None:
        """A creation of this name that has begun and has no result."""
        return self._intents.get(f"{kind}/{name}")

    async def intents(self) -> Sequence[Intent]:
        """All creations that have no result."""
        return list(self._intents.all())

    async def begin(self, intent: Intent) -> None:
        """Record an intent."""
        if intent.volume is not None:
            intent = structs.replace(intent, volume=_sealed_volume(intent.volume))
        await self._intents.put(intent)

    async def settle(
        self, intent: Intent | None = None, *, put: Sequence[Record] = (), drop: Sequence[Record] = ()
    ) -> None:
        """Erase an intent, write records and remove others, in one commit; frees space even on a full disk."""
        changes: list[Change] = [self._put(record) for record in put]
        changes += [self._drop(record) for record in drop]
        if intent is not None:
            changes.append(self._intents.delete_change(intent.key))
        frees = all(not isinstance(record, Attachment) and record.deleting for record in put)
        await self._journal.write(*changes, use_reserve=frees)

    def new_id(self, kind: str, name: str) -> str:
        """A fresh id: a name that is used again never gets the id of its predecessor."""
        del name
        return f"{ID_PREFIX[kind]}-{uuid4().hex}"

    def _put(self, record: Record) -> Change:
        match record:
            case VolumeRecord():
                return self._volumes.put_change(_sealed_volume(record))
            case SnapshotRecord():
                return self._snapshots.put_change(record)
            case GroupRecord():
                return self._groups.put_change(record)
            case Attachment():
                capability = sealed(record.volume_capability)
                return self._attachments.put_change(structs.replace(record, volume_capability=capability))

    def _drop(self, record: Record) -> Change:
        match record:
            case VolumeRecord():
                return self._volumes.delete_change(record.volume_id)
            case SnapshotRecord():
                return self._snapshots.delete_change(record.snapshot_id)
            case GroupRecord():
                return self._groups.delete_change(record.group_snapshot_id)
            case Attachment():
                return self._attachments.delete_change(_attachment_id(record))


def _sealed_volume(record: VolumeRecord) -> VolumeRecord:
    """The record without mount flags that may be secret."""
    return structs.replace(record, volume_capabilities=tuple(map(sealed, record.volume_capabilities)))


def _attachment_id(record: Attachment) -> str:
    return f"{record.volume_id}\x00{record.node_id}"
