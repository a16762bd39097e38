"""All pools of the driver: finds objects in them, opens them, and clears away what killed processes left."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from moorage.base.log import get_logger
from moorage.base.run import CommandError
from moorage.drivers.local.copying import is_resumable
from moorage.drivers.local.layout import build_identity, is_id, locked
from moorage.drivers.local.pool import FileT, Pool
from moorage.drivers.local.pool_lock import PoolInUse
from moorage.drivers.local.records import SnapshotFile, VolumeFile
from moorage.drivers.local.removal import destroy
from moorage.drivers.local.use import Glance, image_uses, thaw_all
from moorage.spec.errors import CsiError, InvalidArgument, SnapshotNotFound, Unavailable, VolumeNotFound

log = get_logger(__name__)


class Pools:
    """The configured pools; the first is the default."""

    def __init__(self, pools: Sequence[Pool]) -> None:
        self._pools = {pool.name: pool for pool in pools}
        self.glance = Glance()

    def __iter__(self) -> Iterator[Pool]:
        return iter(self._pools.values())

    @property
    def default(self) -> Pool:
        """The pool of volumes that name none."""
        return next(iter(self._pools.values()))

    def named(self, name: str) -> Pool:
        """The pool of this name. Raises InvalidArgument."""
        if name not in self._pools:
            raise InvalidArgument(f"pool {name!r} does not exist; the pools are {', '.join(self._pools)}")
        return self._pools[name]

    def find_volume(self, volume_id: str, *, home: Pool | None = None) -> tuple[Pool, VolumeFile] | None:
        """A complete volume and its pool. Raises DataLoss for one that is unreadable.

        Raises Unavailable when it is not found and a pool cannot be used; given its `home`, only that pool matters.
        """
        return self._find(f"volume {volume_id!r}", lambda pool: pool.read_volume(volume_id), home)

    def volume(self, volume_id: str) -> tuple[Pool, VolumeFile]:
        """A complete volume and its pool. Raises VolumeNotFound or DataLoss."""
        found = self.find_volume(volume_id)
        if found is None:
            raise VolumeNotFound(volume_id)
        return found

    def find_snapshot(self, snapshot_id: str, *, home: Pool | None = None) -> tuple[Pool, SnapshotFile] | None:
        """A complete snapshot and its pool; otherwise as `find_volume`."""
        return self._find(f"snapshot {snapshot_id!r}", lambda pool: pool.read_snapshot(snapshot_id), home)

    def _find(self, what: str, read: Callable[[Pool], FileT | None], home: Pool | None) -> tuple[Pool, FileT] | None:
        trouble: Unavailable | None = None
        for pool in self:
            try:
                with pool.errors(f"{what} cannot be looked up"):
                    found = read(pool)
            except Unavailable as error:
                if home in (None, pool):
                    trouble = trouble or error
            else:
                if found is not None:
                    return pool, found
        if trouble is not None:
            raise trouble
        return None

    def snapshot(self, snapshot_id: str) -> tuple[Pool, SnapshotFile]:
        """A complete snapshot and its pool. Raises SnapshotNotFound or DataLoss."""
        found = self.find_snapshot(snapshot_id)
        if found is None:
            raise SnapshotNotFound(snapshot_id)
        return found

    def open(self, *, owner: str) -> None:
        """Open every pool and sweep it; a pool that cannot be opened is reported and left out of use.

        `owner` is what other processes are told. Raises PoolInUse, and then no pool is held.
        """
        try:
            for pool in self:
                _open(pool, owner)
        except PoolInUse:
            self.close()
            raise

    def open_late(self, *, owner: str) -> None:
        """Open pools that could not be opened before."""
        for pool in self:
            if not pool.is_open and pool.layout.root.is_dir():
                try:
                    _open(pool, owner)
                except PoolInUse as error:
                    log.error("local.pool.trouble", pool=pool.name, reason=error.message)

    def close(self) -> None:
        """Let other processes have the pools."""
        for pool in self:
            pool.close()


def _open(pool: Pool, owner: str) -> None:
    try:
        pool.open(owner=owner)
        sweep(pool)
        if pool.facts.privileged:
            for point in thaw_all(image_uses(pool.images())):
                log.warning("local.start.thawed", pool=pool.name, mount_point=point)
    except OSError as error:
        log.error("local.pool.trouble", pool=pool.name, directory=str(pool.layout.root), exc_info=error)


def sweep(pool: Pool) -> list[str]:
    """Remove what nobody works on and no replay can go on with from `tmp`; the names removed. Raises OSError."""
    removed = []
    for leftover in pool.layout.leftovers():
        identity = build_identity(leftover)
        if identity is not None and identity[0] == "volume" and is_resumable(leftover):
            continue
        try:
            with locked(leftover):
                destroy(leftover)
            removed.append(leftover.name)
        except (CsiError, OSError, CommandError) as error:
            log.warning("local.sweep.kept", pool=pool.name, leftover=leftover.name, reason=str(error))
    return removed


def require_id(object_id: str, *, what: str) -> None:
    """Raise InvalidArgument for an id that cannot be the name of an object here."""
    if not is_id(object_id):
        raise InvalidArgument(f"{what} id {object_id!r} has characters or a length that this driver does not take")
