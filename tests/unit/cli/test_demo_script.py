"""The acts of the demo for drivers that declare more or less, and its files."""

from __future__ import annotations

from pathlib import Path

import pytest
from msgspec.structs import replace

from moorage.cli import demo_files as files
from moorage.cli import demo_script as script
from moorage.spec.capabilities import Declared
from moorage.spec.errors import Code
from moorage.spec.types import (
    ControllerCapability,
    GroupControllerCapability,
    NodeCapability,
    VolumeExpansion,
)

FULL = Declared(
    expansion=frozenset({VolumeExpansion.ONLINE}),
    controller=frozenset(
        {
            ControllerCapability.CREATE_DELETE_VOLUME,
            ControllerCapability.CREATE_DELETE_SNAPSHOT,
            ControllerCapability.CLONE_VOLUME,
            ControllerCapability.EXPAND_VOLUME,
        }
    ),
    group=frozenset({GroupControllerCapability.CREATE_DELETE_GET_VOLUME_GROUP_SNAPSHOT}),
    node=frozenset({NodeCapability.GET_VOLUME_STATS, NodeCapability.EXPAND_VOLUME}),
)
LEAST = Declared(controller=frozenset({ControllerCapability.CREATE_DELETE_VOLUME}))


def kinds(declared: Declared, *, grows_online: bool = True) -> list[str]:
    return [type(act).__name__ for act in script.up(declared, size_bytes=1, grows_online=grows_online)]


def test_a_full_driver_is_shown_whole() -> None:
    wanted = {"Create", "Copy", "Mount", "Write", "Verify", "Stats", "Snapshot", "GroupSnapshot", "Expand"}
    assert set(kinds(FULL)) == wanted


def test_a_plain_driver_is_told_what_is_left_out() -> None:
    left = [act.title for act in script.up(LEAST, size_bytes=1) if isinstance(act, script.Left)]
    assert [title.split(":")[0] for title in left] == [
        "statistics",
        "snapshot and restore",
        "clone",
        "expansion",
        "group snapshot",
    ]


@pytest.mark.parametrize(
    ("declared", "grows_online", "unmounted"),
    [
        pytest.param(FULL, True, False, id="online"),
        pytest.param(FULL, False, True, id="file-system-wants-it"),
        pytest.param(replace(FULL, expansion=frozenset({VolumeExpansion.OFFLINE})), True, True, id="driver-wants-it"),
    ],
)
def test_a_volume_is_unmounted_for_expansion_where_it_must_be(
    declared: Declared, grows_online: bool, unmounted: bool
) -> None:
    acts = kinds(declared, grows_online=grows_online)
    before = acts[acts.index("Expand") - 1]
    assert (before == "Unmount") is unmounted


def test_a_driver_may_decline_to_grow_mounted_only_where_that_is_not_known_before() -> None:
    tolerated = {
        known: act.tolerated
        for known in (True, False, None)
        for act in script.up(FULL, size_bytes=1, grows_online=known)
        if isinstance(act, script.Expand)
    }
    assert tolerated == {True: frozenset(), False: frozenset(), None: frozenset({Code.FAILED_PRECONDITION})}


@pytest.mark.parametrize("declared", [FULL, LEAST], ids=["full", "least"])
def test_every_verification_follows_from_what_was_written_before(declared: Declared) -> None:
    content: dict[str, dict[str, str]] = {}
    cut: dict[str, dict[str, str]] = {}
    checked = 0
    for act in script.up(declared, size_bytes=1):
        match act:
            case script.Create(name=name):
                content[name] = {}
            case script.Write(name=name, files=wanted):
                content[name] = {**content[name], **wanted}
            case script.Snapshot(volume=volume, name=name):
                cut[name] = dict(content[volume])
            case script.Copy(name=name, snapshot=snapshot, volume=volume):
                content[name] = dict(cut[snapshot] if snapshot else content[volume])
            case script.Verify(name=name, files=wanted):
                assert wanted == content[name]
                checked += 1
    assert checked >= 1


def test_everything_that_is_made_is_taken_down() -> None:
    made = {act.name for act in script.up(FULL, size_bytes=1) if isinstance(act, script.Create | script.Copy)}
    copies = {
        act.name for act in script.up(FULL, size_bytes=1) if isinstance(act, script.Snapshot | script.GroupSnapshot)
    }
    down = list(script.down())
    assert made == {act.name for act in down if isinstance(act, script.Delete)}
    assert made == {act.name for act in down if isinstance(act, script.Unmount)}
    assert copies == {name for act in down if isinstance(act, script.DeleteCopies) for name in act.names}


def test_files_are_verified_by_content_and_by_presence(tmp_path: Path) -> None:
    path = str(tmp_path)
    files.write(path, {"a": "first", "b": "second"})
    assert "sha256" not in files.verify(path, {"a": "first", "b": "second"})
    with pytest.raises(files.ContentWrong, match="checksum"):
        files.verify(path, {"a": "second", "b": "second"})
    with pytest.raises(files.ContentWrong, match="instead of a"):
        files.verify(path, {"a": "first"})
    with (tmp_path / "a").open("r+b") as file:
        file.seek(12345)
        file.write(b"x")
    with pytest.raises(files.ContentWrong, match="checksum"):
        files.verify(path, {"a": "first", "b": "second"})
