"""What the framework asks of a driver's state, wherever that lives.

`Store` is the seam between the decisions (volumes.py, snapshots.py, groups.py, attach.py) and the
three homes of truth: `journal_store`, `tag_store` and `stateless_store`. An `Intent` is recorded
before the first side effect of a creation and erased with its result, or by a final error.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Final, Protocol

from msgspec import Struct

from moorage.framework.values import Attachment, GroupRecord, SnapshotRecord, VolumeRecord

Record = VolumeRecord | SnapshotRecord | GroupRecord | Attachment


ID_PREFIX: Final[Mapping[str, str]] = {"volume": "vol", "snapshot": "snap", "group": "group"}
"""How the ids that the framework gives begin, by kind of object."""


class Intent(Struct, frozen=True, kw_only=True):
    """A creation that has begun: kind is volume, snapshot or group; `object_id` is the id it will get.

    `volume` or `snapshots` (the members, for a group) is what may exist of it by now: enough to delete it,
    and to repeat the creation as it was begun. `fingerprint` tells a replay from another wish.
    """

    kind: str
    name: str
    object_id: str
    fingerprint: str
    token: str
    started_at: datetime
    volume: VolumeRecord | None = None
    snapshots: tuple[SnapshotRecord, ...] = ()

    @property
    def key(self) -> str:
        """Unique among all intents."""
        return f"{self.kind}/{self.name}"


class Store(Protocol):
    """Durable records of a driver; every method that changes something is one atomic, durable step.

    `undoes` says whether what a failed creation left may be deleted: only where it is known to be its own.
    """

    undoes: bool

    async def volume(self, volume_id: str) -> VolumeRecord | None:
        """The volume of this id."""
        ...

    async def volume_named(self, name: str) -> VolumeRecord | None:
        """The volume of this name."""
        ...

    async def volumes(self) -> Sequence[VolumeRecord]:
        """All volumes, ordered by id."""
        ...

    async def snapshot(self, snapshot_id: str) -> SnapshotRecord | None:
        """The snapshot of this id."""
        ...

    async def snapshot_named(self, name: str) -> SnapshotRecord | None:
        """The snapshot of this name."""
        ...

    async def snapshots(self, *, source_volume_id: str = "") -> Sequence[SnapshotRecord]:
        """All snapshots, or those of one volume, ordered by id."""
        ...

    async def group(self, group_snapshot_id: str) -> GroupRecord | None:
        """The group snapshot of this id."""
        ...

    async def group_named(self, name: str) -> GroupRecord | None:
        """The group snapshot of this name."""
        ...

    async def attachments(self, *, volume_id: str = "") -> Sequence[Attachment]:
        """Where volumes are published by the controller; all of them, or one volume's."""
        ...

    async def intent(self, kind: str, name: str) -> Intent | None:
        """A creation of this name that has begun and has no result."""
        ...

    async def intents(self) -> Sequence[Intent]:
        """All creations that have no result."""
        ...

    async def begin(self, intent: Intent) -> None:
        """Record an intent."""
        ...

    async def settle(
        self, intent: Intent | None = None, *, put: Sequence[Record] = (), drop: Sequence[Record] = ()
    ) -> None:
        """Erase an intent, write records and remove others, all at once."""
        ...

    def new_id(self, kind: str, name: str) -> str:
        """The id for an object of this name: the same after an amnesia where the store has no memory."""
        ...
