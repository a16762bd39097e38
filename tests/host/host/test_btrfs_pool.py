"""Subvolumes, snapshots, quotas and compression on a real btrfs."""

from __future__ import annotations

import errno
import os
import time
from pathlib import Path

import pytest

from moorage.host import btrfs, qgroup

pytestmark = pytest.mark.root
MIB = 1 << 20


def test_subvolumes_come_and_go(btrfs_pool: Path) -> None:
    path = str(btrfs_pool / "volume")
    assert btrfs.find_subvolume(path) is None
    assert btrfs.ensure_subvolume(path) is True
    assert btrfs.ensure_subvolume(path) is False
    found = btrfs.find_subvolume(path)
    assert found is not None
    assert found.subvolume_id >= 256
    assert (found.parent_uuid, found.readonly) == ("", False)
    (btrfs_pool / "volume" / "dir").mkdir()
    assert btrfs.containing_subvolume_id(path + "/dir") == found.subvolume_id
    assert btrfs.find_subvolume(path + "/dir") is None
    assert btrfs.delete_subvolume(path) is True
    assert btrfs.delete_subvolume(path) is False


def test_only_subvolumes_are_deleted(btrfs_pool: Path, place: Path) -> None:
    (btrfs_pool / "dir").mkdir()
    (btrfs_pool / "link").symlink_to("volume")
    btrfs.ensure_subvolume(str(btrfs_pool / "volume"))
    btrfs.ensure_subvolume(str(btrfs_pool / "volume" / "inner"))
    for path in (btrfs_pool / "dir", btrfs_pool / "link", place):
        with pytest.raises(OSError, match="no btrfs subvolume"):
            btrfs.delete_subvolume(str(path))
    with pytest.raises(OSError, match="refused") as caught:
        btrfs.delete_subvolume(str(btrfs_pool / "volume"))
    assert caught.value.errno == errno.ENOTEMPTY
    with pytest.raises(OSError, match="refused") as caught:
        btrfs.ensure_subvolume(str(btrfs_pool / "dir"))
    assert caught.value.errno == errno.EEXIST
    with pytest.raises(OSError, match="File name too long"):
        btrfs.ensure_subvolume(str(btrfs_pool / ("x" * 256)))


def test_a_snapshot_keeps_its_moment(btrfs_pool: Path) -> None:
    volume, snapshot, restored = (str(btrfs_pool / name) for name in ("volume", "snapshot", "restored"))
    btrfs.ensure_subvolume(volume)
    Path(volume, "file").write_text("before")
    assert btrfs.ensure_snapshot(volume, snapshot, readonly=True) is True
    assert btrfs.ensure_snapshot(volume, snapshot, readonly=True) is False
    Path(volume, "file").write_text("after")
    assert Path(snapshot, "file").read_text() == "before"
    with pytest.raises(OSError, match="Read-only"):
        Path(snapshot, "new").touch()
    assert btrfs.ensure_snapshot(snapshot, restored, readonly=False) is True
    Path(restored, "file").write_text("mine")
    taken, origin = btrfs.find_subvolume(snapshot), btrfs.find_subvolume(volume)
    assert taken is not None
    assert origin is not None
    assert (taken.parent_uuid, taken.readonly) == (origin.uuid, True)
    with pytest.raises(OSError, match="another subvolume"):
        btrfs.ensure_snapshot(restored, snapshot, readonly=True)
    with pytest.raises(OSError, match="no btrfs subvolume"):
        btrfs.ensure_snapshot(str(btrfs_pool / "missing"), str(btrfs_pool / "x"), readonly=True)
    assert btrfs.ensure_subvolume_readonly(snapshot, False) is True
    assert btrfs.ensure_subvolume_readonly(snapshot, False) is False
    assert btrfs.ensure_subvolume_readonly(snapshot, True) is True
    assert btrfs.delete_subvolume(snapshot) is True


def test_a_limit_holds_moves_and_goes(btrfs_pool: Path) -> None:
    volume = str(btrfs_pool / "volume")
    btrfs.ensure_subvolume(volume)
    assert qgroup.find_usage(volume) is None
    assert qgroup.ensure_quota_enabled(volume) is True
    assert qgroup.ensure_quota_enabled(volume) is False
    assert qgroup.ensure_limit(volume, 10 * MIB) is True
    assert qgroup.ensure_limit(volume, 10 * MIB) is False
    with pytest.raises(OSError, match="quota") as caught:
        write_synced(Path(volume, "big"), os.urandom(20 * MIB))
    assert caught.value.errno == errno.EDQUOT
    os.unlink(f"{volume}/big")
    write_synced(Path(volume, "small"), os.urandom(4 * MIB))
    usage = qgroup.find_usage(volume, commit=True)
    assert usage is not None
    assert usage.exact
    assert usage.limit_bytes == 10 * MIB
    assert 4 * MIB <= usage.referenced_bytes < 5 * MIB
    assert usage.exclusive_bytes == usage.referenced_bytes
    assert qgroup.ensure_limit(volume, 30 * MIB) is True
    write_synced(Path(volume, "big"), os.urandom(20 * MIB))
    assert qgroup.ensure_limit(volume, None) is True
    assert qgroup.ensure_limit(volume, None) is False
    lifted = qgroup.find_usage(volume)
    assert lifted is not None
    assert lifted.limit_bytes is None


def write_synced(path: Path, data: bytes) -> None:
    with path.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def remove_when_cleaned(pool: Path, subvolume_id: int) -> None:
    """The kernel cleans up a deleted subvolume in the background, from one commit to the next."""
    deadline = time.monotonic() + 30
    while True:
        btrfs.sync(str(pool))
        try:
            qgroup.remove_qgroup(str(pool), subvolume_id)
            return
        except OSError as error:
            if error.errno != errno.EBUSY or time.monotonic() > deadline:
                raise


def test_the_qgroup_of_a_deleted_subvolume_is_removed(btrfs_pool: Path) -> None:
    volume = str(btrfs_pool / "volume")
    qgroup.ensure_quota_enabled(str(btrfs_pool))
    btrfs.ensure_subvolume(volume)
    found = btrfs.find_subvolume(volume)
    assert found is not None
    btrfs.delete_subvolume(volume)
    remove_when_cleaned(btrfs_pool, found.subvolume_id)
    assert qgroup.remove_qgroup(str(btrfs_pool), found.subvolume_id) is False
    assert qgroup.remove_qgroup(str(btrfs_pool), 99999) is False


def test_compression_is_inherited(btrfs_pool: Path) -> None:
    volume = str(btrfs_pool / "volume")
    btrfs.ensure_subvolume(volume)
    assert btrfs.find_compression(volume) is None
    assert btrfs.ensure_compression(volume, "zstd") is True
    assert btrfs.ensure_compression(volume, "zstd") is False
    Path(volume, "file").touch()
    assert btrfs.find_compression(volume + "/file") == "zstd"
    assert btrfs.ensure_compression(volume, "none") is True
    assert btrfs.ensure_compression(volume, "none") is False
    assert btrfs.find_compression(volume) == "none"
    btrfs.sync(volume)


def test_other_file_systems_say_so(place: Path) -> None:
    assert btrfs.find_subvolume(str(place)) is None
    with pytest.raises(OSError, match="ioctl"):
        btrfs.containing_subvolume_id(str(place))
