"""Removes what an object consists of, however far its creation came: looks at what is there, not at what should be.

Nothing that is in use is removed. Loop devices that a killed process left on an image go with it.
"""

from __future__ import annotations

import errno
import os
from pathlib import Path

from moorage.base.faults import declare_step
from moorage.drivers.local.backend import DATA, IMAGE
from moorage.drivers.local.subvolume import delete_subvolume, make_writable
from moorage.drivers.local.tree import remove_tree
from moorage.drivers.local.use import find_mount_of, image_uses
from moorage.host.loop import detach, list_loops
from moorage.spec.errors import VolumeInUse

REMOVED = declare_step("local.object.removed", "nothing is left of a retired or unfinished object")


def refuse_if_used(place: Path, *, what: str) -> None:
    """Raise VolumeInUse when the object's file system or directory is mounted somewhere. Raises OSError."""
    image, data = place / IMAGE, place / DATA
    used_at: str | None = None
    if os.path.lexists(image):
        used_at = next(iter(image_uses([image])[0].mount_points), None)
    elif os.path.lexists(data):
        used_at = find_mount_of(data)
    if used_at is not None:
        raise VolumeInUse(f"{what} is mounted at {used_at}; unpublish and unstage it first")


def destroy(place: Path) -> None:
    """Remove the directory of an object with all it holds; what is gone is fine.

    Raises VolumeInUse when a loop device on its image is held, and OSError.
    """
    with REMOVED:
        if os.path.lexists(place):
            clear(place)
            place.rmdir()


def clear(place: Path) -> None:
    """Empty the directory of an object, which stays. Raises as `destroy` does."""
    _detach_loops(place / IMAGE)
    data = place / DATA
    try:
        delete_subvolume(data)
    except OSError as error:
        if error.errno != errno.ENOTEMPTY:
            raise
        make_writable(data)  # a user made subvolumes inside, which go with the tree
        remove_tree(data, what=place.name, subvolumes=True)
    for path in place.iterdir():
        if path.is_dir() and not path.is_symlink():
            remove_tree(path, what=place.name)
        else:
            path.unlink()


def _detach_loops(image: Path) -> None:
    try:
        info = os.stat(image, follow_symlinks=False)
    except (FileNotFoundError, NotADirectoryError):
        return
    identity = (info.st_dev, info.st_ino)
    for device in list_loops():
        if device.backing == identity:
            try:
                detach(device.path, expected_backing=identity)
            except OSError as error:
                if error.errno == errno.EBUSY:
                    raise VolumeInUse(f"{image.parent.name} is in use by {device.path}; unmount it first") from error
                raise
