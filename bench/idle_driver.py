"""A driver that keeps its records in the framework's journal and has nothing else to do: what is left is framework."""

from __future__ import annotations

import moorage.framework as csi


class IdleDriver(csi.Driver):
    """Makes and deletes volumes that do not exist."""

    name = "idle.bench.example"

    async def create_volume(self, volume: csi.NewVolume) -> None:
        pass

    async def delete_volume(self, volume: csi.VolumeRecord) -> None:
        pass
