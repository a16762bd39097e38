"""The identity service and the questions about capabilities: constant answers, but for Probe."""

from __future__ import annotations

from moorage.framework.core import Core
from moorage.framework.values import NodeInfo
from moorage.spec import messages as m


class Identity:
    """Handlers of the identity service and of the capability RPCs of the others."""

    def __init__(self, core: Core) -> None:
        self._core = core
        driver, declared = core.driver, core.declared
        self._info = m.GetPluginInfoResponse(driver.name, driver.version, driver.manifest)
        self._plugin = m.GetPluginCapabilitiesResponse(declared.plugin, declared.expansion)
        self._controller = m.ControllerGetCapabilitiesResponse(declared.controller)
        self._group = m.GroupControllerGetCapabilitiesResponse(declared.group)
        self._node = m.NodeGetCapabilitiesResponse(declared.node)
        self._ready = m.ProbeResponse(ready=True)

    async def info(self, request: m.GetPluginInfoRequest) -> m.GetPluginInfoResponse:
        """GetPluginInfo."""
        return self._info

    async def capabilities(self, request: m.GetPluginCapabilitiesRequest) -> m.GetPluginCapabilitiesResponse:
        """GetPluginCapabilities."""
        return self._plugin

    async def probe(self, request: m.ProbeRequest) -> m.ProbeResponse:
        """Probe."""
        if not self._core.invoke.offers("probe"):
            return self._ready
        return m.ProbeResponse(ready=bool(await self._core.invoke.call("identity", "probe")))

    async def controller(self, request: m.ControllerGetCapabilitiesRequest) -> m.ControllerGetCapabilitiesResponse:
        """ControllerGetCapabilities."""
        return self._controller

    async def group(self, request: m.GroupControllerGetCapabilitiesRequest) -> m.GroupControllerGetCapabilitiesResponse:
        """GroupControllerGetCapabilities."""
        return self._group

    async def node(self, request: m.NodeGetCapabilitiesRequest) -> m.NodeGetCapabilitiesResponse:
        """NodeGetCapabilities."""
        return self._node

    async def node_info(self, request: m.NodeGetInfoRequest) -> m.NodeGetInfoResponse:
        """NodeGetInfo."""
        info: NodeInfo = await self._core.invoke.call("identity", "node_info")
        return m.NodeGetInfoResponse(
            node_id=info.node_id,
            max_volumes_per_node=info.max_volumes_per_node,
            accessible_topology=info.topology if self._core.driver.topology_aware else None,
        )
