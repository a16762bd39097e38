"""A complete request for every RPC, about a volume, snapshot or path that is the caller's choice.

For rules that ask all RPCs the same question. With ids that nobody has, every request but the creating ones
asks for something that is not there.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Final

import msgspec
from msgspec import Struct

from moorage.spec import messages as m
from moorage.spec.capabilities import gate_open
from moorage.spec.rules import BY_REQUEST, RPCS, Rpc
from moorage.spec.types import CapacityRange, NodeCapability
from moorage.verify.lab import Lab

__all__ = ["CHANGING", "CREATING", "open_rpcs", "sample", "with_secrets"]

CREATING: Final = frozenset({"CreateVolume", "CreateSnapshot", "CreateVolumeGroupSnapshot"})
"""RPCs that make something new."""

CHANGING: Final = CREATING | {
    "DeleteVolume",
    "DeleteSnapshot",
    "DeleteVolumeGroupSnapshot",
    "ControllerPublishVolume",
    "ControllerUnpublishVolume",
    "ControllerExpandVolume",
    "ControllerModifyVolume",
    "NodeStageVolume",
    "NodeUnstageVolume",
    "NodePublishVolume",
    "NodeUnpublishVolume",
    "NodeExpandVolume",
}
"""RPCs that change something, if only there is what they name."""


def open_rpcs(lab: Lab) -> tuple[Rpc, ...]:
    """The RPCs that this driver offers, by its own declarations."""
    return tuple(rpc for rpc in RPCS.values() if gate_open(rpc, lab.declared))


def with_secrets(lab: Lab, request: Struct) -> Struct:
    """The request with the run's secrets, for those who send it in bytes of their own."""
    rpc = BY_REQUEST[type(request)]
    secrets = lab.secrets(rpc.name)
    return msgspec.structs.replace(request, secrets=secrets) if secrets else request


def sample(lab: Lab, rpc: Rpc, *, any_id: str = "", any_path: str = "") -> Struct:
    """A request with every required field; `any_id` stands for all ids and names, `any_path` for all paths.

    Without them ids are new, so that nothing has them, and paths are below the rule's directory, where only
    their parents exist.
    """
    make = _SAMPLES.get(rpc.name)
    if make is None:
        return rpc.request()
    return make(lab, any_id or lab.name("unknown"), any_path or lab.path("unknown"))


def _staging(lab: Lab, path: str) -> str:
    if not lab.has(NodeCapability.STAGE_UNSTAGE_VOLUME):
        return ""
    return os.path.join(os.path.dirname(path), "staging-nobody-made")


_PAGE: Final = 20
_RANGE: Final = CapacityRange(required_bytes=1 << 30)

_SAMPLES: Final[dict[str, Callable[[Lab, str, str], Struct]]] = {
    "CreateVolume": lambda lab, any_id, path: lab.create_request(name=any_id),
    "DeleteVolume": lambda lab, any_id, path: m.DeleteVolumeRequest(any_id),
    "ControllerPublishVolume": lambda lab, any_id, path: m.ControllerPublishVolumeRequest(
        any_id, lab.peer.node.node_id or any_id, lab.capability()
    ),
    "ControllerUnpublishVolume": lambda lab, any_id, path: m.ControllerUnpublishVolumeRequest(
        any_id, lab.peer.node.node_id
    ),
    "ValidateVolumeCapabilities": lambda lab, any_id, path: m.ValidateVolumeCapabilitiesRequest(
        any_id, (lab.capability(),)
    ),
    "ListVolumes": lambda lab, any_id, path: m.ListVolumesRequest(_PAGE),
    "ListSnapshots": lambda lab, any_id, path: m.ListSnapshotsRequest(_PAGE, snapshot_id=any_id),
    "ControllerListVolumeHealth": lambda lab, any_id, path: m.ControllerListVolumeHealthRequest(_PAGE),
    "ControllerGetVolumeHealth": lambda lab, any_id, path: m.ControllerGetVolumeHealthRequest(any_id),
    "ControllerGetVolume": lambda lab, any_id, path: m.ControllerGetVolumeRequest(any_id),
    "ControllerModifyVolume": lambda lab, any_id, path: m.ControllerModifyVolumeRequest(
        any_id, dict(lab.settings.mutable_parameters) or {"verify": "verify"}
    ),
    "ControllerExpandVolume": lambda lab, any_id, path: m.ControllerExpandVolumeRequest(any_id, _RANGE),
    "CreateSnapshot": lambda lab, any_id, path: m.CreateSnapshotRequest(
        any_id, lab.name("snap"), parameters=lab.settings.snapshot_parameters
    ),
    "DeleteSnapshot": lambda lab, any_id, path: m.DeleteSnapshotRequest(any_id),
    "GetSnapshot": lambda lab, any_id, path: m.GetSnapshotRequest(any_id),
    "CreateVolumeGroupSnapshot": lambda lab, any_id, path: m.CreateVolumeGroupSnapshotRequest(
        lab.name("group"), (any_id,)
    ),
    "DeleteVolumeGroupSnapshot": lambda lab, any_id, path: m.DeleteVolumeGroupSnapshotRequest(any_id, (any_id,)),
    "GetVolumeGroupSnapshot": lambda lab, any_id, path: m.GetVolumeGroupSnapshotRequest(any_id, (any_id,)),
    "GetMetadataAllocated": lambda lab, any_id, path: m.GetMetadataAllocatedRequest(any_id),
    "GetMetadataDelta": lambda lab, any_id, path: m.GetMetadataDeltaRequest(any_id, any_id),
    "NodeStageVolume": lambda lab, any_id, path: m.NodeStageVolumeRequest(any_id, path, lab.capability()),
    "NodeUnstageVolume": lambda lab, any_id, path: m.NodeUnstageVolumeRequest(any_id, path),
    "NodePublishVolume": lambda lab, any_id, path: m.NodePublishVolumeRequest(
        any_id, path, lab.capability(), _staging(lab, path)
    ),
    "NodeUnpublishVolume": lambda lab, any_id, path: m.NodeUnpublishVolumeRequest(any_id, path),
    "NodeGetVolumeStats": lambda lab, any_id, path: m.NodeGetVolumeStatsRequest(any_id, path),
    "NodeGetVolumeHealth": lambda lab, any_id, path: m.NodeGetVolumeHealthRequest(any_id),
    "NodeExpandVolume": lambda lab, any_id, path: m.NodeExpandVolumeRequest(any_id, path, _RANGE),
}
