"""File-system paths handled so that symlinks cannot mislead and crashes cannot tear.

Nothing here deletes recursively, and nothing removes a path before proving that it is no mount point.
"""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import stat
from typing import Final

from moorage.host import syscalls
from moorage.host.mountinfo import find_mount

_CANNOT_BE_THERE: Final = (errno.ENOENT, errno.ENOTDIR, errno.ENAMETOOLONG, errno.ELOOP)
_NO_OPENAT2: Final = (errno.ENOSYS, errno.EPERM)


def open_beneath(root: str, path: str, *, flags: int = os.O_PATH) -> int:
    """Open `path`, relative to `root`, refusing every symlink and every way out of `root`.

    The descriptor stays right whatever happens to the names afterwards; the caller closes it. `root` itself
    is trusted. Raises OSError: EXDEV for an absolute path or one with `..` leading out, ELOOP at a symlink.
    """
    root_fd = os.open(root, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        resolve = syscalls.RESOLVE_BENEATH | syscalls.RESOLVE_NO_SYMLINKS | syscalls.RESOLVE_NO_MAGICLINKS
        return syscalls.openat2(root_fd, path, flags=flags, resolve=resolve)
    except OSError as error:
        if error.errno not in _NO_OPENAT2:
            code = error.errno or errno.EIO
            raise OSError(code, f"{path!r} cannot be opened beneath {root}: {os.strerror(code)}") from None
        return _walk_beneath(root_fd, path, flags=flags)
    finally:
        os.close(root_fd)


def _walk_beneath(root_fd: int, path: str, *, flags: int) -> int:
    """What openat2 does, one component at a time, for kernels or containers without it.

    `..` is refused outright.
    """
    parts = [part for part in path.split("/") if part not in ("", ".")]
    if path.startswith("/") or ".." in parts:
        raise OSError(errno.EXDEV, f"{path!r} leads out of its root; use a path relative to the root without '..'")
    current = os.dup(root_fd)
    try:
        for index, part in enumerate(parts):
            last = index == len(parts) - 1
            how = flags if last else os.O_PATH | os.O_DIRECTORY
            opened = os.open(part, how | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=current)
            os.close(current)
            current = opened
            if stat.S_ISLNK(os.fstat(current).st_mode):
                raise OSError(errno.ELOOP, f"{path!r} goes through the symlink {part!r}; symlinks are refused here")
        if not parts:
            return os.open(".", flags | os.O_CLOEXEC, dir_fd=current)
        result, current = current, -1
        return result
    finally:
        if current >= 0:
            os.close(current)


def resolve_beneath(root: str, path: str) -> str:
    """The real path of the existing `path` beneath `root`. Raises as `open_beneath` does.

    True at the moment of the call; where others may rename things in between, keep `open_beneath`'s
    descriptor.
    """
    fd = open_beneath(root, path)
    try:
        return os.readlink(f"/proc/self/fd/{fd}")
    finally:
        os.close(fd)


def ensure_directory(path: str, *, mode: int = 0o755) -> bool:
    """Have a real directory at `path` (parents too); False when it was there. `mode` is set exactly, on new
    ones.

    Raises OSError: ENOTDIR when a file or a symlink is there. A mount point is accepted without looking into
    it.
    """
    if find_mount(path) is not None:
        return False
    try:
        info = os.lstat(path)
    except FileNotFoundError:
        pass
    else:
        if not stat.S_ISDIR(info.st_mode):
            raise OSError(errno.ENOTDIR, f"{path} exists and is no directory; remove it first")
        return False
    parent = os.path.dirname(os.path.abspath(path))
    if parent != path:
        os.makedirs(parent, exist_ok=True)
    try:
        os.mkdir(path, 0o700)
    except FileExistsError:
        return ensure_directory(path, mode=mode)
    os.chmod(path, mode)
    return True


def ensure_removed_target(path: str) -> bool:
    """Remove an empty directory or an empty regular file that once was a mount's target; False when it is
    gone.

    Raises OSError and removes nothing: EBUSY when something is mounted there, ENOTEMPTY when it holds data,
    EINVAL for anything else (a symlink, a device, a socket).
    """
    if find_mount(path) is not None:
        raise OSError(errno.EBUSY, f"{path} is still a mount point; unmount it before removing it")
    try:
        info = os.lstat(path)
        if stat.S_ISDIR(info.st_mode):
            os.rmdir(path)
        elif not stat.S_ISREG(info.st_mode):
            raise OSError(errno.EINVAL, f"{path} is neither a directory nor a file; look at what it is")
        elif info.st_size:
            raise OSError(errno.ENOTEMPTY, f"{path} is a file with data in it; move the data away first")
        else:
            os.unlink(path)
    except OSError as error:
        if error.errno in _CANNOT_BE_THERE:
            return False
        if error.errno == errno.ENOTEMPTY and error.filename is not None:
            raise OSError(errno.ENOTEMPTY, f"{path} is not empty; move the data away first") from None
        raise
    return True


def fsync_directory(path: str) -> None:
    """Make creations, renames and removals in directory `path` durable. Raises OSError."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def rename_durably(source: str, target: str) -> None:
    """Rename over `target` and make it survive a power cut; the content must have been synced before."""
    os.rename(source, target)
    directories = {os.path.dirname(os.path.abspath(source)), os.path.dirname(os.path.abspath(target))}
    for directory in sorted(directories):
        fsync_directory(directory)


def write_atomically(path: str, data: bytes, *, mode: int = 0o600) -> None:
    """Replace the file at `path` so that readers, even after a power cut, see the old or the new content
    whole.

    A crash may leave a hidden file named like the target with a `.tmp` ending beside it. Raises OSError.
    """
    directory, name = os.path.split(os.path.abspath(path))
    temporary = os.path.join(directory, f".{name}.{secrets.token_hex(4)}.tmp")
    fd = os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, mode)
    try:
        try:
            os.fchmod(fd, mode)
            with open(fd, "wb", closefd=False) as file:
                file.write(data)
            os.fsync(fd)
        finally:
            os.close(fd)
        rename_durably(temporary, path)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary)
        raise
