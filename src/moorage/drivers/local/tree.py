"""Copies and removes directory trees that other people write to, without being led astray.

Every step goes through a directory descriptor and refuses symlinks, so that a pod that swaps a directory for a
link while it is copied cannot make the copy read the host's files. Kept are: ownership, mode, times, extended
attributes and ACLs, symlinks as they are, hard links among the files copied, holes, sockets, pipes and devices.
Mounts and nested subvolumes come out as empty directories. The copy of a live tree is not of one instant.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from moorage.base.run import run_sync
from moorage.host.mountinfo import find_mount, mounts_below
from moorage.host.syscalls import syncfs
from moorage.spec.errors import FailedPrecondition, VolumeInUse

MAX_DEPTH: Final = 256  # two descriptors for each level
_REMOVE_TIMEOUT_S: Final = 3600.0
_CHANGED: Final = (errno.ENOENT, errno.ESTALE, errno.ELOOP, errno.ENOTDIR, errno.ENXIO)
_DIRECTORY: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_SOURCE: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_TARGET: Final = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC

CopyData = Callable[[int, int], None]
"""Copies the content of one open file to another, empty one."""


@dataclass(slots=True)
class _Level:
    source_fd: int
    target_fd: int
    path: str
    names: Iterator[str]
    info: os.stat_result


def copy_tree(source: Path, target: Path, copy_data: CopyData) -> None:
    """Copy the tree at `source` to `target`, which must be an empty directory, and sync it to disk.

    Raises FailedPrecondition for a tree deeper than `MAX_DEPTH`, and OSError; `target` is then left half filled.
    """
    with contextlib.ExitStack() as stack:
        source_fd = os.open(source, _DIRECTORY)
        stack.callback(os.close, source_fd)
        target_fd = os.open(target, _DIRECTORY)
        stack.callback(os.close, target_fd)
        _Copy(source_fd, target_fd, copy_data).run()
        syncfs(target_fd)


class _Copy:
    """One copy: the open directories on the way down, and the hard links met so far."""

    def __init__(self, source_fd: int, target_fd: int, copy_data: CopyData) -> None:
        self._copy_data = copy_data
        self._target_root = target_fd
        self._device = os.fstat(source_fd).st_dev
        self._links: dict[int, str] = {}
        self._levels: list[_Level] = []
        self._push(os.dup(source_fd), os.dup(target_fd), "")

    def run(self) -> None:
        try:
            while self._levels:
                level = self._levels[-1]
                name = next(level.names, None)
                if name is None:
                    _copy_attributes(level.source_fd, level.target_fd)
                    _own(level.target_fd, level.info)
                    self._pop()
                else:
                    with _vanished_is_fine():
                        self._entry(level, name)
        finally:
            while self._levels:
                self._pop()

    def _push(self, source_fd: int, target_fd: int, path: str) -> None:
        if len(self._levels) >= MAX_DEPTH:
            os.close(source_fd)
            os.close(target_fd)
            raise FailedPrecondition(f"the directory tree is deeper than {MAX_DEPTH} levels and cannot be copied")
        names = iter(os.listdir(source_fd))
        self._levels.append(_Level(source_fd, target_fd, path, names, os.fstat(source_fd)))

    def _pop(self) -> None:
        level = self._levels.pop()
        os.close(level.source_fd)
        os.close(level.target_fd)

    def _entry(self, level: _Level, name: str) -> None:
        info = os.stat(name, dir_fd=level.source_fd, follow_symlinks=False)
        path = f"{level.path}{name}"
        if stat.S_ISDIR(info.st_mode):
            self._directory(level, name, path)
        elif self._linked(level, name, info):
            return
        elif stat.S_ISREG(info.st_mode):
            self._file(level, name)
        else:
            _special(level, name, info)
        if info.st_nlink > 1 and not stat.S_ISDIR(info.st_mode):
            self._links[info.st_ino] = path

    def _linked(self, level: _Level, name: str, info: os.stat_result) -> bool:
        first = self._links.get(info.st_ino) if info.st_nlink > 1 else None
        if first is None:
            return False
        os.link(first, name, src_dir_fd=self._target_root, dst_dir_fd=level.target_fd, follow_symlinks=False)
        return True

    def _directory(self, level: _Level, name: str, path: str) -> None:
        source_fd = os.open(name, _DIRECTORY, dir_fd=level.source_fd)
        try:
            os.mkdir(name, 0o700, dir_fd=level.target_fd)
            target_fd = os.open(name, _DIRECTORY, dir_fd=level.target_fd)
        except BaseException:
            os.close(source_fd)
            raise
        if os.fstat(source_fd).st_dev != self._device:  # another file system, or a subvolume: none of ours
            _own(target_fd, os.fstat(source_fd))
            os.close(source_fd)
            os.close(target_fd)
            return
        self._push(source_fd, target_fd, f"{path}/")

    def _file(self, level: _Level, name: str) -> None:
        source_fd = os.open(name, _SOURCE, dir_fd=level.source_fd)
        try:
            info = os.fstat(source_fd)
            if not stat.S_ISREG(info.st_mode):
                raise FileNotFoundError(errno.ENOENT, "the file was replaced while it was copied", name)
            target_fd = os.open(name, _TARGET, 0o600, dir_fd=level.target_fd)
            try:
                self._copy_data(source_fd, target_fd)
                _own(target_fd, info, times=False)
                _copy_attributes(source_fd, target_fd)
                os.utime(target_fd, ns=(info.st_atime_ns, info.st_mtime_ns))
            finally:
                os.close(target_fd)
        finally:
            os.close(source_fd)


def _special(level: _Level, name: str, info: os.stat_result) -> None:
    """A symlink, pipe, socket or device."""
    if stat.S_ISLNK(info.st_mode):
        os.symlink(_link_text(level.source_fd, name), name, dir_fd=level.target_fd)
    else:
        os.mknod(name, info.st_mode, info.st_rdev, dir_fd=level.target_fd)
    source, target = (f"/proc/self/fd/{fd}/{name}" for fd in (level.source_fd, level.target_fd))
    with _not_permitted_is_fine():
        os.chown(name, info.st_uid, info.st_gid, dir_fd=level.target_fd, follow_symlinks=False)
    if not stat.S_ISLNK(info.st_mode):
        os.chmod(name, stat.S_IMODE(info.st_mode), dir_fd=level.target_fd)
    for attribute in _attributes(source):
        value = os.getxattr(source, attribute, follow_symlinks=False)
        with _not_permitted_is_fine():
            os.setxattr(target, attribute, value, follow_symlinks=False)
    os.utime(name, ns=(info.st_atime_ns, info.st_mtime_ns), dir_fd=level.target_fd, follow_symlinks=False)


def _link_text(directory_fd: int, name: str) -> str:
    try:
        return os.readlink(name, dir_fd=directory_fd)
    except OSError as error:
        if error.errno == errno.EINVAL:
            raise FileNotFoundError(errno.ENOENT, "the link was replaced while it was copied", name) from None
        raise


def _attributes(path: str) -> list[str]:
    try:
        return os.listxattr(path, follow_symlinks=False)
    except OSError as error:
        if error.errno in (errno.ENOTSUP, errno.EPERM):
            return []
        raise


def _copy_attributes(source_fd: int, target_fd: int) -> None:
    for attribute in os.listxattr(source_fd):
        with _not_permitted_is_fine():
            os.setxattr(target_fd, attribute, os.getxattr(source_fd, attribute))


def _own(fd: int, info: os.stat_result, *, times: bool = True) -> None:
    """Owner before mode: chown clears the set-id bits."""
    with _not_permitted_is_fine():
        os.fchown(fd, info.st_uid, info.st_gid)
    os.fchmod(fd, stat.S_IMODE(info.st_mode))
    if times:
        os.utime(fd, ns=(info.st_atime_ns, info.st_mtime_ns))


@contextlib.contextmanager
def _vanished_is_fine() -> Iterator[None]:
    """In a live tree, names come and go, and mean something else between two looks at them: then they are left out."""
    try:
        yield
    except OSError as error:
        if error.errno not in _CHANGED:
            raise


@contextlib.contextmanager
def _not_permitted_is_fine() -> Iterator[None]:
    """Without root, ownership and some attributes cannot be given; with root, that is an error."""
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.EPERM, errno.EINVAL, errno.ENOTSUP) or os.geteuid() == 0:
            raise


def remove_tree(path: Path, *, what: str, subvolumes: bool = False) -> None:
    """Remove a tree of our own, with the subvolumes inside if so wanted; a path that is gone is fine.

    Raises VolumeInUse, removing nothing, when something is mounted inside, and CommandError.
    """
    mounted = find_mount(str(path)) or next(iter(mounts_below(str(path))), None)
    if mounted is not None:
        raise VolumeInUse(f"{what} has {mounted.mount_point} mounted inside; unmount that first")
    bound = [] if subvolumes else ["--one-file-system"]
    run_sync(["rm", "-rf", *bound, "--", str(path)], timeout_s=_REMOVE_TIMEOUT_S)
