"""Questions that change nothing: how full a volume is, and how much a driver can still provision."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from moorage.orchestrator.model import OrchestratorError, VolumeRecord
from moorage.orchestrator.plan import Refused, stages
from moorage.orchestrator.workspace import Workspace
from moorage.spec.messages import (
    GetCapacityRequest,
    GetCapacityResponse,
    NodeGetVolumeStatsRequest,
    NodeGetVolumeStatsResponse,
)
from moorage.spec.types import ControllerCapability, NodeCapability, PluginCapability, VolumeCapability


@dataclass(frozen=True, slots=True)
class Queries:
    """All methods raise OrchestratorError with one sentence."""

    workspace: Workspace

    async def stats(self, volume: VolumeRecord) -> NodeGetVolumeStatsResponse:
        """The usage of a mounted volume by NodeGetVolumeStats."""
        if not volume.actual.mounts:
            raise OrchestratorError(
                f"volume {volume.name!r} is not mounted, so nothing can be measured; run `moorage volume mount "
                f"{volume.name} PATH`"
            )
        async with self.workspace.session(volume.driver) as session:
            if not session.declared.node & {NodeCapability.GET_VOLUME_STATS, NodeCapability.VOLUME_CONDITION}:
                raise Refused(f"driver {volume.driver!r} does not offer volume statistics; use `df`")
            request = NodeGetVolumeStatsRequest(
                volume_id=volume.actual.volume_id,
                volume_path=volume.actual.mounts[0].path,
                staging_target_path=volume.actual.staging_path if stages(session.declared) else "",
            )
            answer = await session.caller.call("NodeGetVolumeStats", request, f"volume {volume.name!r}")
            assert isinstance(answer, NodeGetVolumeStatsResponse)
            return answer

    async def capacity(
        self, driver: str, *, capability: VolumeCapability | None = None, parameters: Mapping[str, str]
    ) -> GetCapacityResponse:
        """How many bytes the driver can still provision here, by GetCapacity."""
        async with self.workspace.session(driver) as session:
            if ControllerCapability.GET_CAPACITY not in session.declared.controller:
                raise Refused(f"driver {driver!r} does not tell its capacity; ask the storage system")
            constrained = PluginCapability.VOLUME_ACCESSIBILITY_CONSTRAINTS in session.declared.plugin
            request = GetCapacityRequest(
                volume_capabilities=(capability,) if capability else (),
                parameters=parameters,
                accessible_topology=session.node.topology if constrained else None,
            )
            answer = await session.caller.call("GetCapacity", request, f"driver {driver!r}")
            assert isinstance(answer, GetCapacityResponse)
            return answer
