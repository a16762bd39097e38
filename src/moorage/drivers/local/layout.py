"""The directories of a pool, and how objects come into being and go: built aside, moved into place, moved out, removed.

    POOL/volumes/ID/    volume.json and disk.img, or data/
    POOL/snapshots/ID/  snapshot.json and disk.img, or data/
    POOL/tmp/           build-volume-ID, build-snapshot-ID: on their way in; trash-...: on their way out

What is below `volumes` and `snapshots` is complete: an object arrives there by one rename, after all of it has
been synced, and leaves by one. Whoever works on an entry of `tmp` holds a flock on it, so that the sweep of another
process lets it be; the lock of a killed process is gone. Knows nothing of what the objects hold.
"""

from __future__ import annotations

import fcntl
import os
import re
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final, Literal

from moorage.host.paths import ensure_directory, fsync_directory, rename_durably
from moorage.spec.errors import OperationPending

Kind = Literal["volume", "snapshot"]
KINDS: Final[tuple[Kind, ...]] = ("volume", "snapshot")
_HOME: Final[dict[Kind, str]] = {"volume": "volumes", "snapshot": "snapshots"}
_ID: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._~%+@=:-]{0,199}\Z")
_BUILD: Final = "build-"
_TRASH: Final = "trash-"
_IN_TMP: Final = re.compile(rf"({_BUILD}|{_TRASH})({'|'.join(KINDS)})-{_ID.pattern}")


def is_id(text: str) -> bool:
    """Whether an id can be that of an object here: one path component of harmless characters."""
    return _ID.match(text) is not None


class Layout:
    """The paths of one pool; makes nothing until `prepare`."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.tmp = root / "tmp"

    def prepare(self) -> None:
        """Have the directories of the pool. Raises OSError."""
        for directory in (self.root, self.tmp, *(self.root / home for home in _HOME.values())):
            ensure_directory(str(directory), mode=0o711 if directory == self.root else 0o700)
        fsync_directory(str(self.root))

    def home(self, kind: Kind) -> Path:
        """The directory of all objects of a kind."""
        return self.root / _HOME[kind]

    def place(self, kind: Kind, object_id: str) -> Path:
        """Where an object is once it is complete. Raises ValueError for an id that cannot be a name."""
        return self.home(kind) / _checked(object_id)

    def build_place(self, kind: Kind, object_id: str) -> Path:
        """Where an object is put together."""
        return self.tmp / f"{_BUILD}{kind}-{_checked(object_id)}"

    def trash_place(self, kind: Kind, object_id: str) -> Path:
        """Where an object goes to be removed."""
        return self.tmp / f"{_TRASH}{kind}-{_checked(object_id)}"

    def ids(self, kind: Kind) -> list[str]:
        """The ids of the complete objects, sorted. Raises OSError."""
        with os.scandir(self.home(kind)) as entries:
            return sorted(e.name for e in entries if is_id(e.name) and e.is_dir(follow_symlinks=False))

    def exists(self, kind: Kind, object_id: str) -> bool:
        """Whether a complete object of this id is here; False for ids that cannot be names.

        Raises OSError, FileNotFoundError when the pool itself is not there.
        """
        if not is_id(object_id):
            return False
        try:
            os.lstat(self.place(kind, object_id))
        except FileNotFoundError:
            os.stat(self.home(kind))  # a pool that is gone says nothing of what it holds
            return False
        return True

    def leftovers(self) -> list[Path]:
        """What we have left in `tmp`, sorted: what has another name is not ours to remove. Raises OSError."""
        with os.scandir(self.tmp) as entries:
            ours = (entry for entry in entries if _IN_TMP.match(entry.name) and entry.is_dir(follow_symlinks=False))
            return sorted(Path(entry.path) for entry in ours)

    def obstacle(self) -> Path | None:
        """The first directory of the pool that is missing or no directory itself; None for a pool. Raises OSError."""
        for directory in (self.root, self.tmp, *map(self.home, KINDS)):
            try:
                if not stat.S_ISDIR(os.lstat(directory).st_mode):
                    return directory
            except (FileNotFoundError, NotADirectoryError):
                return directory
        return None

    @contextmanager
    def building(self, kind: Kind, object_id: str) -> Iterator[Path]:
        """A directory, locked, to put an object together in; what an earlier attempt left is still inside.

        Raises OperationPending while another process works in it, and OSError.
        """
        build = self.build_place(kind, object_id)
        ensure_directory(str(build), mode=0o700)
        with locked(build):
            yield build

    def publish(self, kind: Kind, object_id: str) -> Path:
        """Move a complete and synced build into place, durably. Raises OSError, ENOTEMPTY when it is taken."""
        build, place = self.build_place(kind, object_id), self.place(kind, object_id)
        fsync_directory(str(build))
        rename_durably(str(build), str(place))
        return place

    def retire(self, kind: Kind, object_id: str, destroy: Callable[[Path], None]) -> Path | None:
        """Move a complete object out, durably, to be removed; None when there is none.

        `destroy` removes what an earlier, interrupted removal of the same id left in the way.
        """
        place, trash = self.place(kind, object_id), self.trash_place(kind, object_id)
        if not self.exists(kind, object_id):
            return trash if os.path.lexists(trash) else None
        if os.path.lexists(trash):
            destroy(trash)
        rename_durably(str(place), str(trash))
        return trash


def build_identity(path: Path) -> tuple[Kind, str] | None:
    """The kind and id of the object that a leftover is a build of; None for anything else."""
    for kind in KINDS:
        prefix = f"{_BUILD}{kind}-"
        if path.name.startswith(prefix):
            return kind, path.name.removeprefix(prefix)
    return None


def is_worked_on(directory: Path) -> bool:
    """Whether somebody holds the flock of a directory. Raises OSError."""
    try:
        with locked(directory):
            return False
    except OperationPending:
        return True


@contextmanager
def locked(directory: Path) -> Iterator[None]:
    """Hold the flock of a directory. Raises OperationPending while another process or thread holds it."""
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise OperationPending(
                f"{directory.name} is being worked on by another process; repeat the call later"
            ) from None
        yield
    finally:
        os.close(fd)


def _checked(object_id: str) -> str:
    if not is_id(object_id):
        raise ValueError(f"{object_id!r} cannot be the id of an object in a pool")
    return object_id
