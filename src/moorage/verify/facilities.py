"""What is at hand for a run: root, the driver's process, mounts, block volumes, files and commands given."""

from __future__ import annotations

import os
from typing import Final

from moorage.spec.types import AccessMode, ControllerCapability, VolumeCapability
from moorage.verify.lab import Lab
from moorage.verify.rule import Facility, Failed

__all__ = ["choose_access_mode", "find_facilities"]

_MODES: Final = (
    AccessMode.SINGLE_NODE_WRITER,
    AccessMode.MULTI_NODE_MULTI_WRITER,
    AccessMode.MULTI_NODE_SINGLE_WRITER,
    AccessMode.SINGLE_NODE_SINGLE_WRITER,
    AccessMode.SINGLE_NODE_MULTI_WRITER,
    AccessMode.SINGLE_NODE_READER_ONLY,
    AccessMode.MULTI_NODE_READER_ONLY,
)


async def find_facilities(lab: Lab, *, read_only: bool) -> frozenset[Facility]:
    """Ask and look. Whether volumes can be mounted, or be block devices, is found by making one of each.

    Where not even that goes well, for a full pool or a driver that hangs, there is neither: the rules about
    CreateVolume will tell.
    """
    settings, peer = lab.settings, lab.peer
    at_hand = {
        Facility.ROOT: os.geteuid() == 0,
        Facility.RESTART: bool(peer.restart_command),
        Facility.LOG: settings.log_file is not None,
        Facility.MUTABLE_PARAMETERS: bool(settings.mutable_parameters),
        Facility.SECRETS: bool(settings.secrets),
        Facility.OTHER_NODE: bool(settings.other_node),
        Facility.LOCAL: peer.node_endpoint.startswith(("unix:", "/")),
        Facility.PROCESS: bool(peer.pids()),
    }
    if not read_only and lab.has(ControllerCapability.CREATE_DELETE_VOLUME):
        at_hand[Facility.MOUNT] = await _makes(lab, lab.capability(block=False))
        at_hand[Facility.BLOCK] = await _makes(lab, lab.capability(block=True))
    return frozenset(facility for facility, there in at_hand.items() if there)


async def choose_access_mode(lab: Lab) -> AccessMode:
    """The access mode for rules that do not care: one writer if volumes can be made so, else the first that goes."""
    if lab.has(ControllerCapability.CREATE_DELETE_VOLUME):
        for mode in _MODES:
            for block in (False, True):
                if await _makes(lab, lab.capability(mode, block=block)):
                    return mode
    return lab.settings.access_mode


async def _makes(lab: Lab, capability: VolumeCapability) -> bool:
    try:
        return await lab.supports(capability)
    except Failed:
        return False
