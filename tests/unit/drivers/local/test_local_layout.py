"""How objects come into being and go, on any file system and without root."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moorage.drivers.local.layout import Layout, build_identity, is_id, locked
from moorage.spec.errors import OperationPending


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    made = Layout(tmp_path / "pool")
    made.prepare()
    return made


def test_object_is_there_only_when_published(layout: Layout) -> None:
    with layout.building("volume", "v1") as build:
        (build / "content").write_text("x")
        assert not layout.exists("volume", "v1")
        layout.publish("volume", "v1")
    assert layout.exists("volume", "v1")
    assert layout.ids("volume") == ["v1"]
    assert layout.leftovers() == []


def test_object_is_gone_before_it_is_removed(layout: Layout) -> None:
    with layout.building("volume", "v1"):
        layout.publish("volume", "v1")
    trash = layout.retire("volume", "v1", lambda path: path.rmdir())
    assert trash is not None
    assert trash.exists()
    assert not layout.exists("volume", "v1")
    assert layout.retire("volume", "v1", lambda path: path.rmdir()) == trash
    trash.rmdir()
    assert layout.retire("volume", "v1", lambda path: path.rmdir()) is None


def test_nobody_else_works_on_a_build(layout: Layout) -> None:
    with layout.building("volume", "v1") as build:
        with pytest.raises(OperationPending, match="build-volume-v1"), locked(build):
            pass
        with pytest.raises(OperationPending), layout.building("volume", "v1"):
            pass
    with locked(build):
        pass


@pytest.mark.parametrize(
    ("name", "identity"),
    [
        ("build-volume-v1", ("volume", "v1")),
        ("build-snapshot-a-b", ("snapshot", "a-b")),
        ("trash-volume-v1", None),
        ("other", None),
    ],
)
def test_leftovers_tell_what_they_are(name: str, identity: tuple[str, str] | None) -> None:
    assert build_identity(Path("/pool/tmp") / name) == identity


@given(st.text())
def test_no_id_leads_out_of_its_directory(text: str) -> None:
    layout = Layout(Path("/pool"))
    if not is_id(text):
        with pytest.raises(ValueError, match="cannot be the id"):
            layout.place("volume", text)
        return
    place = layout.place("volume", text)
    assert place.parent == Path("/pool/volumes")
    assert place.name == text
    assert text not in (".", "..")


def test_a_pool_that_is_gone_does_not_say_that_its_volumes_are(layout: Layout) -> None:
    layout.home("volume").rmdir()
    with pytest.raises(FileNotFoundError):
        layout.exists("volume", "v1")
