"""A CSI driver in memory that is strict about the order of calls: what it lets pass, any driver does.

It stands where the client stands. Faults are scripted per RPC: an error before the effect, an error after it (a
lost answer), or the death of the orchestrator at that moment.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Literal, TypeVar

from msgspec import Struct

from moorage.rpc.calls import Calls
from moorage.spec import errors, messages, types
from moorage.spec.capabilities import Declared

ResponseT = TypeVar("ResponseT", bound=Struct)
SIZE_STEP = 4096


class OrchestratorKilled(BaseException):
    """The process under test dies here; nothing may catch it."""


@dataclass
class StoredVolume:
    """A volume of the driver and everything that is done to it."""

    request: messages.CreateVolumeRequest
    size_bytes: int
    node_size_bytes: int = 0
    attached: set[str] = field(default_factory=set)
    staged: set[str] = field(default_factory=set)
    published: dict[str, bool] = field(default_factory=dict)


@dataclass(frozen=True)
class Fault:
    """What befalls the next call of `rpc`."""

    rpc: str
    when: Literal["before", "after"]
    error: BaseException


def everything() -> Declared:
    """All that the memory driver can do."""
    controller = types.ControllerCapability
    return Declared(
        plugin=frozenset({types.PluginCapability.CONTROLLER_SERVICE, types.PluginCapability.GROUP_CONTROLLER_SERVICE}),
        expansion=frozenset({types.VolumeExpansion.ONLINE}),
        controller=frozenset(
            {
                controller.CREATE_DELETE_VOLUME,
                controller.PUBLISH_UNPUBLISH_VOLUME,
                controller.CREATE_DELETE_SNAPSHOT,
                controller.CLONE_VOLUME,
                controller.EXPAND_VOLUME,
                controller.GET_CAPACITY,
            }
        ),
        group=frozenset({types.GroupControllerCapability.CREATE_DELETE_GET_VOLUME_GROUP_SNAPSHOT}),
        node=frozenset(
            {
                types.NodeCapability.STAGE_UNSTAGE_VOLUME,
                types.NodeCapability.GET_VOLUME_STATS,
                types.NodeCapability.EXPAND_VOLUME,
            }
        ),
        services=frozenset({"Identity", "Controller", "GroupController", "Node"}),
    )


class MemoryDriver(Calls):
    """Keeps volumes, snapshots and groups in dicts, and refuses whatever the specification's order forbids."""

    def __init__(self, declared: Declared | None = None) -> None:
        self.capabilities = everything() if declared is None else declared
        self.volumes: dict[str, StoredVolume] = {}
        self.snapshots: dict[str, types.Snapshot] = {}
        self.snapshot_names: dict[str, str] = {}
        self.groups: dict[str, types.VolumeGroupSnapshot] = {}
        self.faults: list[Fault] = []
        self.called: list[str] = []
        self.requests: list[Struct] = []
        self.polls_until_ready = 0
        self.mounts: set[str] = set()
        self.closed = False

    @property
    def has_attach(self) -> bool:
        return self.capabilities.has(types.ControllerCapability.PUBLISH_UNPUBLISH_VOLUME)

    @property
    def has_stage(self) -> bool:
        return self.capabilities.has(types.NodeCapability.STAGE_UNSTAGE_VOLUME)

    async def declared(self, *, timeout_s: float | None = None) -> Declared:
        return self.capabilities

    async def wait_ready(self, timeout_s: float) -> None:
        return None

    async def close(self) -> None:
        self.closed = True

    def reboot(self) -> None:
        """The node forgets what was staged, published and attached."""
        self.mounts.clear()
        for volume in self.volumes.values():
            volume.attached.clear()
            volume.staged.clear()
            volume.published.clear()

    async def unary(
        self, rpc_name: str, request: Struct, response_type: type[ResponseT], *, timeout_s: float | None
    ) -> ResponseT:
        assert timeout_s is None or timeout_s > 0
        self.called.append(rpc_name)
        self.requests.append(request)
        self._strike(rpc_name, "before")
        answer = getattr(self, f"on_{rpc_name}")(request)
        self._strike(rpc_name, "after")
        assert isinstance(answer, response_type)
        return answer

    def stream(
        self, rpc_name: str, request: Struct, response_type: type[ResponseT], *, timeout_s: float | None
    ) -> AsyncIterator[ResponseT]:
        raise NotImplementedError(rpc_name)

    def _strike(self, rpc_name: str, when: str) -> None:
        for fault in self.faults:
            if fault.rpc in (rpc_name, "*") and fault.when == when:
                self.faults.remove(fault)
                raise fault.error

    def _volume(self, volume_id: str) -> StoredVolume:
        if volume_id not in self.volumes:
            raise errors.VolumeNotFound(volume_id)
        return self.volumes[volume_id]

    # --- RPCs; each is named after the RPC it answers ---

    def on_Probe(self, request: messages.ProbeRequest) -> messages.ProbeResponse:
        return messages.ProbeResponse(ready=True)

    def on_GetPluginInfo(self, request: messages.GetPluginInfoRequest) -> messages.GetPluginInfoResponse:
        return messages.GetPluginInfoResponse(name="memory.example.org", vendor_version="1")

    def on_NodeGetInfo(self, request: messages.NodeGetInfoRequest) -> messages.NodeGetInfoResponse:
        return messages.NodeGetInfoResponse(node_id="node-1", accessible_topology=types.Topology({"host": "a"}))

    def on_GetCapacity(self, request: messages.GetCapacityRequest) -> messages.GetCapacityResponse:
        return messages.GetCapacityResponse(available_capacity=1 << 40)

    def on_CreateVolume(self, request: messages.CreateVolumeRequest) -> messages.CreateVolumeResponse:
        volume_id = f"id-{request.name}"
        wanted = request.capacity_range or types.CapacityRange()
        if volume_id not in self.volumes:
            size_bytes = max(-(-wanted.required_bytes // SIZE_STEP), 1) * SIZE_STEP
            self.volumes[volume_id] = StoredVolume(request, size_bytes)
        elif self.volumes[volume_id].request != request:
            raise errors.AlreadyExists(f"volume {request.name!r} exists with other properties")
        volume = types.Volume(
            volume_id, self.volumes[volume_id].size_bytes, {"made": "here"}, request.volume_content_source
        )
        return messages.CreateVolumeResponse(volume)

    def on_DeleteVolume(self, request: messages.DeleteVolumeRequest) -> messages.DeleteVolumeResponse:
        volume = self.volumes.get(request.volume_id)
        if volume is not None and (volume.attached or volume.staged or volume.published):
            raise AssertionError(f"{request.volume_id} is deleted while it is in use")
        self.volumes.pop(request.volume_id, None)
        return messages.DeleteVolumeResponse()

    def on_ControllerExpandVolume(
        self, request: messages.ControllerExpandVolumeRequest
    ) -> messages.ControllerExpandVolumeResponse:
        volume = self._volume(request.volume_id)
        assert request.capacity_range is not None
        if self.capabilities.expansion == {types.VolumeExpansion.OFFLINE} and (
            volume.attached or volume.staged or volume.published
        ):
            raise AssertionError("expanded while in use although only offline expansion is declared")
        volume.size_bytes = max(volume.size_bytes, request.capacity_range.required_bytes)
        node_too = self.capabilities.has(types.NodeCapability.EXPAND_VOLUME)
        return messages.ControllerExpandVolumeResponse(volume.size_bytes, node_too)

    def on_ControllerPublishVolume(
        self, request: messages.ControllerPublishVolumeRequest
    ) -> messages.ControllerPublishVolumeResponse:
        assert request.node_id == "node-1"
        self._volume(request.volume_id).attached.add(request.node_id)
        return messages.ControllerPublishVolumeResponse({"device": "sda"})

    def on_ControllerUnpublishVolume(
        self, request: messages.ControllerUnpublishVolumeRequest
    ) -> messages.ControllerUnpublishVolumeResponse:
        volume = self.volumes.get(request.volume_id)
        if volume is not None:
            assert not volume.staged, "detached while staged"
            assert not volume.published, "detached while published"
            volume.attached.discard(request.node_id)
        return messages.ControllerUnpublishVolumeResponse()

    def on_NodeStageVolume(self, request: messages.NodeStageVolumeRequest) -> messages.NodeStageVolumeResponse:
        volume = self._volume(request.volume_id)
        assert not self.has_attach or "node-1" in volume.attached, "staged before it was attached"
        assert not self.has_attach or request.publish_context == {"device": "sda"}
        assert request.volume_context == {"made": "here"}
        volume.staged.add(request.staging_target_path)
        self.mounts.add(request.staging_target_path)
        return messages.NodeStageVolumeResponse()

    def on_NodeUnstageVolume(self, request: messages.NodeUnstageVolumeRequest) -> messages.NodeUnstageVolumeResponse:
        volume = self._volume(request.volume_id)
        assert not volume.published, "unstaged while published"
        volume.staged.discard(request.staging_target_path)
        self.mounts.discard(request.staging_target_path)
        return messages.NodeUnstageVolumeResponse()

    def on_NodePublishVolume(self, request: messages.NodePublishVolumeRequest) -> messages.NodePublishVolumeResponse:
        volume = self._volume(request.volume_id)
        assert not self.has_attach or "node-1" in volume.attached, "published before it was attached"
        if self.has_stage:
            assert request.staging_target_path in volume.staged, "published before it was staged"
        if volume.published.get(request.target_path, request.readonly) != request.readonly:
            raise AssertionError("published at one path in two ways")
        volume.published[request.target_path] = request.readonly
        self.mounts.add(request.target_path)
        return messages.NodePublishVolumeResponse()

    def on_NodeUnpublishVolume(
        self, request: messages.NodeUnpublishVolumeRequest
    ) -> messages.NodeUnpublishVolumeResponse:
        self._volume(request.volume_id).published.pop(request.target_path, None)
        self.mounts.discard(request.target_path)
        return messages.NodeUnpublishVolumeResponse()

    def on_NodeExpandVolume(self, request: messages.NodeExpandVolumeRequest) -> messages.NodeExpandVolumeResponse:
        volume = self._volume(request.volume_id)
        assert request.volume_path in volume.staged | volume.published.keys(), "grown where it is not"
        assert request.capacity_range is not None
        volume.node_size_bytes = max(volume.size_bytes, request.capacity_range.required_bytes)
        if not self.capabilities.has(types.ControllerCapability.EXPAND_VOLUME):
            volume.size_bytes = volume.node_size_bytes
        return messages.NodeExpandVolumeResponse(volume.node_size_bytes)

    def on_NodeGetVolumeStats(self, request: messages.NodeGetVolumeStatsRequest) -> messages.NodeGetVolumeStatsResponse:
        volume = self._volume(request.volume_id)
        if request.volume_path not in volume.published:
            raise errors.NotFound(f"{request.volume_path} is not of {request.volume_id}")
        usage = types.VolumeUsage(types.UsageUnit.BYTES, volume.size_bytes, volume.size_bytes)
        return messages.NodeGetVolumeStatsResponse((usage,))

    def on_ValidateVolumeCapabilities(
        self, request: messages.ValidateVolumeCapabilitiesRequest
    ) -> messages.ValidateVolumeCapabilitiesResponse:
        self._volume(request.volume_id)
        confirmed = messages.Confirmed(volume_capabilities=request.volume_capabilities)
        return messages.ValidateVolumeCapabilitiesResponse(confirmed=confirmed)

    def _cut(self, name: str, volume_id: str, group_id: str = "") -> types.Snapshot:
        size_bytes = self._volume(volume_id).size_bytes
        cut_at = datetime(2026, 1, 1, tzinfo=UTC)
        ready = self.polls_until_ready <= 0
        self.polls_until_ready -= 1
        snapshot = types.Snapshot(f"snap-{name}", volume_id, cut_at, size_bytes, ready, group_id)
        self.snapshots[snapshot.snapshot_id] = snapshot
        return snapshot

    def on_CreateSnapshot(self, request: messages.CreateSnapshotRequest) -> messages.CreateSnapshotResponse:
        return messages.CreateSnapshotResponse(self._cut(request.name, request.source_volume_id))

    def on_DeleteSnapshot(self, request: messages.DeleteSnapshotRequest) -> messages.DeleteSnapshotResponse:
        self.snapshots.pop(request.snapshot_id, None)
        return messages.DeleteSnapshotResponse()

    def on_CreateVolumeGroupSnapshot(
        self, request: messages.CreateVolumeGroupSnapshotRequest
    ) -> messages.CreateVolumeGroupSnapshotResponse:
        group_id = f"group-{request.name}"
        members = tuple(
            self._cut(f"{request.name}-{volume_id}", volume_id, group_id) for volume_id in request.source_volume_ids
        )
        ready = all(member.ready_to_use for member in members)
        group = types.VolumeGroupSnapshot(group_id, members, members[0].creation_time, ready)
        self.groups[group_id] = group
        return messages.CreateVolumeGroupSnapshotResponse(group)

    def on_GetVolumeGroupSnapshot(
        self, request: messages.GetVolumeGroupSnapshotRequest
    ) -> messages.GetVolumeGroupSnapshotResponse:
        group = self.groups[request.group_snapshot_id]
        assert {s.snapshot_id for s in group.snapshots} == set(request.snapshot_ids)
        self.polls_until_ready -= 1
        ready = self.polls_until_ready < 0
        return messages.GetVolumeGroupSnapshotResponse(
            types.VolumeGroupSnapshot(group.group_snapshot_id, group.snapshots, group.creation_time, ready)
        )

    def on_DeleteVolumeGroupSnapshot(
        self, request: messages.DeleteVolumeGroupSnapshotRequest
    ) -> messages.DeleteVolumeGroupSnapshotResponse:
        group = self.groups.pop(request.group_snapshot_id, None)
        if group is not None:
            assert {s.snapshot_id for s in group.snapshots} == set(request.snapshot_ids)
            for member in group.snapshots:
                self.snapshots.pop(member.snapshot_id, None)
        return messages.DeleteVolumeGroupSnapshotResponse()
