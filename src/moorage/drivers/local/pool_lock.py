"""One process at a time has a pool: two drivers would remove what the other one is building.

A journal is locked by itself, but two drivers with different state directories may name one pool. The lock is a
flock on a file of the pool; the kernel drops it when the process ends, however it ends. Knows nothing of what is in
the pool.
"""

from __future__ import annotations

import errno
import fcntl
import os
import stat
from contextlib import suppress
from pathlib import Path
from typing import Final, Self

from moorage.spec.errors import Unavailable

LOCK_FILE: Final = "pool.lock"
_NOTE_BYTES: Final = 512
_CAREFUL: Final = os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


class PoolInUse(Unavailable):
    """Another process has the pool."""


class PoolLock:
    """Held from `take` until `release` or the end of the process."""

    def __init__(self, fd: int) -> None:
        self._fd = fd

    @classmethod
    def take(cls, root: Path, *, name: str, owner: str) -> Self:
        """Hold the pool at `root`, which must be there; `owner` is what another process is told.

        Raises PoolInUse, and OSError where there can be no lock.
        """
        path = root / LOCK_FILE
        while True:
            # Held open for reading only: a file open for writing would keep the disk from being remounted read-only.
            fd = os.open(path, os.O_RDONLY | os.O_CREAT | _CAREFUL, 0o600)
            try:
                if not stat.S_ISREG(os.fstat(fd).st_mode):
                    raise OSError(errno.EINVAL, f"{LOCK_FILE} is no regular file", str(path))
                _lock(fd, root, name)
                if _is_at(fd, path):
                    _note(path, f"{owner} (pid {os.getpid()})\n")
                    return cls(fd)
            except BaseException:
                os.close(fd)
                raise
            os.close(fd)  # whoever had it removed the file: another process may lock a new one

    def release(self) -> None:
        """Let go; a second call does nothing. The file stays: a full disk may have no room for it the next time."""
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)


def _lock(fd: int, root: Path, name: str) -> None:
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        holder = " ".join(os.pread(fd, _NOTE_BYTES, 0).decode("utf-8", "replace").split())
        raise PoolInUse(
            f"pool {name!r} at {root} is in use by {holder or 'another process'}; stop it or use another pool"
        ) from None


def _is_at(fd: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(fd), os.lstat(path))
    except FileNotFoundError:
        return False


def _note(path: Path, text: str) -> None:
    """Say who has the lock; on a full disk the lock holds all the same."""
    with suppress(OSError):
        fd = os.open(path, os.O_WRONLY | os.O_TRUNC | _CAREFUL)
        try:
            os.write(fd, text.encode())
        finally:
            os.close(fd)
