"""Finds out whether something works on a volume now, and holds its writers for the moment of a cut.

An image is in use through its loop device, found by the inode behind it; a directory through mounts of it elsewhere.
A file system on an image is frozen, dirty data of a raw block device is written out; both only as long as needed.
"""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Final

from msgspec import Struct

from moorage.base.log import get_logger
from moorage.host.freeze import AlreadyFrozen, FreezeExpired, ensure_thawed, frozen
from moorage.host.loop import LoopDevice, list_loops
from moorage.host.mountinfo import MountEntry, covering_mount, read_mounts
from moorage.spec.errors import OperationPending, Unavailable

CLONE_FREEZE_S: Final = 20.0
COPY_FREEZE_S: Final = 900.0
_LOOP_MAJOR: Final = 7
_GONE: Final = (errno.EINVAL, errno.ENOENT, errno.ENXIO, errno.EIO)
_released: Final = threading.Condition()
_holding: Final[set[str]] = set()

log = get_logger(__name__)


class ImageUse(Struct, frozen=True):
    """How an image file is in use: its loop device, and where the file system on that is mounted."""

    loop: LoopDevice | None = None
    mount_points: tuple[str, ...] = ()

    @property
    def is_raw(self) -> bool:
        """Attached, but not mounted: whoever writes there cannot be held."""
        return self.loop is not None and not self.mount_points


def image_uses(images: Sequence[Path]) -> list[ImageUse]:
    """How each image is in use, by one look at all loop devices and mounts. Raises OSError."""
    loops = {device.backing: device for device in list_loops()}
    mounts = read_mounts()
    uses = []
    for image in images:
        info = os.stat(image)
        device = loops.get((info.st_dev, info.st_ino))
        points: tuple[str, ...] = ()
        if device is not None:
            number = f"{_LOOP_MAJOR}:{device.number}"
            points = tuple(m.mount_point for m in mounts if _shows(m, number, device.path) and not m.deleted)
        uses.append(ImageUse(device, points))
    return uses


def _shows(entry: MountEntry, number: str, device: str) -> bool:
    """btrfs reports an anonymous device number, so its source is looked at instead."""
    return entry.device == number or (entry.fs_type == "btrfs" and entry.source == device)


@contextmanager
def held(uses: Iterable[ImageUse], *, max_s: float) -> Iterator[None]:
    """Hold the file systems on these images still for the body. Raises Unavailable when that cannot be had."""
    points: list[str] = []
    try:
        with ExitStack() as stack:
            with _still_in_use():
                for use in uses:
                    points += use.mount_points
                    if use.loop is not None and not use.mount_points:
                        _write_out(use.loop.path)
                if points:
                    stack.enter_context(_one_at_a_time(points))
                    stack.enter_context(frozen(points, max_s=max_s))
            yield
    except AlreadyFrozen as error:
        raise Unavailable(f"a file system of the volume is frozen by somebody else: {error.strerror}") from error
    except FreezeExpired as error:
        raise Unavailable(f"the cut took longer than a file system may be frozen ({max_s:g} s); repeat it") from error


@contextmanager
def _still_in_use() -> Iterator[None]:
    """What was found in use may be unmounted and detached before it can be held. Raises OperationPending then."""
    try:
        yield
    except OSError as error:
        if error.errno not in _GONE:
            raise
        raise OperationPending("the volume is being unstaged; repeat the call when that is done") from error


@contextmanager
def _one_at_a_time(points: Iterable[str]) -> Iterator[None]:
    """Wait while another cut of this process holds one of these; all are taken at once, so nobody waits in a ring."""
    wanted = set(points)
    with _released:
        if not _released.wait_for(lambda: not wanted & _holding, timeout=CLONE_FREEZE_S):
            raise Unavailable("another snapshot or clone holds the volume's file system; repeat the call later")
        _holding.update(wanted)
    try:
        yield
    finally:
        with _released:
            _holding.difference_update(wanted)
            _released.notify_all()


def _write_out(device: str) -> None:
    fd = os.open(device, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def thaw_all(uses: Iterable[ImageUse]) -> list[str]:
    """Thaw what a freezer that was killed together with its guard left frozen; the mount points thawed."""
    return [point for use in uses for point in use.mount_points[:1] if ensure_thawed(point)]


def find_mount_of(directory: Path) -> str | None:
    """A place where `directory`, or something inside it, is mounted; None when it is nowhere. Raises OSError."""
    mounts = read_mounts()
    real = os.path.realpath(directory)
    home = covering_mount(real, mounts=mounts)
    if home is None:
        return None
    inside = os.path.normpath(os.path.join(home.root, os.path.relpath(real, home.mount_point)))
    for entry in mounts:
        if entry.device == home.device and (entry.root == inside or entry.root.startswith(f"{inside}/")):
            return entry.mount_point
        if entry.mount_point == real or entry.mount_point.startswith(f"{real}/"):
            return entry.mount_point
    return None
