"""Asking a driver where a volume is on this node, and having it connected there.

The question is asked wherever something must be proved, also for calls that bring nothing but an id: what
the staging was told is then taken from its row. The two acts are steps of a staging, which has a row by then.
"""

from __future__ import annotations

from contextlib import suppress

from msgspec import structs

from moorage.base.faults import declare_step
from moorage.framework.core import Core
from moorage.framework.invoke import Side
from moorage.framework.node_journal import NodeJournal, Published, Staged
from moorage.framework.proof import places_of
from moorage.framework.publish_context import for_driver, is_readonly
from moorage.framework.source import Source
from moorage.framework.values import NodeVolume
from moorage.spec.errors import Internal, NotFound, Unavailable, VolumeInUse
from moorage.spec.types import AccessMode, VolumeCapability

CONNECTED = declare_step("node.stage.connected", "the driver has connected the volume to this node")
DISCONNECTED = declare_step("node.unstage.disconnected", "the driver has disconnected the volume from this node")

_ANY_USE = VolumeCapability(access_mode=AccessMode.SINGLE_NODE_WRITER)


class NodeSources:
    """`node_source`, `node_connect` and `node_disconnect` of a driver."""

    def __init__(self, core: Core, journal: NodeJournal) -> None:
        self._core = core
        self._journal = journal

    @property
    def connects(self) -> bool:
        """Whether volumes of this driver must be connected."""
        return self._core.invoke.offers("node_connect")

    def known(self, volume_id: str) -> NodeVolume:
        """What this node was told of the volume when it was staged or published; without secrets."""
        rows: tuple[Staged | Published, ...] = (*self._journal.staged(volume_id), *self._journal.published(volume_id))
        if not rows:
            return NodeVolume(volume_id=volume_id, volume_capability=_ANY_USE)
        return NodeVolume(
            volume_id=volume_id,
            volume_capability=rows[0].volume_capability,
            volume_context=rows[0].volume_context,
            publish_context=rows[0].publish_context,
        )

    async def find(self, volume: NodeVolume, *, side: Side = "node") -> Source | None:
        """Where the volume is, None while it is not connected; raises what the driver raises, `VolumeNotFound`."""
        found: Source | None = await self._core.invoke.call(side, "node_source", _for_driver(volume))
        if found is None and not self.connects:
            name = self._core.driver.name
            raise Internal(f"{name} says that volume {volume.volume_id!r} is not connected and cannot connect it")
        return found

    async def find_known(self, volume_id: str, *, side: Side = "node") -> Source | None:
        """Where the volume of this id is, see `find`."""
        return await self.find(self.known(volume_id), side=side)

    async def connect(self, volume: NodeVolume) -> Source:
        """The volume, connected; its staging has a row, so that a crash from here on leaves nothing unknown."""
        with CONNECTED:
            await self._core.on_node("node_connect", _for_driver(volume))
        source = await self.find(volume)
        if source is None:
            raise Unavailable(
                f"volume {volume.volume_id!r} is connected and has not appeared here yet; repeat the call"
            )
        return source

    async def disconnect(self, volume: NodeVolume) -> None:
        """Nothing of the connection; raises `VolumeInUse` while the volume is still mounted here by anybody."""
        source: Source | None = None
        with suppress(NotFound):  # what is gone may have left a connection behind
            source = await self.find(volume)
        if source is not None and (places := await self._core.invoke.run("node", places_of, source)):
            raise VolumeInUse(f"volume {volume.volume_id!r} is still mounted at {places[0]}; unmount it there first")
        with DISCONNECTED:
            await self._core.on_node("node_disconnect", _for_driver(volume))


def _for_driver(volume: NodeVolume) -> NodeVolume:
    context = volume.publish_context
    return structs.replace(volume, publish_context=for_driver(context), readonly=is_readonly(context))
