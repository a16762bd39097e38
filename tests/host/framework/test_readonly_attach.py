"""Volumes that the controller published read-only: nobody writes to them, whatever the node is asked for."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest
from tests.host.framework.conftest import Bench, block, mounted, write
from tests.host.framework.test_directory_volume import DirectoryToy

import moorage.framework as csi
from moorage.host.mountinfo import find_mount
from moorage.spec import messages as m
from moorage.spec.types import AccessMode

pytestmark = pytest.mark.root

READONLY = {"moorage.dev/readonly": "true"}


async def used(bench: Bench, capability: csi.VolumeCapability) -> str:
    """A volume that was written to once."""
    volume = await bench.create(capability=capability)
    await bench.stage(volume, capability)
    target = await bench.publish(volume, capability=capability)
    if not capability.is_block:
        write(f"{target}/file", "content")
    await bench.unpublish(volume)
    await bench.unstage(volume)
    return volume


async def stage(bench: Bench, volume: str, capability: csi.VolumeCapability) -> None:
    request = m.NodeStageVolumeRequest(volume, bench.staging(volume), capability, publish_context=READONLY)
    await bench.call("NodeStageVolume", request)


def refuses_writes(target: str) -> bool:
    """Whether the kernel refuses a write at a target, a directory or a device."""
    try:
        if os.path.isdir(target):
            Path(target, "new").write_text("x")
        else:
            with open(target, "r+b") as device:
                device.write(b"x" * 4096)
                os.fsync(device.fileno())
    except OSError as error:
        return error.errno in (errno.EROFS, errno.EPERM, errno.EACCES)
    return False


@pytest.mark.parametrize("capability", [mounted(), mounted(fs_type="xfs"), block()], ids=["mount", "xfs", "block"])
async def test_a_target_refuses_writes(bench: Bench, capability: csi.VolumeCapability) -> None:
    volume = await bench.create(capability=capability, size_bytes=320 << 20)
    await bench.stage(volume, capability)
    await bench.unstage(volume)
    for _ in range(2):
        await stage(bench, volume, capability)
    target = await bench.publish(volume, capability=capability, publish_context=READONLY)
    assert refuses_writes(target)
    again = await bench.publish(volume, capability=capability, publish_context=READONLY, readonly=True)
    assert again == target
    await bench.restart(forget=True)
    await stage(bench, volume, capability)
    await bench.publish(volume, capability=capability, publish_context=READONLY)
    assert refuses_writes(target)
    await bench.unpublish(volume)
    await bench.unstage(volume)
    await bench.stage(volume, capability)
    assert not refuses_writes(await bench.publish(volume, capability=capability))
    await bench.unpublish(volume)
    await bench.unstage(volume)
    assert bench.sweep() == []


async def test_a_target_beside_a_staging_that_writes_refuses_writes(bench: Bench) -> None:
    shared = mounted(AccessMode.SINGLE_NODE_MULTI_WRITER)
    volume = await bench.create(capability=shared)
    await bench.stage(volume, shared)
    writer = await bench.publish(volume, "writer", capability=shared)
    reader = await bench.publish(volume, "reader", capability=shared, publish_context=READONLY)
    assert not refuses_writes(writer)
    assert refuses_writes(reader)
    await bench.unpublish(volume, "writer")
    await bench.unpublish(volume, "reader")
    await bench.unstage(volume)


async def test_readers_staging_takes_no_writer(bench: Bench) -> None:
    volume = await used(bench, mounted())
    await stage(bench, volume, mounted())
    with pytest.raises(csi.FailedPrecondition, match="read-only"):
        await bench.publish(volume)
    with pytest.raises(csi.AlreadyExists, match="read-only"):
        await bench.stage(volume)
    await bench.unstage(volume)
    await bench.stage(volume)
    assert Path(await bench.publish(volume), "file").read_text() == "content"
    await bench.unpublish(volume)
    await bench.unstage(volume)


async def test_nothing_is_formatted_for_readers(bench: Bench) -> None:
    volume = await bench.create()
    with pytest.raises(csi.FailedPrecondition, match="no file system"):
        await stage(bench, volume, mounted())
    assert bench.image(volume).read_bytes().count(0) == bench.image(volume).stat().st_size
    assert bench.sweep() == []


async def test_a_directory_refuses_writes(tmp_path: Path) -> None:
    bench = Bench(tmp_path, DirectoryToy)
    await bench.plugin.start()
    volume = await bench.create()
    await stage(bench, volume, mounted())
    target = await bench.publish(volume, publish_context=READONLY)
    assert refuses_writes(target)
    entry = find_mount(bench.staging(volume))
    assert entry is not None
    assert "ro" in entry.options
    await bench.unpublish(volume)
    await bench.unstage(volume)
    await bench.plugin.stop(1.0)
    assert bench.sweep() == []
