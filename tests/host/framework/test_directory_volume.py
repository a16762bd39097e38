"""Directories as volumes: bound, never formatted, and never measured by the host's file system."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from examples.toy_driver import ToyDriver
from tests.host.framework.conftest import Bench

import moorage.framework as csi
from moorage.spec.errors import FailedPrecondition, Unimplemented

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
