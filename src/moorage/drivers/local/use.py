"""Finds out whether something works on a volume now, and holds its writers for the moment of a cut.

An image is in use through its loop device, found by the inode behind it; a directory through mounts of it elsewhere.
A file system on an image is frozen, dirty data of a raw block device is written out; both only as long as needed.
"""

from __future__ import annotations

import errno
import os
import threading
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Final

from msgspec import Struct

from moorage.base.log import get_logger
from moorage.host.freeze import AlreadyFrozen, FreezeExpired, ensure_thawed, frozen
from moorage.host.loop import LoopDevice, list_loops
from moorage.host.mountinfo import MountEntry, covering_mount, read_mounts
from moorage.host.syscalls import syncfs
from moorage.spec.errors import FailedPrecondition, OperationPending, Unavailable

CLONE_FREEZE_S: Final = 20.0
COPY_FREEZE_S: Final = 900.0
_LOOP_MAJOR: Final = 7
_GONE: Final = frozenset({errno.EINVAL, errno.ENOENT, errno.ENXIO})
_BROKEN: Final = frozenset({errno.EIO, errno.EROFS, errno.EUCLEAN, errno.ESHUTDOWN})
_released: Final = threading.Condition()
_holding: Final[set[str]] = set()

log = get_logger(__name__)


class ImageUse(Struct, frozen=True):
    """How an image file is in use: its loop device, and where the file system on that is mounted."""

    loop: LoopDevice | None = None
    mount_points: tuple[str, ...] = ()
    image: Path | None = None

    @property
    def is_raw(self) -> bool:
        """Attached, but not mounted: whoever writes there cannot be held."""
        return self.loop is not None and not self.mount_points


class Sight(Struct, frozen=True):
    """All loop devices by what is behind them, and all mounts, at one moment."""

    loops: Mapping[tuple[int, int], LoopDevice]
    mounts: Sequence[MountEntry]


def look() -> Sight:
    """What there is now. Raises OSError."""
    return Sight({device.backing: device for device in list_loops()}, read_mounts())


class Glance:
    """A sight that is taken once for all who wait for one; it costs as much as there are loop devices and mounts."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._sight: Sight | None = None
        self._begun_s = 0.0

    def take(self) -> Sight:
        """What there is now: never what there was before the call. Raises OSError."""
        asked_s = time.monotonic()
        with self._lock:
            if self._sight is None or self._begun_s < asked_s:
                self._begun_s = time.monotonic()
                self._sight = look()
            return self._sight


def image_uses(images: Sequence[Path], *, sight: Sight | None = None) -> list[ImageUse]:
    """How each image is in use, by one look at all loop devices and mounts. Raises OSError."""
    seen = sight or look()
    uses = []
    for image in images:
        info = os.stat(image)
        device = seen.loops.get((info.st_dev, info.st_ino))
        points: tuple[str, ...] = ()
        if device is not None:
            number = f"{_LOOP_MAJOR}:{device.number}"
            points = tuple(m.mount_point for m in seen.mounts if _shows(m, number, device.path) and not m.deleted)
        uses.append(ImageUse(device, points, image))
    return uses


def _shows(entry: MountEntry, number: str, device: str) -> bool:
    """btrfs reports an anonymous device number, so its source is looked at instead."""
    return entry.device == number or (entry.fs_type == "btrfs" and entry.source == device)


@contextmanager
def held(uses: Iterable[ImageUse], *, max_s: float) -> Iterator[None]:
    """Hold the file systems on these images still for the body. Raises Unavailable when that cannot be had.

    Raises FailedPrecondition for a file system that has stopped working, and OperationPending for one that is gone.
    """
    uses = tuple(uses)
    points: list[str] = []
    try:
        with ExitStack() as stack:
            with _still_in_use(uses):
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
def _still_in_use(uses: Sequence[ImageUse]) -> Iterator[None]:
    """What was found in use may be unmounted and detached before it can be held. Raises OperationPending then.

    The same errors come from a file system that died in its place, which no repetition mends: the mounts tell.
    """
    try:
        yield
    except OSError as error:
        if error.errno not in _GONE | _BROKEN:
            raise
        if error.errno in _BROKEN:
            _refuse_broken([use for use in uses if _is_as_found(use)], error)
        raise OperationPending("the volume is being unstaged; repeat the call when that is done") from error


def _is_as_found(use: ImageUse) -> bool:
    """Whether the image is still in use where it was found in use."""
    if use.image is None or use.loop is None:
        return False
    try:
        now = image_uses([use.image])[0]
    except FileNotFoundError:
        return False
    if use.mount_points:
        return not set(use.mount_points).isdisjoint(now.mount_points)
    return now.is_raw and now.loop is not None and now.loop.path == use.loop.path


def _refuse_broken(uses: Sequence[ImageUse], error: OSError) -> None:
    """Raise what `error` means for volumes that are in use as before; return when there are none."""
    mounted = [(use, point) for use in uses for point in use.mount_points[:1]]
    broken = [(use, point) for use, point in mounted if len(mounted) == 1 or not _can_sync(point)]
    for use, point in broken or mounted:
        raise FailedPrecondition(
            f"the file system of volume {_volume_id(use)!r} at {point} is broken ({os.strerror(error.errno or 0)}); "
            "unpublish and unstage the volume and stage it again, which checks it, or restore a snapshot"
        ) from error
    for use in uses:
        raise Unavailable(
            f"data of the raw block device of volume {_volume_id(use)!r} cannot be written to its pool "
            f"({os.strerror(error.errno or 0)}); free space in the pool or repair it, then repeat the call"
        ) from error


def _can_sync(point: str) -> bool:
    try:
        fd = os.open(point, os.O_RDONLY | os.O_CLOEXEC)
        try:
            syncfs(fd)
        finally:
            os.close(fd)
    except OSError:
        return False
    return True


def _volume_id(use: ImageUse) -> str:
    return "" if use.image is None else use.image.parent.name


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
