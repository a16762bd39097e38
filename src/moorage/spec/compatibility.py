"""Is what exists under a name what a repeated create call asks for?

The specification asks for compatibility, not equality: a node that joined the cluster changes the topology
of the request, a raised ceiling changes its range, and both still describe the volume that exists. What
orchestrators add to parameters on their own is not part of the wish. The facts hold no secrets, so they can
be stored.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from msgspec import Struct

from moorage.spec.access import satisfies
from moorage.spec.capacity import describe_range
from moorage.spec.messages import (
    CreateSnapshotRequest,
    CreateVolumeGroupSnapshotRequest,
    CreateVolumeRequest,
)
from moorage.spec.topology import describe, matches
from moorage.spec.types import (
    CapacityRange,
    ContentSource,
    SnapshotSource,
    Topology,
    TopologyRequirement,
    VolumeCapability,
)

ORCHESTRATOR_PREFIX: Final = "csi.storage.k8s.io/"


class VolumeFacts(Struct, frozen=True, kw_only=True):
    """What must be remembered of a volume to judge a repeated CreateVolume; `capacity_bytes` 0 is unknown."""

    capacity_bytes: int = 0
    volume_capabilities: tuple[VolumeCapability, ...] = ()
    parameters: Mapping[str, str] = {}
    mutable_parameters: Mapping[str, str] = {}
    content_source: ContentSource | None = None
    accessible_topology: tuple[Topology, ...] = ()


class SnapshotFacts(Struct, frozen=True, kw_only=True):
    """What must be remembered of a snapshot to judge a repeated CreateSnapshot."""

    source_volume_id: str
    accessible_topology: tuple[Topology, ...] = ()


class GroupFacts(Struct, frozen=True, kw_only=True):
    """What must be remembered of a group snapshot to judge a repeated CreateVolumeGroupSnapshot."""

    source_volume_ids: tuple[str, ...]
    parameters: Mapping[str, str] = {}


def without_orchestrator_keys(parameters: Mapping[str, str]) -> dict[str, str]:
    """Parameters without those that Kubernetes adds (`csi.storage.k8s.io/...`)."""
    return {key: value for key, value in parameters.items() if not key.startswith(ORCHESTRATOR_PREFIX)}


def volume_conflict(existing: VolumeFacts, request: CreateVolumeRequest) -> str | None:
    """The first reason why the volume of this name is not the one asked for, as a sentence; None: it is.

    Source: spec, CreateVolume errors, "Volume already exists but is incompatible".
    """
    return (
        _size_conflict(existing.capacity_bytes, request.capacity_range)
        or _source_conflict(existing.content_source, request.volume_content_source)
        or _capability_conflict(existing.volume_capabilities, request.volume_capabilities)
        or parameter_conflict("parameters", existing.parameters, request.parameters)
        or parameter_conflict("mutable_parameters", existing.mutable_parameters, request.mutable_parameters)
        or _place_conflict("volume", existing.accessible_topology, request.accessibility_requirements)
    )


def snapshot_conflict(existing: SnapshotFacts, request: CreateSnapshotRequest) -> str | None:
    """The reason why the snapshot of this name is not the one asked for, as a sentence; None: it is.

    Source: spec, CreateSnapshot errors. Parameters do not make a snapshot another one.
    """
    if existing.source_volume_id != request.source_volume_id:
        return f"it is one of volume {existing.source_volume_id!r}, not of {request.source_volume_id!r}"
    return _place_conflict("snapshot", existing.accessible_topology, request.accessibility_requirements)


def group_conflict(existing: GroupFacts, request: CreateVolumeGroupSnapshotRequest) -> str | None:
    """The reason why the group of this name is not the one asked for, as a sentence; None: it is.

    The order of the volumes does not count. Source: spec, CreateVolumeGroupSnapshot errors.
    """
    missing = sorted(set(existing.source_volume_ids) - set(request.source_volume_ids))
    added = sorted(set(request.source_volume_ids) - set(existing.source_volume_ids))
    if missing:
        return f"the group has a snapshot of volume {missing[0]!r} too, which the request leaves out"
    if added:
        return f"the group has no snapshot of volume {added[0]!r}"
    return parameter_conflict("parameters", existing.parameters, request.parameters)


def parameter_conflict(field: str, existing: Mapping[str, str], wanted: Mapping[str, str]) -> str | None:
    """The first parameter that differs, as a sentence; the orchestrator's own keys do not count.

    Values are not quoted: parameters come from cluster objects and may hold what does not belong into
    errors.
    """
    have, want = without_orchestrator_keys(existing), without_orchestrator_keys(wanted)
    for key in sorted({*have, *want}):
        if key not in want:
            return f"it was made with {field} key {key!r}, which the request leaves out"
        if key not in have:
            return f"it was made without {field} key {key!r}"
        if have[key] != want[key]:
            return f"it was made with another value of {field} key {key!r}"
    return None


def capabilities_satisfied(
    existing: tuple[VolumeCapability, ...], wanted: tuple[VolumeCapability, ...]
) -> VolumeCapability | None:
    """The first wanted capability that none of the existing ones covers; None when all are covered.

    A capability covers another of the same access type whose access mode it can give. A file system type
    that is asked for must be the same. Mount flags and groups belong to a mount, not to the volume.
    """
    return next((want for want in wanted if not any(_covers(have, want) for have in existing)), None)


def _covers(have: VolumeCapability, want: VolumeCapability) -> bool:
    same_kind = have.is_block == want.is_block
    same_fs = want.mount.fs_type in {"", have.mount.fs_type}
    return same_kind and same_fs and satisfies(have.access_mode, want.access_mode)


def _size_conflict(capacity_bytes: int, wanted: CapacityRange | None) -> str | None:
    if wanted is None or not capacity_bytes or wanted.contains(capacity_bytes):
        return None
    return f"it has {capacity_bytes} bytes, and {describe_range(wanted)} are asked for"


def _source_conflict(existing: ContentSource | None, wanted: ContentSource | None) -> str | None:
    if existing == wanted:
        return None
    return f"it was made {_origin(existing)}, and one made {_origin(wanted)} is asked for"


def _origin(source: ContentSource | None) -> str:
    if source is None:
        return "empty"
    if isinstance(source, SnapshotSource):
        return f"from snapshot {source.snapshot_id!r}"
    return f"from volume {source.volume_id!r}"


def _capability_conflict(existing: tuple[VolumeCapability, ...], wanted: tuple[VolumeCapability, ...]) -> str | None:
    missing = capabilities_satisfied(existing, wanted)
    if missing is None:
        return None
    how = "as a block device" if missing.is_block else f"with file system {missing.mount.fs_type or 'of any type'}"
    return f"it was not made to be used {how} in mode {missing.access_mode.name}"


def _place_conflict(what: str, accessible: tuple[Topology, ...], wanted: TopologyRequirement | None) -> str | None:
    if matches(wanted, accessible):
        return None
    return f"the {what} is accessible from {' and '.join(map(describe, accessible))} only, which is not allowed"
