"""What a journal should know of a pool, as its objects tell it: for a journal that was lost."""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import Struct

from moorage.drivers.local.findings import Finding, damaged, unreadable
from moorage.drivers.local.pool import Pool
from moorage.drivers.local.records import SnapshotFile
from moorage.framework.values import GroupRecord, SnapshotRecord, VolumeRecord
from moorage.spec.errors import DataLoss


class Imported(Struct, frozen=True, kw_only=True):
    """The journal's records as the objects tell them, and what could not be read."""

    volumes: tuple[VolumeRecord, ...] = ()
    snapshots: tuple[SnapshotRecord, ...] = ()
    groups: tuple[GroupRecord, ...] = ()
    findings: tuple[Finding, ...] = ()


def import_records(pools: Sequence[Pool]) -> Imported:
    """The records of all readable volumes and snapshots. Raises OSError."""
    volumes: list[VolumeRecord] = []
    cut: list[SnapshotFile] = []
    findings: list[Finding] = []
    for pool in pools:
        for volume_id in pool.layout.ids("volume"):
            place = pool.layout.place("volume", volume_id)
            try:
                if (volume := pool.read_volume(volume_id)) is not None:
                    volumes.append(volume.record)
            except DataLoss as error:
                findings.append(damaged(place, volume_id, error.message))
            except OSError as error:
                findings.append(unreadable(place, error, object_id=volume_id))
        for snapshot_id in pool.layout.ids("snapshot"):
            place = pool.layout.place("snapshot", snapshot_id)
            try:
                if (snapshot := pool.read_snapshot(snapshot_id)) is not None:
                    cut.append(snapshot)
            except DataLoss as error:
                findings.append(damaged(place, snapshot_id, error.message))
            except OSError as error:
                findings.append(unreadable(place, error, object_id=snapshot_id))
    partial = partial_groups(cut)
    findings += partial.values()
    snapshots = [each.record for each in cut if each.record.group_snapshot_id not in partial]
    return Imported(
        volumes=tuple(volumes),
        snapshots=tuple(snapshots),
        groups=groups_of(snapshots),
        findings=tuple(findings),
    )


def partial_groups(snapshots: Sequence[SnapshotFile]) -> dict[str, Finding]:
    """A finding for each group of which members are missing: it was never finished, or lies in further pools. Pure."""
    members: dict[str, list[SnapshotFile]] = {}
    for snapshot in snapshots:
        if snapshot.group_size:
            members.setdefault(snapshot.record.group_snapshot_id, []).append(snapshot)
    return {
        group_id: Finding(
            problem="damaged",
            object_id=group_id,
            path="",
            text=f"group snapshot {group_id!r} has {len(found)} of {found[0].group_size} members here, so none of "
            "them is imported; give all pools of the driver, or remove the directories of "
            f"{', '.join(sorted(each.object_id for each in found))} when it was never finished",
        )
        for group_id, found in sorted(members.items())
        if len(found) < found[0].group_size
    }


def groups_of(snapshots: Sequence[SnapshotRecord]) -> tuple[GroupRecord, ...]:
    """The groups that snapshots say they belong to, by id. Pure.

    A member's name begins with its group's, up to a NUL.
    """
    members: dict[str, list[SnapshotRecord]] = {}
    for snapshot in snapshots:
        if snapshot.group_snapshot_id:
            members.setdefault(snapshot.group_snapshot_id, []).append(snapshot)
    return tuple(
        GroupRecord(
            group_snapshot_id=group_id,
            name=group[0].name.split("\x00", 1)[0],
            source_volume_ids=tuple(snapshot.source_volume_id for snapshot in group),
            snapshot_ids=tuple(snapshot.snapshot_id for snapshot in group),
            creation_time=min(snapshot.creation_time for snapshot in group),
            parameters=group[0].parameters,
        )
        for group_id, group in sorted(members.items())
    )
