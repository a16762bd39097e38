"""One typed method for each RPC of the specification.

The list is written out, rather than made at run time, so that editors and type checkers see it; a test holds
it against the descriptors. This module knows neither sockets nor gRPC: a subclass says how a call is made.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncIterator
from typing import TypeVar

from msgspec import Struct

from moorage.spec.messages import (
    ControllerExpandVolumeRequest,
    ControllerExpandVolumeResponse,
    ControllerGetCapabilitiesRequest,
    ControllerGetCapabilitiesResponse,
    ControllerGetVolumeHealthRequest,
    ControllerGetVolumeHealthResponse,
    ControllerGetVolumeRequest,
    ControllerGetVolumeResponse,
    ControllerListVolumeHealthRequest,
    ControllerListVolumeHealthResponse,
    ControllerModifyVolumeRequest,
    ControllerModifyVolumeResponse,
    ControllerPublishVolumeRequest,
    ControllerPublishVolumeResponse,
    ControllerUnpublishVolumeRequest,
    ControllerUnpublishVolumeResponse,
    CreateSnapshotRequest,
    CreateSnapshotResponse,
    CreateVolumeGroupSnapshotRequest,
    CreateVolumeGroupSnapshotResponse,
    CreateVolumeRequest,
    CreateVolumeResponse,
    DeleteSnapshotRequest,
    DeleteSnapshotResponse,
    DeleteVolumeGroupSnapshotRequest,
    DeleteVolumeGroupSnapshotResponse,
    DeleteVolumeRequest,
    DeleteVolumeResponse,
    GetCapacityRequest,
    GetCapacityResponse,
    GetMetadataAllocatedRequest,
    GetMetadataAllocatedResponse,
    GetMetadataDeltaRequest,
    GetMetadataDeltaResponse,
    GetPluginCapabilitiesRequest,
    GetPluginCapabilitiesResponse,
    GetPluginInfoRequest,
    GetPluginInfoResponse,
    GetSnapshotRequest,
    GetSnapshotResponse,
    GetVolumeGroupSnapshotRequest,
    GetVolumeGroupSnapshotResponse,
    GroupControllerGetCapabilitiesRequest,
    GroupControllerGetCapabilitiesResponse,
    ListSnapshotsRequest,
    ListSnapshotsResponse,
    ListVolumesRequest,
    ListVolumesResponse,
    NodeExpandVolumeRequest,
    NodeExpandVolumeResponse,
    NodeGetCapabilitiesRequest,
    NodeGetCapabilitiesResponse,
    NodeGetInfoRequest,
    NodeGetInfoResponse,
    NodeGetStorageHealthRequest,
    NodeGetStorageHealthResponse,
    NodeGetVolumeHealthRequest,
    NodeGetVolumeHealthResponse,
    NodeGetVolumeStatsRequest,
    NodeGetVolumeStatsResponse,
    NodePublishVolumeRequest,
    NodePublishVolumeResponse,
    NodeStageVolumeRequest,
    NodeStageVolumeResponse,
    NodeUnpublishVolumeRequest,
    NodeUnpublishVolumeResponse,
    NodeUnstageVolumeRequest,
    NodeUnstageVolumeResponse,
    ProbeRequest,
    ProbeResponse,
    ValidateVolumeCapabilitiesRequest,
    ValidateVolumeCapabilitiesResponse,
)

ResponseT = TypeVar("ResponseT", bound=Struct)


class Calls(ABC):
    """All RPCs of CSI 1.13; they raise `spec.errors`. `timeout_s` None takes the default of the RPC."""

    @abstractmethod
    async def unary(
        self, rpc_name: str, request: Struct, response_type: type[ResponseT], *, timeout_s: float | None
    ) -> ResponseT:
        """Makes a call with one answer."""

    @abstractmethod
    def stream(
        self, rpc_name: str, request: Struct, response_type: type[ResponseT], *, timeout_s: float | None
    ) -> AsyncIterator[ResponseT]:
        """Makes a call with a stream of answers; leaving the loop early cancels it."""

    # --- Identity ----------------------------------------------------------------------------------
    async def get_plugin_info(
        self, request: GetPluginInfoRequest | None = None, *, timeout_s: float | None = None
    ) -> GetPluginInfoResponse:
        """Who are you?"""
        return await self.unary(
            "GetPluginInfo", request or GetPluginInfoRequest(), GetPluginInfoResponse, timeout_s=timeout_s
        )

    async def get_plugin_capabilities(
        self, request: GetPluginCapabilitiesRequest | None = None, *, timeout_s: float | None = None
    ) -> GetPluginCapabilitiesResponse:
        """What does the whole plugin offer?"""
        return await self.unary(
            "GetPluginCapabilities",
            request or GetPluginCapabilitiesRequest(),
            GetPluginCapabilitiesResponse,
            timeout_s=timeout_s,
        )

    async def probe(self, request: ProbeRequest | None = None, *, timeout_s: float | None = None) -> ProbeResponse:
        """Are you healthy and ready?"""
        return await self.unary("Probe", request or ProbeRequest(), ProbeResponse, timeout_s=timeout_s)

    # --- Controller --------------------------------------------------------------------------------
    async def create_volume(
        self, request: CreateVolumeRequest, *, timeout_s: float | None = None
    ) -> CreateVolumeResponse:
        """Make a volume of this name, or find the one made before."""
        return await self.unary("CreateVolume", request, CreateVolumeResponse, timeout_s=timeout_s)

    async def delete_volume(
        self, request: DeleteVolumeRequest, *, timeout_s: float | None = None
    ) -> DeleteVolumeResponse:
        """Delete a volume; one that is gone already is fine."""
        return await self.unary("DeleteVolume", request, DeleteVolumeResponse, timeout_s=timeout_s)

    async def controller_publish_volume(
        self, request: ControllerPublishVolumeRequest, *, timeout_s: float | None = None
    ) -> ControllerPublishVolumeResponse:
        """Make a volume available on a node (attach)."""
        return await self.unary(
            "ControllerPublishVolume", request, ControllerPublishVolumeResponse, timeout_s=timeout_s
        )

    async def controller_unpublish_volume(
        self, request: ControllerUnpublishVolumeRequest, *, timeout_s: float | None = None
    ) -> ControllerUnpublishVolumeResponse:
        """Detach a volume from a node, or from all nodes when `node_id` is empty."""
        return await self.unary(
            "ControllerUnpublishVolume", request, ControllerUnpublishVolumeResponse, timeout_s=timeout_s
        )

    async def validate_volume_capabilities(
        self, request: ValidateVolumeCapabilitiesRequest, *, timeout_s: float | None = None
    ) -> ValidateVolumeCapabilitiesResponse:
        """Can this volume be used in all these ways?"""
        return await self.unary(
            "ValidateVolumeCapabilities", request, ValidateVolumeCapabilitiesResponse, timeout_s=timeout_s
        )

    async def list_volumes(self, request: ListVolumesRequest, *, timeout_s: float | None = None) -> ListVolumesResponse:
        """A page of volumes; `max_entries` 0 means no limit."""
        return await self.unary("ListVolumes", request, ListVolumesResponse, timeout_s=timeout_s)

    async def controller_list_volume_health(
        self, request: ControllerListVolumeHealthRequest, *, timeout_s: float | None = None
    ) -> ControllerListVolumeHealthResponse:
        """A page of volumes that are not healthy (alpha)."""
        return await self.unary(
            "ControllerListVolumeHealth", request, ControllerListVolumeHealthResponse, timeout_s=timeout_s
        )

    async def controller_get_volume_health(
        self, request: ControllerGetVolumeHealthRequest, *, timeout_s: float | None = None
    ) -> ControllerGetVolumeHealthResponse:
        """The controller's view of one volume's health (alpha)."""
        return await self.unary(
            "ControllerGetVolumeHealth", request, ControllerGetVolumeHealthResponse, timeout_s=timeout_s
        )

    async def get_capacity(self, request: GetCapacityRequest, *, timeout_s: float | None = None) -> GetCapacityResponse:
        """How much can still be provisioned, for these capabilities, parameters and place?"""
        return await self.unary("GetCapacity", request, GetCapacityResponse, timeout_s=timeout_s)

    async def controller_get_capabilities(
        self, request: ControllerGetCapabilitiesRequest | None = None, *, timeout_s: float | None = None
    ) -> ControllerGetCapabilitiesResponse:
        """What does the controller service offer?"""
        return await self.unary(
            "ControllerGetCapabilities",
            request or ControllerGetCapabilitiesRequest(),
            ControllerGetCapabilitiesResponse,
            timeout_s=timeout_s,
        )

    async def create_snapshot(
        self, request: CreateSnapshotRequest, *, timeout_s: float | None = None
    ) -> CreateSnapshotResponse:
        """Cut a snapshot of this name, or find the one cut before."""
        return await self.unary("CreateSnapshot", request, CreateSnapshotResponse, timeout_s=timeout_s)

    async def delete_snapshot(
        self, request: DeleteSnapshotRequest, *, timeout_s: float | None = None
    ) -> DeleteSnapshotResponse:
        """Delete a snapshot; one that is gone already is fine."""
        return await self.unary("DeleteSnapshot", request, DeleteSnapshotResponse, timeout_s=timeout_s)

    async def list_snapshots(
        self, request: ListSnapshotsRequest, *, timeout_s: float | None = None
    ) -> ListSnapshotsResponse:
        """A page of snapshots; both filters together must hold."""
        return await self.unary("ListSnapshots", request, ListSnapshotsResponse, timeout_s=timeout_s)

    async def get_snapshot(self, request: GetSnapshotRequest, *, timeout_s: float | None = None) -> GetSnapshotResponse:
        """One snapshot, by id, ready or not (alpha)."""
        return await self.unary("GetSnapshot", request, GetSnapshotResponse, timeout_s=timeout_s)

    async def controller_expand_volume(
        self, request: ControllerExpandVolumeRequest, *, timeout_s: float | None = None
    ) -> ControllerExpandVolumeResponse:
        """Grow a volume into a range."""
        return await self.unary("ControllerExpandVolume", request, ControllerExpandVolumeResponse, timeout_s=timeout_s)

    async def controller_get_volume(
        self, request: ControllerGetVolumeRequest, *, timeout_s: float | None = None
    ) -> ControllerGetVolumeResponse:
        """One volume, by id (alpha)."""
        return await self.unary("ControllerGetVolume", request, ControllerGetVolumeResponse, timeout_s=timeout_s)

    async def controller_modify_volume(
        self, request: ControllerModifyVolumeRequest, *, timeout_s: float | None = None
    ) -> ControllerModifyVolumeResponse:
        """Change mutable parameters; keys not named stay as they are."""
        return await self.unary("ControllerModifyVolume", request, ControllerModifyVolumeResponse, timeout_s=timeout_s)

    # --- GroupController ---------------------------------------------------------------------------
    async def group_controller_get_capabilities(
        self, request: GroupControllerGetCapabilitiesRequest | None = None, *, timeout_s: float | None = None
    ) -> GroupControllerGetCapabilitiesResponse:
        """What does the group controller service offer?"""
        return await self.unary(
            "GroupControllerGetCapabilities",
            request or GroupControllerGetCapabilitiesRequest(),
            GroupControllerGetCapabilitiesResponse,
            timeout_s=timeout_s,
        )

    async def create_volume_group_snapshot(
        self, request: CreateVolumeGroupSnapshotRequest, *, timeout_s: float | None = None
    ) -> CreateVolumeGroupSnapshotResponse:
        """Cut snapshots of all these volumes at one instant."""
        return await self.unary(
            "CreateVolumeGroupSnapshot", request, CreateVolumeGroupSnapshotResponse, timeout_s=timeout_s
        )

    async def delete_volume_group_snapshot(
        self, request: DeleteVolumeGroupSnapshotRequest, *, timeout_s: float | None = None
    ) -> DeleteVolumeGroupSnapshotResponse:
        """Delete a group and all its members."""
        return await self.unary(
            "DeleteVolumeGroupSnapshot", request, DeleteVolumeGroupSnapshotResponse, timeout_s=timeout_s
        )

    async def get_volume_group_snapshot(
        self, request: GetVolumeGroupSnapshotRequest, *, timeout_s: float | None = None
    ) -> GetVolumeGroupSnapshotResponse:
        """One group, by id."""
        return await self.unary("GetVolumeGroupSnapshot", request, GetVolumeGroupSnapshotResponse, timeout_s=timeout_s)

    # --- SnapshotMetadata --------------------------------------------------------------------------
    def get_metadata_allocated(
        self, request: GetMetadataAllocatedRequest, *, timeout_s: float | None = None
    ) -> AsyncIterator[GetMetadataAllocatedResponse]:
        """Stream the allocated ranges of a snapshot from `starting_offset` (bytes) on."""
        return self.stream("GetMetadataAllocated", request, GetMetadataAllocatedResponse, timeout_s=timeout_s)

    def get_metadata_delta(
        self, request: GetMetadataDeltaRequest, *, timeout_s: float | None = None
    ) -> AsyncIterator[GetMetadataDeltaResponse]:
        """Stream the ranges that differ between two snapshots of one volume."""
        return self.stream("GetMetadataDelta", request, GetMetadataDeltaResponse, timeout_s=timeout_s)

    # --- Node --------------------------------------------------------------------------------------
    async def node_stage_volume(
        self, request: NodeStageVolumeRequest, *, timeout_s: float | None = None
    ) -> NodeStageVolumeResponse:
        """Prepare a volume on this node, once, at the staging path."""
        return await self.unary("NodeStageVolume", request, NodeStageVolumeResponse, timeout_s=timeout_s)

    async def node_unstage_volume(
        self, request: NodeUnstageVolumeRequest, *, timeout_s: float | None = None
    ) -> NodeUnstageVolumeResponse:
        """Undo NodeStageVolume."""
        return await self.unary("NodeUnstageVolume", request, NodeUnstageVolumeResponse, timeout_s=timeout_s)

    async def node_publish_volume(
        self, request: NodePublishVolumeRequest, *, timeout_s: float | None = None
    ) -> NodePublishVolumeResponse:
        """Make a volume visible at the target path."""
        return await self.unary("NodePublishVolume", request, NodePublishVolumeResponse, timeout_s=timeout_s)

    async def node_unpublish_volume(
        self, request: NodeUnpublishVolumeRequest, *, timeout_s: float | None = None
    ) -> NodeUnpublishVolumeResponse:
        """Undo NodePublishVolume and remove the target path."""
        return await self.unary("NodeUnpublishVolume", request, NodeUnpublishVolumeResponse, timeout_s=timeout_s)

    async def node_get_volume_stats(
        self, request: NodeGetVolumeStatsRequest, *, timeout_s: float | None = None
    ) -> NodeGetVolumeStatsResponse:
        """How full is the volume at this path?"""
        return await self.unary("NodeGetVolumeStats", request, NodeGetVolumeStatsResponse, timeout_s=timeout_s)

    async def node_get_volume_health(
        self, request: NodeGetVolumeHealthRequest, *, timeout_s: float | None = None
    ) -> NodeGetVolumeHealthResponse:
        """The node's view of one volume's health (alpha)."""
        return await self.unary("NodeGetVolumeHealth", request, NodeGetVolumeHealthResponse, timeout_s=timeout_s)

    async def node_get_storage_health(
        self, request: NodeGetStorageHealthRequest, *, timeout_s: float | None = None
    ) -> NodeGetStorageHealthResponse:
        """The health of the storage behind this node (alpha)."""
        return await self.unary("NodeGetStorageHealth", request, NodeGetStorageHealthResponse, timeout_s=timeout_s)

    async def node_expand_volume(
        self, request: NodeExpandVolumeRequest, *, timeout_s: float | None = None
    ) -> NodeExpandVolumeResponse:
        """Grow what this node sees of a volume; no range means as far as it goes."""
        return await self.unary("NodeExpandVolume", request, NodeExpandVolumeResponse, timeout_s=timeout_s)

    async def node_get_capabilities(
        self, request: NodeGetCapabilitiesRequest | None = None, *, timeout_s: float | None = None
    ) -> NodeGetCapabilitiesResponse:
        """What does the node service offer?"""
        return await self.unary(
            "NodeGetCapabilities",
            request or NodeGetCapabilitiesRequest(),
            NodeGetCapabilitiesResponse,
            timeout_s=timeout_s,
        )

    async def node_get_info(
        self, request: NodeGetInfoRequest | None = None, *, timeout_s: float | None = None
    ) -> NodeGetInfoResponse:
        """Which node is this?"""
        return await self.unary(
            "NodeGetInfo", request or NodeGetInfoRequest(), NodeGetInfoResponse, timeout_s=timeout_s
        )
