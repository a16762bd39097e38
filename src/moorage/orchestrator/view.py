"""Records as plain data for printing: what is where, in words. Pure; it shows no secret and no mount flag."""

from __future__ import annotations

from typing import Any

from moorage.base.units import format_bytes, format_quantity
from moorage.orchestrator.model import (
    DriverRecord,
    GroupRecord,
    Presence,
    SnapshotRecord,
    VolumeRecord,
    may_exist,
)
from moorage.spec.capabilities import Declared
from moorage.spec.messages import GetCapacityResponse, NodeGetVolumeStatsResponse
from moorage.spec.types import SnapshotSource, VolumeSource


def status_of(volume: VolumeRecord) -> str:
    """One word or two for what the volume is doing."""
    actual = volume.actual
    if not volume.desired.exists:
        return "deleting"
    if actual.created is not Presence.PRESENT:
        return "creating"
    wanted = {mount.path for mount in volume.desired.mounts}
    proved = {mounted.path for mounted in actual.mounts if mounted.presence is Presence.PRESENT}
    if wanted - proved:
        return "mount pending"
    if {mounted.path for mounted in actual.mounts} - wanted or (not wanted and may_exist(actual.staged)):
        return "unmount pending"
    if volume.desired.size_bytes > actual.capacity_bytes or (wanted and actual.node_expansion_bytes):
        return "expansion pending"
    return "mounted" if wanted else "available"


def volume_row(volume: VolumeRecord) -> dict[str, Any]:
    """A line of `list`."""
    return {
        "name": volume.name,
        "status": status_of(volume),
        "size": format_bytes(volume.actual.capacity_bytes) if volume.actual.capacity_bytes else "",
        "driver": volume.driver,
        "mounts": [mount.path for mount in volume.desired.mounts],
    }


def volume_details(volume: VolumeRecord) -> dict[str, Any]:
    """Everything about a volume that a person or a program may want to know."""
    actual, capability = volume.actual, volume.capability
    return {
        "name": volume.name,
        "status": status_of(volume),
        "driver": volume.driver,
        "volume_id": actual.volume_id,
        "request_name": volume.request_name,
        "capacity_bytes": actual.capacity_bytes,
        "access_mode": capability.access_mode.name,
        "access_type": "block" if capability.is_block else "mount",
        "fs_type": capability.mount.fs_type,
        "parameters": dict(volume.parameters),
        "secrets_file": volume.secrets_file,
        "source": _source(volume),
        "created": actual.created.value,
        "attached": actual.attached.value,
        "node_id": actual.node_id,
        "staged": actual.staged.value,
        "staging_path": actual.staging_path if may_exist(actual.staged) else "",
        "volume_context": dict(actual.volume_context),
        "publish_context": dict(actual.publish_context),
        "accessible_topology": [dict(place.segments) for place in actual.accessible_topology],
        "mounts": [{"path": m.path, "readonly": m.readonly, "published": m.presence.value} for m in actual.mounts],
        "wanted": {
            "exists": volume.desired.exists,
            "size_bytes": volume.desired.size_bytes,
            "mounts": [{"path": m.path, "readonly": m.readonly} for m in volume.desired.mounts],
        },
    }


def _source(volume: VolumeRecord) -> str:
    match volume.source:
        case SnapshotSource(snapshot_id=snapshot_id):
            return f"snapshot {snapshot_id}"
        case VolumeSource(volume_id=volume_id):
            return f"volume {volume_id}"
    return ""


def snapshot_row(snapshot: SnapshotRecord) -> dict[str, Any]:
    """A line of `snapshots`."""
    return {
        "name": snapshot.name,
        "status": _copy_status(wanted=snapshot.wanted, presence=snapshot.presence, ready=snapshot.ready),
        "volume": snapshot.source_volume or snapshot.source_volume_id,
        "size_bytes": snapshot.size_bytes,
        "cut_at": snapshot.creation_time.isoformat() if snapshot.creation_time else "",
        "group": snapshot.group,
        "driver": snapshot.driver,
        "snapshot_id": snapshot.snapshot_id,
    }


def group_row(group: GroupRecord) -> dict[str, Any]:
    """A group snapshot with the names of its volumes."""
    return {
        "name": group.name,
        "status": _copy_status(wanted=group.wanted, presence=group.presence, ready=group.ready),
        "volumes": list(group.source_volumes),
        "cut_at": group.creation_time.isoformat() if group.creation_time else "",
        "driver": group.driver,
        "group_snapshot_id": group.group_snapshot_id,
        "snapshot_ids": list(group.snapshot_ids),
    }


def _copy_status(*, wanted: bool, presence: Presence, ready: bool) -> str:
    if not wanted:
        return "deleting"
    if presence is not Presence.PRESENT:
        return "creating"
    return "ready" if ready else "not ready"


def driver_row(driver: DriverRecord) -> dict[str, Any]:
    """A line of `drivers list`."""
    return {
        "name": driver.name,
        "endpoint": driver.endpoint,
        "plugin_name": driver.plugin_name,
        "vendor_version": driver.vendor_version,
    }


def declared_details(declared: Declared) -> dict[str, Any]:
    """What a driver declares, by name."""
    return {
        "services": sorted(declared.services),
        "plugin": sorted(capability.name for capability in declared.plugin),
        "expansion": sorted(capability.name for capability in declared.expansion),
        "controller": sorted(capability.name for capability in declared.controller),
        "group_controller": sorted(capability.name for capability in declared.group),
        "node": sorted(capability.name for capability in declared.node),
    }


def stats_details(name: str, stats: NodeGetVolumeStatsResponse) -> dict[str, Any]:
    """The usage of a volume; the condition too where the driver tells it."""
    usage = [
        {"unit": u.unit.name.lower(), "total": u.total, "used": u.used, "available": u.available} for u in stats.usage
    ]
    data: dict[str, Any] = {"name": name, "usage": usage}
    if stats.volume_condition is not None:
        data["abnormal"] = stats.volume_condition.abnormal
        data["condition"] = stats.volume_condition.message
    return data


def capacity_details(driver: str, capacity: GetCapacityResponse) -> dict[str, Any]:
    """What a driver can still provision."""
    return {
        "driver": driver,
        "available_bytes": capacity.available_capacity,
        "available": format_quantity(capacity.available_capacity),
        "maximum_volume_bytes": capacity.maximum_volume_size,
        "minimum_volume_bytes": capacity.minimum_volume_size,
    }
