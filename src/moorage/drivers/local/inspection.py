"""Looks a pool over, with or without a driver that serves it: everything that is wrong. Changes nothing.

Volumes describe themselves, so they can be compared with a journal. Whatever somebody has put into a pool, it is
told and never followed.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Collection, Iterator, Sequence
from contextlib import suppress
from typing import Final

from moorage.drivers.local import findings
from moorage.drivers.local.backend import IMAGE
from moorage.drivers.local.findings import Finding
from moorage.drivers.local.layout import KINDS, Kind, is_id, is_worked_on
from moorage.drivers.local.pool import Pool
from moorage.host.loop import LoopDevice, list_loops
from moorage.host.mountinfo import read_mounts
from moorage.spec.errors import DataLoss

DELETED: Final = " (deleted)"


def check(
    pools: Sequence[Pool],
    *,
    known_volumes: Collection[str] | None = None,
    known_snapshots: Collection[str] | None = None,
    begun: Collection[str] = (),
) -> tuple[Finding, ...]:
    """Everything that is wrong in pools that were looked at or opened. Raises OSError.

    known_*: the ids that the journal has rows of; None leaves the comparison out. begun: ids of objects whose
    creation a replay will finish, which are neither missing nor unknown.
    """
    found: list[Finding] = []
    for pool in pools:
        for kind, known in zip(KINDS, (known_volumes, known_snapshots), strict=True):
            found += _objects(pool, kind, None if known is None else {*known, *begun})
        found += _in_tmp(pool)
        found += [finding for _, finding in idle_loops(pool)]
    for kind, known in zip(KINDS, (known_volumes, known_snapshots), strict=True):
        for object_id in sorted(known or ()):
            if not any(pool.layout.exists(kind, object_id) for pool in pools):
                found.append(findings.missing(kind, object_id))
    return tuple(found)


def _objects(pool: Pool, kind: Kind, known: Collection[str] | None) -> Iterator[Finding]:
    home = pool.layout.home(kind)
    try:
        names = sorted(os.listdir(home))
    except OSError as error:
        yield findings.unreadable(home, error)
        return
    for name in names:
        place = home / name
        try:
            if not is_id(name) or not stat.S_ISDIR(os.lstat(place).st_mode):
                yield findings.foreign(place, f"no {kind}")
                continue
            reason = _damage(pool, kind, name)
        except FileNotFoundError:  # a running driver has just removed it
            continue
        except OSError as error:
            yield findings.unreadable(place, error, object_id=name)
            continue
        if reason is not None:
            yield findings.damaged(place, name, reason)
        if known is not None and name not in known:
            yield findings.unknown(place, kind, name)


def _in_tmp(pool: Pool) -> Iterator[Finding]:
    try:
        ours = pool.layout.leftovers()
        others = sorted({*os.listdir(pool.layout.tmp)} - {leftover.name for leftover in ours})
    except OSError as error:
        yield findings.unreadable(pool.layout.tmp, error)
        return
    for leftover in ours:
        with suppress(OSError):  # gone, or not ours to look into; what is worked on is not left over
            if is_worked_on(leftover):
                continue
        if os.path.lexists(leftover):
            yield findings.unfinished(leftover)
    for name in others:
        if os.path.lexists(pool.layout.tmp / name):
            yield findings.foreign(pool.layout.tmp / name, "nothing")


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
    try:
        info = os.lstat(place / IMAGE)
    except FileNotFoundError:
        return f"snapshot {object_id!r} is damaged: its image file is gone"
    if not stat.S_ISREG(info.st_mode):
        return f"snapshot {object_id!r} is damaged: its image is no regular file"
    if info.st_size < snapshot.record.size_bytes:
        return f"snapshot {object_id!r} is damaged: it has {info.st_size} of {snapshot.record.size_bytes} bytes"
    return None


def idle_loops(pool: Pool) -> list[tuple[LoopDevice, Finding]]:
    """Loop devices on files of the pool that show no mount and are bound nowhere."""
    mounts = read_mounts()
    devices = {entry.device for entry in mounts} | {entry.source for entry in mounts}
    bound = {f"/dev{entry.root}" for entry in mounts if entry.fs_type == "devtmpfs"}
    root = os.path.realpath(pool.layout.root)
    idle = []
    for device in _loops():
        path = device.backing_path
        if not path.startswith(f"{root}/") or {device.path, f"7:{device.number}"} & (devices | bound):
            continue
        ours_alone = path.endswith(DELETED) or path.startswith(f"{root}/tmp/")
        text = f"{device.path} shows {findings.shown(path)} and is neither mounted nor published"
        if not ours_alone:
            text += "; unstage its volume, or detach it with losetup -d when no one uses it"
        finding = Finding(problem="loop", object_id="", path=device.path, text=text, repairable=ours_alone)
        idle.append((device, finding))
    return idle


def _loops() -> list[LoopDevice]:
    """Loop devices as far as this user may see them: without root there are none of ours."""
    try:
        return list_loops()
    except PermissionError:
        return []
