"""Real mounts: file systems, binds, block files, layers, symlinks, propagation."""

from __future__ import annotations

import errno
import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from moorage.host import loop, mount, paths, syscalls
from moorage.host.mountinfo import find_mount, read_mounts
from moorage.host.mountoptions import bind_flags, parse_mount_options
from moorage.host.stats import filesystem_stats

pytestmark = pytest.mark.root
MIB = 1 << 20
MakeVolume = Callable[..., Any]


def tmpfs(path: Path, data: str = "size=1m") -> Path:
    path.mkdir(exist_ok=True)
    mount.mount_filesystem("tmp", str(path), fs_type="tmpfs", data=data)
    return path


@pytest.mark.parametrize("fs_type", ["ext4", "xfs", "btrfs"])
def test_mount_twice_unmount_twice(make_volume: MakeVolume, place: Path, fs_type: str) -> None:
    volume = make_volume(fs_type)
    target = place / "target with\nodd \\ name"
    target.mkdir()
    assert mount.ensure_mounted(volume.device, str(target), fs_type=fs_type, options=["noatime"]) is True
    assert mount.ensure_mounted(volume.device, str(target), fs_type=fs_type) is False
    entry = find_mount(str(target))
    assert entry is not None
    assert "noatime" in entry.options
    assert entry.fs_type == fs_type
    stats = filesystem_stats(str(target))
    assert 0 < stats.available_bytes <= stats.total_bytes
    assert stats.used_bytes + stats.available_bytes <= stats.total_bytes
    assert (stats.total_inodes > 0) == (fs_type != "btrfs")
    assert mount.ensure_unmounted(str(target)) is True
    assert mount.ensure_unmounted(str(target)) is False


def test_another_mount_at_the_target_is_reported(make_volume: MakeVolume, place: Path) -> None:
    volume = make_volume("ext4")
    target = tmpfs(place / "target")
    with pytest.raises(OSError, match="unmount it first") as caught:
        mount.ensure_mounted(volume.device, str(target), fs_type="ext4")
    assert caught.value.errno == errno.EEXIST


def test_errors_name_the_path_and_no_options(place: Path) -> None:
    target = place / "t"
    target.mkdir()
    with pytest.raises(OSError, match="failed") as caught:
        mount.mount_filesystem("tmp", str(target), fs_type="tmpfs", data="password=hunter2")
    assert caught.value.errno == errno.EINVAL
    assert str(target) in str(caught.value)
    assert "hunter2" not in str(caught.value)


def test_a_symlink_as_target_is_refused(place: Path) -> None:
    (place / "real").mkdir()
    (place / "link").symlink_to(place / "real")
    with pytest.raises(OSError, match="symbolic link") as caught:
        mount.mount_filesystem("tmp", str(place / "link"), fs_type="tmpfs")
    assert caught.value.errno == errno.ELOOP
    with pytest.raises(OSError, match="symbolic link"):
        mount.bind_mount(str(place), str(place / "link"))
    assert find_mount(str(place / "real")) is None


@pytest.fixture(params=["detached", "classic"])
def bind_way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    if request.param == "classic":

        def missing(path: str) -> int:
            raise OSError(errno.ENOSYS, "Function not implemented")

        monkeypatch.setattr(syscalls, "open_tree_clone", missing)
    return str(request.param)


@pytest.mark.usefixtures("bind_way")
def test_readonly_bind_keeps_the_flags_of_its_source(place: Path) -> None:
    source = place / "source"
    source.mkdir()
    mount.mount_filesystem("tmp", str(source), fs_type="tmpfs", flags=parse_mount_options(["nosuid,nodev"]).flags)
    (source / "file").write_text("data")
    target = place / "target"
    target.mkdir()
    assert mount.ensure_bind_mounted(str(source), str(target), readonly=True) is True
    assert mount.ensure_bind_mounted(str(source), str(target), readonly=True) is False
    entry = find_mount(str(target))
    assert entry is not None
    assert {"ro", "nosuid", "nodev"} <= set(entry.options)
    with pytest.raises(OSError, match="Read-only"):
        (target / "file").write_text("x")
    (source / "file").write_text("more")
    assert (target / "file").read_text() == "more"


@pytest.mark.parametrize("own", ["nosuid,noatime", "strictatime,ro"])
def test_flags_are_added_to_a_bind_and_none_is_taken_away(place: Path, own: str) -> None:
    source, target = place / "source", place / "target"
    source.mkdir()
    target.mkdir()
    mount.mount_filesystem("tmp", str(source), fs_type="tmpfs", flags=parse_mount_options([own]).flags)
    mount.bind_mount(str(source), str(target))
    before = find_mount(str(target))
    assert before is not None
    for expected in (True, False):
        assert mount.ensure_bind_flags(str(target), bind_flags(["nodev,nodiratime"])) is expected
    entry = find_mount(str(target))
    assert entry is not None
    assert set(entry.options) == {*before.options, "nodev", "nodiratime"}
    assert mount.ensure_bind_flags(str(target), bind_flags(["relatime"])) is True
    entry = find_mount(str(target))
    assert entry is not None
    assert set(entry.options) == {*before.options, "nodev", "nodiratime", "relatime"} - {"noatime"}


def test_flags_of_what_is_not_mounted_are_not_set(place: Path) -> None:
    with pytest.raises(OSError, match="nothing is mounted"):
        mount.ensure_bind_flags(str(place), bind_flags(["nodev"]))


@pytest.mark.usefixtures("bind_way")
def test_a_bind_whose_readonly_step_was_lost_is_finished(place: Path) -> None:
    source, target = tmpfs(place / "source"), place / "target"
    target.mkdir()
    mount.bind_mount(str(source), str(target))
    assert mount.ensure_bind_mounted(str(source), str(target), readonly=True) is True
    assert mount.ensure_bind_mounted(str(source), str(target), readonly=False) is True
    (target / "now-writable").touch()


def test_binding_a_subdirectory_or_another_source(place: Path) -> None:
    source, target = tmpfs(place / "source"), place / "target"
    (source / "a" / "b").mkdir(parents=True)
    (source / "c").mkdir()
    target.mkdir()
    assert mount.ensure_bind_mounted(str(source / "a" / "b"), str(target)) is True
    assert mount.ensure_bind_mounted(str(source / "a" / "b"), str(target)) is False
    with pytest.raises(OSError, match="not of") as caught:
        mount.ensure_bind_mounted(str(source / "c"), str(target))
    assert caught.value.errno == errno.EEXIST


def test_binding_inside_a_btrfs_subvolume(btrfs_pool: Path, place: Path) -> None:
    from moorage.host.btrfs import ensure_subvolume

    ensure_subvolume(str(btrfs_pool / "sub"))
    target = place / "target"
    target.mkdir()
    assert mount.ensure_bind_mounted(str(btrfs_pool / "sub"), str(target)) is True
    assert mount.ensure_bind_mounted(str(btrfs_pool / "sub"), str(target)) is False


def test_all_layers_go_and_mounts_below_block(place: Path) -> None:
    target = place / "t"
    for _ in range(3):
        tmpfs(target)
    inner = tmpfs(target / "inner")
    with pytest.raises(OSError, match="still uses it") as caught:
        mount.ensure_unmounted(str(target))
    assert caught.value.errno == errno.EBUSY
    assert mount.ensure_unmounted(str(inner)) is True
    assert mount.ensure_unmounted(str(target)) is True
    assert find_mount(str(target)) is None


def test_lazy_unmount_of_a_busy_mount(place: Path) -> None:
    target = tmpfs(place / "t")
    with (target / "open").open("w"):
        with pytest.raises(OSError, match="unmounting"):
            mount.ensure_unmounted(str(target))
        assert mount.ensure_unmounted(str(target), lazy=True) is True
    assert find_mount(str(target)) is None


def test_a_block_device_is_published_as_a_file(make_image: Callable[..., Path], place: Path) -> None:
    device = loop.attach(str(make_image()))
    target = place / "pod" / "device"
    target.parent.mkdir()
    assert mount.ensure_bind_file(device.path, str(target)) is True
    assert mount.ensure_bind_file(device.path, str(target)) is False
    assert os.stat(target).st_rdev == os.stat(device.path).st_rdev
    with pytest.raises(OSError, match="still a mount point"):
        paths.ensure_removed_target(str(target))
    assert mount.ensure_unmounted(str(target)) is True
    assert paths.ensure_removed_target(str(target)) is True
    assert os.stat(device.path).st_rdev
    with pytest.raises(OSError, match="no block device"):
        mount.ensure_bind_file(str(place), str(target))


def test_a_removed_target_never_takes_a_mount_with_it(place: Path) -> None:
    target = tmpfs(place / "t")
    with pytest.raises(OSError, match="still a mount point") as caught:
        paths.ensure_removed_target(str(target))
    assert caught.value.errno == errno.EBUSY
    mount.ensure_unmounted(str(target))
    assert paths.ensure_removed_target(str(target)) is True


@pytest.mark.usefixtures("bind_way")
def test_mounts_reach_the_peers_of_a_shared_parent(place: Path) -> None:
    """What kubelet's Bidirectional propagation relies on: a bind below a shared mount shows in its peer."""
    shared, peer = tmpfs(place / "shared"), place / "peer"
    subprocess.run(["mount", "--make-shared", str(shared)], check=True)
    peer.mkdir()
    mount.bind_mount(str(shared), str(peer))
    shared_entry, peer_entry = find_mount(str(shared)), find_mount(str(peer))
    assert shared_entry is not None
    assert peer_entry is not None
    assert shared_entry.shared == peer_entry.shared is not None
    (shared / "target").mkdir()
    (place / "volume").mkdir()
    assert mount.ensure_bind_mounted(str(place / "volume"), str(shared / "target")) is True
    seen = find_mount(str(peer / "target"))
    assert seen is not None
    assert mount.ensure_unmounted(str(shared / "target")) is True
    assert find_mount(str(peer / "target")) is None


def test_a_bind_of_something_deleted_is_not_taken_for_its_successor(place: Path) -> None:
    source, target = place / "source", place / "target"
    source.mkdir()
    target.mkdir()
    mount.ensure_bind_mounted(str(source), str(target))
    source.rmdir()
    entry = find_mount(str(target))
    assert entry is not None
    assert entry.root_deleted
    source.mkdir()
    with pytest.raises(OSError, match="unmount it first"):
        mount.ensure_bind_mounted(str(source), str(target))
    assert mount.ensure_unmounted(str(target)) is True
    assert mount.ensure_bind_mounted(str(source), str(target)) is True


def test_another_namespace_is_read_through_its_own_table(place: Path) -> None:
    (place / "d").mkdir()
    held = subprocess.Popen(
        ["unshare", "-m", "--propagation", "private", "sh", "-c", f"mount -t tmpfs tmp {place}/d; echo ok; read x"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    try:
        assert held.stdout is not None
        held.stdout.readline()
        assert find_mount(str(place / "d"), mounts=read_mounts(f"/proc/{held.pid}/mountinfo")) is not None
        assert find_mount(str(place / "d")) is None
    finally:
        held.communicate(b"\n")
