"""What the rules about volumes in use need in common: `needs` of rules, by name."""

from __future__ import annotations

from typing import Final

from moorage.spec.types import ControllerCapability, NodeCapability
from moorage.verify.rule import Facility, Need

__all__ = ["ATTACHES", "BLOCK", "CREATE", "MOUNT", "PUBLISH", "READONLY", "STAGE", "STATS", "USE"]

Needs = tuple[Need | tuple[Need, ...], ...]

CREATE: Final = ControllerCapability.CREATE_DELETE_VOLUME
PUBLISH: Final = ControllerCapability.PUBLISH_UNPUBLISH_VOLUME
STAGE: Final = NodeCapability.STAGE_UNSTAGE_VOLUME
READONLY: Final = ControllerCapability.PUBLISH_READONLY

ATTACHES: Final[Needs] = (CREATE, "Node", PUBLISH)
"""Volumes that are attached to nodes by the controller."""

USE: Final[Needs] = (CREATE, "Node", (Facility.MOUNT, Facility.BLOCK), Facility.LOCAL)
"""Volumes in use on the node, of either access type."""

MOUNT: Final[Needs] = (CREATE, "Node", Facility.MOUNT, Facility.LOCAL)
"""Volumes in use as mounted file systems."""

BLOCK: Final[Needs] = (CREATE, "Node", Facility.BLOCK, Facility.LOCAL)
"""Volumes in use as block devices."""

STATS: Final[Needs] = (*USE, NodeCapability.GET_VOLUME_STATS)
"""Volumes in use, of which the driver tells how full they are."""
