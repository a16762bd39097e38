"""Mounts, bind mounts and unmounts, idempotent, without mount(8).

Targets are opened with O_PATH | O_NOFOLLOW and mounted on through that descriptor, so a symlink put in the
place of a target between check and use is refused instead of followed. Nothing here waits for a network:
mounts that may do so go through `moorage.host.helper`. Errors name the path, never options, which may hold
secrets.
"""

from __future__ import annotations

import contextlib
import errno
import os
import posixpath
import stat
from collections.abc import Iterable, Iterator
from typing import Final

from moorage.host import syscalls
from moorage.host.mountinfo import MountEntry, covering_mount, find_mount, mounts_below, read_mounts
from moorage.host.mountoptions import (
    MS_BIND,
    MS_RDONLY,
    MS_REMOUNT,
    added_to_bind,
    flags_of_entry,
    parse_mount_options,
)

__all__ = [
    "bind_mount",
    "ensure_bind_file",
    "ensure_bind_flags",
    "ensure_bind_mounted",
    "ensure_mounted",
    "ensure_readonly",
    "ensure_unmounted",
    "find_mount",
    "is_mount_of_device",
    "mount_filesystem",
    "mounts_below",
]

MNT_DETACH: Final = 2
UMOUNT_NOFOLLOW: Final = 8
_MAX_LAYERS: Final = 128
_NEW_API_MISSING: Final = (errno.ENOSYS, errno.EPERM, errno.EOPNOTSUPP)

_HINTS: Final = {
    errno.EINVAL: "the superblock or an option is not valid for this type; look at the kernel log",
    errno.ENODEV: "the kernel does not know this file system type; load its module",
    errno.ENOENT: "create the missing file or directory first",
    errno.ENOTDIR: "source and target must both be directories or both be files",
    errno.EBUSY: "something still uses it; find the user with `fuser -vm` and stop it",
    errno.EPERM: "run as root with CAP_SYS_ADMIN in the host's mount namespace",
    errno.ELOOP: "the target is a symbolic link; remove the link",
    errno.EROFS: "the device is read-only; ask for a read-only mount",
}


def _explained(error: OSError, what: str) -> OSError:
    code = error.errno or errno.EIO
    hint = _HINTS.get(code, "look at the kernel log for the reason")
    return OSError(code, f"{what} failed: {os.strerror(code)}; {hint}")


@contextlib.contextmanager
def _pinned(target: str) -> Iterator[int]:
    """An O_PATH descriptor of `target`, whose last component must not be a symbolic link."""
    follow = 0 if target.startswith("/proc/self/fd/") else os.O_NOFOLLOW
    fd = os.open(target, os.O_PATH | os.O_CLOEXEC | follow)
    try:
        if stat.S_ISLNK(os.fstat(fd).st_mode):
            raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), target)
        yield fd
    finally:
        os.close(fd)


def mount_filesystem(device: str, target: str, *, fs_type: str, flags: int = 0, data: str = "") -> None:
    """Mount `device` on the existing directory `target`.

    Raises OSError; not idempotent, see `ensure_mounted`.
    """
    try:
        with _pinned(target) as fd:
            syscalls.mount(device, f"/proc/self/fd/{fd}", fs_type=fs_type, flags=flags, data=data or None)
    except OSError as error:
        raise _explained(error, f"mounting {device} ({fs_type}) on {target}") from None


def ensure_mounted(device: str, target: str, *, fs_type: str, options: Iterable[str] = ()) -> bool:
    """Have the block device `device` mounted on `target`; False when it already is, whatever its options.

    Raises OSError: EEXIST when something else is mounted there. Raises ValueError for an option that is no
    option.
    """
    parsed = parse_mount_options(options)
    entry = find_mount(target)
    if entry is not None:
        if is_mount_of_device(entry, device) and (entry.root == "/" or entry.fs_type == "btrfs"):
            return False
        raise OSError(
            errno.EEXIST,
            f"{target} already holds a mount of {entry.source or entry.fs_type}; unmount it first",
        )
    mount_filesystem(device, target, fs_type=fs_type, flags=parsed.flags, data=parsed.data)
    return True


def is_mount_of_device(entry: MountEntry, device: str) -> bool:
    """Whether `entry` shows the file system on block device `device` (btrfs hides its device number: by
    source).
    """
    number = os.stat(device).st_rdev
    if entry.device == f"{os.major(number)}:{os.minor(number)}":
        return True
    if not entry.source.startswith("/"):
        return False
    try:
        found = os.stat(entry.source)
    except OSError:
        return False
    return stat.S_ISBLK(found.st_mode) and found.st_rdev == number


def bind_mount(source: str, target: str, *, readonly: bool = False) -> None:
    """Bind `source` (a directory or a file) on the existing `target` of the same kind.

    A read-only bind is never visible as writable where the kernel has mount_setattr (5.12); before, a remount
    follows the bind. nosuid, nodev, noexec and atime settings of the source's mount are kept. Raises OSError;
    not idempotent, see `ensure_bind_mounted`.
    """
    try:
        with _pinned(target) as fd:
            if not _bind_detached(source, fd, readonly=readonly):
                syscalls.mount(source, f"/proc/self/fd/{fd}", fs_type=None, flags=MS_BIND, data=None)
                if readonly:
                    ensure_readonly(target, True)
    except OSError as error:
        raise _explained(error, f"binding {source} on {target}") from None


def _bind_detached(source: str, target_fd: int, *, readonly: bool) -> bool:
    """Prepare the bind off-tree and attach it finished; False when the kernel or a filter lacks these calls."""
    try:
        tree = syscalls.open_tree_clone(source)
    except OSError as error:
        if error.errno in _NEW_API_MISSING:
            return False
        raise
    try:
        if readonly:
            syscalls.set_mount_attributes(tree, attr_set=syscalls.MOUNT_ATTR_RDONLY)
        syscalls.attach_mount(tree, target_fd)
    except OSError as error:
        if error.errno in _NEW_API_MISSING:
            return False
        raise
    finally:
        os.close(tree)
    return True


def ensure_readonly(path: str, readonly: bool) -> bool:
    """Make the mount at `path` read-only or writable, keeping its other per-mount flags; False when it
    already is.

    Only this mount changes, not the superblock. Raises OSError: EINVAL when nothing is mounted there.
    """
    entry = find_mount(path)
    if entry is None:
        raise OSError(errno.EINVAL, f"nothing is mounted on {path}; mount it before changing its flags")
    if ("ro" in entry.options) == readonly:
        return False
    keep = flags_of_entry(entry.options) & ~MS_RDONLY
    _remount(entry, keep | (MS_RDONLY if readonly else 0))
    return True


def ensure_bind_flags(path: str, flags: int) -> bool:
    """Have the bind mount at `path` with these flags (`bind_flags`) too; False when it has them already.

    Restrictions that it has are never lifted, and its superblock stays as it is. Raises OSError: EINVAL when
    nothing is mounted there.
    """
    entry = find_mount(path)
    if entry is None:
        raise OSError(errno.EINVAL, f"nothing is mounted on {path}; mount it before changing its flags")
    present = flags_of_entry(entry.options)
    wanted = added_to_bind(present, flags)
    if wanted == present:
        return False
    _remount(entry, wanted)
    return True


def _remount(entry: MountEntry, flags: int) -> None:
    try:
        syscalls.mount(None, entry.mount_point, fs_type=None, flags=MS_REMOUNT | MS_BIND | flags, data=None)
    except OSError as error:
        raise _explained(error, f"remounting {entry.mount_point}") from None


def ensure_bind_mounted(source: str, target: str, *, readonly: bool = False) -> bool:
    """Have `source` bound on `target` with the asked access; False when nothing had to change.

    Finishes a bind whose read-only step was lost to a crash. Raises OSError: EEXIST when something else is
    mounted.
    """
    mounts = read_mounts()
    entry = find_mount(target, mounts=mounts)
    if entry is None:
        bind_mount(source, target, readonly=readonly)
        return True
    if entry.root_deleted or (entry.device, entry.root) != _expected_bind(source, mounts):
        raise OSError(
            errno.EEXIST,
            f"{target} already holds a mount of {entry.source}, not of {source}; unmount it first",
        )
    return ensure_readonly(target, readonly)


def _expected_bind(source: str, mounts: list[MountEntry]) -> tuple[str, str]:
    """Device number and root that mountinfo would show for a bind of `source`."""
    path = os.path.realpath(source)
    entry = covering_mount(path, mounts=mounts)
    if entry is None:
        raise OSError(errno.ENOENT, f"{source} lies in no mount of this namespace; check the path")
    inside = os.path.relpath(path, entry.mount_point)
    return entry.device, posixpath.normpath(posixpath.join(entry.root, inside))


def ensure_bind_file(device: str, target: str, *, readonly: bool = False) -> bool:
    """Publish a block device: bind its node on the regular file `target`, made if missing; False if already
    so.

    `readonly` is the mount's flag only: it does not stop writes to a device node, set the device itself
    read-only for that. The parent directory must exist. Raises OSError: EEXIST when `target` is something
    else.
    """
    if not stat.S_ISBLK(os.stat(device).st_mode):
        raise OSError(errno.ENOTBLK, f"{device} is no block device; check the path")
    if find_mount(target) is None:
        fd = os.open(target, os.O_CREAT | os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK, 0o660)
        try:
            info = os.fstat(fd)
            if not stat.S_ISREG(info.st_mode) or info.st_size:
                raise OSError(errno.EEXIST, f"{target} is no empty regular file; give another path")
        finally:
            os.close(fd)
    return ensure_bind_mounted(device, target, readonly=readonly)


def ensure_unmounted(path: str, *, lazy: bool = False) -> bool:
    """Remove every mount stacked at `path`; False when there was none. Mounts below are not touched.

    With `lazy` the mount leaves the tree at once and the kernel finishes when its last user goes. Raises
    OSError: EBUSY while in use.
    """
    changed = False
    for _ in range(_MAX_LAYERS):
        entry = find_mount(path)
        if entry is None:
            return changed
        try:
            syscalls.umount2(entry.mount_point, UMOUNT_NOFOLLOW | (MNT_DETACH if lazy else 0))
        except OSError as error:
            if error.errno not in (errno.EINVAL, errno.ENOENT):
                raise _explained(error, f"unmounting {path}") from None
            if find_mount(path) == entry:
                raise _explained(error, f"unmounting {path}") from None
        changed = True
    raise OSError(errno.EBUSY, f"{path} still holds a mount after {_MAX_LAYERS} layers; find who keeps mounting it")
