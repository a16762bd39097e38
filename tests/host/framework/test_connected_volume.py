"""Volumes whose device appears when the driver connects them: a loop device stands in for a login here."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from examples.toy_driver import ToyDriver
from tests.host.framework.conftest import MIB, Bench, block, mounted, write

import moorage.framework as csi
from moorage.host import loop
from moorage.host.device import size_of
from moorage.host.mount import ensure_mounted, ensure_unmounted, mount_filesystem
from moorage.host.mountinfo import find_mount
from moorage.spec import messages as m
from moorage.spec.errors import NotFound, VolumeInUse
from moorage.spec.types import CapacityRange

pytestmark = pytest.mark.root


class SessionToy(ToyDriver):
    """The image is the server's; the node sees a device while there is a session."""

    def node_source(self, volume: csi.NodeVolume) -> csi.BlockDevice | None:  # type: ignore[override]  # not an image
        if not self.path(volume.volume_id).exists():
            raise csi.VolumeNotFound(volume.volume_id)
        found = loop.find_loop(str(self.path(volume.volume_id)))
        return csi.BlockDevice(Path(found.path)) if found is not None else None

    def node_connect(self, volume: csi.NodeVolume) -> None:
        loop.attach(str(self.path(volume.volume_id)), direct_io=False)

    def node_disconnect(self, volume: csi.NodeVolume) -> None:
        found = loop.find_loop(str(self.path(volume.volume_id)))
        if found is not None:
            loop.detach(found.path, expected_backing=found.backing)


@pytest_asyncio.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    made = Bench(tmp_path, SessionToy)
    await made.plugin.start()
    yield made
    await made.plugin.stop(1.0)
    assert made.sweep() == []


def connected(bench: Bench, volume_id: str) -> bool:
    return loop.find_loop(str(bench.image(volume_id))) is not None


async def test_life_keeps_data_and_leaves_no_connection(bench: Bench) -> None:
    volume = await bench.create()
    for text in ("", "first"):
        await bench.stage(volume)
        target = await bench.publish(volume)
        assert not text or Path(target, "file").read_text() == text
        write(f"{target}/file", "first")
        assert (await bench.stats(volume, target))[0].total > 32 * MIB
        await bench.unpublish(volume)
        assert connected(bench, volume)
        await bench.unstage(volume)
        assert not connected(bench, volume)
        assert os.path.isfile(bench.image(volume))


async def test_a_raw_block_volume_grows_with_its_connection(bench: Bench) -> None:
    volume = await bench.create(capability=block())
    await bench.stage(volume, block())
    target = await bench.publish(volume, capability=block())
    grown = CapacityRange(required_bytes=96 * MIB)
    await bench.call("ControllerExpandVolume", m.ControllerExpandVolumeRequest(volume, grown))
    await bench.call("NodeExpandVolume", m.NodeExpandVolumeRequest(volume, target, grown))
    assert size_of(target) == 96 * MIB
    await bench.unpublish(volume)
    await bench.unstage(volume)
    assert not connected(bench, volume)


async def test_what_somebody_mounted_by_hand_is_not_disconnected(bench: Bench) -> None:
    volume = await bench.create(capability=mounted(fs_type="ext4"))
    staging = await bench.stage(volume)
    by_hand = bench.target("by hand")
    os.mkdir(by_hand)
    found = loop.find_loop(str(bench.image(volume)))
    assert found is not None
    ensure_mounted(found.path, by_hand, fs_type="ext4")
    with pytest.raises(VolumeInUse, match="by hand"):
        await bench.unstage(volume)
    assert connected(bench, volume)
    ensure_unmounted(by_hand)
    await bench.unstage(volume)
    assert find_mount(staging) is None
    assert not connected(bench, volume)


async def test_a_session_that_a_reboot_ended_is_made_again(bench: Bench) -> None:
    volume = await bench.create()
    staging = await bench.stage(volume)
    target = await bench.publish(volume)
    write(f"{target}/file", "kept")
    for path in (target, staging):
        ensure_unmounted(path)
    found = loop.find_loop(str(bench.image(volume)))
    assert found is not None
    loop.detach(found.path, expected_backing=found.backing)
    await bench.restart()
    with pytest.raises(NotFound, match="stage it again"):
        await bench.stats(volume, target)
    await bench.stage(volume)
    assert Path(await bench.publish(volume), "file").read_text() == "kept"
    await bench.unpublish(volume)
    await bench.unstage(volume)


async def test_teardown_after_the_journal_was_lost(bench: Bench) -> None:
    volume = await bench.create()
    await bench.stage(volume)
    await bench.publish(volume)
    await bench.restart(forget=True)
    await bench.unpublish(volume)
    await bench.unstage(volume)
    assert not connected(bench, volume)


class PrivateMountToy(ToyDriver):
    """Connecting makes a directory appear, as a client of a cluster file system does; the volume is in it."""

    formats = False

    def place(self, volume_id: str) -> Path:
        return Path(self.config.root) / f"{volume_id}.place"

    def node_source(self, volume: csi.NodeVolume) -> csi.Directory | None:  # type: ignore[override]  # not an image
        place = self.place(volume.volume_id)
        return csi.Directory(place, own_filesystem=True) if find_mount(str(place)) is not None else None

    def node_connect(self, volume: csi.NodeVolume) -> None:
        place = self.place(volume.volume_id)
        place.mkdir(exist_ok=True)
        if find_mount(str(place)) is None:
            mount_filesystem("client", str(place), fs_type="tmpfs")

    def node_disconnect(self, volume: csi.NodeVolume) -> None:
        place = self.place(volume.volume_id)
        ensure_unmounted(str(place))
        if place.exists():
            place.rmdir()


@pytest.mark.parametrize("forget", [False, True], ids=["with-its-record", "without-a-record"])
async def test_a_directory_that_appears_by_connecting(tmp_path: Path, *, forget: bool) -> None:
    bench = Bench(tmp_path, PrivateMountToy)
    await bench.plugin.start()
    try:
        volume = await bench.create()
        await bench.stage(volume)
        target = await bench.publish(volume)
        write(f"{target}/file", "seen")
        if forget:
            await bench.restart(forget=True)
        await bench.unpublish(volume)
        await bench.unstage(volume)
        await bench.unstage(volume)
    finally:
        await bench.plugin.stop(1.0)
        assert bench.sweep() == []
