"""What the framework adds to the publish context of a driver, so that the node knows what the controller was told.

A volume that the controller published read-only must not be writable on the node, whatever the node is asked for,
and the publish context is all that reaches it. Drivers never see these keys. Source: spec, ControllerPublishVolume.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from moorage.spec.errors import Internal

PREFIX: Final = "moorage.dev/"
READONLY: Final = f"{PREFIX}readonly"


def answered(own: Mapping[str, str], *, readonly: bool) -> dict[str, str]:
    """The context that the orchestrator is given for the driver's own one."""
    return {**own, READONLY: "true"} if readonly else dict(own)


def check_own(own: Mapping[str, str]) -> None:
    """Raise `Internal` for a driver's context with keys of the framework."""
    for key in own:
        if key.startswith(PREFIX):
            raise Internal(f"the driver returned the publish context key {key!r}, which is not its own; rename it")


def for_driver(context: Mapping[str, str]) -> dict[str, str]:
    """The driver's own context again."""
    return {key: value for key, value in context.items() if key != READONLY}


def is_readonly(context: Mapping[str, str]) -> bool:
    """Whether the controller published the volume read-only."""
    return context.get(READONLY) == "true"
