"""Which objects a call needs for itself, as lock keys: pure names, nothing is locked here.

A volume has three keys, so that what is slow does not stop what is not: `volume` guards what the
controller knows of it, `content of volume` its bytes (shared by those that copy from it), `volume on
this node` its mounts. A name has a key while something of that name is being made. Calls that only
look need none: they answer while something else is stuck. Keys are words, for error messages.
"""

from __future__ import annotations

import posixpath
from collections.abc import Callable
from typing import Any, Final

from msgspec import Struct

from moorage.spec.rules import Rpc
from moorage.spec.types import SnapshotSource, VolumeSource

Keys = tuple[str, ...]


def volume_key(volume_id: str) -> str:
    """What the controller knows of a volume."""
    return f"volume {volume_id!r}"


def content_key(volume_id: str) -> str:
    """The bytes of a volume: shared to copy them, exclusive to resize or remove them."""
    return f"content of volume {volume_id!r}"


def node_key(volume_id: str) -> str:
    """The mounts of a volume on this node."""
    return f"volume {volume_id!r} on this node"


def whole_volume(volume_id: str) -> Keys:
    """Everything of a volume: what its deletion needs."""
    return volume_key(volume_id), content_key(volume_id), node_key(volume_id)


def snapshot_key(snapshot_id: str) -> str:
    """A snapshot: shared to restore or read it, exclusive to delete it."""
    return f"snapshot {snapshot_id!r}"


def group_key(group_snapshot_id: str) -> str:
    """A group snapshot."""
    return f"group snapshot {group_snapshot_id!r}"


def normal_path(path: str) -> str:
    """An absolute path in the one spelling under which it is locked and recorded; any other is left as it is."""
    return "/" + posixpath.normpath(path).lstrip("/") if path.startswith("/") else path


def lock_keys(rpc: Rpc, request: Struct) -> tuple[Keys, Keys]:
    """The keys that a call holds alone, the main one first, and those that it shares with others."""
    found = _KEYS.get(rpc.name)
    if found is None:
        return (), ()
    alone, shared = found(request)
    return alone, tuple(sorted(set(shared) - set(alone)))


def _create_volume(request: Any) -> tuple[Keys, Keys]:
    source: Keys = ()
    match request.volume_content_source:
        case SnapshotSource(snapshot_id):
            source = (snapshot_key(snapshot_id),)
        case VolumeSource(volume_id):
            source = (content_key(volume_id),)
    return (f"volume name {request.name!r}",), source


def _volume(request: Any) -> tuple[Keys, Keys]:
    return (volume_key(request.volume_id),), ()


def _change(request: Any) -> tuple[Keys, Keys]:
    return (volume_key(request.volume_id), content_key(request.volume_id)), ()


def _create_snapshot(request: Any) -> tuple[Keys, Keys]:
    return (f"snapshot name {request.name!r}",), (content_key(request.source_volume_id),)


def _create_group(request: Any) -> tuple[Keys, Keys]:
    return (f"group snapshot name {request.name!r}",), tuple(map(content_key, request.source_volume_ids))


def _delete_group(request: Any) -> tuple[Keys, Keys]:
    return (group_key(request.group_snapshot_id), *sorted({*map(snapshot_key, request.snapshot_ids)})), ()


def _metadata(request: Any) -> tuple[Keys, Keys]:
    return (), (snapshot_key(request.snapshot_id),)


def _delta(request: Any) -> tuple[Keys, Keys]:
    return (), (snapshot_key(request.base_snapshot_id), snapshot_key(request.target_snapshot_id))


def _on_node(request: Any) -> tuple[Keys, Keys]:
    return (node_key(request.volume_id),), ()


def _at_target(request: Any) -> tuple[Keys, Keys]:
    return (node_key(request.volume_id), f"target path {normal_path(request.target_path)!r}"), ()


_KEYS: Final[dict[str, Callable[[Any], tuple[Keys, Keys]]]] = {
    "CreateVolume": _create_volume,
    "DeleteVolume": lambda request: (whole_volume(request.volume_id), ()),
    "ControllerPublishVolume": _volume,
    "ControllerUnpublishVolume": _volume,
    "ControllerExpandVolume": _change,
    "ControllerModifyVolume": _change,
    "CreateSnapshot": _create_snapshot,
    "DeleteSnapshot": lambda request: ((snapshot_key(request.snapshot_id),), ()),
    "CreateVolumeGroupSnapshot": _create_group,
    "DeleteVolumeGroupSnapshot": _delete_group,
    "GetMetadataAllocated": _metadata,
    "GetMetadataDelta": _delta,
    "NodeStageVolume": _on_node,
    "NodeUnstageVolume": _on_node,
    "NodePublishVolume": _at_target,
    "NodeUnpublishVolume": _at_target,
    "NodeExpandVolume": _on_node,
}
