"""What runs, what joins, what is refused, and who can stop whom."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable
from pathlib import Path
from typing import Any

import pytest
from tests.support.controller import MIB, Controller, create, entered

import moorage.framework as csi
from moorage.framework.calls import fingerprint
from moorage.framework.plugin import Plugin
from moorage.spec import messages as m
from moorage.spec.errors import OperationPending, Unavailable
from moorage.spec.types import CapacityRange
from moorage.testing.memory import MemoryDriver


def test_a_fingerprint_is_of_the_wish() -> None:
    first = create(parameters={"a": "1", "b": "2"}, secrets=csi.Secrets(k="x"))
    same = create(parameters={"b": "2", "a": "1"}, secrets=csi.Secrets(k="y"))
    assert fingerprint(first) == fingerprint(same)
    others = (create("other"), create(size=9 * MIB), create(parameters={"a": "1"}))
    assert len({fingerprint(request) for request in (first, *others)}) == 4


async def test_a_refused_call_is_told_what_runs_and_what_to_do(controller: Controller) -> None:
    volume_id = (await controller.call(create())).volume.volume_id
    gate = controller.storage.hold("expand_volume")
    growing = await controller.leave(m.ControllerExpandVolumeRequest(volume_id, CapacityRange(16 * MIB)))
    await entered(gate)
    with pytest.raises(OperationPending) as refusal:
        await controller.call(m.DeleteVolumeRequest(volume_id))
    assert str(refusal.value) == (
        f"ControllerExpandVolume on volume {volume_id!r} is running; repeat the call when it is done"
    )
    assert not refusal.value.final
    assert [row.describe for row in controller.plugin.running()] == [f"ControllerExpandVolume on volume {volume_id!r}"]
    gate.release()
    await growing
    assert controller.plugin.running() == []


async def test_at_the_limit_calls_are_told_to_come_back(tmp_path: Path) -> None:
    async with Controller(tmp_path / "state", limit=2) as busy:
        gates = [busy.storage.hold("create_volume") for _ in range(2)]
        running = [await busy.leave(create(name)) for name in ("a", "b")]
        for gate in gates:
            await entered(gate)
        with pytest.raises(Unavailable, match="repeat the call later"):
            await busy.call(create("c"))
        for gate in gates:
            gate.release()
        await asyncio.gather(*running)
        await busy.call(create("c"))


async def test_stop_waits_for_what_runs_and_says_what_did_not_end(controller: Controller) -> None:
    gate = controller.storage.hold("create_volume")
    creating = await controller.leave(create())
    await entered(gate)
    assert [left.describe for left in await controller.plugin.stop(0.05)] == ["CreateVolume on volume name 'pvc-1'"]
    gate.release()
    with pytest.raises(Unavailable):
        await creating
    await controller.restart()
    await controller.call(create())
    assert len(controller.storage.content.volumes) == 1


class Node(MemoryDriver):
    """A node side with a volume that is nowhere, and probes."""

    def node_info(self) -> csi.NodeInfo:
        return csi.NodeInfo(node_id="node-1")

    def node_source(self, volume: csi.NodeVolume) -> csi.Source:
        with self.storage.acting("node_source"):
            raise csi.VolumeNotFound(volume.volume_id)

    def probe(self) -> bool:
        return True


async def test_hung_creations_never_stop_an_unpublish(tmp_path: Path) -> None:
    async with Controller(tmp_path / "state", driver=Node, limit=24) as node:
        gates = [node.storage.hold("create_volume") for _ in range(24)]
        running = [await node.leave(create(f"pvc-{number}")) for number in range(24)]
        await entered(gates[0])
        async with asyncio.timeout(5.0):
            await node.call(m.NodeUnpublishVolumeRequest("v", str(tmp_path / "target")))
        for gate in gates:
            gate.release()
        await asyncio.gather(*running)


async def test_hung_nodes_never_stop_a_probe(tmp_path: Path) -> None:
    async with Controller(tmp_path / "state", driver=Node) as node:
        gates = [node.storage.hold("node_source") for _ in range(20)]
        stats = [
            await node.leave(m.NodeGetVolumeStatsRequest(f"v{number}", str(tmp_path / "target")))
            for number in range(20)
        ]
        await entered(gates[0])
        async with asyncio.timeout(5.0):
            assert (await node.call(m.ProbeRequest())).ready
            assert (await node.call(m.NodeGetInfoRequest())).node_id == "node-1"
        for gate in gates:
            gate.release()
        answers = await asyncio.gather(*stats, return_exceptions=True)
        assert {type(answer) for answer in answers} == {csi.VolumeNotFound}


# --- how methods may be written ---


class Plain(csi.Driver):
    """Notes in which thread it is called."""

    name = "plain.example.org"

    def __init__(self) -> None:
        super().__init__(None)
        self.threads: list[bool] = []

    def note(self) -> None:
        self.threads.append(threading.current_thread() is threading.main_thread())

    def create_volume(self, volume: csi.NewVolume) -> Any:
        self.note()

    def delete_volume(self, volume: csi.VolumeRecord) -> Any:
        self.note()


class Async(Plain):
    """The same with coroutines."""

    async def create_volume(self, volume: csi.NewVolume) -> csi.Volume:
        await asyncio.sleep(0)
        self.note()
        return csi.Volume(volume.volume_id, volume.size_bytes)

    async def delete_volume(self, volume: csi.VolumeRecord) -> None:
        self.note()


class Hidden(Async):
    """Plain methods that return something to await, as decorators make them."""

    def create_volume(self, volume: csi.NewVolume) -> Awaitable[csi.Volume]:  # type: ignore[override]  # on purpose
        return super().create_volume(volume)


@pytest.mark.parametrize(("driver", "on_loop"), [(Plain, False), (Async, True), (Hidden, True)], ids=str)
async def test_methods_may_be_plain_or_async(tmp_path: Path, driver: type[Plain], *, on_loop: bool) -> None:
    served = driver()
    plugin = Plugin(served, state_dir=tmp_path / "state")
    await plugin.start()
    made: Any = await plugin.handlers["CreateVolume"](create())  # type: ignore[misc]  # it is no stream
    assert made.volume.capacity_bytes == 8 * MIB
    await plugin.handlers["DeleteVolume"](m.DeleteVolumeRequest(made.volume.volume_id))  # type: ignore[misc]  # as above
    await plugin.stop()
    assert served.threads == [on_loop, on_loop]


async def test_trouble_while_asking_is_translated(controller: Controller) -> None:
    controller.storage.fail("capacity", ConnectionRefusedError("secret host"))
    with pytest.raises(Unavailable) as caught:
        await controller.call(m.GetCapacityRequest())
    assert "secret" not in str(caught.value)
