"""The store whose truth is the journal."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from tests.support.controller import MOUNT

import moorage.framework as csi
from moorage.framework.journal_store import JournalStore
from moorage.framework.store import Intent
from moorage.state.errors import NameTaken
from moorage.state.journal import Journal

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def volume(volume_id: str, name: str, *, deleting: bool = False) -> csi.VolumeRecord:
    return csi.VolumeRecord(volume_id=volume_id, name=name, capacity_bytes=1, deleting=deleting)


def intent(kind: str, name: str) -> Intent:
    return Intent(kind=kind, name=name, object_id="x", fingerprint="f", token="t", started_at=NOW)


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    opened = Journal.open(tmp_path / "journal.sqlite", owner="a test")
    yield opened
    opened.close_sync()


async def test_a_result_and_its_intent_change_places_in_one_commit(journal: Journal, tmp_path: Path) -> None:
    store = JournalStore(journal)
    await store.begin(intent("volume", "a/b"))
    assert await store.intent("volume", "a/b") == intent("volume", "a/b")
    assert await store.intent("snapshot", "a/b") is None
    await store.settle(intent("volume", "a/b"), put=(volume("v1", "a/b"),))
    assert await store.intents() == []
    assert journal.stats.commits == 2
    journal.close_sync()
    again = Journal.open(tmp_path / "journal.sqlite", owner="a test")
    assert await JournalStore(again).volume_named("a/b") == volume("v1", "a/b")
    again.close_sync()


async def test_every_kind_of_record_comes_back_and_goes(journal: Journal) -> None:
    store = JournalStore(journal)
    snapshot = csi.SnapshotRecord(snapshot_id="s1", name="s", source_volume_id="v1", creation_time=NOW)
    group = csi.GroupRecord(
        group_snapshot_id="g1", name="g", source_volume_ids=("v1",), snapshot_ids=("s1",), creation_time=NOW
    )
    attachments = [csi.Attachment(volume_id="v1", node_id=node, volume_capability=MOUNT) for node in ("a", "b")]
    other = csi.Attachment(volume_id="v2", node_id="a", volume_capability=MOUNT)
    await store.settle(put=(volume("v1", "n"), snapshot, group, *attachments, other))
    assert await store.volume("v1") == volume("v1", "n")
    assert await store.snapshot("s1") == await store.snapshot_named("s") == snapshot
    assert list(await store.snapshots(source_volume_id="v1")) == list(await store.snapshots()) == [snapshot]
    assert list(await store.snapshots(source_volume_id="v2")) == []
    assert await store.group("g1") == await store.group_named("g") == group
    assert list(await store.attachments(volume_id="v1")) == attachments
    assert len(await store.attachments()) == 3
    await store.settle(drop=(volume("v1", "n"), snapshot, group, *attachments, other))
    assert [*await store.volumes(), *await store.snapshots(), *await store.attachments()] == []
    assert await store.group("g1") is None


async def test_a_name_belongs_to_one_volume_but_many_have_none(journal: Journal) -> None:
    store = JournalStore(journal)
    await store.settle(put=(volume("v1", "n"), volume("by-hand-1", ""), volume("by-hand-2", "")))
    with pytest.raises(NameTaken):
        await store.settle(put=(volume("v2", "n"),))
    assert [record.volume_id for record in await store.volumes()] == ["by-hand-1", "by-hand-2", "v1"]


def test_ids_are_never_used_again(journal: Journal) -> None:
    store = JournalStore(journal)
    assert len({store.new_id("volume", "a") for _ in range(100)}) == 100


async def test_what_frees_space_may_use_the_reserve(journal: Journal, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[bool] = []

    async def write(*changes: object, use_reserve: bool = False) -> None:
        asked.append(use_reserve)

    monkeypatch.setattr(journal, "write", write)
    store = JournalStore(journal)
    await store.settle(put=(volume("v1", "n"),))
    await store.settle(put=(volume("v1", "n", deleting=True),))
    await store.settle(drop=(volume("v1", "n"),))
    await store.settle(intent("volume", "n"))
    assert asked == [False, True, True, True]
