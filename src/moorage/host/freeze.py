"""Freezes mounted file systems for the moment of a snapshot, and makes sure that they thaw whatever happens.

A frozen file system stops every writer on the host, so a guard process is ready before the first freeze: it
thaws when the freezing process dies or the time is over. Only killing both at once (a whole container) leaves
a file system frozen; call `ensure_thawed` on the volumes at start-up for that case.
"""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Iterable, Iterator, Sequence

from moorage.host import guard, ioctl, syscalls
from moorage.host.mountinfo import MountEntry, find_mount, read_mounts


class AlreadyFrozen(OSError):
    """Somebody else holds a freeze on the file system; wait, or use `ensure_thawed` if that one is known
    dead.
    """


class FreezeExpired(Exception):
    """The file system thawed before the work was done, so what was taken meanwhile is not consistent: discard
    it.
    """


@contextlib.contextmanager
def frozen(mount_points: Iterable[str], *, max_s: float) -> Iterator[None]:
    """Freeze all mount points in sorted order, run the body, thaw in reverse order.

    Paths of one file system count once. Dirty data is written before, to keep the freeze short. After `max_s`
    seconds the guard thaws, and leaving the body raises FreezeExpired. Raises AlreadyFrozen or OSError
    (EINVAL for a path that is no mount point, EOPNOTSUPP); whatever was frozen until then is thawed.
    """
    with contextlib.ExitStack() as stack:
        opened = _open_all(mount_points, stack)
        ready = stack.enter_context(guard.ready())
        for fd in opened.values():
            syscalls.syncfs(fd)
        yield from _hold(opened, ready, max_s=max_s)


def ensure_thawed(mount_point: str) -> bool:
    """Thaw the file system at `mount_point`; False when it was not frozen. Raises OSError."""
    fd = _open_mount_point(mount_point, read_mounts())
    try:
        return _thaw(fd)
    finally:
        os.close(fd)


def _hold(opened: dict[str, int], thawer: guard.Guard, *, max_s: float) -> Iterator[None]:
    done: list[tuple[str, int]] = []
    thawer.begin(list(opened.values()), max_s=max_s)
    try:
        for path, fd in opened.items():
            _freeze(path, fd)
            done.append((path, fd))
        yield
    finally:
        lost = [path for path, fd in reversed(done) if not _thaw(fd)]
        thawer.end()
    if lost:
        raise FreezeExpired(
            f"{', '.join(lost)} thawed before the work was done; discard the result and allow more time"
        )


def _open_all(mount_points: Iterable[str], stack: contextlib.ExitStack) -> dict[str, int]:
    """One descriptor per file system, by the superblock's device number, in sorted order of paths."""
    mounts = read_mounts()
    opened: dict[str, int] = {}
    seen: set[str] = set()
    for path in sorted(set(mount_points)):
        entry = find_mount(path, mounts=mounts)
        if entry is not None and entry.device in seen:
            continue
        opened[path] = _open_mount_point(path, mounts)
        stack.callback(os.close, opened[path])
        if entry is not None:
            seen.add(entry.device)
    return opened


def _open_mount_point(path: str, mounts: Sequence[MountEntry]) -> int:
    if find_mount(path, mounts=mounts) is None:
        raise OSError(
            errno.EINVAL, f"{path} is no mount point, the host's own file system would freeze; check the path"
        )
    return os.open(path, os.O_RDONLY | os.O_CLOEXEC)


def _freeze(path: str, fd: int) -> None:
    try:
        ioctl.call(fd, ioctl.FIFREEZE)
    except OSError as error:
        if error.errno == errno.EBUSY:
            raise AlreadyFrozen(errno.EBUSY, f"{path} is already frozen; wait until it thaws") from None
        raise OSError(error.errno, f"{path} cannot be frozen: {error.strerror}") from None


def _thaw(fd: int) -> bool:
    try:
        ioctl.call(fd, ioctl.FITHAW)
    except OSError as error:
        if error.errno == errno.EINVAL:
            return False
        raise
    return True
