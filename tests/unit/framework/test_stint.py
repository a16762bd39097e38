"""From the first commit to the last in one thread, when the driver blocks; in the loop, when it does not."""

from __future__ import annotations

import asyncio
import io
import json
import logging
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import pytest
from tests.support.controller import Controller, attach, create, entered

import moorage.framework as csi
from moorage.base import faults
from moorage.base.log import configure
from moorage.base.threads import PoolClosed
from moorage.framework.config import Config
from moorage.framework.invoke import Invoker
from moorage.framework.plugin import Plugin
from moorage.spec import messages as m
from moorage.spec.errors import ResourceExhausted, Unavailable
from moorage.testing.memory import MemoryDriver


class WhereSteps(faults.FaultPlan):
    """Notes in which thread each durable step was passed."""

    def __init__(self) -> None:
        super().__init__({}, {}, trace_path=None)
        self.threads: dict[str, str] = {}

    def hit(self, point: str) -> None:
        self.threads[point.partition(":")[2]] = threading.current_thread().name


class Attaching(MemoryDriver):
    """Plain `def` throughout."""

    def controller_publish(self, volume: csi.VolumeRecord, attachment: csi.Attachment) -> dict[str, str]:
        return {"lun": "1"}

    def controller_unpublish(self, attachment: csi.Attachment) -> None:
        """Nothing is kept."""


class Mixed(csi.Driver):
    """Creates in a thread, deletes in the loop; the creation fails for good."""

    name = "mixed.example.org"
    called: ClassVar[list[tuple[str, bool, str]]] = []

    def create_volume(self, volume: csi.NewVolume) -> None:
        self.called.append(("create", in_loop(), csi.current_secrets().get("key", "")))
        raise csi.ResourceExhausted("full")

    async def delete_volume(self, volume: csi.VolumeRecord) -> None:
        await asyncio.sleep(0)
        self.called.append(("delete", in_loop(), csi.current_secrets().get("key", "")))


class InLoop(csi.Driver):
    """Never in a thread."""

    name = "loop.example.org"

    async def create_volume(self, volume: csi.NewVolume) -> None:
        assert in_loop()

    async def delete_volume(self, volume: csi.VolumeRecord) -> None:
        assert in_loop()


def in_loop() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


@pytest.fixture
def steps() -> Iterator[dict[str, str]]:
    plan = WhereSteps()
    faults.install(plan)
    yield plan.threads
    faults.install(None)


async def test_commits_and_a_plain_method_share_one_thread(tmp_path: Path, steps: dict[str, str]) -> None:
    async with Controller(tmp_path / "state", driver=Attaching) as controller:
        volume_id = (await controller.call(create())).volume.volume_id
        await controller.call(attach(volume_id))
        await controller.call(m.ControllerUnpublishVolumeRequest(volume_id, "node-1"))
        snapshot = await controller.call(m.CreateSnapshotRequest(volume_id, "s1"))
        await controller.call(m.DeleteSnapshotRequest(snapshot.snapshot.snapshot_id))
        await controller.call(m.DeleteVolumeRequest(volume_id))
    names = {step: thread for step, thread in steps.items() if step.startswith("framework.")}
    assert set(names.values()) == {"controller-1"}
    assert {"framework.volume.intent", "framework.volume.made", "framework.volume.recorded"} < set(names)
    assert {"framework.attach.wished", "framework.snapshot.intent", "framework.volume.forgotten"} < set(names)


async def test_an_async_method_stays_in_the_loop(tmp_path: Path, steps: dict[str, str]) -> None:
    plugin = Plugin(InLoop(Config()), state_dir=tmp_path / "state")
    await plugin.start()
    create_volume: Any = plugin.handlers["CreateVolume"]
    delete_volume: Any = plugin.handlers["DeleteVolume"]
    await delete_volume(m.DeleteVolumeRequest((await create_volume(create())).volume.volume_id))
    await plugin.stop()
    assert set(steps.values()) == {threading.main_thread().name}


async def test_a_stint_waits_for_what_belongs_to_the_loop(tmp_path: Path) -> None:
    Mixed.called.clear()
    plugin = Plugin(Mixed(Config()), state_dir=tmp_path / "state")
    await plugin.start()
    create_volume: Any = plugin.handlers["CreateVolume"]
    with pytest.raises(ResourceExhausted, match="full"):
        await create_volume(create(secrets=csi.Secrets(key="s3cret")))
    await plugin.stop()
    assert Mixed.called == [("create", False, "s3cret"), ("delete", True, "s3cret")]


async def test_nothing_is_begun_when_there_is_no_thread_for_it(controller: Controller) -> None:
    await controller.plugin._invoke.pools()["controller"].close(1.0)
    with pytest.raises(Unavailable, match="stopping"):
        await controller.call(create())
    await controller.plugin.stop()
    assert await controller.rows() == {}


async def test_a_dump_names_the_method_that_hangs(controller: Controller) -> None:
    gate = controller.storage.hold("create_volume")
    creating = await controller.leave(create())
    await entered(gate)
    ((label, _),) = controller.plugin._invoke.pools()["controller"].snapshot()
    assert label.endswith("Driver.create_volume")
    gate.release()
    await creating


async def test_awaiting_the_loop_in_a_stint_is_a_defect_that_is_told() -> None:
    async def work() -> None:
        await waiting

    waiting = asyncio.get_running_loop().create_future()
    invoker = Invoker(MemoryDriver())
    with pytest.raises(RuntimeError, match="awaits the event loop inside a stint; do that before or after it"):
        await invoker.stint("controller", "create_volume", work)
    await invoker.close()
    with pytest.raises(PoolClosed):
        await invoker.stint("controller", "create_volume", work)


async def test_what_was_done_is_logged_after_the_answer_with_its_request(controller: Controller) -> None:
    root = logging.getLogger()
    handlers, level, stream = root.handlers[:], root.level, io.StringIO()
    configure("json", "info", stream=stream)
    try:
        response = await controller.call(create())
        assert stream.getvalue() == ""
        await asyncio.sleep(0)
        (line,) = map(json.loads, stream.getvalue().splitlines())
    finally:
        configure("console", "warning")
        root.handlers[:] = handlers
        root.setLevel(level)
    assert (line["event"], line["volume"]) == ("volume.created", response.volume.volume_id)
    assert line["source"].startswith("volumes.py:")
