"""Drivers that authenticate with the secrets of each request find them in every method, sync or async."""

from __future__ import annotations

from pathlib import Path

from tests.support.controller import MIB, create

import moorage.framework as csi
from moorage.framework.plugin import Plugin
from moorage.spec import messages as m
from moorage.spec.types import CapacityRange, Secrets


class Asking(csi.Driver):
    """Remembers the key that it was called with, method by method."""

    name = "asking.example.com"

    def __init__(self, config: csi.Config) -> None:
        super().__init__(config)
        self.seen: dict[str, str] = {}

    def note(self, method: str) -> None:
        self.seen[method] = csi.current_secrets().get("key", "")

    def create_volume(self, volume: csi.NewVolume) -> None:
        del volume
        self.note("create_volume")

    def delete_volume(self, volume: csi.VolumeRecord) -> None:
        del volume
        self.note("delete_volume")

    async def expand_volume(self, volume: csi.VolumeRecord, size_bytes: int) -> int:
        del volume
        self.note("expand_volume")
        return size_bytes

    def capacity(self, query: csi.CapacityQuery) -> csi.Capacity:
        del query
        self.note("capacity")
        return csi.Capacity(available_bytes=1)


async def test_every_method_has_the_secrets_of_its_request(tmp_path: Path) -> None:
    driver = Asking(csi.Config())
    plugin = Plugin(driver, state_dir=tmp_path / "state")
    await plugin.start()
    call = plugin.handlers
    made = await call["CreateVolume"](create(secrets=Secrets(key="one")))  # type: ignore[misc]  # not a stream
    volume_id = made.volume.volume_id
    grown = CapacityRange(required_bytes=16 * MIB)
    await call["ControllerExpandVolume"](  # type: ignore[misc]  # not a stream
        m.ControllerExpandVolumeRequest(volume_id, grown, secrets=Secrets(key="two"))
    )
    await call["GetCapacity"](m.GetCapacityRequest())  # type: ignore[misc]  # not a stream
    await call["DeleteVolume"](m.DeleteVolumeRequest(volume_id, Secrets(key="three")))  # type: ignore[misc]  # not a stream
    await plugin.stop(1.0)
    assert driver.seen == {"create_volume": "one", "expand_volume": "two", "capacity": "", "delete_volume": "three"}
