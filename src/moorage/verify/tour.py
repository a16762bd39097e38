"""A tour of calls for the rules that judge every answer: so that they have answers to judge when they run alone.

Good calls and bad ones to every RPC that the driver offers, and the life of one volume, made once a run. A run
that may change nothing makes only those that read.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import msgspec
from msgspec import Struct

from moorage.spec import messages as m
from moorage.spec.capabilities import gate_open
from moorage.spec.rules import RPCS, Rpc
from moorage.spec.types import CapacityRange, ControllerCapability, NodeCapability
from moorage.verify.lab import Lab
from moorage.verify.rule import Failed
from moorage.verify.samples import CHANGING, CREATING, open_rpcs, sample
from moorage.verify.use import Use

__all__ = ["tour"]

_LONG_ID: Final = "v" * 8000
"""More than any message should repeat."""
_PAGE: Final = 20
_LISTS: Final = frozenset({"ListVolumes", "ListSnapshots", "ControllerListVolumeHealth"})


async def tour(lab: Lab) -> None:
    """Make the tour, unless it was made in this run. Whatever the driver answers is left to the rules."""
    if lab.peer.toured:
        return
    lab.peer.toured = True
    for rpc in open_rpcs(lab):
        if not (lab.read_only and rpc.name in CHANGING):
            await _visit(lab, rpc)
    if lab.read_only or not lab.has(ControllerCapability.CREATE_DELETE_VOLUME):
        return
    try:
        await _life(lab)
    except Failed:
        return  # other rules say so; what was answered until then can be judged


async def _visit(lab: Lab, rpc: Rpc) -> None:
    """One RPC with required fields missing, about things that are not there, and with a page that never was."""
    if rpc.name in _LISTS:
        await lab.call(rpc.request(_PAGE))
        await lab.call(rpc.request(_PAGE, "no-such-token"))
        return
    if rpc.name not in CREATING:
        await lab.call(sample(lab, rpc))
    if rpc.required and not (rpc.name in CHANGING and len(rpc.required) == 1):
        await lab.call(_incomplete(lab, rpc))
    if rpc.id_fields and rpc.name not in CREATING:
        await lab.call(sample(lab, rpc, any_id=_LONG_ID))


def _incomplete(lab: Lab, rpc: Rpc) -> Struct:
    """The request without its last required field."""
    complete = sample(lab, rpc)
    field = rpc.required[-1]
    match getattr(complete, field):
        case str():
            return msgspec.structs.replace(complete, **{field: ""})
        case tuple():
            return msgspec.structs.replace(complete, **{field: ()})
        case Mapping():
            return msgspec.structs.replace(complete, **{field: {}})
    return msgspec.structs.replace(complete, **{field: None})


async def _life(lab: Lab) -> None:
    volume = await lab.create()
    await lab.settle(m.ValidateVolumeCapabilitiesRequest(volume.volume_id, (lab.capability(),)))
    for name, request in (
        ("ControllerGetVolume", m.ControllerGetVolumeRequest(volume.volume_id)),
        ("ControllerGetVolumeHealth", m.ControllerGetVolumeHealthRequest(volume.volume_id)),
    ):
        if gate_open(RPCS[name], lab.declared):
            await lab.call(request)
    if lab.has(ControllerCapability.CREATE_DELETE_SNAPSHOT):
        await lab.delete_snapshot((await lab.snapshot(volume.volume_id)).snapshot_id)
    if "Node" in lab.declared.services:
        use = await lab.use(volume)
        await _used(lab, use)
        await use.end()
    if lab.has(ControllerCapability.EXPAND_VOLUME):
        larger = CapacityRange(required_bytes=max(lab.settings.expanded_bytes, volume.capacity_bytes))
        await lab.settle(m.ControllerExpandVolumeRequest(volume.volume_id, larger, volume_capability=lab.capability()))
    await lab.delete(volume.volume_id)


async def _used(lab: Lab, use: Use) -> None:
    volume_id = use.volume.volume_id
    if lab.has(NodeCapability.GET_VOLUME_STATS):
        await lab.call(m.NodeGetVolumeStatsRequest(volume_id, use.target, use.staging))
    if lab.has(NodeCapability.GET_VOLUME_HEALTH):
        await lab.call(m.NodeGetVolumeHealthRequest(volume_id, use.target, use.staging))
    if lab.has(ControllerCapability.LIST_VOLUMES):
        await lab.call(m.ListVolumesRequest(_PAGE))
