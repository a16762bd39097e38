"""Looks a pool over while no driver serves it: what is wrong, what can be cleared away, what the journal should know.

Volumes describe themselves, so a journal can be made again from them. Nothing that may be somebody's data is ever
removed here: what nobody knows is reported, to be imported or deleted by a person.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Final, Literal

from msgspec import Struct

from moorage.base.run import CommandError
from moorage.drivers.local.backend import IMAGE
from moorage.drivers.local.layout import KINDS, Kind, build_identity, is_id, locked
from moorage.drivers.local.pool import Pool
from moorage.drivers.local.records import SnapshotFile
from moorage.drivers.local.removal import destroy
from moorage.framework.values import GroupRecord, SnapshotRecord, VolumeRecord
from moorage.host.loop import LoopDevice, detach, list_loops
from moorage.host.mountinfo import read_mounts
from moorage.spec.errors import CsiError, DataLoss

Problem = Literal["damaged", "unknown", "missing", "unfinished", "loop", "foreign"]
_DELETED: Final = " (deleted)"


class Finding(Struct, frozen=True, kw_only=True):
    """One thing that is not as it should be; `repair` removes what is `repairable`.

    damaged: content or description is not what it was. unknown: an object that the journal has no row of.
    missing: a row without an object. unfinished: half made or half removed. loop: a device nobody uses.
    foreign: a name that is none of ours.
    """

    problem: Problem
    object_id: str
    path: str
    text: str
    repairable: bool = False


class Repair(Struct, frozen=True):
    """What `repair` did, in one sentence, or (`done` False) could not do."""

    text: str
    done: bool = True


class Imported(Struct, frozen=True, kw_only=True):
    """The journal's records as the objects tell them, and what could not be read."""

    volumes: tuple[VolumeRecord, ...] = ()
    snapshots: tuple[SnapshotRecord, ...] = ()
    groups: tuple[GroupRecord, ...] = ()
    findings: tuple[Finding, ...] = ()


def check(
    pools: Sequence[Pool],
    *,
    known_volumes: Collection[str] | None = None,
    known_snapshots: Collection[str] | None = None,
    begun: Collection[str] = (),
) -> tuple[Finding, ...]:
    """Everything that is wrong in opened pools. Raises OSError.

    known_*: the ids that the journal has rows of; None leaves the comparison out. begun: ids of objects whose
    creation a replay will finish, which are neither missing nor unknown.
    """
    found: list[Finding] = []
    for pool in pools:
        for kind, known in zip(KINDS, (known_volumes, known_snapshots), strict=True):
            found += _objects(pool, kind, None if known is None else {*known, *begun})
        found += [_unfinished(leftover) for leftover in pool.layout.leftovers()]
        found += [finding for _, finding in _idle_loops(pool)]
    for kind, known in zip(KINDS, (known_volumes, known_snapshots), strict=True):
        for object_id in sorted(known or ()):
            if not any(pool.layout.exists(kind, object_id) for pool in pools):
                text = f"{kind} {object_id!r} is in the journal and in none of these pools; delete it or find its pool"
                found.append(Finding(problem="missing", object_id=object_id, path="", text=text))
    return tuple(found)


def repair(pools: Sequence[Pool]) -> tuple[Repair, ...]:
    """Clear away what is unfinished or idle beyond doubt. Raises OSError.

    What a running driver works on is left alone: a build that it holds, with the loop device on it. What cannot be
    removed is told of, and does not stop the rest.
    """
    found: list[Repair] = []
    for pool in pools:
        found += [repaired for leftover in pool.layout.leftovers() if (repaired := _remove(leftover)) is not None]
        for device, _ in _idle_loops(pool):
            if device.backing_path.endswith(_DELETED):
                try:
                    detach(device.path, expected_backing=device.backing)
                    found.append(Repair(f"detached {device.path}"))
                except OSError as error:
                    found.append(Repair(f"left {device.path} alone: {error.strerror}", done=False))
    return tuple(found)


def _remove(leftover: Path) -> Repair | None:
    try:
        with locked(leftover):
            destroy(leftover)
    except FileNotFoundError:  # a running driver was faster
        return None
    except CsiError as error:
        return Repair(f"left {leftover} alone: {error.message}", done=False)
    except (OSError, CommandError) as error:
        return Repair(f"left {leftover} alone: {error}", done=False)
    return Repair(f"removed {leftover}")


def import_records(pools: Sequence[Pool]) -> Imported:
    """The records of all readable volumes and snapshots, for a journal that was lost. Raises OSError."""
    volumes: list[VolumeRecord] = []
    cut: list[SnapshotFile] = []
    findings: list[Finding] = []
    for pool in pools:
        for volume_id in pool.layout.ids("volume"):
            try:
                if (volume := pool.read_volume(volume_id)) is not None:
                    volumes.append(volume.record)
            except DataLoss as error:
                findings.append(_damaged(pool.layout.place("volume", volume_id), volume_id, error.message))
        for snapshot_id in pool.layout.ids("snapshot"):
            try:
                if (snapshot := pool.read_snapshot(snapshot_id)) is not None:
                    cut.append(snapshot)
            except DataLoss as error:
                findings.append(_damaged(pool.layout.place("snapshot", snapshot_id), snapshot_id, error.message))
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


def _objects(pool: Pool, kind: Kind, known: Collection[str] | None) -> list[Finding]:
    found = []
    for name in sorted(os.listdir(pool.layout.home(kind))):
        place = pool.layout.home(kind) / name
        if not is_id(name) or not place.is_dir() or place.is_symlink():
            text = f"{place} is no {kind} of this driver; move it away"
            found.append(Finding(problem="foreign", object_id="", path=str(place), text=text))
            continue
        if (reason := _damage(pool, kind, name)) is not None:
            found.append(_damaged(place, name, reason))
        if known is not None and name not in known:
            text = f"{kind} {name!r} is not in the journal; import it with `moorage local import`"
            found.append(Finding(problem="unknown", object_id=name, path=str(place), text=text))
    return found


def _damage(pool: Pool, kind: Kind, object_id: str) -> str | None:
    place = pool.layout.place(kind, object_id)
    try:
        if kind == "volume":
            volume = pool.read_volume(object_id)
            damage = None if volume is None else pool.backend(volume.backend).damage(place, volume)
            return None if damage is None else f"volume {object_id!r} is damaged: {damage.reason}"
        snapshot = pool.read_snapshot(object_id)
    except DataLoss as error:
        return error.message
    if snapshot is None or snapshot.backend != "image":
        return None
    image = place / IMAGE
    if not image.exists():
        return f"snapshot {object_id!r} is damaged: its image file is gone"
    size_bytes = image.stat().st_size
    if size_bytes < snapshot.record.size_bytes:
        return f"snapshot {object_id!r} is damaged: it has {size_bytes} of {snapshot.record.size_bytes} bytes"
    return None


def _damaged(place: Path, object_id: str, text: str) -> Finding:
    return Finding(problem="damaged", object_id=object_id, path=str(place), text=text)


def _unfinished(leftover: Path) -> Finding:
    identity = build_identity(leftover)
    if identity is None:
        object_id, text = "", f"{leftover.name} is on its way out and was not removed to the end"
    else:
        kind, object_id = identity
        text = f"{kind} {object_id!r} was begun and never finished; a repeated call goes on with it or starts again"
    return Finding(problem="unfinished", object_id=object_id, path=str(leftover), text=text, repairable=True)


def _idle_loops(pool: Pool) -> list[tuple[LoopDevice, Finding]]:
    """Loop devices on files of the pool that show no mount and are bound nowhere."""
    mounts = read_mounts()
    devices = {entry.device for entry in mounts} | {entry.source for entry in mounts}
    bound = {f"/dev{entry.root}" for entry in mounts if entry.fs_type == "devtmpfs"}
    root = os.path.realpath(pool.layout.root)
    idle = []
    for device in list_loops():
        path = device.backing_path
        if not path.startswith(f"{root}/") or {device.path, f"7:{device.number}"} & (devices | bound):
            continue
        ours_alone = path.endswith(_DELETED) or path.startswith(f"{root}/tmp/")
        text = f"{device.path} shows {path} and is neither mounted nor published"
        if not ours_alone:
            text += "; unstage its volume, or detach it with losetup -d when no one uses it"
        finding = Finding(problem="loop", object_id="", path=device.path, text=text, repairable=ours_alone)
        idle.append((device, finding))
    return idle
