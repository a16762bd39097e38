"""What the kernel says about volumes that the record calls staged and published.

After a reboot, or when somebody unmounted by hand, the record is wrong. `observed` compares it with the mount
table and marks what is no longer proved as uncertain, so that the planner stages and publishes again: both
calls are idempotent, repeating one that was not needed does no harm. Pure.
"""

from __future__ import annotations

from collections.abc import Set

from msgspec.structs import replace

from moorage.orchestrator.model import Actual, Presence, VolumeRecord


def observed(volume: VolumeRecord, *, mount_points: Set[str], boot_id: str) -> VolumeRecord:
    """The record with everything uncertain that `mount_points` (absolute paths) does not prove.

    In a boot other than the recorded one nothing of this node is taken for granted, attachment included.
    """
    actual = volume.actual
    node_side = actual.mounts or actual.staged is Presence.PRESENT
    rebooted = bool(actual.boot_id) and actual.boot_id != boot_id
    if rebooted and (node_side or actual.attached is Presence.PRESENT):
        return replace(volume, actual=_doubt(actual, set(), attached=True))
    missing = {m.path for m in actual.mounts if m.path not in mount_points}
    if not missing:
        return volume
    return replace(volume, actual=_doubt(actual, set(mount_points), attached=False))


def _doubt(actual: Actual, mount_points: Set[str], *, attached: bool) -> Actual:
    mounts = tuple(m if m.path in mount_points else replace(m, presence=Presence.UNCERTAIN) for m in actual.mounts)
    return replace(
        actual,
        mounts=mounts,
        staged=_uncertain(actual.staged),
        attached=_uncertain(actual.attached) if attached else actual.attached,
    )


def _uncertain(presence: Presence) -> Presence:
    return Presence.UNCERTAIN if presence is Presence.PRESENT else presence
