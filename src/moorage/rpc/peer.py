"""What a client learns about the driver at the other end: is it ready, what does it declare."""

from __future__ import annotations

import asyncio
import time
from typing import Final

from moorage.rpc.calls import Calls
from moorage.spec.capabilities import Declared
from moorage.spec.errors import CsiError, Unavailable, Unimplemented
from moorage.spec.rules import Service
from moorage.spec.types import (
    ControllerCapability,
    GroupControllerCapability,
    NodeCapability,
    PluginCapability,
    VolumeExpansion,
)

_PROBE_TIMEOUT_S: Final = 5.0
_FIRST_PAUSE_S: Final = 0.05
_LONGEST_PAUSE_S: Final = 1.0


async def wait_ready(driver: Calls, *, timeout_s: float, where: object) -> None:
    """Probe until ready. Raises Unavailable after `timeout_s`, and final errors of Probe at once."""
    give_up_s = time.monotonic() + timeout_s
    pause_s = _FIRST_PAUSE_S
    while True:
        remaining_s = give_up_s - time.monotonic()
        try:
            response = await driver.probe(timeout_s=max(0.001, min(_PROBE_TIMEOUT_S, remaining_s)))
            if response.ready is not False:
                return
            reason = "it is still starting"
        except CsiError as error:
            if error.final:
                raise
            reason = error.message
        if time.monotonic() + pause_s > give_up_s:
            raise Unavailable(f"the driver at {where} was not ready within {timeout_s:g} s: {reason}")
        await asyncio.sleep(pause_s)
        pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)


async def declared_by(driver: Calls, *, timeout_s: float | None) -> Declared:
    """What the driver declares at this socket.

    The plugin capabilities are the same at every socket of a driver, so a service counts as served only when
    its own GetCapabilities does not answer UNIMPLEMENTED. Numbers that this version does not know are kept.
    """
    plugin = await driver.get_plugin_capabilities(timeout_s=timeout_s)
    services: set[Service] = {"Identity"}
    controller: frozenset[ControllerCapability] = frozenset()
    group: frozenset[GroupControllerCapability] = frozenset()
    node: frozenset[NodeCapability] = frozenset()
    if PluginCapability.CONTROLLER_SERVICE in plugin.capabilities:
        try:
            controller = (await driver.controller_get_capabilities(timeout_s=timeout_s)).capabilities
            services.add("Controller")
        except Unimplemented:
            pass
    if PluginCapability.GROUP_CONTROLLER_SERVICE in plugin.capabilities:
        try:
            group = (await driver.group_controller_get_capabilities(timeout_s=timeout_s)).capabilities
            services.add("GroupController")
        except Unimplemented:
            pass
    if PluginCapability.SNAPSHOT_METADATA_SERVICE in plugin.capabilities:
        services.add("SnapshotMetadata")
    try:
        node = (await driver.node_get_capabilities(timeout_s=timeout_s)).capabilities
        services.add("Node")
    except Unimplemented:
        pass
    return Declared(
        plugin=plugin.capabilities - {PluginCapability.UNKNOWN},
        expansion=plugin.volume_expansion - {VolumeExpansion.UNKNOWN},
        controller=controller - {ControllerCapability.UNKNOWN},
        group=group - {GroupControllerCapability.UNKNOWN},
        node=node - {NodeCapability.UNKNOWN},
        services=frozenset(services),
    )
