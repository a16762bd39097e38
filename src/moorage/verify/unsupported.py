"""What a driver cannot do, found by asking: rules about refusals need something that is refused.

This module makes volumes only to learn, through `Lab.supports`, which remembers what it learnt.
"""

from __future__ import annotations

from typing import Final

from moorage.spec.types import AccessMode, Topology, VolumeCapability
from moorage.verify.lab import Lab
from moorage.verify.rule import Skipped

__all__ = ["elsewhere", "unsupported_capability"]

_NO_FS_TYPE: Final = "moorage-no-such-fs"
_NO_PLACE: Final = "moorage-no-such-place"


async def unsupported_capability(lab: Lab) -> VolumeCapability:
    """A well-formed capability that no volume of this driver can have. Raises Skipped when it has them all."""
    candidates = (
        lab.capability(block=True),
        lab.capability(block=False),
        lab.capability(AccessMode.MULTI_NODE_MULTI_WRITER),
        lab.capability(block=False, fs_type=_NO_FS_TYPE),
    )
    for capability in candidates:
        if not await lab.supports(capability):
            return capability
    raise Skipped("the driver makes volumes with every capability that was tried, even with an unknown fs_type")


def elsewhere(lab: Lab) -> Topology:
    """A place with the node's topology keys where nothing can be. Raises Skipped when the node tells no place."""
    place = lab.peer.node.accessible_topology
    if place is None or not place.segments:
        raise Skipped("the node tells no accessible_topology, so there is no place to vary")
    return Topology(dict.fromkeys(place.segments, _NO_PLACE))
