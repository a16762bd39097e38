"""Mount option lists: order, conflicts, secrets."""

from __future__ import annotations

import pytest

from moorage.host import mountoptions as mo
from moorage.host.mountoptions import (
    added_to_bind,
    bind_flags,
    flags_of_entry,
    flags_of_statvfs,
    parse_mount_options,
    split_options,
)


@pytest.mark.parametrize(
    ("options", "flags", "data"),
    [
        pytest.param([], 0, "", id="none"),
        pytest.param(["ro"], mo.MS_RDONLY, "", id="ro"),
        pytest.param(["ro", "rw"], 0, "", id="later-wins"),
        pytest.param(["rw,ro"], mo.MS_RDONLY, "", id="several-in-one"),
        pytest.param(["noatime", "relatime"], mo.MS_RELATIME, "", id="atime-kinds-replace-each-other"),
        pytest.param(["nosuid,nodev", "defaults"], 0, "", id="defaults-clears"),
        pytest.param(["defaults", "nosuid"], mo.MS_NOSUID, "", id="defaults-first"),
        pytest.param(["b=2", "a=1", "b=3"], 0, "b=2,a=1,b=3", id="data-keeps-order"),
        pytest.param(["nofail", "_netdev", "x-systemd.automount", "auto"], 0, "", id="userspace-options-dropped"),
        pytest.param(['context="a:b:c0,c1",ro'], mo.MS_RDONLY, 'context="a:b:c0,c1"', id="quoted-comma"),
        pytest.param([" ro , ", ""], mo.MS_RDONLY, "", id="blanks"),
        pytest.param(["discard", "errors=remount-ro"], 0, "discard,errors=remount-ro", id="file-system-options"),
    ],
)
def test_parse(options: list[str], flags: int, data: str) -> None:
    parsed = parse_mount_options(options)
    assert (parsed.flags, parsed.data) == (flags, data)


@pytest.mark.parametrize("option", ["bind", "remount", "rshared", "loop=/dev/loop0"])
def test_other_operations_are_refused(option: str) -> None:
    with pytest.raises(ValueError, match=option.partition("=")[0]):
        parse_mount_options(["ro", option])


def test_data_is_never_shown() -> None:
    assert "hunter2" not in repr(parse_mount_options(["password=hunter2"]))


def test_splitting_keeps_order_and_quotes() -> None:
    assert split_options(["a,b", 'c="1,2",d']) == ["a", "b", 'c="1,2"', "d"]


def test_flags_to_repeat_at_a_remount() -> None:
    expected = mo.MS_RDONLY | mo.MS_NOSUID | mo.MS_NOEXEC | mo.MS_RELATIME
    assert flags_of_entry(("ro", "nosuid", "noexec", "relatime")) == expected
    assert flags_of_statvfs(0x1 | 0x2 | 0x8 | 0x1000) == expected


def test_a_mount_without_a_word_on_access_times_keeps_them_strictly() -> None:
    assert flags_of_entry(("rw", "nodev")) == mo.MS_NODEV | mo.MS_STRICTATIME


@pytest.mark.parametrize("option", ["sync", "lazytime", "mand", "discard", "rw,password=hunter2"])
def test_options_of_a_file_system_are_none_of_a_bind(option: str) -> None:
    with pytest.raises(ValueError, match="nosuid") as caught:
        bind_flags(["ro", option])
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize(
    ("present", "flags", "together"),
    [
        pytest.param(mo.MS_NOATIME, mo.MS_NODEV, mo.MS_NOATIME | mo.MS_NODEV, id="kept"),
        pytest.param(mo.MS_NOATIME | mo.MS_RDONLY, mo.MS_STRICTATIME, mo.MS_STRICTATIME | mo.MS_RDONLY, id="atime"),
        pytest.param(mo.MS_RELATIME, mo.MS_NODIRATIME, mo.MS_RELATIME | mo.MS_NODIRATIME, id="nodiratime"),
    ],
)
def test_flags_added_to_a_bind(present: int, flags: int, together: int) -> None:
    assert added_to_bind(present, flags) == together
