"""`Stateless`: the store that remembers nothing, for drivers that answer every question themselves.

A volume is what the driver's `find_volume` says (`Core.find_volume` asks it), ids are derived from names,
and every creation is handed to the driver. Nothing is undone here: without a record it cannot be told
whether what a failed creation left behind is older than it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from moorage.framework.invoke import Invoker
from moorage.framework.store import Intent, Record
from moorage.framework.tags import derived_id
from moorage.framework.values import Attachment, GroupRecord, SnapshotRecord, VolumeRecord


class StatelessStore:
    """A `Store` of nothing."""

    undoes = False

    def __init__(self, invoke: Invoker) -> None:
        self._invoke = invoke

    async def volume(self, volume_id: str) -> VolumeRecord | None:
        """None: `find_volume` is asked next."""
        del volume_id
        return None

    async def volume_named(self, name: str) -> VolumeRecord | None:
        """None: the driver makes sure that the volume exists."""
        del name
        return None

    async def volumes(self) -> Sequence[VolumeRecord]:
        """None is known; LIST_VOLUMES is not declared."""
        return ()

    async def snapshot(self, snapshot_id: str) -> SnapshotRecord | None:
        """None: a stateless driver has no snapshots."""
        del snapshot_id
        return None

    async def snapshot_named(self, name: str) -> SnapshotRecord | None:
        """None: a stateless driver has no snapshots."""
        del name
        return None

    async def snapshots(self, *, source_volume_id: str = "") -> Sequence[SnapshotRecord]:
        """None: a stateless driver has no snapshots."""
        del source_volume_id
        return ()

    async def group(self, group_snapshot_id: str) -> GroupRecord | None:
        """None: a stateless driver has no snapshots."""
        del group_snapshot_id
        return None

    async def group_named(self, name: str) -> GroupRecord | None:
        """None: a stateless driver has no snapshots."""
        del name
        return None

    async def attachments(self, *, volume_id: str = "") -> Sequence[Attachment]:
        """What the driver says is attached."""
        if not self._invoke.offers("list_attachments"):
            return ()
        found: Iterable[Attachment] = await self._invoke.call("controller", "list_attachments")
        return [attachment for attachment in found if volume_id in ("", attachment.volume_id)]

    async def intent(self, kind: str, name: str) -> Intent | None:
        """None is kept."""
        del kind, name
        return None

    async def intents(self) -> Sequence[Intent]:
        """None is kept."""
        return ()

    async def begin(self, intent: Intent) -> None:
        """Nothing to do."""

    async def settle(
        self, intent: Intent | None = None, *, put: Sequence[Record] = (), drop: Sequence[Record] = ()
    ) -> None:
        """Nothing to do."""

    def new_id(self, kind: str, name: str) -> str:
        """The id derived from the name."""
        return derived_id(kind, name)
