"""Where a journal may lie and who may have it: directory, file system, process lock, reserve of space."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import fcntl
import os
import stat
from typing import Final, Self

from moorage.state.errors import JournalLocked, JournalOnNetwork, JournalUnsafe, JournalUnusable

RESERVE_BYTES: Final = 1 << 20
_PROBE_BLOCKS: Final = 8
_PROBE_BLOCK_BYTES: Final = 65536

# f_type values of statfs(2), from <linux/magic.h> and the file systems' own sources
_REFUSED_FILE_SYSTEMS: Final = {
    0x6969: "NFS", 0x517B: "SMB", 0xFF534D42: "CIFS", 0xFE534D42: "SMB2",
    0x00C36400: "CephFS", 0x5346414F: "AFS", 0x73757245: "Coda",
    0x01021997: "9P", 0x0BD00BD0: "Lustre", 0x47504653: "GPFS", 0x01161970: "GFS2", 0x7461636F: "OCFS2",
    0x65735546: "FUSE, which may be remote",
}  # fmt: skip


def prepare_directory(path: str) -> None:
    """Make the journal's directory (mode 0700) unless it is there; refuse one that others may write to."""
    directory = os.path.dirname(path)
    try:
        os.makedirs(directory, mode=0o700, exist_ok=True)
        mode = os.stat(directory).st_mode
    except OSError as error:
        raise JournalUnusable(f"cannot use directory {directory} for the journal: {error.strerror}") from None
    if stat.S_IMODE(mode) & 0o022:
        raise JournalUnsafe(directory)


def refuse_network(path: str) -> None:
    """Raise JournalOnNetwork if the directory of `path` is on a network file system or on FUSE."""
    file_system = _REFUSED_FILE_SYSTEMS.get(file_system_magic(os.path.dirname(path)))
    if file_system is not None:
        raise JournalOnNetwork(path, file_system=file_system)


def file_system_magic(path: str) -> int:
    """`f_type` of statfs(2), which Python does not offer."""
    libc = ctypes.CDLL(None, use_errno=True)
    buffer = ctypes.create_string_buffer(512)  # struct statfs is 120 bytes on 64-bit Linux
    if libc.statfs(os.fsencode(path), buffer) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), path)
    return ctypes.c_long.from_buffer(buffer).value & 0xFFFFFFFF


def create_private(path: str) -> None:
    """Make sure that the file exists with mode 0600, durably."""
    os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
    os.chmod(path, 0o600)
    directory = os.open(os.path.dirname(path), os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


def prove_disk(path: str) -> None:
    """Write and sync new blocks beside `path`, twice; OSError if the disk does not take them.

    After a failed fsync(2) the kernel has marked the lost pages clean, and the next fsync of the same file
    may report success for data that is not on the disk. New files have no such past; two of them, because
    a single success right after a failure has been seen to be false.
    """
    names = [f"{path}.probe{turn}" for turn in range(2)]
    try:
        for name in names:
            fd = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
            try:
                for _ in range(_PROBE_BLOCKS):
                    os.write(fd, os.urandom(_PROBE_BLOCK_BYTES))
                os.fsync(fd)
            finally:
                os.close(fd)
    finally:
        for name in names:
            with contextlib.suppress(OSError):
                os.unlink(name)


class ProcessLock:
    """An advisory lock on `PATH.lock`; the kernel drops it when the process ends, however it ends."""

    def __init__(self, fd: int) -> None:
        self._fd = fd

    @classmethod
    def take(cls, path: str, *, owner: str) -> Self:
        """Hold the lock or raise JournalLocked with the holder's name and pid."""
        lock_path = f"{path}.lock"
        fd = os.open(lock_path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            holder = os.pread(fd, 512, 0).decode("utf-8", "replace").strip()
            os.close(fd)
            if error.errno not in (errno.EWOULDBLOCK, errno.EACCES):
                raise
            raise JournalLocked(path, holder=holder or "another process") from None
        with contextlib.suppress(OSError):  # a full disk: the lock holds, only its note is missing
            os.ftruncate(fd, 0)
            os.pwrite(fd, f"{owner} (pid {os.getpid()})\n".encode(), 0)
        return cls(fd)

    def release(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


class Reserve:
    """A file that keeps some space for the writes which lead to freeing space.

    On a full disk a delete must record its intent before it can free anything; giving up the reserve makes
    room for that.
    """

    def __init__(self, path: str, *, size_bytes: int = RESERVE_BYTES) -> None:
        self._path = f"{path}.reserve"
        self._size_bytes = size_bytes

    def fill(self) -> bool:
        """Take the space if it is free; says whether the reserve is there now."""
        fd = -1
        try:
            fd = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            os.posix_fallocate(fd, 0, self._size_bytes)
        except OSError:
            with contextlib.suppress(OSError):
                os.unlink(self._path)
            return False
        finally:
            if fd >= 0:
                os.close(fd)
        return True

    def release(self) -> bool:
        """Give the space up; says whether there was any."""
        try:
            os.unlink(self._path)
        except OSError:
            return False
        return True
