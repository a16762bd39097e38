"""Reading mountinfo: escapes, optional fields, stacking and hiding."""

from __future__ import annotations

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moorage.host.mountinfo import (
    MountEntry,
    escape,
    find_mount,
    mounts_below,
    parse_mountinfo,
    parse_mountinfo_line,
    read_mounts,
    unescape,
)


def entry(mount_id: int, parent_id: int, point: str, *, deleted: bool = False) -> MountEntry:
    return MountEntry(mount_id, parent_id, f"0:{mount_id}", "/", point, ("rw",), "tmpfs", "t", ("rw",), deleted=deleted)


def test_a_full_line_is_read() -> None:
    line = (
        b"36 35 98:0 /mnt1 /mnt\\0402 rw,noatime shared:7 master:1 propagate_from:2 unbindable future - "
        b"ext3 /dev/my\\040root rw,errors=continue"
    )
    assert parse_mountinfo_line(line) == MountEntry(
        mount_id=36,
        parent_id=35,
        device="98:0",
        root="/mnt1",
        mount_point="/mnt 2",
        options=("rw", "noatime"),
        fs_type="ext3",
        source="/dev/my root",
        super_options=("rw", "errors=continue"),
        shared=7,
        master=1,
        propagate_from=2,
        unbindable=True,
    )


@pytest.mark.parametrize(
    ("line", "field", "expected"),
    [
        pytest.param(b"1 0 0:2 / / rw - tmpfs  rw", "source", "", id="empty-source"),
        pytest.param(b"1 0 0:2 / /a\\134b rw - tmpfs t rw", "mount_point", "/a\\b", id="backslash"),
        pytest.param(b"1 0 0:2 / /a\\012b\\011c rw - tmpfs t rw", "mount_point", "/a\nb\tc", id="newline-tab"),
        pytest.param(b"1 0 0:2 / /a\x0bb\x85 rw - tmpfs t rw", "mount_point", "/a\x0bb\udc85", id="odd-white"),
        pytest.param(b"1 0 0:2 / /gone//deleted rw - tmpfs t rw", "mount_point", "/gone", id="deleted-path"),
        pytest.param(b"1 0 0:2 / /gone//deleted rw - tmpfs t rw", "deleted", True, id="deleted-flag"),
        pytest.param(b"1 0 0:2 / / ro - tmpfs t rw", "readonly", True, id="readonly-mount"),
        pytest.param(b"1 0 0:2 / / rw - tmpfs t ro", "readonly", True, id="readonly-superblock"),
        pytest.param(b"1 0 0:2 / / rw - tmpfs t rw", "shared", None, id="private"),
        pytest.param(b"1 0 0:2 net:[40] /run/ns rw - nsfs nsfs rw", "root", "net:[40]", id="nsfs-root"),
    ],
)
def test_special_lines(line: bytes, field: str, expected: object) -> None:
    assert getattr(parse_mountinfo_line(line), field) == expected


@pytest.mark.parametrize(
    "line",
    [b"", b"1 0 0:2 / / rw", b"x 0 0:2 / / rw - tmpfs t rw", b"1 0 0:2 / / rw shared:1 tmpfs t rw"],
    ids=["empty", "cut", "no-number", "no-separator"],
)
def test_malformed_lines_are_refused(line: bytes) -> None:
    with pytest.raises(ValueError, match="not a line of mountinfo"):
        parse_mountinfo_line(line)


@given(st.binary(max_size=60).filter(lambda raw: b"\0" not in raw))
def test_escaping_is_undone_exactly(raw: bytes) -> None:
    text = os.fsdecode(raw)
    escaped = escape(text)
    assert unescape(escaped) == text
    assert not set(escaped) & set(b" \t\n")


@given(st.lists(st.text(st.characters(exclude_characters="\0/", exclude_categories=["Cs"]), min_size=1), max_size=4))
def test_a_line_with_any_path_is_read_back(names: list[str]) -> None:
    path = "/" + "/".join(names)
    line = b"9 1 0:9 " + escape(path) + b" " + escape(path) + b" rw shared:1 - tmpfs " + escape(path) + b" rw\n"
    (read,) = parse_mountinfo(line)
    assert (read.root, read.mount_point, read.source) == (path, path, path)


ROOT = entry(1, 0, "/")


@pytest.mark.parametrize(
    ("mounts", "path", "found"),
    [
        pytest.param([ROOT], "/a", None, id="nothing-there"),
        pytest.param([ROOT, entry(2, 1, "/a")], "/a/", 2, id="trailing-slash"),
        pytest.param([ROOT, entry(2, 1, "/a")], "/a/b", None, id="inside-is-not-at"),
        pytest.param([ROOT, entry(2, 1, "/ab")], "/a", None, id="name-prefix-is-not-a-parent"),
        pytest.param([ROOT, entry(3, 2, "/a"), entry(2, 1, "/a")], "/a", 3, id="top-of-stack-by-parent"),
        pytest.param([ROOT, entry(2, 1, "/a/b"), entry(3, 1, "/a")], "/a/b", None, id="hidden-by-later-mount"),
        pytest.param([ROOT, entry(2, 1, "/a", deleted=True)], "/a", None, id="deleted"),
        pytest.param([ROOT, entry(5, 1, "/")], "/", 5, id="root-overmounted"),
        pytest.param([entry(7, 3, "/"), entry(8, 7, "/a")], "/a", 8, id="chroot-parent-unknown"),
        pytest.param([ROOT, entry(2, 1, "/a"), entry(3, 2, "/a/b")], "/a/b", 3, id="nested"),
    ],
)
def test_finding_the_top_mount(mounts: list[MountEntry], path: str, found: int | None) -> None:
    result = find_mount(path, mounts=mounts)
    assert (result.mount_id if result else None) == found


def test_mounts_below_come_deepest_first_and_last_layer_first() -> None:
    mounts = [ROOT, entry(2, 1, "/a"), entry(3, 2, "/a/b"), entry(4, 3, "/a/b/c"), entry(5, 4, "/a/b/c")]
    assert [found.mount_id for found in mounts_below("/a", mounts=mounts)] == [5, 4, 3]


def test_a_symlink_in_the_parents_is_resolved_but_not_in_the_last_name(tmp_path: os.PathLike[str]) -> None:
    real = os.path.join(os.path.realpath(tmp_path), "real")
    os.makedirs(os.path.join(real, "target"))
    os.symlink(real, os.path.join(tmp_path, "link"))
    os.symlink(os.path.join(real, "target"), os.path.join(tmp_path, "last"))
    mounts = [ROOT, entry(2, 1, os.path.join(real, "target"))]
    through_parent = find_mount(os.path.join(tmp_path, "link", "target"), mounts=mounts)
    assert through_parent is not None
    assert find_mount(os.path.join(tmp_path, "last"), mounts=mounts) is None


def test_the_real_table_has_a_root() -> None:
    assert any(found.mount_point == "/" for found in read_mounts())
    assert find_mount("/proc") is not None


def test_a_deleted_root_is_marked_and_its_name_kept() -> None:
    read = parse_mountinfo_line(b"1 0 0:2 /vol/a//deleted /pod rw - ext4 /dev/sda rw")
    assert (read.root, read.root_deleted, read.deleted) == ("/vol/a", True, False)
