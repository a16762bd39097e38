"""What really is at a path: rows say what to look for, the mount table proves it.

Nothing is ever unmounted, measured or grown on the word of a request alone: either a row says that
the mount is ours, or the mount proves it. For after the journal was lost, a mount can still be proved
to be a volume's: its device shows the file or device where the driver finds the volume. Blocking
functions, to be run in a thread.
"""

from __future__ import annotations

import os
import stat

from moorage.framework.device_mount import users_of
from moorage.framework.source import BlockDevice, Directory, ImageFile, NetworkMount, Source
from moorage.host import loop
from moorage.host.mount import is_mount_of_device
from moorage.host.mountinfo import MountEntry, covering_mount, find_mount, read_mounts
from moorage.host.network import shows_source


def mount_at(path: str) -> MountEntry | None:
    """The mount that is on top at this path."""
    return find_mount(path)


def device_showing(source: Source | None) -> str | None:
    """The device node that shows the volume now; None when there is none, or the volume has no device."""
    match source:
        case ImageFile(path=path):
            found = loop.find_loop(str(path)) if path.exists() else None
            return found.path if found is not None else None
        case BlockDevice(path=path):
            return str(path) if path.exists() else None
        case _:
            return None


def shows_volume(path: str, source: Source | None) -> bool:
    """Whether what is mounted at `path` is the volume that lives in `source`; a network mount is not looked at."""
    entry = find_mount(path)
    if entry is None or source is None:
        return False
    if isinstance(source, NetworkMount):
        return shows_source(entry, source.source, fs_type=source.fs_type)
    if isinstance(source, Directory):
        return source.path.exists() and _same_directory(path, str(source.path))
    device = device_showing(source)
    if device is None:
        return False
    if is_mount_of_device(entry, device):
        return True
    bound = bound_device(path)
    return bound is not None and bound in (_number(device), *map(_number, readers_of(device)))


def places_of(source: Source) -> list[str]:
    """Every path of this node at which the volume is mounted or its device bound; a dead server cannot block it."""
    if isinstance(source, NetworkMount):
        return [e.mount_point for e in read_mounts() if shows_source(e, source.source, fs_type=source.fs_type)]
    if isinstance(source, Directory):
        return _binds_of(os.path.realpath(source.path))
    device = device_showing(source)
    return users_of(os.path.realpath(device)) if device is not None else []


def _binds_of(directory: str) -> list[str]:
    """Where a directory is bound; the mount in which it lies is none of them."""
    mounts = read_mounts()
    home = covering_mount(directory, mounts=mounts)
    if home is None:
        return []
    root = os.path.normpath(os.path.join(home.root, os.path.relpath(directory, home.mount_point)))
    same = (home.device, root)
    return [e.mount_point for e in mounts if (e.device, e.root) == same and e.mount_point != directory]


def readers_of(device: str) -> list[str]:
    """The read-only loop devices that show this device: made for the read-only targets of a block volume."""
    info = os.stat(device)
    own = (info.st_dev, info.st_ino)
    return [found.path for found in loop.list_loops() if found.readonly and found.backing == own]


def bound_device(path: str) -> int | None:
    """The number of the block device whose node is bound at `path`; None for anything else."""
    try:
        found = os.lstat(path)
    except OSError:
        return None
    return found.st_rdev if stat.S_ISBLK(found.st_mode) else None


def _number(device: str) -> int | None:
    try:
        return os.stat(device).st_rdev
    except OSError:
        return None


def _same_directory(a: str, b: str) -> bool:
    first, second = os.stat(a), os.stat(b)
    return (first.st_dev, first.st_ino) == (second.st_dev, second.st_ino)
