"""Creation, deletion and change of volumes: what is built aside, in which order, and what is moved into place."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from msgspec import structs

from moorage.base.faults import declare_step
from moorage.base.log import get_logger
from moorage.drivers.local import parameters
from moorage.drivers.local.backend import Backend, Origin
from moorage.drivers.local.capacity import can_reserve_bytes, offer
from moorage.drivers.local.config import BackendName, LocalConfig
from moorage.drivers.local.copying import PROGRESS_FILE, is_resumable
from moorage.drivers.local.layout import Kind, is_id, locked
from moorage.drivers.local.placement import Placement, check_settings, check_size, place_volume
from moorage.drivers.local.pool import Pool
from moorage.drivers.local.pools import Pools, require_id
from moorage.drivers.local.records import VOLUME_FILE, VolumeFile, encode
from moorage.drivers.local.removal import clear, destroy, refuse_if_used
from moorage.framework.values import Capacity, CapacityQuery, NewVolume, SnapshotRecord, VolumeRecord
from moorage.host.paths import write_atomically
from moorage.spec.errors import ResourceExhausted, Unavailable, VolumeNotFound
from moorage.spec.types import Topology, Volume

BUILDING = declare_step("local.volume.building", "the volume says of itself what it will be, aside")
PLACED = declare_step("local.volume.placed", "the complete volume is in its place")
SIZED = declare_step("local.volume.sized", "the volume says its new size")
CHANGED = declare_step("local.volume.changed", "the volume says its new settings")
RETIRED = declare_step("local.volume.retired", "the volume is out of its place")

log = get_logger(__name__)


class Volumes:
    """The volumes of all pools. Every method may be repeated after it was cut short."""

    def __init__(self, config: LocalConfig, pools: Pools, topology: Topology) -> None:
        self._config = config
        self._pools = pools
        self._topology = topology

    def create(self, new: NewVolume) -> Volume:
        """An empty volume."""
        wanted = parameters.parse(new.parameters)
        pool = self._pools.default if wanted.pool is None else self._pools.named(wanted.pool)
        placement = self._place(new, wanted, pool, source=None)
        return self._build(new, pool, placement, lambda backend, build, volume: backend.make(build, volume))

    def restore(self, new: NewVolume, snapshot: SnapshotRecord) -> Volume:
        """A volume with a snapshot's content."""
        home, found = self._pools.snapshot(snapshot.snapshot_id)
        origin = Origin(place=home.layout.place("snapshot", snapshot.snapshot_id), live=False)
        return self._fill(new, home, found.backend, origin)

    def clone(self, new: NewVolume, source: VolumeRecord) -> Volume:
        """A volume with another's present content."""
        home, found = self._pools.volume(source.volume_id)
        origin = Origin(place=home.layout.place("volume", source.volume_id), live=True)
        return self._fill(new, home, found.backend, origin)

    def _fill(self, new: NewVolume, home: Pool, backend: BackendName, origin: Origin) -> Volume:
        wanted = parameters.parse(new.parameters)
        pool = home if wanted.pool is None else self._pools.named(wanted.pool)
        placement = self._place(new, wanted, pool, source=backend)
        origin = structs.replace(origin, same_pool=pool is home)
        return self._build(new, pool, placement, lambda kind, build, volume: kind.fill(build, volume, origin))

    def _place(self, new: NewVolume, wanted: parameters.Wanted, pool: Pool, *, source: BackendName | None) -> Placement:
        placement = place_volume(
            wanted,
            pool.facts,
            block=any(capability.is_block for capability in new.volume_capabilities),
            configured=pool.setting.backend,
            reserve=self._config.reserve,
            source=source,
        )
        limit = self._config.max_volume_size
        check_size(new.size_bytes, placement.backend, pool.facts, limit_bytes=limit)
        return placement

    def _build(
        self,
        new: NewVolume,
        pool: Pool,
        placement: Placement,
        content: Callable[[Backend, Path, VolumeFile], None],
    ) -> Volume:
        require_id(new.volume_id, what="volume")
        found = self._pools.find_volume(new.volume_id, home=pool)
        if found is not None:  # an earlier attempt came to its end, and its answer was lost
            return found[1].record.as_volume()
        volume = self._wish(new, placement)
        what = f"volume {new.volume_id!r} cannot be created"
        with pool.errors(what), pool.promise(new.volume_id, new.size_bytes):
            _check_reservable(pool, volume, new.size_bytes)
            with pool.layout.building("volume", new.volume_id) as build:
                if not is_resumable(build):
                    clear(build)  # what an attempt that was killed had begun
                with BUILDING:
                    write_atomically(str(build / VOLUME_FILE), encode(volume))
                content(pool.backend(placement.backend), build, volume)
                (build / PROGRESS_FILE).unlink(missing_ok=True)
                with PLACED:
                    pool.layout.publish("volume", new.volume_id)
        return volume.record.as_volume()

    def _wish(self, new: NewVolume, placement: Placement) -> VolumeFile:
        record = VolumeRecord(
            volume_id=new.volume_id,
            name=new.name,
            capacity_bytes=new.size_bytes,
            volume_capabilities=new.volume_capabilities,
            parameters={k: v for k, v in new.parameters.items() if k not in new.mutable_parameters},
            mutable_parameters=new.mutable_parameters,
            content_source=new.content_source,
            accessible_topology=(self._topology,),
        )
        return VolumeFile(
            record=record,
            backend=placement.backend,
            allocation=placement.allocation,
            read_ahead_kib=placement.read_ahead_kib,
            compression=placement.compression,
            root=placement.root,
        )

    def delete(self, volume_id: str) -> None:
        """Nothing is left of the volume, complete or not. Raises VolumeInUse."""
        if is_id(volume_id):
            remove(self._pools, "volume", volume_id)

    def expand(self, volume_id: str, size_bytes: int) -> int:
        """The volume has at least this size; its size."""
        pool, volume = self._pools.volume(volume_id)
        if size_bytes <= volume.size_bytes:
            return volume.size_bytes
        check_size(size_bytes, volume.backend, pool.facts, limit_bytes=self._config.max_volume_size)
        more_bytes = size_bytes - volume.size_bytes
        place = pool.layout.place("volume", volume_id)
        with pool.errors(f"volume {volume_id!r} cannot grow"), pool.promise(volume_id, more_bytes):
            _check_reservable(pool, volume, more_bytes)
            pool.backend(volume.backend).grow(place, volume, size_bytes)
            with SIZED:
                pool.write_volume(volume.resized(size_bytes))
        return size_bytes

    def modify(self, volume_id: str, mutable: Mapping[str, str]) -> None:
        """Apply mutable parameters; all are checked before the first is applied."""
        wanted = parameters.parse_mutable(mutable)
        pool, before = self._pools.volume(volume_id)
        check_settings(wanted, before.backend)
        record = structs.replace(before.record, modified_parameters={**before.record.modified_parameters, **mutable})
        after = structs.replace(
            before,
            record=record,
            allocation=wanted.allocation or before.allocation,
            read_ahead_kib=before.read_ahead_kib if wanted.read_ahead_kib is None else wanted.read_ahead_kib,
            compression=wanted.compression or before.compression,
        )
        place = pool.layout.place("volume", volume_id)
        with pool.errors(f"volume {volume_id!r} cannot be modified"):
            pool.backend(before.backend).apply(place, before, after)
            with CHANGED:
                pool.write_volume(after)

    def capacity(self, query: CapacityQuery, *, minimum_bytes: int) -> Capacity:
        """What the pool that the parameters name can give."""
        config, wanted = self._config, parameters.parse(query.parameters)
        pool = self._pools.default if wanted.pool is None else self._pools.named(wanted.pool)
        block = any(capability.is_block for capability in query.volume_capabilities)
        placement = place_volume(
            wanted, pool.facts, block=block, configured=pool.setting.backend, reserve=config.reserve
        )
        with pool.errors("capacity cannot be told"):
            return offer(
                pool.stats(),
                allocation=placement.allocation,
                promised_bytes=pool.promised_bytes() if config.overcommit_percent else 0,
                overcommit_percent=config.overcommit_percent,
                largest_bytes=None if placement.backend == "directory" else pool.facts.largest_file_bytes,
                limit_bytes=config.max_volume_size,
                minimum_bytes=minimum_bytes,
            )

    def find(self, volume_id: str) -> VolumeRecord | None:
        """The record of a volume that is in a pool, whoever put it there."""
        found = self._pools.find_volume(volume_id)
        return None if found is None else found[1].record

    def locate(self, volume_id: str) -> tuple[Pool, VolumeFile, Path]:
        """A complete volume with its pool and place. Raises VolumeNotFound."""
        if not is_id(volume_id):
            raise VolumeNotFound(volume_id)
        pool, volume = self._pools.volume(volume_id)
        return pool, volume, pool.layout.place("volume", volume_id)


def remove(pools: Pools, kind: Kind, object_id: str) -> None:
    """Remove an object and what its creation or an earlier removal left, wherever it is.

    A pool that cannot be used matters only when no other has the object. Raises VolumeInUse, Unavailable and OSError.
    """
    removed, trouble = False, None
    for pool in pools:
        try:
            removed |= _remove_from(pool, kind, object_id)
        except Unavailable as error:
            trouble = trouble or error
    if trouble is not None and not removed:
        raise trouble


def _remove_from(pool: Pool, kind: Kind, object_id: str) -> bool:
    """Whether anything of the object was in this pool."""
    what = f"{kind} {object_id!r}"
    removed = False
    with pool.errors(f"{what} cannot be deleted"):
        if pool.layout.exists(kind, object_id):
            refuse_if_used(pool.layout.place(kind, object_id), what=what)
        with RETIRED:
            trash = pool.layout.retire(kind, object_id, destroy)
        build = pool.layout.build_place(kind, object_id)
        for leftover in (trash, build):
            if leftover is not None and leftover.exists():
                with locked(leftover):
                    destroy(leftover)
                removed = True
    return removed


def _check_reservable(pool: Pool, volume: VolumeFile, more_bytes: int) -> None:
    if volume.allocation != "reserved":
        return
    room = can_reserve_bytes(pool.stats())
    if more_bytes > room:
        raise ResourceExhausted(
            f"pool {pool.name!r} can reserve {room} bytes and {more_bytes} are wanted; "
            "free space, use another pool or allocation thin"
        )
