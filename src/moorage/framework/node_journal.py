"""What is staged and published on this node: rows of a journal beside the mounts that they describe.

A row is written before the first mount of a stage or publish and erased after the last unmount, so
that after `kill -9` it is known what may be there. The mount table has the last word: a row says
what to look for, `moorage.framework.proof` looks. The rows hold no secrets: contexts are kept
without the orchestrator's keys, among which are service-account tokens, and mount flags are sealed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from msgspec import Struct, structs

from moorage.spec.sealing import sealed
from moorage.spec.types import VolumeCapability
from moorage.state.collection import Collection
from moorage.state.journal import Change, Journal


class Staged(Struct, frozen=True, kw_only=True):
    """A volume at its staging path. `formatting` names the file system that mkfs was told to make.

    `done` is False between the first side effect and the last. `device` is where the bytes were
    found last time: a loop device's number changes with a reboot, `source_path` does not. A volume on a
    server has no path: `network_source` is what is mounted. `at_rest` says that nothing of the volume is here any
    more: staging was refused, and the row is kept for `formatting` alone.
    """

    volume_id: str
    staging_target_path: str
    volume_capability: VolumeCapability
    source_path: str = ""
    network_source: str = ""
    device: str = ""
    volume_context: Mapping[str, str] = {}
    publish_context: Mapping[str, str] = {}
    formatting: str = ""
    at_rest: bool = False
    done: bool = False


class Published(Struct, frozen=True, kw_only=True):
    """A volume at a target path; `loop` is the read-only loop device that it shows, if any.

    `network_source` is what is mounted from a server, and empty for a volume of this node.
    """

    volume_id: str
    target_path: str
    staging_target_path: str = ""
    volume_capability: VolumeCapability
    readonly: bool = False
    volume_context: Mapping[str, str] = {}
    publish_context: Mapping[str, str] = {}
    loop: str = ""
    network_source: str = ""
    ephemeral: bool = False
    done: bool = False


def _staged_id(volume_id: str, path: str) -> str:
    return f"{volume_id}\x00{path}"


class NodeJournal:
    """The rows of this node, by volume and by path."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self._staged = Collection(
            journal,
            "staged",
            type_=Staged,
            id_of=lambda row: _staged_id(row.volume_id, row.staging_target_path),
            parent_of=lambda row: row.volume_id,
        )
        self._published = Collection(
            journal,
            "published",
            type_=Published,
            id_of=lambda row: row.target_path,
            parent_of=lambda row: row.volume_id,
        )

    def staged_at(self, volume_id: str, path: str) -> Staged | None:
        """The row of this volume at this staging path."""
        return self._staged.get(_staged_id(volume_id, path))

    def staged(self, volume_id: str) -> Sequence[Staged]:
        """All staging rows of a volume."""
        return self._staged.children(volume_id)

    def published_at(self, path: str) -> Published | None:
        """The row of whatever volume is published at this target path."""
        return self._published.get(path)

    def published(self, volume_id: str) -> Sequence[Published]:
        """All publishing rows of a volume."""
        return self._published.children(volume_id)

    def paths_of(self, volume_id: str) -> list[str]:
        """Where the volume is in use, targets first."""
        targets = [row.target_path for row in self.published(volume_id)]
        return targets + [row.staging_target_path for row in self.staged(volume_id) if not row.at_rest]

    async def forget(self, volume_id: str) -> None:
        """Erase what is kept of a volume that is not in use here and does not exist any more."""
        if rows := [row for row in self.staged(volume_id) if row.at_rest]:
            await self.drop(*rows)

    async def put(self, *rows: Staged | Published) -> None:
        """Write rows, durably, all at once."""
        await self._journal.write(*(self._put(row) for row in rows))

    async def drop(self, *rows: Staged | Published) -> None:
        """Erase rows, durably, all at once, even on a full disk."""
        await self._journal.write(*(self._drop(row) for row in rows), use_reserve=True)

    def _put(self, row: Staged | Published) -> Change:
        row = structs.replace(row, volume_capability=sealed(row.volume_capability))
        return self._staged.put_change(row) if isinstance(row, Staged) else self._published.put_change(row)

    def _drop(self, row: Staged | Published) -> Change:
        if isinstance(row, Staged):
            return self._staged.delete_change(_staged_id(row.volume_id, row.staging_target_path))
        return self._published.delete_change(row.target_path)
