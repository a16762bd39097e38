"""What is at hand for a run: root, the driver's process, mounts, block volumes, files and commands given."""

from __future__ import annotations

import os

from moorage.spec.types import ControllerCapability
from moorage.verify.lab import Lab
from moorage.verify.rule import Facility

__all__ = ["find_facilities"]


async def find_facilities(lab: Lab, *, read_only: bool) -> frozenset[Facility]:
    """Ask and look. Whether volumes can be mounted, or be block devices, is found by making one of each.

    Raises Failed when a volume cannot be made for another reason than its access type.
    """
    settings, peer = lab.settings, lab.peer
    at_hand = {
        Facility.ROOT: os.geteuid() == 0,
        Facility.RESTART: bool(settings.restart_command),
        Facility.LOG: settings.log_file is not None,
        Facility.MUTABLE_PARAMETERS: bool(settings.mutable_parameters),
        Facility.SECRETS: bool(settings.secrets),
        Facility.OTHER_NODE: bool(settings.other_node),
        Facility.LOCAL: peer.node_endpoint.startswith(("unix:", "/")),
        Facility.PROCESS: bool(peer.pids()),
    }
    if not read_only and lab.has(ControllerCapability.CREATE_DELETE_VOLUME):
        at_hand[Facility.MOUNT] = await lab.supports(lab.capability(block=False))
        at_hand[Facility.BLOCK] = await lab.supports(lab.capability(block=True))
    return frozenset(facility for facility, there in at_hand.items() if there)
