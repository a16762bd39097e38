"""Snapshots: cut aside, described, moved into place.

A group is cut at one instant and exists as a whole or not at all.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import datetime
from pathlib import Path

from msgspec import Struct

from moorage.base.faults import declare_step
from moorage.base.log import get_logger
from moorage.drivers.local.backend import IMAGE
from moorage.drivers.local.config import BackendName
from moorage.drivers.local.copying import PROGRESS_FILE
from moorage.drivers.local.layout import is_id
from moorage.drivers.local.pool import Pool
from moorage.drivers.local.pools import Pools, require_id
from moorage.drivers.local.records import SNAPSHOT_FILE, SnapshotFile, VolumeFile, encode
from moorage.drivers.local.removal import clear, destroy
from moorage.drivers.local.use import image_uses
from moorage.drivers.local.volumes import remove
from moorage.framework.values import NewGroupSnapshot, NewSnapshot, SnapshotRecord, VolumeRecord
from moorage.host.paths import write_atomically
from moorage.spec.errors import CsiError, FailedPrecondition, ResourceExhausted
from moorage.spec.topology import describe, matches
from moorage.spec.types import Snapshot, Topology

PLACED = declare_step("local.snapshot.placed", "the complete snapshot is in its place")
DESCRIBED = declare_step("local.snapshot.described", "the snapshot says of itself what it is, aside")
GROUP_CUT = declare_step("local.group.cut", "all members of the group are cut, aside")

log = get_logger(__name__)


class Member(Struct, frozen=True, kw_only=True):
    """A volume that is about to be cut, and where; `group_size` as in `snapshot.json`."""

    new: NewSnapshot
    pool: Pool
    volume: VolumeFile
    build: Path
    group_size: int = 0


class Snapshots:
    """The snapshots of all pools. Every method may be repeated after it was cut short."""

    def __init__(self, pools: Pools, topology: Topology | None) -> None:
        self._pools = pools
        self._topology: tuple[Topology, ...] = () if topology is None else (topology,)

    def create(self, new: NewSnapshot, source: VolumeRecord) -> Snapshot:
        """A snapshot, in the pool of its volume."""
        require_id(new.snapshot_id, what="snapshot")
        pool, volume = self._pools.volume(source.volume_id)
        found = self._pools.find_snapshot(new.snapshot_id, home=pool)
        if found is not None:
            return found[1].record.as_snapshot()
        self._check_place(new)
        with (
            pool.errors(f"snapshot {new.snapshot_id!r} cannot be taken"),
            pool.layout.building("snapshot", new.snapshot_id) as build,
            _discarded_on_failure(build),
        ):
            clear(build)
            volume_place = pool.layout.place("volume", volume.volume_id)
            cut_at, size_bytes = pool.backend(volume.backend).cut(build, volume_place, volume)
            record = self._describe(Member(new=new, pool=pool, volume=volume, build=build), cut_at, size_bytes)
            with PLACED:
                pool.layout.publish("snapshot", new.snapshot_id)
        return record.as_snapshot()

    def _check_place(self, new: NewSnapshot) -> None:
        if not matches(new.requirement, self._topology):
            raise ResourceExhausted(
                f"snapshot {new.name!r} can only be at {' and '.join(map(describe, self._topology))}, "
                "as its volume is; allow that topology"
            )

    def delete(self, snapshot_id: str) -> None:
        """Nothing is left of the snapshot, complete or not."""
        if is_id(snapshot_id):
            remove(self._pools, "snapshot", snapshot_id)

    def locate(self, snapshot_id: str) -> tuple[Path, BackendName, int, Pool]:
        """Where a snapshot is, how it is kept, its size and its pool. Raises SnapshotNotFound."""
        pool, found = self._pools.snapshot(snapshot_id)
        return pool.layout.place("snapshot", snapshot_id), found.backend, found.record.size_bytes, pool

    def create_group(self, group: NewGroupSnapshot, sources: tuple[VolumeRecord, ...]) -> tuple[Snapshot, ...]:
        """Snapshots of several image volumes, cut while all of them are held.

        Raises FailedPrecondition for members that cannot be held: subvolumes, directories, raw block devices in use.
        """
        for new in group.members:
            require_id(new.snapshot_id, what="snapshot")
        present = [self._pools.find_snapshot(new.snapshot_id) for new in group.members]
        complete = [found[1].record.as_snapshot() for found in present if found is not None]
        if len(complete) == len(group.members):
            return tuple(complete)
        for new in group.members:  # a part of a group that was never answered for
            self.delete(new.snapshot_id)
        members = [
            (new, *self._pools.volume(source.volume_id)) for new, source in zip(group.members, sources, strict=True)
        ]
        for _, pool, volume in members:
            _check_member(pool, volume)
        try:
            return self._cut_group(members)
        except Exception:
            for new in group.members:
                self.delete(new.snapshot_id)
            raise

    def _cut_group(self, wanted: list[tuple[NewSnapshot, Pool, VolumeFile]]) -> tuple[Snapshot, ...]:
        with ExitStack() as stack:
            first, pool, _ = wanted[0]
            stack.enter_context(pool.errors(f"group snapshot {first.group_snapshot_id!r} cannot be taken"))
            members = []
            for new, pool, volume in wanted:
                build = stack.enter_context(pool.layout.building("snapshot", new.snapshot_id))
                clear(build)
                members.append(Member(new=new, pool=pool, volume=volume, build=build, group_size=len(wanted)))
            pairs = tuple((_image_of(member), member.build / IMAGE) for member in members)
            reflink = all(member.pool.facts.reflink for member in members)
            with GROUP_CUT:
                cut_at = pool.image_backend().take(pairs, reflink=reflink)
            records = []
            for member in members:
                target = member.build / IMAGE
                target.chmod(0o400)
                records.append(self._describe(member, cut_at, target.stat().st_size))
            for member in members:
                with PLACED:
                    member.pool.layout.publish("snapshot", member.new.snapshot_id)
        return tuple(record.as_snapshot() for record in records)

    def _describe(self, member: Member, cut_at: datetime, size_bytes: int) -> SnapshotRecord:
        new = member.new
        record = SnapshotRecord(
            snapshot_id=new.snapshot_id,
            name=new.name,
            source_volume_id=member.volume.volume_id,
            creation_time=cut_at,
            size_bytes=size_bytes,
            parameters=new.parameters,
            group_snapshot_id=new.group_snapshot_id,
            accessible_topology=self._topology,
        )
        volume = member.volume
        content = SnapshotFile(
            record=record, backend=volume.backend, block=volume.is_block, group_size=member.group_size
        )
        with DESCRIBED:
            (member.build / PROGRESS_FILE).unlink(missing_ok=True)
            write_atomically(str(member.build / SNAPSHOT_FILE), encode(content))
        return record


@contextmanager
def _discarded_on_failure(build: Path) -> Iterator[None]:
    """Remove what was built aside when the body fails: a snapshot is cut anew each time, so nothing of it helps."""
    try:
        yield
    except Exception:
        try:
            destroy(build)
        except (OSError, CsiError) as error:  # the sweep at the next start removes it
            log.warning("local.snapshot.build_kept", build=build.name, reason=str(error))
        raise


def _image_of(member: Member) -> Path:
    return member.pool.layout.place("volume", member.volume.volume_id) / IMAGE


def _check_member(pool: Pool, volume: VolumeFile) -> None:
    volume_id = volume.volume_id
    if volume.backend != "image":
        raise FailedPrecondition(
            f"volume {volume_id!r} is a {volume.backend} and cannot be held still; "
            "only image volumes take part in group snapshots"
        )
    with pool.errors(f"volume {volume_id!r} cannot be looked at"):
        use = image_uses([pool.layout.place("volume", volume_id) / IMAGE])[0]
    if use.is_raw and volume.is_block:
        raise FailedPrecondition(
            f"volume {volume_id!r} is in use as a raw block device, which cannot be held still for a group "
            "snapshot; unpublish and unstage it first"
        )
