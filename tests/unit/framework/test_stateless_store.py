"""A driver without any record, and creations that the storage system itself refuses: nothing foreign is deleted."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.support.controller import MIB, Controller, create

import moorage.framework as csi
from moorage.framework.tags import derived_id
from moorage.spec import messages as m
from moorage.spec.errors import AlreadyExists, VolumeNotFound
from moorage.spec.types import CapacityRange, ControllerCapability
from moorage.testing.memory import MemoryDriver


class StatelessMemory(MemoryDriver):
    """The same storage, asked each time."""

    state = csi.Stateless()

    def disabled_methods(self) -> frozenset[str]:
        snapshots = ("create_snapshot", "delete_snapshot", "restore_snapshot", "create_group_snapshot")
        return frozenset({*snapshots, "controller_publish", "controller_unpublish"})

    def find_volume(self, volume_id: str) -> csi.VolumeRecord | None:
        stored = self.storage.content.volumes.get(volume_id)
        if stored is None:
            return None
        return csi.VolumeRecord(volume_id=volume_id, name="", capacity_bytes=stored.size_bytes)


async def test_life_of_a_volume_without_a_record(tmp_path: Path) -> None:
    async with Controller(tmp_path / "state", driver=StatelessMemory) as stateless:
        assert ControllerCapability.LIST_VOLUMES not in stateless.plugin.declared.controller
        volume = (await stateless.call(create())).volume
        await stateless.restart()
        assert (await stateless.call(create())).volume == volume
        assert volume.volume_id == derived_id("volume", "pvc-1")
        assert set(stateless.storage.content.volumes) == {volume.volume_id}
        expand = m.ControllerExpandVolumeRequest(volume.volume_id, CapacityRange(16 * MIB))
        assert (await stateless.call(expand)).capacity_bytes == 16 * MIB
        for _ in range(2):
            await stateless.call(m.DeleteVolumeRequest(volume.volume_id))
        assert not stateless.storage.content.volumes
        with pytest.raises(VolumeNotFound):
            await stateless.call(m.ControllerGetVolumeRequest(volume.volume_id))
    assert not (tmp_path / "state").exists()


@pytest.mark.parametrize("error", [csi.ResourceExhausted("full"), AlreadyExists("other size")], ids=repr)
async def test_a_refused_replay_never_deletes_the_volume_that_is_there(tmp_path: Path, error: csi.CsiError) -> None:
    async with Controller(tmp_path / "state", driver=StatelessMemory) as stateless:
        volume = (await stateless.call(create())).volume
        stateless.storage.fail("create_volume", error)
        with pytest.raises(type(error)):
            await stateless.call(create())
        assert set(stateless.storage.content.volumes) == {volume.volume_id}


async def test_what_the_storage_calls_taken_is_left_alone(controller: Controller) -> None:
    controller.storage.fail("create_volume", AlreadyExists("somebody else's"))
    with pytest.raises(AlreadyExists, match="somebody"):
        await controller.call(create())
    assert controller.storage.calls["delete_volume"] == 0
    await controller.plugin.stop()
    assert await controller.rows() == {}
