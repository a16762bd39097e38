"""VolumeSnapshot, its content and class, and the same for groups.

Source: the CustomResourceDefinitions of snapshot.storage.k8s.io/v1 and groupsnapshot.storage.k8s.io/v1. In a
content `creation_time` is in nanoseconds since the epoch, in a snapshot it is a date.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from moorage.kube.objects.meta import EMPTY, ApiStruct, LabelSelector, ObjectMeta, ObjectReference

__all__ = [
    "GroupContentSource",
    "GroupContentSpec",
    "GroupContentStatus",
    "GroupSnapshotHandles",
    "GroupSnapshotSource",
    "GroupSnapshotSpec",
    "GroupSnapshotStatus",
    "SnapshotContentSource",
    "SnapshotContentSpec",
    "SnapshotContentStatus",
    "SnapshotError",
    "SnapshotSource",
    "SnapshotSpec",
    "SnapshotStatus",
    "VolumeGroupSnapshot",
    "VolumeGroupSnapshotClass",
    "VolumeGroupSnapshotContent",
    "VolumeSnapshot",
    "VolumeSnapshotClass",
    "VolumeSnapshotContent",
    "VolumeSnapshotInfo",
]


class SnapshotError(ApiStruct, frozen=True):
    """The last thing that went wrong."""

    message: str | None = None
    time: datetime | None = None


class SnapshotSource(ApiStruct, frozen=True):
    """Either a claim to take a snapshot of, or a content that exists."""

    persistent_volume_claim_name: str | None = None
    volume_snapshot_content_name: str | None = None


class SnapshotSpec(ApiStruct, frozen=True):
    """What a user asks for."""

    source: SnapshotSource = SnapshotSource()
    volume_snapshot_class_name: str | None = None


class SnapshotStatus(ApiStruct, frozen=True):
    """What there is; `ready_to_use` None is not known yet."""

    bound_volume_snapshot_content_name: str | None = None
    creation_time: datetime | None = None
    ready_to_use: bool | None = None
    restore_size: str | None = None
    error: SnapshotError | None = None
    volume_group_snapshot_name: str | None = None


class VolumeSnapshot(ApiStruct, frozen=True):
    """A request for a snapshot, and after binding the title to it."""

    metadata: ObjectMeta = ObjectMeta()
    spec: SnapshotSpec = SnapshotSpec()
    status: SnapshotStatus | None = None


class SnapshotContentSource(ApiStruct, frozen=True):
    """Either the volume to take a snapshot of, or a snapshot that exists."""

    volume_handle: str | None = None
    snapshot_handle: str | None = None


class SnapshotContentSpec(ApiStruct, frozen=True):
    """Which snapshot this is and who owns it."""

    volume_snapshot_ref: ObjectReference = ObjectReference()
    deletion_policy: str = ""
    driver: str = ""
    volume_snapshot_class_name: str | None = None
    source: SnapshotContentSource = SnapshotContentSource()
    source_volume_mode: str | None = None


class SnapshotContentStatus(ApiStruct, frozen=True):
    """What the driver said."""

    snapshot_handle: str | None = None
    creation_time: int | None = None
    restore_size: int | None = None
    ready_to_use: bool | None = None
    error: SnapshotError | None = None
    volume_group_snapshot_handle: str | None = None


class VolumeSnapshotContent(ApiStruct, frozen=True):
    """A snapshot that exists or is being taken."""

    metadata: ObjectMeta = ObjectMeta()
    spec: SnapshotContentSpec = SnapshotContentSpec()
    status: SnapshotContentStatus | None = None


class VolumeSnapshotClass(ApiStruct, frozen=True):
    """How snapshots of a class are taken."""

    metadata: ObjectMeta = ObjectMeta()
    driver: str = ""
    parameters: Mapping[str, str] = EMPTY
    deletion_policy: str = ""


class GroupSnapshotSource(ApiStruct, frozen=True):
    """Either claims by label, or a content that exists."""

    selector: LabelSelector | None = None
    volume_group_snapshot_content_name: str | None = None


class GroupSnapshotSpec(ApiStruct, frozen=True):
    """What a user asks for."""

    source: GroupSnapshotSource = GroupSnapshotSource()
    volume_group_snapshot_class_name: str | None = None


class GroupSnapshotStatus(ApiStruct, frozen=True):
    """What there is."""

    bound_volume_group_snapshot_content_name: str | None = None
    creation_time: datetime | None = None
    ready_to_use: bool | None = None
    error: SnapshotError | None = None


class VolumeGroupSnapshot(ApiStruct, frozen=True):
    """A request for snapshots of several volumes at one moment."""

    metadata: ObjectMeta = ObjectMeta()
    spec: GroupSnapshotSpec = GroupSnapshotSpec()
    status: GroupSnapshotStatus | None = None


class GroupSnapshotHandles(ApiStruct, frozen=True):
    """The handles of a group snapshot that exists."""

    volume_group_snapshot_handle: str = ""
    volume_snapshot_handles: tuple[str, ...] = ()


class GroupContentSource(ApiStruct, frozen=True):
    """Either the volumes to take snapshots of, or a group that exists."""

    volume_handles: tuple[str, ...] = ()
    group_snapshot_handles: GroupSnapshotHandles | None = None


class GroupContentSpec(ApiStruct, frozen=True):
    """Which group this is and who owns it."""

    volume_group_snapshot_ref: ObjectReference = ObjectReference()
    deletion_policy: str = ""
    driver: str = ""
    volume_group_snapshot_class_name: str | None = None
    source: GroupContentSource = GroupContentSource()


class VolumeSnapshotInfo(ApiStruct, frozen=True):
    """One snapshot of a group, as the driver described it."""

    volume_handle: str = ""
    snapshot_handle: str = ""
    creation_time: int | None = None
    ready_to_use: bool | None = None
    restore_size: int | None = None


class GroupContentStatus(ApiStruct, frozen=True):
    """What the driver said."""

    volume_group_snapshot_handle: str | None = None
    creation_time: datetime | None = None
    ready_to_use: bool | None = None
    error: SnapshotError | None = None
    volume_snapshot_info_list: tuple[VolumeSnapshotInfo, ...] = ()


class VolumeGroupSnapshotContent(ApiStruct, frozen=True):
    """A group of snapshots that exists or is being taken."""

    metadata: ObjectMeta = ObjectMeta()
    spec: GroupContentSpec = GroupContentSpec()
    status: GroupContentStatus | None = None


class VolumeGroupSnapshotClass(ApiStruct, frozen=True):
    """How groups of a class are taken."""

    metadata: ObjectMeta = ObjectMeta()
    driver: str = ""
    parameters: Mapping[str, str] = EMPTY
    deletion_policy: str = ""
