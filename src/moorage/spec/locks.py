"""Which objects a call needs for itself, as lock keys: pure names, nothing is locked here.

`volume:<id>` and the like guard an object, `volume-name:<name>` the making of one. A call that copies from
an object shares it. Calls that only look need no key, so that they answer while something else is stuck.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from msgspec import Struct

from moorage.spec.rules import Rpc
from moorage.spec.types import SnapshotSource, VolumeSource

Keys = tuple[str, ...]


def lock_keys(rpc: Rpc, request: Struct) -> tuple[Keys, Keys]:
    """The keys that a call holds alone, and those that it shares with others; sorted, no key in both."""
    if rpc.name not in _KEYS:
        return (), ()
    alone, shared = _KEYS[rpc.name](request)
    return tuple(sorted(set(alone))), tuple(sorted(set(shared) - set(alone)))


def _volume(request: Any) -> tuple[Keys, Keys]:
    return (f"volume:{request.volume_id}",), ()


def _snapshot(request: Any) -> tuple[Keys, Keys]:
    return (f"snapshot:{request.snapshot_id}",), ()


def _create_volume(request: Any) -> tuple[Keys, Keys]:
    source: Keys = ()
    match request.volume_content_source:
        case SnapshotSource(snapshot_id):
            source = (f"snapshot:{snapshot_id}",)
        case VolumeSource(volume_id):
            source = (f"volume:{volume_id}",)
    return (f"volume-name:{request.name}",), source


def _create_snapshot(request: Any) -> tuple[Keys, Keys]:
    return (f"snapshot-name:{request.name}",), (f"volume:{request.source_volume_id}",)


def _create_group(request: Any) -> tuple[Keys, Keys]:
    members = [f"volume:{volume_id}" for volume_id in request.source_volume_ids]
    return (f"group-name:{request.name}", *members), ()


def _delete_group(request: Any) -> tuple[Keys, Keys]:
    members = [f"snapshot:{snapshot_id}" for snapshot_id in request.snapshot_ids]
    return (f"group:{request.group_snapshot_id}", *members), ()


def _metadata(request: Any) -> tuple[Keys, Keys]:
    return (), (f"snapshot:{request.snapshot_id}",)


def _delta(request: Any) -> tuple[Keys, Keys]:
    return (), (f"snapshot:{request.base_snapshot_id}", f"snapshot:{request.target_snapshot_id}")


_KEYS: Final[dict[str, Callable[[Any], tuple[Keys, Keys]]]] = {
    "CreateVolume": _create_volume,
    "DeleteVolume": _volume,
    "ControllerPublishVolume": _volume,
    "ControllerUnpublishVolume": _volume,
    "ControllerExpandVolume": _volume,
    "ControllerModifyVolume": _volume,
    "CreateSnapshot": _create_snapshot,
    "DeleteSnapshot": _snapshot,
    "CreateVolumeGroupSnapshot": _create_group,
    "DeleteVolumeGroupSnapshot": _delete_group,
    "GetMetadataAllocated": _metadata,
    "GetMetadataDelta": _delta,
    "NodeStageVolume": _volume,
    "NodeUnstageVolume": _volume,
    "NodePublishVolume": _volume,
    "NodeUnpublishVolume": _volume,
    "NodeExpandVolume": _volume,
}
