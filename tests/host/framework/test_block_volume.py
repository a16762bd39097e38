"""Staging and publishing of raw block volumes."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest
from tests.host.framework.conftest import MIB, Bench, block, mounted
from tests.support.late_toy import LateToy

import moorage.framework as csi
from moorage.host.device import size_of
from moorage.spec import messages as m
from moorage.spec.types import AccessMode, CapacityRange

pytestmark = pytest.mark.root

MULTI = AccessMode.SINGLE_NODE_MULTI_WRITER


async def test_block_life(bench: Bench) -> None:
    volume = await bench.create(capability=block())
    await bench.stage(volume, block())
    target = await bench.publish(volume, capability=block())
    assert stat.S_ISBLK(os.stat(target).st_mode)
    assert size_of(target) == 64 * MIB
    data = os.urandom(MIB)
    with open(target, "r+b") as device:
        device.write(data)
        os.fsync(device.fileno())
    assert (await bench.stats(volume, target))[0].total == 64 * MIB
    await bench.unpublish(volume)
    assert not os.path.exists(target)
    await bench.unstage(volume)
    assert bench.image(volume).read_bytes()[:MIB] == data
    await bench.delete(volume)
    assert bench.sweep() == []


async def test_readonly_block_refuses_writes_while_another_target_writes(bench: Bench) -> None:
    volume = await bench.create(capability=block(MULTI))
    await bench.stage(volume, block(MULTI))
    writer = await bench.publish(volume, "w", capability=block(MULTI))
    reader = await bench.publish(volume, "r", capability=block(MULTI), readonly=True)
    with open(writer, "r+b") as device:
        device.write(b"written by the writer")
        os.fsync(device.fileno())
    with open(reader, "rb") as device:
        assert device.read(21) == b"written by the writer"
    with pytest.raises(OSError), open(reader, "r+b") as device:  # noqa: PT012 - the failing call is open or write
        device.write(b"no")
        os.fsync(device.fileno())
    await bench.unpublish(volume, "w")
    await bench.unpublish(volume, "r")
    await bench.unstage(volume)
    assert bench.sweep() == []


async def test_block_grows_online(bench: Bench) -> None:
    volume = await bench.create(capability=block(MULTI))
    await bench.stage(volume, block(MULTI))
    target = await bench.publish(volume, capability=block(MULTI))
    reader = await bench.publish(volume, "r", capability=block(MULTI), readonly=True)
    grown = CapacityRange(required_bytes=128 * MIB)
    await bench.call("ControllerExpandVolume", m.ControllerExpandVolumeRequest(volume, grown))
    answer = await bench.call("NodeExpandVolume", m.NodeExpandVolumeRequest(volume, target, grown))
    assert answer.capacity_bytes == 128 * MIB
    assert size_of(target) == 128 * MIB
    assert size_of(reader) == 128 * MIB
    await bench.unpublish(volume)
    await bench.unpublish(volume, "r")
    await bench.unstage(volume)


async def test_block_teardown_after_the_journal_was_lost(bench: Bench) -> None:
    volume = await bench.create(capability=block(MULTI))
    await bench.stage(volume, block(MULTI))
    writer = await bench.publish(volume, "w", capability=block(MULTI))
    reader = await bench.publish(volume, "r", capability=block(MULTI), readonly=True)
    await bench.restart(forget=True)
    await bench.unpublish(volume, "r")
    await bench.unpublish(volume, "w")
    assert not Path(writer).exists()
    assert not Path(reader).exists()
    await bench.unstage(volume)
    assert bench.sweep() == []


async def test_one_reader_may_go_while_another_reads(bench: Bench) -> None:
    volume = await bench.create(capability=block(MULTI))
    await bench.stage(volume, block(MULTI))
    for name in ("first", "second"):
        await bench.publish(volume, name, capability=block(MULTI), readonly=True)
    await bench.unpublish(volume, "first")
    assert size_of(bench.target("second")) == 64 * MIB
    await bench.unpublish(volume, "second")
    await bench.unstage(volume)
    assert bench.sweep() == []


async def test_stats_at_the_staging_path_are_those_of_the_device(bench: Bench) -> None:
    volume = await bench.create(capability=block())
    staging = await bench.stage(volume, block())
    assert [usage.total for usage in await bench.stats(volume, staging)] == [64 * MIB]
    await bench.unstage(volume)


class LoggedIn(LateToy):
    """Volumes are devices that the node logs in to; one is there after a crash that came before any record."""

    def node_source(self, volume: csi.NodeVolume) -> csi.BlockDevice:  # type: ignore[override]  # not an image
        super().node_source(volume)
        return csi.BlockDevice(path=self.path("device"))


async def test_a_login_that_was_never_recorded_is_released(tmp_path: Path) -> None:
    bench = Bench(tmp_path, LoggedIn)
    await bench.plugin.start()
    volume = await bench.create()
    await bench.unstage(volume)
    assert not (bench.pool / f"used-{volume}").exists()
    await bench.plugin.stop(1.0)


async def test_a_volume_with_a_record_is_not_published_as_an_inline_one(tmp_path: Path) -> None:
    bench = Bench(tmp_path, LateToy)
    await bench.plugin.start()
    volume = await bench.create()
    inline = {"csi.storage.k8s.io/ephemeral": "true"}
    with pytest.raises(csi.AlreadyExists, match="no inline volume"):
        await bench.publish(volume, capability=mounted(), volume_context=inline)
    assert bench.image(volume).exists()
    await bench.delete(volume)
    await bench.plugin.stop(1.0)
    assert bench.sweep() == []
