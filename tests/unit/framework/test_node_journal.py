"""Rows about what is staged and published on this node."""

from __future__ import annotations

from pathlib import Path

from msgspec import structs
from tests.support.controller import BLOCK, MOUNT

from moorage.framework.node_journal import NodeJournal, Published, Staged
from moorage.state.journal import Journal


async def test_rows_are_found_by_volume_and_by_path(tmp_path: Path) -> None:
    journal = Journal.open(tmp_path / "journal.sqlite", owner="a test")
    node = NodeJournal(journal)
    staged = Staged(volume_id="v1", staging_target_path="/s/1", volume_capability=MOUNT, formatting="xfs")
    targets = [Published(volume_id="v1", target_path=f"/t/{n}", volume_capability=BLOCK) for n in (1, 2)]
    await node.put(staged, *targets)
    assert node.staged_at("v1", "/s/1") == staged
    assert node.staged_at("v2", "/s/1") is None
    assert node.published_at("/t/2") == targets[1]
    assert node.paths_of("v1") == ["/t/1", "/t/2", "/s/1"]
    assert node.paths_of("v2") == []
    await node.put(structs.replace(staged, done=True))
    await journal.close()

    journal = Journal.open(tmp_path / "journal.sqlite", owner="a test")
    node = NodeJournal(journal)
    assert node.staged("v1") == [structs.replace(staged, done=True)]
    await node.drop(staged, *targets)
    assert node.paths_of("v1") == []
    await journal.close()


async def test_a_target_path_has_one_row_whatever_the_volume(tmp_path: Path) -> None:
    journal = Journal.open(tmp_path / "journal.sqlite", owner="a test")
    node = NodeJournal(journal)
    for volume_id in ("v1", "v2"):
        await node.put(Published(volume_id=volume_id, target_path="/t", volume_capability=MOUNT))
    found = node.published_at("/t")
    assert found is not None
    assert found.volume_id == "v2"
    assert node.published("v1") == []
    await journal.close()
