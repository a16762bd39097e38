"""Staging and publishing of mounted volumes on real loop devices and file systems."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
from tests.host.framework.conftest import MIB, Bench, mounted, write

from moorage.framework.node_journal import NodeJournal
from moorage.host import loop
from moorage.host.mountinfo import find_mount
from moorage.spec import messages as m
from moorage.spec.errors import AlreadyExists, CsiError, FailedPrecondition, InvalidArgument, NotFound, VolumeInUse
from moorage.spec.types import AccessMode, CapacityRange, UsageUnit, VolumeSource
from moorage.state.journal import Journal

pytestmark = pytest.mark.root


@pytest.mark.parametrize(("fs_type", "size"), [("ext4", 32 * MIB), ("xfs", 320 * MIB), ("btrfs", 128 * MIB)])
async def test_life_keeps_data_and_leaves_nothing(bench: Bench, fs_type: str, size: int) -> None:
    capability = mounted(fs_type=fs_type)
    volume = await bench.create(capability=capability, size_bytes=size)
    staging = await bench.stage(volume, capability)
    target = await bench.publish(volume, capability=capability)
    entry = find_mount(target)
    assert entry is not None
    assert entry.fs_type == fs_type
    write(f"{target}/hello", "world")
    await bench.unpublish(volume)
    await bench.unstage(volume)
    assert not os.path.exists(target)
    assert os.path.isdir(staging)
    await bench.stage(volume, capability)
    again = await bench.publish(volume, "t2", capability=capability)
    assert Path(again, "hello").read_text() == "world"
    await bench.unpublish(volume, "t2")
    await bench.unstage(volume)
    await bench.delete(volume)
    assert list(bench.pool.iterdir()) == []
    assert bench.sweep() == []


async def test_every_call_twice_is_ok(bench: Bench) -> None:
    volume = await bench.create()
    for _ in range(2):
        await bench.stage(volume)
    for _ in range(2):
        await bench.publish(volume)
    for _ in range(2):
        await bench.unpublish(volume)
    for _ in range(2):
        await bench.unstage(volume)


READ_ONLY = AccessMode.SINGLE_NODE_READER_ONLY
SINGLE = AccessMode.SINGLE_NODE_SINGLE_WRITER
MULTI = AccessMode.SINGLE_NODE_MULTI_WRITER
WRITER = AccessMode.SINGLE_NODE_WRITER


@pytest.mark.parametrize(
    ("mode", "second_target", "second_readonly", "error"),
    [
        pytest.param(MULTI, "t1", False, None, id="multi same target same arguments"),
        pytest.param(MULTI, "t1", True, AlreadyExists, id="multi same target other arguments"),
        pytest.param(MULTI, "t2", False, None, id="multi other target"),
        pytest.param(MULTI, "t2", True, None, id="multi other target read-only"),
        pytest.param(SINGLE, "t1", False, None, id="single same target same arguments"),
        pytest.param(SINGLE, "t1", True, AlreadyExists, id="single same target other arguments"),
        pytest.param(SINGLE, "t2", False, FailedPrecondition, id="single other target"),
        pytest.param(WRITER, "t2", False, FailedPrecondition, id="writer other target"),
        pytest.param(READ_ONLY, "t2", False, FailedPrecondition, id="reader other target"),
    ],
)
async def test_second_publish(
    bench: Bench, mode: AccessMode, second_target: str, second_readonly: bool, error: type[CsiError] | None
) -> None:
    volume = await bench.create(capability=mounted(mode))
    await bench.stage(volume, mounted(mode))
    await bench.publish(volume, "t1", capability=mounted(mode))
    again = bench.publish(volume, second_target, capability=mounted(mode), readonly=second_readonly)
    if error is None:
        await again
    else:
        with pytest.raises(error):
            await again
    await bench.unpublish(volume, "t1")
    await bench.unpublish(volume, "t2")
    await bench.unstage(volume)


async def test_publish_repeats_whatever_pod_information_says(bench: Bench) -> None:
    volume = await bench.create()
    await bench.stage(volume)
    await bench.publish(volume, volume_context={"csi.storage.k8s.io/pod.name": "a", "kind": "x"})
    await bench.publish(volume, volume_context={"csi.storage.k8s.io/pod.name": "b", "kind": "x"})
    with pytest.raises(AlreadyExists):
        await bench.publish(volume, volume_context={"kind": "y"})
    await bench.unpublish(volume)
    await bench.unstage(volume)


async def test_two_targets_see_the_same_files_and_readonly_refuses_writes(bench: Bench) -> None:
    volume = await bench.create()
    await bench.stage(volume)
    one = await bench.publish(volume, "t1")
    two = await bench.publish(volume, "t2", readonly=True)
    write(f"{one}/file", "seen")
    assert Path(two, "file").read_text() == "seen"
    with pytest.raises(OSError, match="Read-only"):
        Path(two, "other").write_text("no")
    await bench.unpublish(volume, "t1")
    assert Path(two, "file").read_text() == "seen"
    await bench.unpublish(volume, "t2")
    await bench.unstage(volume)


async def test_unstage_while_published_is_refused(bench: Bench) -> None:
    volume = await bench.create()
    await bench.stage(volume)
    await bench.publish(volume)
    with pytest.raises(VolumeInUse, match="unpublish it first"):
        await bench.unstage(volume)
    with pytest.raises(VolumeInUse):
        await bench.delete(volume)
    await bench.unpublish(volume)
    await bench.unstage(volume)


async def test_publish_before_stage_is_refused(bench: Bench) -> None:
    volume = await bench.create()
    with pytest.raises(FailedPrecondition, match="NodeStageVolume first"):
        await bench.publish(volume)


async def test_publish_of_unknown_volume(bench: Bench) -> None:
    with pytest.raises(NotFound):
        await bench.publish("nobody")


async def test_stage_with_another_capability(bench: Bench) -> None:
    volume = await bench.create()
    await bench.stage(volume)
    with pytest.raises(AlreadyExists):
        await bench.stage(volume, mounted(AccessMode.SINGLE_NODE_WRITER))
    await bench.unstage(volume)


async def test_data_that_is_not_known_is_never_formatted(bench: Bench) -> None:
    volume = await bench.create()
    data = os.urandom(4096)
    with bench.image(volume).open("r+b") as image:
        image.seek(1 << 20)
        image.write(data)
    with pytest.raises(FailedPrecondition, match="never formatted"):
        await bench.stage(volume)
    with bench.image(volume).open("rb") as image:
        image.seek(1 << 20)
        assert image.read(4096) == data
    await bench.unstage(volume)


async def test_another_file_system_is_never_formatted(bench: Bench) -> None:
    volume = await bench.create()
    subprocess.run(["mkfs.ext4", "-q", str(bench.image(volume))], check=True)
    with pytest.raises(FailedPrecondition, match="holds ext4"):
        await bench.stage(volume, mounted(fs_type="btrfs"))
    await bench.unstage(volume)


async def test_clone_into_a_larger_volume_has_a_larger_file_system(bench: Bench) -> None:
    source = await bench.create(size_bytes=32 * MIB)
    await bench.stage(source)
    target = await bench.publish(source)
    write(f"{target}/file", "original")
    await bench.unpublish(source)
    await bench.unstage(source)
    clone = await bench.create("clone", size_bytes=96 * MIB, source=VolumeSource(source))
    await bench.stage(clone)
    target = await bench.publish(clone, "clone")
    assert Path(target, "file").read_text() == "original"
    usage = {u.unit: u for u in await bench.stats(clone, target)}
    assert usage[UsageUnit.BYTES].total > 80 * MIB
    await bench.unpublish(clone, "clone")
    await bench.unstage(clone)


async def test_expansion_while_mounted(bench: Bench) -> None:
    capability = mounted(fs_type="xfs")
    volume = await bench.create(capability=capability, size_bytes=320 * MIB)
    await bench.stage(volume, capability)
    target = await bench.publish(volume, capability=capability)
    write(f"{target}/file", "kept")
    grown = CapacityRange(required_bytes=480 * MIB)
    with pytest.raises(CsiError, match="ControllerExpandVolume first"):
        await bench.call("NodeExpandVolume", m.NodeExpandVolumeRequest(volume, target, grown))
    answer = await bench.call("ControllerExpandVolume", m.ControllerExpandVolumeRequest(volume, grown))
    assert answer.capacity_bytes == 480 * MIB
    assert answer.node_expansion_required
    for _ in range(2):
        await bench.call("NodeExpandVolume", m.NodeExpandVolumeRequest(volume, target, grown))
    usage = {u.unit: u for u in await bench.stats(volume, target)}
    assert usage[UsageUnit.BYTES].total > 380 * MIB
    assert Path(target, "file").read_text() == "kept"
    await bench.unpublish(volume)
    await bench.unstage(volume)


async def test_ext4_grows_online_or_at_the_next_stage(bench: Bench) -> None:
    """Growing a mounted ext4 needs CAP_SYS_RESOURCE; without it the answer says so and staging again grows it."""
    volume = await bench.create(size_bytes=32 * MIB)
    await bench.stage(volume)
    target = await bench.publish(volume)
    grown = CapacityRange(required_bytes=96 * MIB)
    await bench.call("ControllerExpandVolume", m.ControllerExpandVolumeRequest(volume, grown))
    refused: CsiError | None = None
    try:
        await bench.call("NodeExpandVolume", m.NodeExpandVolumeRequest(volume, target, grown))
    except FailedPrecondition as error:
        refused = error
    if refused is not None:
        assert "CAP_SYS_RESOURCE" in refused.message
        await bench.unpublish(volume)
        await bench.unstage(volume)
        await bench.stage(volume)
        await bench.publish(volume)
    usage = {u.unit: u for u in await bench.stats(volume, target)}
    assert usage[UsageUnit.BYTES].total > 80 * MIB
    await bench.unpublish(volume)
    await bench.unstage(volume)


async def test_stats_are_those_of_the_volume_and_of_no_other_path(bench: Bench) -> None:
    volume = await bench.create()
    staging = await bench.stage(volume)
    target = await bench.publish(volume)
    real = os.statvfs(target)
    for path in (target, staging):
        usage = {u.unit: u for u in await bench.stats(volume, path)}
        assert usage[UsageUnit.BYTES].total == real.f_blocks * real.f_frsize
        assert usage[UsageUnit.INODES].total == real.f_files
    for path in ("some/path", str(bench.directory), "/"):
        with pytest.raises(NotFound):
            await bench.stats(volume, path)
    await bench.unpublish(volume)
    with pytest.raises(NotFound):
        await bench.stats(volume, target)
    await bench.unstage(volume)


async def test_a_staging_path_that_lost_its_mount_has_no_stats(bench: Bench) -> None:
    volume = await bench.create()
    staging = await bench.stage(volume)
    subprocess.run(["umount", staging], check=True)
    with pytest.raises(NotFound):
        await bench.stats(volume, staging)
    with pytest.raises(NotFound):
        await bench.call("NodeExpandVolume", m.NodeExpandVolumeRequest(volume, staging))
    await bench.unstage(volume)
    assert bench.sweep() == []


async def test_mounts_lost_by_a_reboot_are_made_again(bench: Bench) -> None:
    volume = await bench.create()
    staging = await bench.stage(volume)
    target = await bench.publish(volume)
    write(f"{target}/file", "kept")
    subprocess.run(["umount", target], check=True)
    subprocess.run(["umount", staging], check=True)
    found = loop.find_loop(str(bench.image(volume)))
    assert found is not None
    loop.detach(found.path, expected_backing=str(bench.image(volume)))
    await bench.restart()
    with pytest.raises(NotFound):
        await bench.stats(volume, target)
    await bench.stage(volume)
    assert await bench.publish(volume) == target
    assert Path(target, "file").read_text() == "kept"
    await bench.unpublish(volume)
    await bench.unstage(volume)


async def test_teardown_works_after_the_journal_was_lost(bench: Bench) -> None:
    volume = await bench.create()
    staging = await bench.stage(volume)
    target = await bench.publish(volume)
    await bench.restart(forget=True)
    assert (await bench.stats(volume, target))[0].total > 0
    await bench.unpublish(volume)
    assert not os.path.exists(target)
    await bench.unstage(volume)
    assert find_mount(staging) is None
    assert loop.find_loop(str(bench.image(volume))) is None


async def test_a_foreign_mount_is_never_touched(bench: Bench) -> None:
    volume = await bench.create()
    foreign = bench.target("foreign")
    os.mkdir(foreign)
    subprocess.run(["mount", "-t", "tmpfs", "none", foreign], check=True)
    try:
        write(f"{foreign}/file", "not yours")
        for rpc, request in (
            ("NodeUnpublishVolume", m.NodeUnpublishVolumeRequest(volume, foreign)),
            ("NodeUnpublishVolume", m.NodeUnpublishVolumeRequest("nobody", foreign)),
            ("NodeUnstageVolume", m.NodeUnstageVolumeRequest(volume, foreign)),
            ("NodeStageVolume", m.NodeStageVolumeRequest(volume, foreign, mounted())),
        ):
            with pytest.raises(FailedPrecondition, match="mounted at"):
                await bench.call(rpc, request)
        assert Path(foreign, "file").read_text() == "not yours"
    finally:
        subprocess.run(["umount", foreign], check=True)
    await bench.unstage(volume)


async def test_a_target_with_files_is_not_removed(bench: Bench) -> None:
    volume = await bench.create()
    path = Path(bench.target("full"))
    path.mkdir()
    (path / "file").write_text("kept")
    await bench.unpublish(volume, "full")
    assert (path / "file").read_text() == "kept"


async def test_an_empty_directory_is_left_to_whoever_made_it_when_the_volume_is_unknown(bench: Bench) -> None:
    path = Path(bench.target("empty"))
    path.mkdir()
    await bench.unpublish("nobody", "empty")
    assert path.is_dir()


async def test_mount_group_can_read_and_write(bench: Bench) -> None:
    capability = mounted(volume_mount_group="4711")
    volume = await bench.create(capability=capability)
    await bench.stage(volume, capability)
    target = await bench.publish(volume, capability=capability)
    Path(target, "file").touch()
    assert os.stat(target).st_gid == 4711
    assert os.stat(f"{target}/file").st_gid == 4711
    assert os.stat(target).st_mode & 0o070 == 0o070
    await bench.unpublish(volume)
    await bench.unstage(volume)


async def test_mount_flags_are_applied(bench: Bench) -> None:
    capability = mounted(mount_flags=("noatime", "nodev"))
    volume = await bench.create(capability=capability)
    staging = await bench.stage(volume, capability)
    entry = find_mount(staging)
    assert entry is not None
    assert {"noatime", "nodev"} <= set(entry.options)
    await bench.unstage(volume)


ODD = mounted(mount_flags=("no-such-flag",))


async def test_a_volume_whose_staging_was_refused_is_not_in_use(bench: Bench) -> None:
    volume = await bench.create()
    with pytest.raises(InvalidArgument, match="does not take its mount flags"):
        await bench.stage(volume, ODD)
    assert loop.find_loop(str(bench.image(volume))) is None
    await bench.delete(volume)
    await bench.plugin.stop(1.0)
    journal = Journal.open(bench.directory / "state" / "journal.sqlite", owner="the test")
    assert list(NodeJournal(journal).staged(volume)) == []
    await journal.close()
    await bench.restart()


async def test_a_volume_whose_staging_was_refused_can_be_staged_in_another_way(bench: Bench) -> None:
    volume = await bench.create()
    with pytest.raises(CsiError):
        await bench.stage(volume, ODD)
    await bench.restart()
    await bench.stage(volume)
    write(f"{await bench.publish(volume)}/file", "kept")
    with pytest.raises(VolumeInUse):
        await bench.delete(volume)
    await bench.unpublish(volume)
    await bench.unstage(volume)
