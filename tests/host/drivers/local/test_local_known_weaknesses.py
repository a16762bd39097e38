"""What csi-driver-host-path 1.18 gets wrong, asked of the local driver through the whole plugin, by number.

1 copies cut short, 2 sizes in MiB, 3 larger copies, 4 growth, 5 reboots, 6 lists, 7 consistency, 8 what the caller
asked for, 9 cost of many volumes, 10 changed blocks that read everything.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from tests.host.drivers.local.pool_node import MIB, mounted_pool

from moorage.drivers.local import LocalConfig, LocalDriver
from moorage.drivers.local.layout import Layout
from moorage.framework.plugin import Plugin
from moorage.host.device import size_of
from moorage.host.loop import detach, list_loops
from moorage.host.mount import ensure_unmounted
from moorage.host.mountinfo import find_mount, mounts_below
from moorage.spec import messages as m
from moorage.spec.types import (
    AccessMode,
    BlockAccess,
    CapacityRange,
    MountAccess,
    Snapshot,
    SnapshotSource,
    Volume,
    VolumeCapability,
    VolumeSource,
)

pytestmark = pytest.mark.root

MODE = AccessMode.SINGLE_NODE_MULTI_WRITER
MOUNT = VolumeCapability(MODE, MountAccess())
BLOCK = VolumeCapability(MODE, BlockAccess())


class Plug:
    """The plugin on one pool, restarted at will, and the paths that an orchestrator would give it."""

    def __init__(self, directory: Path, pool: Path) -> None:
        self.directory = directory
        self.pool = pool
        self.plugin = self._make()

    def _make(self) -> Plugin:
        config = LocalConfig(pool=(str(self.pool),), node_id="node-a", attach=True, backend=("image",))
        return Plugin(LocalDriver(config), state_dir=self.directory / "state")

    async def restart(self) -> None:
        await self.plugin.stop(5.0)
        self.plugin = self._make()
        await self.plugin.start()

    async def call(self, request: Any) -> Any:
        handler: Any = self.plugin.handlers[type(request).__name__.removesuffix("Request")]
        return await handler(request)

    async def create(self, name: str, size: int = 32 * MIB, *, how: VolumeCapability = MOUNT, **more: Any) -> Volume:
        request = m.CreateVolumeRequest(name, (how,), CapacityRange(size), **more)
        volume: Volume = (await self.call(request)).volume
        return volume

    async def snapshot(self, volume: Volume, name: str) -> Snapshot:
        snapshot: Snapshot = (await self.call(m.CreateSnapshotRequest(volume.volume_id, name))).snapshot
        return snapshot

    async def mount(self, volume: Volume, how: VolumeCapability = MOUNT, *, readonly: bool = False) -> Path:
        staging, target = self.staging(volume), self.directory / f"target-{volume.volume_id}"
        staging.mkdir(exist_ok=True)
        await self.call(m.NodeStageVolumeRequest(volume.volume_id, str(staging), how))
        await self.call(m.NodePublishVolumeRequest(volume.volume_id, str(target), how, str(staging), readonly))
        return target

    async def unmount(self, volume: Volume) -> None:
        target = self.directory / f"target-{volume.volume_id}"
        await self.call(m.NodeUnpublishVolumeRequest(volume.volume_id, str(target)))
        await self.call(m.NodeUnstageVolumeRequest(volume.volume_id, str(self.staging(volume))))

    def staging(self, volume: Volume) -> Path:
        return self.directory / f"staging-{volume.volume_id}"

    def lose_mounts_and_devices(self) -> None:
        """What a reboot does."""
        for entry in mounts_below(str(self.directory)):
            if entry.mount_point != str(self.pool):
                ensure_unmounted(entry.mount_point, lazy=True)
        ours = {device.path: device for device in list_loops() if device.backing_path.startswith(f"{self.pool}/")}
        readers = [device for device in list_loops() if device.backing_path in ours]
        for device in (*readers, *ours.values()):
            detach(device.path, expected_backing=device.backing)


@pytest.fixture(params=["xfs", "ext4"])
async def plug(tmp_path: Path, request: pytest.FixtureRequest) -> AsyncIterator[Plug]:
    """On a pool that shares blocks and on one that copies them."""
    with mounted_pool(tmp_path, request.param) as pool:
        made = Plug(tmp_path, pool)
        await made.plugin.start()
        try:
            yield made
        finally:
            await made.plugin.stop(5.0)
            made.lose_mounts_and_devices()


async def test_1_repeated_copies_are_the_first_ones_and_name_their_source(plug: Plug) -> None:
    source = await plug.create("source")
    ((await plug.mount(source)) / "file").write_text("content")
    snapshot = await plug.snapshot(source, "cut")
    for name, origin in (("clone", VolumeSource(source.volume_id)), ("restore", SnapshotSource(snapshot.snapshot_id))):
        first = await plug.create(name, volume_content_source=origin)
        await plug.restart()
        assert await plug.create(name, volume_content_source=origin) == first
        assert first.content_source == origin
        assert ((await plug.mount(first)) / "file").read_text() == "content"


@pytest.mark.parametrize("size", [MIB * 3 // 2, 4096, 512])
async def test_2_a_block_volume_has_every_byte_that_is_reported(plug: Plug, size: int) -> None:
    volume = await plug.create("odd", size, how=BLOCK)
    assert volume.capacity_bytes >= size
    assert size_of(str(await plug.mount(volume, BLOCK))) == volume.capacity_bytes


async def test_3_a_larger_copy_is_as_large_as_reported(plug: Plug) -> None:
    source = await plug.create("source", 16 * MIB, how=BLOCK)
    snapshot = await plug.snapshot(source, "cut")
    for name, origin in (("clone", VolumeSource(source.volume_id)), ("restore", SnapshotSource(snapshot.snapshot_id))):
        copy = await plug.create(name, 40 * MIB, how=BLOCK, volume_content_source=origin)
        assert copy.capacity_bytes == 40 * MIB
        assert size_of(str(await plug.mount(copy, BLOCK))) == 40 * MIB


async def test_4_a_mounted_volume_ends_where_its_size_says(plug: Plug) -> None:
    volume = await plug.create("limited")
    target = await plug.mount(volume)
    with (target / "file").open("wb", buffering=0) as file, pytest.raises(OSError, match="No space"):
        file.writelines(bytes(MIB) for _ in range(33))
    usage = (await plug.call(m.NodeGetVolumeStatsRequest(volume.volume_id, str(target)))).usage
    assert usage[0].total <= 32 * MIB


async def test_4_growth_reaches_device_and_file_system(plug: Plug) -> None:
    how = VolumeCapability(MODE, MountAccess("xfs"))
    volume = await plug.create("grows", 320 * MIB, how=how)
    target = await plug.mount(volume, how)
    ask = m.NodeGetVolumeStatsRequest(volume.volume_id, str(target))
    before = (await plug.call(ask)).usage[0].total
    grown = CapacityRange(384 * MIB)
    answer = await plug.call(m.ControllerExpandVolumeRequest(volume.volume_id, grown, volume_capability=how))
    assert answer.node_expansion_required
    staging = str(plug.staging(volume))
    await plug.call(m.NodeExpandVolumeRequest(volume.volume_id, str(target), grown, staging, how))
    assert (await plug.call(ask)).usage[0].total == before + 64 * MIB


async def test_5_after_a_reboot_volumes_are_used_as_before(plug: Plug) -> None:
    mounted, raw = await plug.create("mounted"), await plug.create("raw", 4 * MIB, how=BLOCK)
    ((await plug.mount(mounted)) / "file").write_text("content")
    with (await plug.mount(raw, BLOCK)).open("r+b") as device:
        device.write(b"content")
        os.fsync(device.fileno())
    plug.lose_mounts_and_devices()
    await plug.restart()
    assert ((await plug.mount(mounted)) / "file").read_text() == "content"
    assert (await plug.mount(raw, BLOCK)).read_bytes()[:7] == b"content"


async def test_6_lists_are_whole_in_any_page_size_and_tell_where_volumes_are(plug: Plug) -> None:
    made = {(await plug.create(f"v{number}")).volume_id for number in range(5)}
    listed, token = [], ""
    while True:
        page = await plug.call(m.ListVolumesRequest(2, token))
        assert 0 < len(page.entries) <= 2
        listed += [entry.volume.volume_id for entry in page.entries]
        if not (token := page.next_token):
            break
    assert (len(listed), set(listed)) == (5, made)

    async def nodes(volume_id: str) -> tuple[str, ...]:
        entries = (await plug.call(m.ListVolumesRequest())).entries
        (status,) = [entry.status for entry in entries if entry.volume.volume_id == volume_id]
        return () if status is None else tuple(status.published_node_ids)

    one = listed[0]
    assert await nodes(one) == ()
    await plug.call(m.ControllerPublishVolumeRequest(one, "node-a", MOUNT))
    assert await nodes(one) == ("node-a",)
    await plug.call(m.ControllerUnpublishVolumeRequest(one, "node-a"))
    assert await nodes(one) == ()


async def test_6_a_source_lists_all_its_snapshots(plug: Plug) -> None:
    volume = await plug.create("source")
    made = {(await plug.snapshot(volume, f"s{number}")).snapshot_id for number in range(3)}
    await plug.snapshot(await plug.create("other"), "foreign")
    entries = (await plug.call(m.ListSnapshotsRequest(source_volume_id=volume.volume_id))).entries
    assert {snapshot.snapshot_id for snapshot in entries} == made


async def test_7_a_group_whose_last_member_fails_leaves_no_snapshot(
    plug: Plug, monkeypatch: pytest.MonkeyPatch
) -> None:
    volumes = [(await plug.create(name)).volume_id for name in ("one", "two")]
    publish = Layout.publish
    placed = 0

    def fail_at_the_second(self: Layout, kind: Any, object_id: str) -> Path:
        nonlocal placed
        placed += 1
        if placed == 2:
            raise OSError(errno.ENOSPC, "injected")
        return publish(self, kind, object_id)

    monkeypatch.setattr(Layout, "publish", fail_at_the_second)
    request = m.CreateVolumeGroupSnapshotRequest("group", tuple(volumes))
    with pytest.raises(Exception, match="full"):
        await plug.call(request)
    assert (await plug.call(m.ListSnapshotsRequest())).entries == ()
    assert [path for home in ("snapshots", "tmp") for path in (plug.pool / home).iterdir()] == []
    assert len((await plug.call(request)).group_snapshot.snapshots) == 2


def read_only(device: Path) -> bool:
    """Whether the kernel refuses writes to a block device."""
    try:
        with device.open("r+b", buffering=0) as file:
            file.write(b"x")
            os.fsync(file.fileno())
    except PermissionError:
        return True
    return False


async def test_8_file_system_flags_and_read_only_are_as_asked_for(plug: Plug) -> None:
    how = VolumeCapability(MODE, MountAccess("xfs", ("noatime",)))
    volume = await plug.create("xfs", 320 * MIB, how=how)
    entry = find_mount(str(await plug.mount(volume, how)))
    assert entry is not None
    assert entry.fs_type == "xfs"
    assert "noatime" in entry.options
    raw = await plug.create("raw", 4 * MIB, how=BLOCK)
    target = await plug.mount(raw, BLOCK, readonly=True)
    assert stat.S_ISBLK(target.stat().st_mode)
    assert read_only(target)
    await plug.unmount(raw)
    assert not read_only(await plug.mount(raw, BLOCK))


async def test_8_unpublish_never_deletes_what_is_no_mount_of_ours(plug: Plug) -> None:
    volume = await plug.create("one")
    target = plug.directory / f"target-{volume.volume_id}"
    target.mkdir()
    (target / "precious").write_text("kept")
    await plug.call(m.NodeUnpublishVolumeRequest(volume.volume_id, str(target)))
    assert (target / "precious").read_text() == "kept"


async def test_8_an_inline_volume_has_the_size_that_its_pod_asks_for(plug: Plug) -> None:
    target = plug.directory / "inline"
    context = {"csi.storage.k8s.io/ephemeral": "true", "size": "48Mi"}
    volume_id = "csi-inline-1"
    await plug.call(m.NodePublishVolumeRequest(volume_id, str(target), MOUNT, volume_context=context))
    (image,) = (plug.pool / "volumes").glob("*/disk.img")
    assert image.stat().st_size == 48 * MIB
    await plug.call(m.NodeUnpublishVolumeRequest(volume_id, str(target)))
    assert list((plug.pool / "volumes").iterdir()) == []


def counted(name: str) -> int:
    """What this process has read or written so far by system calls, in bytes."""
    fields = dict(line.split(": ") for line in Path("/proc/self/io").read_text().splitlines())
    return int(fields[name])


async def test_9_the_cost_of_a_volume_does_not_grow_with_their_number(
    plug: Plug, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def cost(numbers: range) -> int:
        before = counted("wchar") + counted("rchar")
        for number in numbers:
            await plug.create(f"v{number}")
        return counted("wchar") + counted("rchar") - before

    await plug.create("warm")
    few = await cost(range(20))
    await cost(range(20, 200))
    assert await cost(range(200, 220)) < 2 * few

    def refuse(*_: object) -> Any:
        raise AssertionError("a lookup by id must not list the pool")

    monkeypatch.setattr(os, "listdir", refuse)
    monkeypatch.setattr(os, "scandir", refuse)
    driver = plug.plugin.driver
    assert isinstance(driver, LocalDriver)
    assert driver.find_volume("nobody") is None


async def test_10_allocated_blocks_are_told_without_reading_the_data(plug: Plug) -> None:
    volume = await plug.create("raw", 64 * MIB, how=BLOCK)
    with (await plug.mount(volume, BLOCK)).open("r+b") as device:
        device.write(os.urandom(32 * MIB))
        os.fsync(device.fileno())
    await plug.unmount(volume)
    snapshot = await plug.snapshot(volume, "cut")
    stream: Callable[..., Any] = plug.plugin.handlers["GetMetadataAllocated"]
    before = counted("rchar")
    told = [message async for message in stream(m.GetMetadataAllocatedRequest(snapshot.snapshot_id))]
    assert counted("rchar") - before < MIB
    assert sum(block.size_bytes for message in told for block in message.block_metadata) == 32 * MIB
