"""What can be seen and tried at a target path: who is mounted there, and whether writes go through.

Blocking functions, to be run off the loop. This module knows neither drivers nor rules.
"""

from __future__ import annotations

import errno
import os
import shutil
import stat
import subprocess
from typing import Final

from moorage.host import syscalls
from moorage.host.mountinfo import MountEntry

__all__ = [
    "DISK_FILE_SYSTEMS",
    "block_number",
    "group_can_create",
    "is_whole_file_system",
    "long_path",
    "sync_file_system",
    "write_refused",
]

DISK_FILE_SYSTEMS: Final = frozenset({"ext2", "ext3", "ext4", "xfs", "btrfs", "f2fs"})
"""File systems that live on a block device of this node."""

_NAME_BYTES: Final = 200
_PROBE: Final = "verify-write-probe"
_REFUSALS: Final = (errno.EROFS, errno.EACCES, errno.EPERM)
_SOMEBODY_UID: Final = 65533
_CHILD_S: Final = 10


def is_whole_file_system(entry: MountEntry) -> bool:
    """Whether the mount shows a disk file system from its root, and not a directory somewhere inside one."""
    return entry.root == "/" and entry.fs_type in DISK_FILE_SYSTEMS


def block_number(path: str) -> str | None:
    """`major:minor` of the block device behind a path; None when it is none. Raises OSError."""
    found = os.stat(path)
    return f"{os.major(found.st_rdev)}:{os.minor(found.st_rdev)}" if stat.S_ISBLK(found.st_mode) else None


def long_path(directory: str, *, size_bytes: int, last: str) -> str:
    """A path below `directory` that has this many bytes, or a few more where `directory` is as long already."""
    path = directory
    while (missing := size_bytes - len(os.fsencode(path)) - len(os.fsencode(last)) - 1) > 1:
        path = os.path.join(path, "d" * min(missing - 1, _NAME_BYTES))
    return os.path.join(path, last if missing <= 0 else f"{last}-")


def write_refused(path: str) -> bool:
    """Try to write below a mounted directory, or to a device; whether the kernel refuses.

    What could be written is taken back: a new file is removed, and a device gets the bytes that it has. Raises
    OSError for any trouble that is no refusal.
    """
    try:
        if os.path.isdir(path):
            _create_and_remove(os.path.join(path, _PROBE))
        else:
            _write_back(path)
    except OSError as error:
        if error.errno in _REFUSALS:
            return True
        raise
    return False


def _create_and_remove(path: str) -> None:
    os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600))
    os.unlink(path)


def _write_back(device: str) -> None:
    fd = os.open(device, os.O_RDWR | os.O_CLOEXEC)
    try:
        os.pwrite(fd, os.pread(fd, 4096, 0), 0)
        os.fsync(fd)
    finally:
        os.close(fd)


def group_can_create(directory: str, *, gid: int, name: str) -> bool | None:
    """Whether a process of this group, without any privilege, can create the file `name` there. Needs root.

    None where setpriv is not installed.
    """
    program = shutil.which("setpriv")
    if program is None:
        return None
    who = [f"--reuid={_SOMEBODY_UID}", f"--regid={gid}", "--clear-groups"]
    done = subprocess.run(
        [program, *who, "touch", name], cwd=directory, check=False, capture_output=True, timeout=_CHILD_S
    )
    return done.returncode == 0


def sync_file_system(path: str) -> None:
    """Write out what the file system at `path` still holds in memory. Raises OSError."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        syscalls.syncfs(fd)
    finally:
        os.close(fd)
