"""The mirror in memory never differs from what is on the disk."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory

from hypothesis import given, settings
from hypothesis import strategies as st

from moorage.state.errors import NameTaken
from moorage.state.journal import Change, Delete, Journal, Put, Record

IDS = st.sampled_from(["a", "b", "c", "é", "\U0001f600", "z"])
NAMES = st.none() | st.sampled_from(["n1", "n2"])
KINDS = st.sampled_from(["volume", "snapshot"])
CHANGES = st.builds(Put, st.builds(Record, kind=KINDS, id=IDS, body=st.binary(max_size=4), name=NAMES, parent=NAMES))


@settings(max_examples=25, deadline=None)
@given(st.lists(st.lists(CHANGES | st.builds(Delete, KINDS, IDS), max_size=4), max_size=12))
def test_mirror_equals_a_fresh_open(transactions: list[list[Change]]) -> None:
    with TemporaryDirectory() as directory:
        path = Path(directory) / "journal.db"
        journal = Journal.open(path, owner="a test")
        for changes in transactions:
            with suppress(NameTaken):
                journal.write_sync(*changes)
        journal.close_sync()
        fresh = Journal.open(path, owner="a test")
        fresh.close_sync()
        assert everything(journal) == everything(fresh)


def everything(journal: Journal) -> list[object]:
    return [
        item
        for kind in ("volume", "snapshot")
        for item in (
            journal.page(kind),
            journal.count(kind),
            [journal.by_name(kind, name) for name in ("n1", "n2")],
            [journal.children(kind, parent) for parent in ("n1", "n2")],
            [journal.get(kind, record_id) for record_id in "abcz"],
        )
    ]
