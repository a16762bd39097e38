"""Callers that give up, callers that are killed, too many callers, and a driver that is told to stop meanwhile."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, Final

import pytest
from tests.support.adversary import ServedLocal, listed, tear_down

from moorage.rpc.client import Client
from moorage.spec import messages as m
from moorage.spec.errors import Code, CsiError, DeadlineExceeded, Unavailable
from moorage.spec.types import AccessMode, CapacityRange, MountAccess, VolumeCapability, VolumeSource
from moorage.testing.driver import DriverProcess

pytestmark = [pytest.mark.root, pytest.mark.slow, pytest.mark.timeout(120)]

MIB: Final = 1 << 20
SIZE: Final = CapacityRange(64 * MIB)
MOUNT: Final = VolumeCapability(AccessMode.SINGLE_NODE_MULTI_WRITER, MountAccess())
SLOW_CLONE: Final = {"point": "before:local.image.identified", "action": "delay:4"}
HANGING: Final = "tests.support.hanging_driver:HangingDriver"
STOP_LIMIT_S: Final = 27.0
"""25 s for the drain and what Python needs to go."""


def clone_of(volume_id: str) -> m.CreateVolumeRequest:
    return m.CreateVolumeRequest("clone", (MOUNT,), SIZE, volume_content_source=VolumeSource(volume_id))


async def source_in(driver: DriverProcess) -> str:
    made = await driver.client.create_volume(m.CreateVolumeRequest("source", (MOUNT,), SIZE))
    return made.volume.volume_id


async def until(condition: Callable[[], Awaitable[bool]], *, timeout_s: float = 15.0) -> None:
    deadline_s = time.monotonic() + timeout_s
    while not await condition():
        assert time.monotonic() < deadline_s, "it never came to that"
        await asyncio.sleep(0.05)


async def test_work_goes_on_after_the_deadline(tmp_path: Path, pool: Path) -> None:
    """The caller gives up in the middle of a clone; the replay joins the clone that is under way."""
    driver = ServedLocal(tmp_path, pool)
    await driver.start(faults=[SLOW_CLONE])
    try:
        request = clone_of(await source_in(driver))
        with pytest.raises(DeadlineExceeded):
            await driver.client.create_volume(request, timeout_s=0.5)
        assert "CreateVolume" in await driver.fetch("/operations")
        other = m.CreateVolumeRequest("clone", (MOUNT,), CapacityRange(80 * MIB))
        with pytest.raises(CsiError) as pending:
            await driver.client.create_volume(other)
        assert pending.value.code is Code.ABORTED
        began_s = time.monotonic()
        answers = await asyncio.gather(*(driver.client.create_volume(request) for _ in range(5)))
        assert 1.0 < time.monotonic() - began_s < 5.0
        assert len({answer.volume.volume_id for answer in answers}) == 1
        assert len((await listed(driver))[0]) == 2
        await tear_down(driver)
        assert driver.rows() == {}
    finally:
        assert await driver.stop() == 0


async def test_no_copy_is_taken_of_a_half_made_file_system(tmp_path: Path, pool: Path) -> None:
    """While the first stage runs mkfs, a snapshot and a clone have to wait; what is cut afterwards can be used."""
    driver = ServedLocal(tmp_path, pool)
    await driver.start(faults=[{"point": "before:node.stage.formatted", "action": "delay:2"}])
    try:
        client = driver.client
        volume_id, staging = await source_in(driver), tmp_path / "staging"
        staging.mkdir()
        stage = m.NodeStageVolumeRequest(volume_id, str(staging), MOUNT)
        staging_now = asyncio.ensure_future(client.node_stage_volume(stage))

        async def formatting() -> bool:
            return any(row.get("formatting") for row in driver.rows().get("staged", ()))

        await until(formatting)
        for copy in (
            client.create_snapshot(m.CreateSnapshotRequest(volume_id, "cut")),
            client.create_volume(clone_of(volume_id)),
        ):
            with pytest.raises(CsiError) as pending:
                await copy
            assert pending.value.code is Code.ABORTED
        await staging_now
        clone = (await client.create_volume(clone_of(volume_id))).volume.volume_id
        other = tmp_path / "other"
        other.mkdir()
        await client.node_stage_volume(m.NodeStageVolumeRequest(clone, str(other), MOUNT))
        await tear_down(driver)
        assert driver.rows() == {}
    finally:
        assert await driver.stop() == 0


async def test_work_goes_on_when_the_caller_is_killed(tmp_path: Path, pool: Path) -> None:
    driver = ServedLocal(tmp_path, pool)
    await driver.start(faults=[SLOW_CLONE])
    try:
        request = clone_of(await source_in(driver))
        caller = await asyncio.create_subprocess_exec(
            *(sys.executable, "-c", CALLER, driver.endpoint, request.volume_content_source.volume_id),  # type: ignore[union-attr]  # it is a volume
            stdin=asyncio.subprocess.DEVNULL,
        )

        async def running() -> bool:
            return "CreateVolume" in await driver.fetch("/operations")

        await until(running)
        caller.send_signal(signal.SIGKILL)
        await caller.wait()
        await driver.idle()
        volumes, _ = await listed(driver)
        again = await driver.client.create_volume(request, timeout_s=1.0)
        assert again.volume.volume_id in volumes
        assert len(volumes) == 2
        await tear_down(driver)
    finally:
        assert await driver.stop() == 0


CALLER: Final = """
import asyncio, sys
from moorage.rpc.client import Client
from tests.host.adversary.test_deadline import clone_of

async def call():
    async with Client(sys.argv[1]) as client:
        await client.create_volume(clone_of(sys.argv[2]))

asyncio.run(call())
"""


async def test_a_stop_lets_long_work_end(tmp_path: Path, pool: Path) -> None:
    """SIGTERM in the middle of a clone: the clone is finished, its caller is answered, the exit status is 0."""
    driver = ServedLocal(tmp_path, pool)
    await driver.start(faults=[SLOW_CLONE])
    request = clone_of(await source_in(driver))
    working = asyncio.ensure_future(driver.client.create_volume(request))
    abandoned = m.CreateSnapshotRequest(request.volume_content_source.volume_id, "cut")  # type: ignore[union-attr]
    await asyncio.sleep(0)
    with pytest.raises(DeadlineExceeded):
        await driver.client.create_volume(request, timeout_s=0.3)
    await driver.client.create_snapshot(abandoned)
    began_s = time.monotonic()
    process = driver.pid
    os.kill(process, signal.SIGTERM)
    stopping = asyncio.ensure_future(driver.wait_dead(timeout_s=30.0))
    answer = await working
    assert await stopping == 0
    assert 2.0 < time.monotonic() - began_s < 10.0
    assert not Path(f"/proc/{process}").exists()
    await driver.start()
    try:
        assert answer.volume.volume_id in (await listed(driver))[0]
        assert (await driver.client.create_volume(request)).volume.volume_id == answer.volume.volume_id
        await tear_down(driver)
        assert driver.rows() == {}
    finally:
        assert await driver.stop() == 0


# --- a vendor's calls that never return -------------------------------------------------------------


async def hang(driver: DriverProcess, count: int) -> list[asyncio.Task[Any]]:
    """So many CreateVolume calls that will never be answered, all of them begun."""
    calls: list[asyncio.Task[Any]] = []
    for number in range(count):
        request = m.CreateVolumeRequest(f"hang {number}", (MOUNT,), SIZE)
        calls.append(asyncio.ensure_future(driver.client.create_volume(request)))
    begun = driver.directory / "begun"

    async def all_begun() -> bool:
        return begun.exists() and len(begun.read_text().splitlines()) >= min(count, 10)

    await until(all_begun)
    return calls


async def test_hung_creates_stop_neither_the_node_nor_the_end(tmp_path: Path) -> None:
    """Ten blocking calls that sleep for ever: unpublish works, and SIGTERM ends the process in time."""
    driver = DriverProcess(HANGING, directory=tmp_path, arguments=["--root", str(tmp_path)])
    await driver.start()
    try:
        client = driver.client
        volume_id = (await client.create_volume(m.CreateVolumeRequest("sound", (MOUNT,), SIZE))).volume.volume_id
        staging, target = tmp_path / "staging", tmp_path / "target"
        staging.mkdir()
        await client.node_stage_volume(m.NodeStageVolumeRequest(volume_id, str(staging), MOUNT))
        await client.node_publish_volume(m.NodePublishVolumeRequest(volume_id, str(target), MOUNT, str(staging)))
        calls = await hang(driver, 10)
        await client.node_unpublish_volume(m.NodeUnpublishVolumeRequest(volume_id, str(target)), timeout_s=5.0)
        await client.node_unstage_volume(m.NodeUnstageVolumeRequest(volume_id, str(staging)), timeout_s=5.0)
        assert not target.exists()
        await client.probe(timeout_s=2.0)
        began_s = time.monotonic()
        os.kill(driver.pid, signal.SIGTERM)
        await driver.wait_dead(timeout_s=40.0)
        assert time.monotonic() - began_s < STOP_LIMIT_S
        for outcome in await asyncio.gather(*calls, return_exceptions=True):
            assert isinstance(outcome, CsiError)
            assert not outcome.final, outcome
    finally:
        await driver.kill()


async def test_overload_is_unavailable(tmp_path: Path) -> None:
    """Beyond the limit calls are told to come back later, while Probe and the node answer."""
    driver = DriverProcess(HANGING, directory=tmp_path, arguments=["--root", str(tmp_path)])
    await driver.start()
    clients = [Client(driver.endpoint) for _ in range(5)]
    try:
        calls = []
        for number in range(300):
            request = m.CreateVolumeRequest(f"hang {number}", (MOUNT,), SIZE)
            calls.append(asyncio.ensure_future(clients[number % 5].create_volume(request, timeout_s=60.0)))
        refused, _ = await asyncio.wait(calls, timeout=20.0, return_when=asyncio.FIRST_COMPLETED)
        assert refused
        with pytest.raises(Unavailable) as refusal:
            await driver.client.create_volume(m.CreateVolumeRequest("one more", (MOUNT,), SIZE), timeout_s=5.0)
        assert "later" in refusal.value.message
        await driver.client.probe(timeout_s=2.0)
        await driver.client.node_get_info(timeout_s=2.0)
        await driver.client.node_unpublish_volume(
            m.NodeUnpublishVolumeRequest("unknown", str(tmp_path / "nothing")), timeout_s=5.0
        )
        for call in refused:
            assert isinstance(call.exception(), Unavailable), call.exception()
        for call in calls:
            call.cancel()
        await asyncio.gather(*calls, return_exceptions=True)
    finally:
        for client in clients:
            await client.close()
        await driver.kill()
