"""What a driver that declares less may not say, and must refuse. Pure.

`check_request` refuses what the specification lets any plugin refuse; here is what only a driver without the
capability refuses, and the answers of a driver with it, made fit for one without.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Final

from msgspec import Struct
from msgspec.structs import replace

from moorage.spec import messages as m
from moorage.spec.capabilities import Declared
from moorage.spec.errors import CsiError, FailedPrecondition, InvalidArgument
from moorage.spec.rules import Rpc
from moorage.spec.types import (
    AccessMode,
    ControllerCapability,
    NodeCapability,
    PluginCapability,
    Snapshot,
    Volume,
    VolumeCapability,
)
from moorage.spec.validate import check_request

_WRITER_MODES: Final = frozenset({AccessMode.SINGLE_NODE_SINGLE_WRITER, AccessMode.SINGLE_NODE_MULTI_WRITER})


def refusal(rpc: Rpc, request: Struct, declared: Declared) -> CsiError | None:
    """Why a driver with these declarations refuses the request unseen; None when it does not."""
    try:
        check_request(rpc, request, declared)
    except CsiError as error:
        return error
    modes = {capability.access_mode for capability in _capabilities(request)}
    if not modes & _WRITER_MODES:
        return None
    if rpc.service == "Controller" and not declared.has(ControllerCapability.SINGLE_NODE_MULTI_WRITER):
        # ValidateVolumeCapabilities must find out first whether there is such a volume.
        if rpc.name not in ("ValidateVolumeCapabilities", "GetCapacity"):
            return InvalidArgument("the controller does not know who else writes on a node; use SINGLE_NODE_WRITER")
    elif rpc.service == "Node" and not declared.has(NodeCapability.SINGLE_NODE_MULTI_WRITER):
        return FailedPrecondition("the node does not know who else writes to a volume; use SINGLE_NODE_WRITER")
    return None


def confirmable(request: m.ValidateVolumeCapabilitiesRequest, declared: Declared) -> bool:
    """Whether the driver can have all access modes that are asked about."""
    modes = {capability.access_mode for capability in request.volume_capabilities}
    return not modes & _WRITER_MODES or declared.has(ControllerCapability.SINGLE_NODE_MULTI_WRITER)


def _capabilities(request: Any) -> Iterator[VolumeCapability]:
    yield from getattr(request, "volume_capabilities", ())
    if (one := getattr(request, "volume_capability", None)) is not None:
        yield one


def allowed(response: Struct, declared: Declared) -> Struct:
    """The response without what a driver with these declarations must not say."""
    change = _CHANGES.get(type(response))
    changed: Struct = change(response, declared) if change else response
    return changed


# --- answers --------------------------------------------------------------------------------------


def _volume(volume: Volume, declared: Declared) -> Volume:
    if declared.has(PluginCapability.VOLUME_ACCESSIBILITY_CONSTRAINTS):
        return volume
    return replace(volume, accessible_topology=())


def _snapshot(snapshot: Snapshot, declared: Declared) -> Snapshot:
    if declared.has(PluginCapability.SNAPSHOT_ACCESSIBILITY_CONSTRAINTS):
        return snapshot
    return replace(snapshot, accessible_topology=())


def _status(status: m.VolumeStatus, declared: Declared) -> m.VolumeStatus:
    if not declared.has(ControllerCapability.LIST_VOLUMES_PUBLISHED_NODES):
        status = replace(status, published_node_ids=())
    if not declared.has(ControllerCapability.VOLUME_CONDITION):
        status = replace(status, volume_condition=None)
    return status


def _listed(entry: m.ListedVolume, declared: Declared) -> m.ListedVolume:
    status = _status(entry.status, declared) if entry.status else None
    needed = (ControllerCapability.LIST_VOLUMES_PUBLISHED_NODES, ControllerCapability.VOLUME_CONDITION)
    if not any(declared.has(capability) for capability in needed):
        status = None
    return m.ListedVolume(volume=_volume(entry.volume, declared), status=status)


def _listed_volumes(page: m.ListVolumesResponse, declared: Declared) -> m.ListVolumesResponse:
    return replace(page, entries=tuple(_listed(entry, declared) for entry in page.entries))


def _listed_snapshots(page: m.ListSnapshotsResponse, declared: Declared) -> m.ListSnapshotsResponse:
    return replace(page, entries=tuple(_snapshot(entry, declared) for entry in page.entries))


def _one_volume(found: m.ControllerGetVolumeResponse, declared: Declared) -> m.ControllerGetVolumeResponse:
    return replace(found, volume=_volume(found.volume, declared), status=_status(found.status, declared))


def _group(answer: Any, declared: Declared) -> Any:
    group = answer.group_snapshot
    members = tuple(_snapshot(member, declared) for member in group.snapshots)
    return replace(answer, group_snapshot=replace(group, snapshots=members))


def _expanded(answer: m.ControllerExpandVolumeResponse, declared: Declared) -> m.ControllerExpandVolumeResponse:
    return answer if declared.has(NodeCapability.EXPAND_VOLUME) else replace(answer, node_expansion_required=False)


def _stats(answer: m.NodeGetVolumeStatsResponse, declared: Declared) -> m.NodeGetVolumeStatsResponse:
    if not declared.has(NodeCapability.GET_VOLUME_STATS):
        answer = replace(answer, usage=())
    if not declared.has(NodeCapability.VOLUME_CONDITION):
        answer = replace(answer, volume_condition=None)
    return answer


def _node_info(info: m.NodeGetInfoResponse, declared: Declared) -> m.NodeGetInfoResponse:
    if declared.has(PluginCapability.VOLUME_ACCESSIBILITY_CONSTRAINTS):
        return info
    return replace(info, accessible_topology=None)


_CHANGES: Final[dict[type[Struct], Callable[[Any, Declared], Struct]]] = {
    m.GetPluginCapabilitiesResponse: lambda _, declared: m.GetPluginCapabilitiesResponse(
        capabilities=declared.plugin, volume_expansion=declared.expansion
    ),
    m.ControllerGetCapabilitiesResponse: lambda _, declared: m.ControllerGetCapabilitiesResponse(declared.controller),
    m.GroupControllerGetCapabilitiesResponse: lambda _, declared: m.GroupControllerGetCapabilitiesResponse(
        declared.group
    ),
    m.NodeGetCapabilitiesResponse: lambda _, declared: m.NodeGetCapabilitiesResponse(declared.node),
    m.CreateVolumeResponse: lambda answer, declared: m.CreateVolumeResponse(_volume(answer.volume, declared)),
    m.ListVolumesResponse: _listed_volumes,
    m.ControllerGetVolumeResponse: _one_volume,
    m.CreateSnapshotResponse: lambda answer, declared: m.CreateSnapshotResponse(_snapshot(answer.snapshot, declared)),
    m.ListSnapshotsResponse: _listed_snapshots,
    m.GetSnapshotResponse: lambda answer, declared: m.GetSnapshotResponse(_snapshot(answer.snapshot, declared)),
    m.CreateVolumeGroupSnapshotResponse: _group,
    m.GetVolumeGroupSnapshotResponse: _group,
    m.ControllerExpandVolumeResponse: _expanded,
    m.NodeGetVolumeStatsResponse: _stats,
    m.NodeGetInfoResponse: _node_info,
}
