"""Documents come back as they went in, whatever version wrote them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from moorage.state.collection import Collection
from moorage.state.errors import NameTaken, RecordUndecodable
from moorage.state.journal import Journal, Put, Record


@dataclass(frozen=True, slots=True)
class Volume:
    id: str
    name: str
    size_bytes: int
    source: str | None = None
    tags: dict[str, str] = field(default_factory=dict)


class Snapshot(msgspec.Struct, frozen=True):
    id: str
    taken: bool = False


@pytest.fixture
async def journal(tmp_path: Path) -> AsyncIterator[Journal]:
    journal = Journal.open(tmp_path / "journal.db", owner="a test")
    yield journal
    await journal.close()


def volumes_of(journal: Journal) -> Collection[Volume]:
    return Collection(
        journal,
        "volume",
        type_=Volume,
        id_of=lambda volume: volume.id,
        name_of=lambda volume: volume.name,
        parent_of=lambda volume: volume.source,
    )


async def test_dataclass_goes_in_and_comes_out(journal: Journal) -> None:
    volumes = volumes_of(journal)
    first, second = Volume("v1", "n1", 5, tags={"a": "ä"}), Volume("v2", "n2", 6, source="v1")
    await volumes.put(first)
    await volumes.put(second)
    assert volumes.get("v1") == volumes.by_name("n1") == first
    assert volumes.children("v1") == [second]
    assert list(volumes.all()) == volumes.page() == [first, second]
    assert volumes.page("v1") == [second]
    await volumes.delete("v1")
    assert (volumes.get("v1"), volumes.count()) == (None, 1)


async def test_several_collections_change_in_one_write(journal: Journal) -> None:
    volumes = volumes_of(journal)
    snapshots = Collection(journal, "snapshot", type_=Snapshot, id_of=lambda snapshot: snapshot.id)
    await volumes.put(Volume("v1", "n1", 5))
    with pytest.raises(NameTaken):
        await journal.write(snapshots.put_change(Snapshot("s1", taken=True)), volumes.put_change(Volume("v2", "n1", 5)))
    assert snapshots.get("s1") is None
    await journal.write(snapshots.put_change(Snapshot("s1", taken=True)), volumes.delete_change("v1"))
    assert snapshots.get("s1") == Snapshot("s1", taken=True)
    assert volumes.count() == 0


async def test_fields_of_a_newer_version_are_ignored_and_missing_ones_defaulted(journal: Journal) -> None:
    body = b'{"id": "v1", "name": "n", "size_bytes": 1, "from_the_future": [1]}'
    await journal.write(Put(Record("volume", "v1", body)))
    assert volumes_of(journal).get("v1") == Volume("v1", "n", 1)


@pytest.mark.parametrize("body", [b'{"id": 5}', b"{", b"\xff"])
async def test_unreadable_document_is_named(journal: Journal, body: bytes) -> None:
    await journal.write(Put(Record("volume", "v1", body)))
    with pytest.raises(RecordUndecodable, match="volume v1 in the journal"):
        volumes_of(journal).get("v1")


async def test_all_walks_more_than_one_page(journal: Journal) -> None:
    volumes = volumes_of(journal)
    await journal.write(*(volumes.put_change(Volume(f"v{i:04}", f"n{i}", i)) for i in range(600)))
    assert [volume.size_bytes for volume in volumes.all()] == list(range(600))


@given(st.builds(Volume))
def test_any_document_survives_its_encoding(volume: Volume) -> None:
    encoded = msgspec.json.Encoder().encode(volume)
    assert msgspec.json.Decoder(Volume).decode(encoded) == volume
