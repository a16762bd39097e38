"""From a volume's bytes to a mounted file system: attach, prove blankness, make, check, mount, grow.

Each function is one blocking step that is safe to repeat; the order, and the rows written between
them, are `staging.py`'s. A device is formatted only when it is proved to be blank, or when a row
says that our own mkfs was interrupted and what is there is no file system: mkfs of ext4, xfs and
btrfs all write the mark of a complete file system last.
"""

from __future__ import annotations

import errno
import os
import stat

from moorage.base.faults import declare_step
from moorage.base.log import get_logger
from moorage.framework.source import BlockDevice, ImageFile, RootOwnership, Source
from moorage.host import loop
from moorage.host.device import inspect_device, size_of
from moorage.host.filesystem import (
    MINIMUM_BYTES,
    check_filesystem,
    ensure_filesystem,
    grow_filesystem,
    minimum_bytes,
)
from moorage.host.mount import ensure_bind_flags, ensure_bind_mounted, ensure_mounted, is_mount_of_device
from moorage.host.mountinfo import find_mount, read_mounts
from moorage.host.mountoptions import MS_RDONLY
from moorage.host.probe import Blank, Unreadable, probe
from moorage.host.signature import Known
from moorage.spec.errors import FailedPrecondition, InvalidArgument, Unavailable, VolumeInUse
from moorage.spec.types import MountAccess

log = get_logger(__name__)

_MAX_GID = (1 << 32) - 2
_DELETED = " (deleted)"  # what the kernel puts behind the name of a backing file that was removed

ATTACHED = declare_step("node.stage.attached", "the image file has its loop device")
FORMATTED = declare_step("node.stage.formatted", "the device has its file system")
MOUNTED = declare_step("node.stage.mounted", "the file system is mounted at the staging path")
DETACHED = declare_step("node.unstage.detached", "the image file has lost its loop device")


def attach(source: Source) -> str:
    """The device that shows the volume, attached if need be; empty for what is a file system already."""
    match source:
        case ImageFile(path=path, direct_io=direct_io, read_ahead_kib=read_ahead):
            with ATTACHED:
                device = loop.attach(str(path), direct_io=direct_io)
            if read_ahead is not None:
                loop.ensure_read_ahead(device.path, read_ahead)
            return device.path
        case BlockDevice(path=path):
            return str(path)
        case _:
            return ""


def detach(source_path: str) -> bool:
    """Give back the loop devices of an image file, which may have been removed by hand; False when there were none.

    Raises VolumeInUse for one that is mounted or bound, and OSError.
    """
    if os.path.exists(source_path) and not os.path.isfile(source_path):
        return False
    inode = _inode(source_path)
    removed = os.path.abspath(source_path) + _DELETED
    shown = [d for d in loop.list_loops() if (d.backing == inode and d.whole_file) or d.backing_path == removed]
    for device in shown:
        if users := users_of(device.path):
            raise VolumeInUse(f"{device.path} is still in use at {users[0]}; unpublish the volume there first")
    gone = False
    for device in shown:
        with DETACHED:
            gone |= loop.detach(
                device.path, expected_backing=source_path if device.backing == inode else device.backing
            )
    return gone


def _inode(path: str) -> tuple[int, int] | None:
    try:
        info = os.stat(path)
    except OSError:
        return None
    return info.st_dev, info.st_ino


def users_of(device: str) -> list[str]:
    """Where the device is mounted or its node is bound: detaching it there would pull it from under its user."""
    node = f"/{os.path.basename(device)}"
    return [
        entry.mount_point
        for entry in read_mounts()
        if is_mount_of_device(entry, device) or (entry.fs_type in ("devtmpfs", "tmpfs") and entry.root == node)
    ]


def file_system_to_make(device: str, wanted: str, default: str, *, interrupted: str) -> str:
    """The file system that must be made on the device; empty when it has one that will do.

    Raises `FailedPrecondition` when the device holds something else: it is never formatted then.
    """
    match probe(device):
        case Known(fs_type=fs_type) if fs_type in MINIMUM_BYTES and wanted in ("", fs_type):
            return ""
        case Known(fs_type=fs_type):
            raise FailedPrecondition(
                f"the volume holds {fs_type} and not {wanted or default}; it is never formatted again"
            )
        case Blank():
            return _fitting(device, wanted or interrupted or default)
        case Unreadable(reason=reason):
            raise Unavailable(f"the volume cannot be examined ({reason}); repair its storage and repeat the call")
        case _ if interrupted:
            return _fitting(device, wanted or interrupted)
        case _:
            raise FailedPrecondition("the volume holds data in no known format; it is never formatted")


def _fitting(device: str, fs_type: str) -> str:
    """The file system, if the device has room for it. Raises `FailedPrecondition`."""
    if (size := size_of(device)) < minimum_bytes(fs_type):
        raise FailedPrecondition(
            f"the volume has {size} bytes and {fs_type} needs {minimum_bytes(fs_type)}; expand it or use another type"
        )
    return fs_type


def format_device(device: str, fs_type: str, *, interrupted: bool) -> None:
    """Make a file system on a device that `file_system_to_make` has cleared for it."""
    with FORMATTED:
        ensure_filesystem(device, fs_type, leftovers_are_ours=interrupted)
    log.info("volume.formatted", device=device, fs_type=fs_type)


def mount_device(device: str, path: str, access: MountAccess) -> None:
    """Have the file system checked and mounted at `path`; nothing to do when it is mounted there."""
    found = probe(device)
    if not isinstance(found, Known):
        raise FailedPrecondition("the volume has no file system to mount; it changed while it was being staged")
    options = list(access.mount_flags)
    if inspect_device(device).readonly and "ro" not in options:
        options.append("ro")
    if find_mount(path) is None and "ro" not in options and not users_of(device):
        check_filesystem(device, found.fs_type)
        if found.fs_type.startswith("ext"):
            grow_filesystem(device, found.fs_type, mount_point=None)
    try:
        with MOUNTED:
            ensure_mounted(device, path, fs_type=found.fs_type, options=options)
    except OSError as error:
        if error.errno != errno.EINVAL or not access.mount_flags:
            raise
        raise InvalidArgument(
            f"the {found.fs_type} file system of the volume does not take its mount flags; change them"
        ) from error


def bind_directory(source: str, path: str, flags: int) -> None:
    """Have the directory bound at `path` with the `flags` of `bind_flags`."""
    with MOUNTED:
        ensure_bind_mounted(source, path, readonly=bool(flags & MS_RDONLY))
        ensure_bind_flags(path, flags)


def grow_mounted(device: str, path: str) -> bool:
    """Grow a mounted file system that is smaller than its device; says whether it grew.

    ext4 was grown before its mount: without CAP_SYS_RESOURCE the kernel grows it in no other state.
    """
    entry = find_mount(path)
    if entry is None or entry.readonly:
        return False
    return grow_filesystem(device, entry.fs_type, mount_point=path)


def own_root(path: str, root: RootOwnership) -> None:
    """Give the root directory of a new file system its owner and mode."""
    if root.uid is not None or root.gid is not None:
        os.chown(path, -1 if root.uid is None else root.uid, -1 if root.gid is None else root.gid)
    if root.mode is not None:
        os.chmod(path, root.mode)


def give_to_group(path: str, group: str) -> None:
    """`volume_mount_group`: the root belongs to the group, which can read and write, as do new entries."""
    if not group:
        return
    if not (group.isascii() and group.isdecimal() and len(group) <= 10 and int(group) <= _MAX_GID):
        raise FailedPrecondition(
            f"volume_mount_group {group!r} is no group id; this driver needs a number up to {_MAX_GID}"
        )
    entry = find_mount(path)
    if entry is not None and entry.readonly:
        return
    gid, info = int(group), os.stat(path)
    mode = stat.S_IMODE(info.st_mode) | stat.S_ISGID | stat.S_IRWXG
    if info.st_gid != gid:
        os.chown(path, -1, gid)
    if stat.S_IMODE(info.st_mode) != mode:
        os.chmod(path, mode)
