"""`Stateless`: the store that remembers nothing, for drivers that answer every question themselves.

A volume is what the driver's `find_volume` says (`Core.find_volume` asks it), ids are derived from names,
and every creation is handed to the driver. Nothing is undone here: without a record it cannot be told
whether what a failed creation left behind is older than it.
"""

from __future__ import annotations

from collections.abc import Sequence

from moorage.framework.memoryless import Memoryless
from moorage.framework.values import GroupRecord, SnapshotRecord, VolumeRecord


class StatelessStore(Memoryless):
    """A `Store` of nothing."""

    undoes = False

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
