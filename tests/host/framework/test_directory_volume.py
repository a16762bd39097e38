"""Directories as volumes: bound, never formatted, and never measured by the host's file system."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from examples.toy_driver import ToyDriver
from tests.host.framework.conftest import Bench, mounted

import moorage.framework as csi
from moorage.host.mountinfo import find_mount
from moorage.host.syscalls import mount as mount_system_call
from moorage.spec.errors import FailedPrecondition, InvalidArgument, Unimplemented

pytestmark = pytest.mark.root


class DirectoryToy(ToyDriver):
    """The toy with directories; whether their figures are their own is a question of the storage."""

    own_filesystem = False
    snapshots_outlive_volumes = True

    def disabled_methods(self) -> frozenset[str]:
        return frozenset({"create_snapshot", "delete_snapshot", "restore_snapshot", "clone_volume", "expand_volume"})

    def create_volume(self, volume: csi.NewVolume) -> None:
        self.path(volume.volume_id).mkdir(exist_ok=True)

    def delete_volume(self, volume: csi.VolumeRecord) -> None:
        if self.path(volume.volume_id).exists():
            self.path(volume.volume_id).rmdir()

    def node_source(self, volume: csi.NodeVolume) -> csi.Directory:  # type: ignore[override]  # another kind of toy
        if not self.path(volume.volume_id).exists():
            raise csi.VolumeNotFound(volume.volume_id)
        return csi.Directory(self.path(volume.volume_id), own_filesystem=self.own_filesystem)


class OwnDirectoryToy(DirectoryToy):
    own_filesystem = True


class UnformattedToy(ToyDriver):
    formats = False


async def test_figures_that_are_not_the_volumes_own_are_not_told(tmp_path: Path) -> None:
    bench = Bench(tmp_path, DirectoryToy)
    await bench.plugin.start()
    try:
        volume = await bench.create()
        await bench.stage(volume)
        target = await bench.publish(volume)
        Path(target, "file").touch()
        with pytest.raises(Unimplemented, match="node_usage"):
            await bench.stats(volume, target)
        os.unlink(f"{target}/file")
        await bench.unpublish(volume)
        await bench.unstage(volume)
        await bench.delete(volume)
    finally:
        await bench.plugin.stop(1.0)
        assert bench.sweep() == []


async def test_a_directory_with_a_file_system_of_its_own_is_measured(tmp_path: Path) -> None:
    bench = Bench(tmp_path, OwnDirectoryToy)
    await bench.plugin.start()
    try:
        volume = await bench.create()
        await bench.stage(volume)
        target = await bench.publish(volume)
        assert (await bench.stats(volume, target))[0].total == os.statvfs(target).f_blocks * os.statvfs(target).f_frsize
        await bench.unpublish(volume)
        await bench.unstage(volume)
    finally:
        await bench.plugin.stop(1.0)
        assert bench.sweep() == []


async def test_a_driver_that_formats_nothing_has_nothing_formatted(tmp_path: Path) -> None:
    bench = Bench(tmp_path, UnformattedToy)
    await bench.plugin.start()
    try:
        volume = await bench.create()
        with pytest.raises(FailedPrecondition, match="makes none"):
            await bench.stage(volume)
        await bench.unstage(volume)
        assert bench.image(volume).read_bytes().count(0) == bench.image(volume).stat().st_size
    finally:
        await bench.plugin.stop(1.0)
        assert bench.sweep() == []


MS_REMOUNT_BIND_RELATIME = 0x20 | 0x1000 | 1 << 21


@pytest.fixture
async def directories(tmp_path: Path) -> AsyncIterator[Bench]:
    bench = Bench(tmp_path, DirectoryToy)
    await bench.plugin.start()
    yield bench
    await bench.plugin.stop(1.0)
    assert bench.sweep() == []


def options_at(path: str) -> set[str]:
    entry = find_mount(path)
    assert entry is not None
    return set(entry.options)


@pytest.mark.parametrize(
    ("flags", "shown", "hidden"),
    [
        pytest.param(("noatime",), {"noatime"}, {"relatime"}, id="noatime"),
        pytest.param(("strictatime",), {"rw"}, {"relatime", "noatime"}, id="strictatime"),
        pytest.param(("nodiratime", "relatime"), {"nodiratime", "relatime"}, set(), id="nodiratime"),
        pytest.param(("nosuid,nodev", "noexec"), {"nosuid", "nodev", "noexec", "rw"}, set(), id="several"),
        pytest.param(("rw", "exec", "defaults", "_netdev"), {"rw"}, {"noexec"}, id="what-is-so-anyway"),
        pytest.param(("ro", "noatime"), {"ro", "noatime"}, {"rw"}, id="ro"),
    ],
)
async def test_mount_flags_are_those_of_the_bind_mount(
    directories: Bench, flags: tuple[str, ...], shown: set[str], hidden: set[str]
) -> None:
    bench, capability = directories, mounted(mount_flags=flags)
    volume = await bench.create(capability=capability)
    for forget in (False, True):  # bound afresh, and found in place by a process that knows nothing
        staging = await bench.stage(volume, capability)
        target = await bench.publish(volume, capability=capability)
        for path in (staging, target):
            assert shown <= options_at(path)
            assert not hidden & options_at(path)
        if not forget:
            await bench.restart(forget=True)
    await bench.unpublish(volume)
    await bench.unstage(volume)


async def test_flags_that_were_lost_between_two_steps_are_set_again(directories: Bench) -> None:
    bench, capability = directories, mounted(mount_flags=("noatime", "nodev"))
    volume = await bench.create(capability=capability)
    staging = await bench.stage(volume, capability)
    mount_system_call(None, staging, fs_type=None, flags=MS_REMOUNT_BIND_RELATIME, data=None)
    assert not {"noatime", "nodev"} & options_at(staging)
    await bench.restart(forget=True)
    await bench.stage(volume, capability)
    assert {"noatime", "nodev"} <= options_at(staging)
    await bench.unstage(volume)


@pytest.mark.parametrize("flag", ["sync", "discard", "lazytime", "password=hunter2"])
async def test_flags_that_a_bind_mount_cannot_have_are_refused(directories: Bench, flag: str) -> None:
    volume = await directories.create()
    with pytest.raises(InvalidArgument, match=f"'{volume}' is a directory.* noexec, ") as caught:
        await directories.stage(volume, mounted(mount_flags=("noatime", flag)))
    assert "hunter2" not in str(caught.value)
    assert find_mount(directories.staging(volume)) is None
    await directories.stage(volume)
    await directories.unstage(volume)
