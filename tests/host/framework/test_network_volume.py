"""Volumes of servers, mounted in helper processes: with a file system that can be mounted here (tmpfs), helpers
that are stopped in their work, and a mount whose server never answers (a FUSE connection that nobody reads).
"""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import pytest_asyncio
from examples.toy_driver import ToyConfig, ToyDriver
from tests.host.framework.conftest import MIB, Bench, block, mounted, write
from tests.host.host.test_mount_helper import children

import moorage.framework as csi
from moorage.framework.network_mounts import NetworkMounts
from moorage.framework.plugin import Plugin
from moorage.host import syscalls
from moorage.host.mount import ensure_unmounted
from moorage.host.mountinfo import find_mount
from moorage.spec import messages as m
from moorage.spec.errors import (
    AlreadyExists,
    FailedPrecondition,
    InvalidArgument,
    OperationPending,
    Unavailable,
    Unimplemented,
)
from moorage.spec.types import AccessMode, CapacityRange, UsageUnit

pytestmark = pytest.mark.root

HELPER = "moorage.host.helper"


class ShareToy(ToyDriver):
    """A volume is a file system of a server, which here is the kernel's memory; its data goes with the last mount."""

    formats = False
    fs_types = ()
    own_filesystem = True
    server = "nas"
    fs_type = "tmpfs"
    options: tuple[str, ...] = ("size=8m",)
    timeout_s = 20.0

    def node_source(self, volume: csi.NodeVolume) -> csi.NetworkMount:  # type: ignore[override]  # another kind of toy
        if not self.path(volume.volume_id).exists():
            raise csi.VolumeNotFound(volume.volume_id)
        return csi.NetworkMount(
            f"{self.server}:/{volume.volume_id}",
            self.fs_type,
            options=self.options,
            with_program=False,
            timeout_s=self.timeout_s,
            own_filesystem=self.own_filesystem,
        )


class NetworkBench(Bench):
    """The calls of an orchestrator, with short limits."""

    def _make(self) -> Plugin:
        driver = ShareToy(ToyConfig(root=self.pool))
        network = NetworkMounts(change_timeout_s=2.0, question_timeout_s=0.5)
        return Plugin(driver, state_dir=self.directory / "state", network=network)

    def staging(self, volume_id: str) -> str:
        """Made, unless it is a mount, which may be dead and is not looked at."""
        path = str(self.directory / "staging" / volume_id)
        return path if find_mount(path) is not None else super().staging(volume_id)

    @property
    def driver(self) -> ShareToy:
        driver = self.plugin.driver
        assert isinstance(driver, ShareToy)
        return driver


@pytest_asyncio.fixture
async def bench(tmp_path: Path) -> AsyncIterator[NetworkBench]:
    made = NetworkBench(tmp_path)
    await made.plugin.start()
    yield made
    await made.plugin.stop(1.0)
    made.sweep()
    assert children(HELPER) == []


async def test_life_leaves_nothing(bench: NetworkBench) -> None:
    volume = await bench.create()
    staging, target = await bench.stage(volume), bench.target("t1")
    await bench.stage(volume)
    entry = find_mount(staging)
    assert entry is not None
    assert (entry.source, entry.fs_type) == (f"nas:/{volume}", "tmpfs")
    for _ in range(2):
        await bench.publish(volume)
    reader = await bench.publish(volume, "reader", readonly=True)
    write(f"{target}/file", "seen")
    assert Path(reader, "file").read_text() == "seen"
    with pytest.raises(OSError, match="Read-only"):
        Path(reader, "other").touch()
    for path in (staging, target, reader):
        usage = {each.unit: each for each in await bench.stats(volume, path)}
        assert usage[UsageUnit.BYTES].total == 8 * MIB
    grown = m.NodeExpandVolumeRequest(volume, target, CapacityRange(64 * MIB))
    assert (await bench.call("NodeExpandVolume", grown)).capacity_bytes == 64 * MIB
    for _ in range(2):
        await bench.unpublish(volume)
        await bench.unpublish(volume, "reader")
    for _ in range(2):
        await bench.unstage(volume)
    assert not os.path.exists(target)
    assert os.listdir(staging) == []
    assert bench.sweep() == []


async def test_mount_flags_win_over_the_options_of_the_driver(bench: NetworkBench) -> None:
    capability = mounted(mount_flags=("size=4m", "noatime"))
    volume = await bench.create(capability=capability)
    staging = await bench.stage(volume, capability)
    entry = find_mount(staging)
    assert entry is not None
    assert "noatime" in entry.options
    assert os.statvfs(staging).f_blocks * os.statvfs(staging).f_frsize == 4 * MIB
    with pytest.raises(AlreadyExists):
        await bench.stage(volume, mounted())
    await bench.unstage(volume)


async def test_it_is_no_block_device(bench: NetworkBench) -> None:
    volume = await bench.create(capability=block())
    with pytest.raises(InvalidArgument, match="block device"):
        await bench.stage(volume, block())
    await bench.unstage(volume)


async def test_figures_of_a_whole_share_are_not_told_as_those_of_a_volume(bench: NetworkBench) -> None:
    volume = await bench.create()
    staging = await bench.stage(volume)
    bench.driver.own_filesystem = False
    with pytest.raises(Unimplemented, match="node_usage"):
        await bench.stats(volume, staging)
    await bench.unstage(volume)


async def test_mount_options_that_the_server_refuses_leave_nothing(bench: NetworkBench) -> None:
    bench.driver.options = ("password=hunter2",)
    volume = await bench.create()
    with pytest.raises(FailedPrecondition) as caught:
        await bench.stage(volume)
    assert "hunter2" not in str(caught.value)
    await bench.delete(volume)


async def test_another_mount_at_the_path_is_never_touched(bench: NetworkBench) -> None:
    one, two = await bench.create("one"), await bench.create("two")
    staging = await bench.stage(one)
    for rpc, request in (
        ("NodeStageVolume", m.NodeStageVolumeRequest(two, staging, mounted())),
        ("NodeUnstageVolume", m.NodeUnstageVolumeRequest(two, staging)),
        ("NodeUnpublishVolume", m.NodeUnpublishVolumeRequest(two, staging)),
    ):
        with pytest.raises(FailedPrecondition, match="mounted at"):
            await bench.call(rpc, request)
    entry = find_mount(staging)
    assert entry is not None
    assert entry.source == f"nas:/{one}"
    await bench.unstage(one)


async def test_everything_is_found_again_after_the_journal_was_lost(bench: NetworkBench) -> None:
    """The id is unknown then, but the driver still knows the volume, and the mount table what is mounted."""
    volume = await bench.create()
    staging = await bench.stage(volume)
    target = await bench.publish(volume)
    write(f"{target}/file", "kept")
    await bench.restart(forget=True)
    assert (await bench.stats(volume, target))[0].total == 8 * MIB
    assert await bench.stage(volume) == staging
    assert Path(staging, "file").read_text() == "kept"
    await bench.restart(forget=True)
    await bench.unpublish(volume)
    assert not os.path.exists(target)
    await bench.unstage(volume)
    assert find_mount(staging) is None


async def test_a_mount_that_a_reboot_took_is_made_again(bench: NetworkBench) -> None:
    volume = await bench.create()
    staging = await bench.stage(volume)
    target = await bench.publish(volume)
    for path in (target, staging):
        ensure_unmounted(path)
    await bench.restart()
    assert await bench.publish(volume) == target
    assert find_mount(staging) is not None
    await bench.unpublish(volume)
    await bench.unstage(volume)


# --- a helper that hangs ---------------------------------------------------------------------------


async def stop_the_helper(bench: NetworkBench) -> int:
    """Have the child that will serve the next call not answer; its process id."""
    warm = await bench.create("warm")
    await bench.stage(warm)
    await bench.unstage(warm)
    (pid,) = children(HELPER)
    os.kill(pid, signal.SIGSTOP)
    return pid


async def test_a_mount_that_hangs_is_given_up_and_made_by_the_replay(bench: NetworkBench) -> None:
    volume = await bench.create()
    pid = await stop_the_helper(bench)
    bench.driver.timeout_s = 0.5
    began_s = time.monotonic()
    with pytest.raises(Unavailable, match=r"did not finish within 0\.5 s"):
        await bench.stage(volume)
    assert time.monotonic() - began_s < 8.0
    assert not Path(f"/proc/{pid}").exists()
    bench.driver.timeout_s = 20.0
    await bench.stage(volume)
    await bench.unstage(volume)
    assert find_mount(bench.staging(volume)) is None


async def test_other_volumes_go_on_while_a_mount_hangs(bench: NetworkBench) -> None:
    one, two = await bench.create("one"), await bench.create("two")
    await stop_the_helper(bench)
    bench.driver.timeout_s = 4.0
    hanging = asyncio.create_task(bench.stage(one))
    while not bench.plugin.running():
        await asyncio.sleep(0)
    await asyncio.sleep(0.2)  # until the stopped child has the call
    bench.driver.server = "another"
    await bench.stage(two)
    await bench.publish(two)
    with pytest.raises(OperationPending, match="NodeStageVolume"):
        await bench.unstage(one)
    await bench.unpublish(two)
    await bench.unstage(two)
    assert not hanging.done()
    with pytest.raises(Unavailable):
        await hanging
    bench.driver.server = "nas"
    await bench.unstage(one)


async def test_the_volume_stays_locked_while_its_process_cannot_be_killed(
    bench: NetworkBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As in state D: SIGKILL is sent and nothing happens. Nobody may say meanwhile that the volume is unstaged."""
    volume = await bench.create()
    pid = await stop_the_helper(bench)
    monkeypatch.setattr("moorage.host.helper.os.killpg", lambda *_: None)
    bench.driver.timeout_s = 0.3
    hanging = asyncio.create_task(bench.stage(volume))
    done, _ = await asyncio.wait({hanging}, timeout=4.0)  # longer than a killed process is given to go
    assert not done
    with pytest.raises(OperationPending, match="NodeStageVolume"):
        await bench.unstage(volume)
    (running,) = bench.plugin.running()
    assert volume in running.describe
    os.kill(pid, signal.SIGKILL)
    with pytest.raises(Unavailable):
        await hanging
    await bench.unstage(volume)


@pytest.mark.parametrize("forget", [False, True], ids=["with-its-record", "without-a-record"])
async def test_a_driver_that_is_killed_while_it_mounts_leaves_nothing(bench: NetworkBench, *, forget: bool) -> None:
    """The stopped child ends with its parent, as far as the kernel can tell: its pipes are closed."""
    volume = await bench.create()
    pid = await stop_the_helper(bench)
    bench.driver.timeout_s = 0.3
    with pytest.raises(Unavailable):
        await bench.stage(volume)
    assert not Path(f"/proc/{pid}").exists()
    await bench.restart(forget=forget)
    await bench.unstage(volume)
    assert find_mount(bench.staging(volume)) is None
    assert bench.sweep() == []


# --- a server that is dead -------------------------------------------------------------------------


@pytest.fixture
def dead_server() -> Iterator[int]:
    """A FUSE connection that nobody reads: whoever looks at its mount waits."""
    fd = os.open("/dev/fuse", os.O_RDWR | os.O_CLOEXEC)
    yield fd
    os.close(fd)


async def staged_on_a_dead_server(bench: NetworkBench, fd: int) -> tuple[str, str]:
    """A volume whose server died after it was mounted; its id and its staging path."""
    volume = await bench.create("dead")
    staging = bench.staging(volume)
    bench.driver.fs_type = "fuse"
    data = f"fd={fd},rootmode=40000,user_id=0,group_id=0"
    syscalls.mount(f"nas:/{volume}", staging, fs_type="fuse", flags=0, data=data)
    await bench.stage(volume)
    return volume, staging


async def test_a_mounted_volume_is_known_without_being_looked_at(bench: NetworkBench, dead_server: int) -> None:
    async with asyncio.timeout(5.0):
        volume, staging = await staged_on_a_dead_server(bench, dead_server)
        await bench.stage(volume)
    entry = find_mount(staging)
    assert entry is not None
    assert entry.fs_type == "fuse"


async def test_statistics_of_a_dead_server_are_unavailable_and_harm_nobody(
    bench: NetworkBench, dead_server: int
) -> None:
    volume, staging = await staged_on_a_dead_server(bench, dead_server)
    bench.driver.fs_type = "tmpfs"
    sound = await bench.create("sound")
    await bench.stage(sound)
    for _ in range(3):
        began_s = time.monotonic()
        bench.driver.fs_type = "fuse"
        with pytest.raises(Unavailable, match="statfs"):
            await bench.stats(volume, staging)
        assert time.monotonic() - began_s < 5.0
        bench.driver.fs_type = "tmpfs"
        assert (await bench.stats(sound, bench.staging(sound)))[0].total == 8 * MIB
    await bench.unstage(sound)


async def test_a_dead_volume_is_published_unpublished_and_unstaged(bench: NetworkBench, dead_server: int) -> None:
    volume, staging = await staged_on_a_dead_server(bench, dead_server)
    async with asyncio.timeout(10.0):
        for _ in range(2):
            await bench.publish(volume)
        assert find_mount(bench.target("t1")) is not None
        with pytest.raises(Unavailable, match="statfs"):
            await bench.stats(volume, bench.target("t1"))
        await bench.restart(forget=True)
        bench.driver.fs_type = "fuse"
        await bench.unpublish(volume)
        assert not os.path.lexists(bench.target("t1"))
        await bench.unstage(volume)
    assert find_mount(staging) is None


async def test_a_publish_that_hangs_is_undone_by_unpublish(bench: NetworkBench) -> None:
    volume = await bench.create()
    await bench.stage(volume)
    (pid,) = children(HELPER)
    os.kill(pid, signal.SIGSTOP)
    with pytest.raises(Unavailable, match="bind of"):
        await bench.publish(volume)
    await bench.unpublish(volume)
    assert not os.path.exists(bench.target("t1"))
    await bench.unstage(volume)


async def test_an_unmount_that_hangs_is_taken_up_again(bench: NetworkBench) -> None:
    volume = await bench.create()
    staging = await bench.stage(volume)
    (pid,) = children(HELPER)
    os.kill(pid, signal.SIGSTOP)
    with pytest.raises(Unavailable, match="unmount of"):
        await bench.unstage(volume)
    assert find_mount(staging) is not None
    await bench.unstage(volume)
    assert find_mount(staging) is None


async def test_a_volume_that_a_process_uses_is_not_torn_away(bench: NetworkBench) -> None:
    volume = await bench.create()
    staging = await bench.stage(volume)
    with open(f"{staging}/open", "w") as user:
        user.write("mine")
        with pytest.raises(Unavailable, match="a process still uses"):
            await bench.unstage(volume)
    assert find_mount(staging) is not None
    await bench.unstage(volume)
    assert find_mount(staging) is None


async def test_modes_that_only_read_are_published_readonly(bench: NetworkBench) -> None:
    capability = mounted(AccessMode.SINGLE_NODE_READER_ONLY)
    volume = await bench.create(capability=capability)
    await bench.stage(volume, capability)
    target = await bench.publish(volume, capability=capability)
    with pytest.raises(OSError, match="Read-only"):
        Path(target, "file").touch()
    await bench.unpublish(volume)
    await bench.unstage(volume)
