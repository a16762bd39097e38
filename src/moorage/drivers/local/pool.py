"""One pool: its directory, what it can do, and the objects that are complete in it."""

from __future__ import annotations

import errno
import os
import stat
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final, TypeVar

from moorage.base.log import get_logger
from moorage.drivers.local.backend import IMAGE, Backend
from moorage.drivers.local.capacity import check_promise
from moorage.drivers.local.config import BackendName, PoolSetting
from moorage.drivers.local.directory import DirectoryBackend
from moorage.drivers.local.facts import PoolFacts, examine
from moorage.drivers.local.image import ImageBackend
from moorage.drivers.local.layout import Kind, Layout
from moorage.drivers.local.pool_lock import PoolLock
from moorage.drivers.local.records import (
    SNAPSHOT_FILE,
    VOLUME_FILE,
    SnapshotFile,
    VolumeFile,
    decode_snapshot,
    decode_volume,
    encode,
)
from moorage.drivers.local.storage_errors import storage_errors
from moorage.drivers.local.subvolume import SubvolumeBackend
from moorage.host.paths import write_atomically
from moorage.host.qgroup import ensure_quota_enabled
from moorage.host.stats import FilesystemStats, filesystem_stats
from moorage.spec.errors import DataLoss, Unavailable

_GONE: Final = (errno.ENOENT, errno.ENOTDIR)
_DESCRIPTION_LIMIT_BYTES: Final = 1 << 20
FileT = TypeVar("FileT", VolumeFile, SnapshotFile)

log = get_logger(__name__)


class Pool:
    """A pool as configured; `open` has it for this process and makes it ready, `look` only reads it."""

    def __init__(self, setting: PoolSetting, *, privileged: bool, overcommit_percent: int = 0) -> None:
        self.name = setting.name
        self.setting = setting
        self.layout = Layout(setting.directory)
        self._overcommit_percent = overcommit_percent
        self._privileged = privileged
        self._facts: PoolFacts | None = None
        self._backends: dict[BackendName, Backend] = {}
        self._lock: PoolLock | None = None
        self._promising = threading.Lock()
        self._promised: dict[str, int] = {}

    def open(self, *, owner: str) -> None:
        """Have the pool for this process, called `owner`, make it ready and find out what it can do.

        Raises PoolInUse and OSError.
        """
        self.layout.prepare()
        self.hold(owner=owner)
        try:
            facts = examine(self.layout.root, privileged=self._privileged)
            if "subvolume" in facts.backends:
                ensure_quota_enabled(str(self.layout.root))
        except BaseException:
            self.close()
            raise
        self._backends = _backends(reflink=facts.reflink)
        self._facts = facts
        log.info(
            "local.pool.opened",
            pool=self.name,
            fs_type=facts.fs_type,
            reflink=facts.reflink,
            backends=list(facts.backends),
            sizes_enforced=facts.privileged,
        )

    def hold(self, *, owner: str) -> None:
        """Keep other processes off the pool until `close`. Raises PoolInUse and OSError."""
        if self._lock is None:
            self._lock = PoolLock.take(self.layout.root, name=self.name, owner=owner)

    def look(self) -> None:
        """Be ready to read what is in the pool, changing nothing: what it can do is not found out."""
        self._backends = _backends(reflink=False)

    def close(self) -> None:
        """Let other processes have the pool."""
        if self._lock is not None:
            self._lock.release()
            self._lock = None

    @property
    def is_open(self) -> bool:
        """Whether `open` has found the pool usable."""
        return self._facts is not None

    @property
    def facts(self) -> PoolFacts:
        """What the pool can do. Raises Unavailable before it could be opened."""
        if self._facts is None:
            raise Unavailable(f"pool {self.name!r} at {self.layout.root} is not usable; see the log, then repair it")
        return self._facts

    def backend(self, name: BackendName) -> Backend:
        """The backend of this name. Raises Unavailable before the pool could be opened."""
        if not self._backends:
            _ = self.facts
        return self._backends[name]

    def image_backend(self) -> ImageBackend:
        """The backend of images, which can also cut several at once."""
        return ImageBackend(reflink=self.facts.reflink)

    # --- objects ---

    def read_volume(self, volume_id: str) -> VolumeFile | None:
        """What a complete volume says of itself; None when it is not here. Raises DataLoss when unreadable."""
        return self._read("volume", volume_id, VOLUME_FILE, decode_volume)

    def read_snapshot(self, snapshot_id: str) -> SnapshotFile | None:
        """What a complete snapshot says of itself; None when it is not here. Raises DataLoss when unreadable."""
        return self._read("snapshot", snapshot_id, SNAPSHOT_FILE, decode_snapshot)

    def _read(self, kind: Kind, object_id: str, name: str, decode: Callable[[bytes], FileT]) -> FileT | None:
        if not self.layout.exists(kind, object_id):
            return None
        try:
            found = decode(_read_description(self.layout.place(kind, object_id) / name))
        except FileNotFoundError:
            if not self.layout.exists(kind, object_id):
                return None
            raise _unreadable(kind, object_id, self.name, f"its {name} is missing") from None
        except (ValueError, RecursionError) as error:
            raise _unreadable(kind, object_id, self.name, f"its {name} is damaged") from error
        if found.object_id != object_id:
            raise _unreadable(kind, object_id, self.name, f"its {name} is that of {found.object_id!r}")
        return found

    def write_volume(self, volume: VolumeFile) -> None:
        """Replace what a complete volume says of itself, durably. Raises OSError."""
        place = self.layout.place("volume", volume.volume_id)
        write_atomically(str(place / VOLUME_FILE), encode(volume))

    def volumes(self) -> Iterator[VolumeFile]:
        """All readable volumes, by id. Raises OSError."""
        for volume_id in self.layout.ids("volume"):
            with suppress(DataLoss):
                found = self.read_volume(volume_id)
                if found is not None:
                    yield found

    def images(self) -> list[Path]:
        """The image files of all complete volumes. Raises OSError."""
        places = (self.layout.place("volume", volume_id) / IMAGE for volume_id in self.layout.ids("volume"))
        return [image for image in places if image.exists()]

    # --- space ---

    def stats(self) -> FilesystemStats:
        """Figures of the pool's file system. Raises OSError."""
        return filesystem_stats(str(self.layout.root))

    def promised_bytes(self) -> int:
        """The sum of the sizes of all volumes. Raises OSError."""
        return sum(volume.size_bytes for volume in self.volumes())

    @contextmanager
    def promise(self, volume_id: str, more_bytes: int) -> Iterator[None]:
        """Hold `more_bytes` against the over-commit limit while they are made. Raises ResourceExhausted."""
        if not self._overcommit_percent:
            yield
            return
        with self._promising:
            check_promise(
                self.stats(),
                pool=self.name,
                more_bytes=more_bytes,
                promised_bytes=self.promised_bytes() + sum(self._promised.values()),
                overcommit_percent=self._overcommit_percent,
            )
            self._promised[volume_id] = more_bytes
        try:
            yield
        finally:
            with self._promising:
                self._promised.pop(volume_id, None)

    # --- trouble ---

    @contextmanager
    def errors(self, what: str) -> Iterator[None]:
        """Turn what the kernel says inside into CSI errors; `what` reads like "volume 'x' cannot be created"."""
        try:
            with storage_errors(what, self.name):
                yield
        except FileNotFoundError as error:
            if self.trouble() is None:
                raise
            raise Unavailable(f"{what}: pool {self.name!r} is gone; mount it again") from error

    def trouble(self) -> str | None:
        """Why the pool cannot be used now, in one clause; None when it can be."""
        root = self.layout.root
        try:
            flags = os.statvfs(root).f_flag
            os.stat(self.layout.tmp)
            os.stat(self.layout.home("volume"))
        except OSError as error:
            if error.errno in _GONE:
                return f"{root} is missing or holds no pool"
            return f"{root} cannot be read: {error.strerror}"
        if flags & os.ST_RDONLY:
            return f"{root} is read-only"
        return "it could not be opened" if self._facts is None else None


def _backends(*, reflink: bool) -> dict[BackendName, Backend]:
    return {
        "image": ImageBackend(reflink=reflink),
        "subvolume": SubvolumeBackend(),
        "directory": DirectoryBackend(),
    }


def _read_description(path: Path) -> bytes:
    """The content of a small file of ours. Raises OSError, and ValueError for anything else that is there."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.ENXIO):
            raise ValueError("it is no regular file") from error
        raise
    with open(fd, "rb") as file:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            raise ValueError("it is no regular file")
        content = file.read(_DESCRIPTION_LIMIT_BYTES + 1)
    if len(content) > _DESCRIPTION_LIMIT_BYTES:
        raise ValueError(f"it has more than {_DESCRIPTION_LIMIT_BYTES} bytes")
    return content


def _unreadable(kind: Kind, object_id: str, pool: str, why: str) -> DataLoss:
    return DataLoss(f"{kind} {object_id!r} in pool {pool!r} cannot be used: {why}; run `moorage local check`")
