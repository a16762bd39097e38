"""ControllerPublishVolume and ControllerUnpublishVolume."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from tests.support.controller import BLOCK, MOUNT, SHARED, Controller, attach, create, entered

import moorage.framework as csi
from moorage.spec import messages as m
from moorage.spec.errors import (
    AlreadyExists,
    FailedPrecondition,
    NodeNotFound,
    ResourceExhausted,
    Unavailable,
)
from moorage.testing.memory import MemoryDriver, TaggedDriver


class Limited(MemoryDriver):
    """Two nodes with room for three volumes each."""

    def attach_limit(self, node_id: str) -> int:
        if node_id not in ("node-1", "node-2"):
            raise NodeNotFound(node_id)
        return 3


class TaggedLimited(Limited, TaggedDriver):
    """The same without a journal."""


@pytest_asyncio.fixture(params=[Limited, TaggedLimited], ids=["journal", "tags"])
async def limited(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Controller]:
    async with Controller(tmp_path / "state", driver=request.param) as running:
        yield running


async def volume(controller: Controller, name: str = "pvc-1", **fields: Any) -> str:
    response: m.CreateVolumeResponse = await controller.call(create(name, **fields))
    return response.volume.volume_id


async def nodes_of(controller: Controller, volume_id: str) -> tuple[str, ...]:
    response: m.ControllerGetVolumeResponse = await controller.call(m.ControllerGetVolumeRequest(volume_id))
    return response.status.published_node_ids


async def test_a_replay_answers_the_same_context(limited: Controller) -> None:
    volume_id = await volume(limited)
    first = await limited.call(attach(volume_id))
    assert first.publish_context == {"lun": "node-1"}
    assert await limited.call(attach(volume_id)) == first
    assert limited.storage.calls["controller_publish"] == 1


@pytest.mark.parametrize("change", [{"readonly": True}, {"volume_capability": BLOCK}], ids=str)
async def test_the_same_node_in_another_way(limited: Controller, change: dict[str, Any]) -> None:
    volume_id = await volume(limited, volume_capabilities=(MOUNT, BLOCK))
    await limited.call(attach(volume_id))
    with pytest.raises(AlreadyExists, match="node-1"):
        await limited.call(attach(volume_id, **change))


async def test_a_second_node_needs_a_mode_that_allows_it(limited: Controller) -> None:
    single, shared = await volume(limited), await volume(limited, "shared", volume_capabilities=(SHARED,))
    await limited.call(attach(single))
    for capability in (MOUNT, SHARED):
        with pytest.raises(FailedPrecondition, match="node-1"):
            await limited.call(attach(single, "node-2", volume_capability=capability))
    for node in ("node-1", "node-2"):
        await limited.call(attach(shared, node, volume_capability=SHARED))
    assert await nodes_of(limited, shared) == ("node-1", "node-2")


async def test_the_limit_of_a_node(limited: Controller) -> None:
    volumes = [await volume(limited, f"pvc-{number}") for number in range(4)]
    for volume_id in volumes[:3]:
        await limited.call(attach(volume_id))
    with pytest.raises(ResourceExhausted, match="node-1"):
        await limited.call(attach(volumes[3]))
    await limited.call(attach(volumes[3], "node-2"))
    await limited.call(m.ControllerUnpublishVolumeRequest(volumes[3], "node-2"))
    await limited.call(m.ControllerUnpublishVolumeRequest(volumes[0], "node-1"))
    await limited.call(attach(volumes[3]))
    with pytest.raises(NodeNotFound, match="'node-9'"):
        await limited.call(attach(volumes[0], "node-9"))


async def test_many_volumes_are_published_to_one_node_at_once(controller: Controller) -> None:
    volumes = [await volume(controller, f"pvc-{number}") for number in range(16)]
    await asyncio.gather(*(controller.call(attach(volume_id)) for volume_id in volumes))
    assert len(controller.storage.content.attached) == 16


async def test_parallel_publishes_keep_to_the_limit(limited: Controller) -> None:
    volumes = [await volume(limited, f"pvc-{number}") for number in range(8)]
    answers = await asyncio.gather(*(limited.call(attach(v)) for v in volumes), return_exceptions=True)
    assert sum(isinstance(answer, ResourceExhausted) for answer in answers) == 5
    assert len(limited.storage.content.attached) == 3


async def test_publishes_that_still_run_count(limited: Controller) -> None:
    volumes = [await volume(limited, f"pvc-{number}") for number in range(4)]
    gates = [limited.storage.hold("controller_publish") for _ in range(3)]
    running = [await limited.leave(attach(volume_id)) for volume_id in volumes[:3]]
    for gate in gates:
        await entered(gate)
    with pytest.raises(ResourceExhausted, match="node-1"):
        await limited.call(attach(volumes[3]))
    for gate in gates:
        gate.release()
    await asyncio.gather(*running)
    assert len(limited.storage.content.attached) == 3


async def test_unpublish_is_always_fine(limited: Controller) -> None:
    volume_id = await volume(limited, volume_capabilities=(SHARED,))
    for node in ("node-1", "node-2"):
        await limited.call(attach(volume_id, node, volume_capability=SHARED))
    await limited.call(m.ControllerUnpublishVolumeRequest(volume_id, "node-3"))
    assert await nodes_of(limited, volume_id) == ("node-1", "node-2")
    for _ in range(2):
        await limited.call(m.ControllerUnpublishVolumeRequest(volume_id))
        assert await nodes_of(limited, volume_id) == ()
    await limited.call(m.DeleteVolumeRequest(volume_id))
    for node in ("", "node-1"):
        response = await limited.call(m.ControllerUnpublishVolumeRequest(volume_id, node))
        assert response == m.ControllerUnpublishVolumeResponse()


async def test_a_failed_publish_is_undone(limited: Controller) -> None:
    volume_id = await volume(limited)
    limited.storage.fail("controller_publish", csi.Internal("switch confused"), after=True)
    with pytest.raises(csi.Internal):
        await limited.call(attach(volume_id))
    assert not limited.storage.content.attached
    assert await nodes_of(limited, volume_id) == ()
    await limited.call(m.DeleteVolumeRequest(volume_id))


async def test_a_publish_without_a_reply_still_counts(controller: Controller) -> None:
    volume_id = await volume(controller)
    controller.storage.fail("controller_publish", Unavailable("reboot"), after=True)
    with pytest.raises(Unavailable):
        await controller.call(attach(volume_id))
    await controller.restart()
    with pytest.raises(FailedPrecondition):
        await controller.call(m.DeleteVolumeRequest(volume_id))
    with pytest.raises(FailedPrecondition):
        await controller.call(attach(volume_id, "node-2"))
    assert (await controller.call(attach(volume_id))).publish_context == {"lun": "node-1"}


async def test_a_failed_undo_is_made_good_by_the_replay(controller: Controller) -> None:
    volume_id = await volume(controller)
    controller.storage.fail("controller_publish", csi.Internal("confused"), after=True)
    controller.storage.fail("controller_unpublish", csi.Internal("still confused"))
    with pytest.raises(Unavailable, match="not undone yet"):
        await controller.call(attach(volume_id))
    await controller.call(m.ControllerUnpublishVolumeRequest(volume_id))
    assert not controller.storage.content.attached


async def test_an_attachment_of_somebody_else_is_left_alone(limited: Controller) -> None:
    volume_id = await volume(limited)
    limited.storage.fail("controller_publish", AlreadyExists("attached to node-1 by somebody else"), after=True)
    with pytest.raises(AlreadyExists, match="somebody else"):
        await limited.call(attach(volume_id))
    assert limited.storage.calls["controller_unpublish"] == 0
    assert limited.storage.content.attached


async def test_a_refused_attachment_is_not_remembered(controller: Controller) -> None:
    volume_id = await volume(controller)
    controller.storage.fail("controller_publish", AlreadyExists("attached to node-1 by somebody else"))
    with pytest.raises(AlreadyExists):
        await controller.call(attach(volume_id))
    assert await nodes_of(controller, volume_id) == ()
    await controller.call(attach(volume_id, "node-2"))
    assert await nodes_of(controller, volume_id) == ("node-2",)


class Verbose(MemoryDriver):
    """A publish context that no answer can hold."""

    def controller_publish(self, volume: csi.VolumeRecord, attachment: csi.Attachment) -> dict[str, str]:
        super().controller_publish(volume, attachment)
        return {"portals": "x" * 5000}


async def test_a_context_that_cannot_be_sent_is_rolled_back(tmp_path: Path) -> None:
    async with Controller(tmp_path / "state", driver=Verbose) as verbose:
        volume_id = await volume(verbose)
        with pytest.raises(csi.Internal, match="publish_context"):
            await verbose.call(attach(volume_id))
        assert not verbose.storage.content.attached


async def test_unpublish_waits_for_no_other_volume(controller: Controller) -> None:
    first, second = await volume(controller, "a"), await volume(controller, "b")
    await controller.call(attach(second))
    gate = controller.storage.hold("controller_publish")
    publishing = await controller.leave(attach(first))
    await entered(gate)
    await controller.call(m.ControllerUnpublishVolumeRequest(second, "node-1"))
    gate.release()
    await publishing


async def test_the_context_tells_the_node_that_it_may_not_write(limited: Controller) -> None:
    volume_id = await volume(limited)
    request = attach(volume_id, readonly=True)
    first = await limited.call(request)
    assert first.publish_context == {"lun": "node-1", "moorage.dev/readonly": "true"}
    assert await limited.call(request) == first
    await limited.restart()
    assert await limited.call(request) == first
    (kept,) = limited.storage.content.attached.values()
    assert kept.publish_context == {"lun": "node-1"}
    await limited.call(m.ControllerUnpublishVolumeRequest(volume_id, "node-1"))
    assert (await limited.call(attach(volume_id))).publish_context == {"lun": "node-1"}


class Impostor(MemoryDriver):
    """A publish context with a key that only the framework may set."""

    def controller_publish(self, volume: csi.VolumeRecord, attachment: csi.Attachment) -> dict[str, str]:
        super().controller_publish(volume, attachment)
        return {"moorage.dev/readonly": "true"}


async def test_a_driver_cannot_set_the_keys_of_the_framework(tmp_path: Path) -> None:
    async with Controller(tmp_path / "state", driver=Impostor) as impostor:
        volume_id = await volume(impostor)
        with pytest.raises(csi.Internal, match=r"'moorage\.dev/readonly'"):
            await impostor.call(attach(volume_id))
        assert not impostor.storage.content.attached
