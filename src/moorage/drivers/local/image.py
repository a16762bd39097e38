"""Volumes and snapshots as image files: shared blocks where the pool can, sparse copies elsewhere.

The node attaches a loop device and makes the file system; here the file is only made, cloned, grown and cut. What
is durable is made so outside of the moment in which writers are held.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, ExitStack, nullcontext
from datetime import UTC, datetime
from pathlib import Path

from moorage.base.faults import declare_step
from moorage.drivers.local.backend import IMAGE, Damage, Origin
from moorage.drivers.local.clone_identity import give_own_uuid
from moorage.drivers.local.copying import copy_image, require_room
from moorage.drivers.local.records import VolumeFile
from moorage.drivers.local.use import CLONE_FREEZE_S, COPY_FREEZE_S, held, image_uses
from moorage.framework.source import ImageFile, Source
from moorage.host import ioctl
from moorage.host.copy import ensure_allocated, ensure_size, punch_holes
from moorage.host.fiemap import FIEMAP_EXTENT_UNWRITTEN, file_extents
from moorage.host.filesystem import discard_free_space
from moorage.host.loop import ensure_read_ahead, kept_unbound
from moorage.spec.errors import FailedPrecondition, OutOfRange
from moorage.spec.types import VolumeUsage

MADE = declare_step("local.image.made", "the image file has its size, and its space when reserved")
CLONED = declare_step("local.image.cloned", "the image file holds what its source held")
IDENTIFIED = declare_step("local.image.identified", "the cloned file system has its own UUID")
GROWN = declare_step("local.image.grown", "the image file has its new size")
RESERVED = declare_step("local.image.reserved", "the space of the image file is reserved or released")


class ImageBackend:
    """Images in a pool that can (`reflink`) or cannot share blocks between files."""

    def __init__(self, *, reflink: bool) -> None:
        self._reflink = reflink

    def make(self, place: Path, volume: VolumeFile) -> None:
        """A file of the volume's size: a hole, or reserved space."""
        with MADE:
            self.grow(place, volume, volume.size_bytes)

    def fill(self, place: Path, volume: VolumeFile, origin: Origin) -> None:
        """A clone of the origin's image, grown to the volume's size, with its own file-system UUID."""
        source, target = origin.place / IMAGE, place / IMAGE
        held_bytes = os.stat(source).st_size
        if held_bytes > volume.size_bytes:
            raise OutOfRange(f"the source has {held_bytes} bytes and does not fit into {volume.size_bytes}")
        with CLONED:
            if origin.live:
                self.take(((source, target),), reflink=self._reflink and origin.same_pool)
            elif self._reflink and origin.same_pool:
                clone_all(((source, target),))
            else:
                require_room(((source, target),))
                copy_image(source, target)
        os.chmod(target, 0o600)
        self.grow(place, volume, volume.size_bytes)
        if not volume.is_block:
            with IDENTIFIED:
                give_own_uuid(target, volume.volume_id)

    def cut(self, place: Path, volume_place: Path, volume: VolumeFile) -> tuple[datetime, int]:
        """A frozen clone of the volume's image that nobody is to write."""
        del volume
        target = place / IMAGE
        with CLONED:
            cut_at = self.take(((volume_place / IMAGE, target),), reflink=self._reflink)
        os.chmod(target, 0o400)
        return cut_at, os.stat(target).st_size

    def take(self, pairs: tuple[tuple[Path, Path], ...], *, reflink: bool | None = None) -> datetime:
        """Clone or copy images at one instant, from sources that may be in use; the time of the cut.

        Raises FailedPrecondition where a raw block device is in use and can only be copied, which takes time in
        which it is written, and for a file system that has stopped working; ResourceExhausted where copies do not fit.
        """
        uses = image_uses([source for source, _ in pairs])
        if self._reflink if reflink is None else reflink:
            return clone_all(pairs, hold=lambda: held(uses, max_s=CLONE_FREEZE_S))
        for use, (source, _) in zip(uses, pairs, strict=True):
            if use.is_raw:
                raise FailedPrecondition(
                    f"{source.parent.name} is in use as a raw block device and its pool cannot clone at one instant; "
                    "unpublish and unstage it first"
                )
        require_room(pairs)
        with held(uses, max_s=COPY_FREEZE_S):
            cut_at = datetime.now(UTC)
            for source, target in pairs:
                copy_image(source, target)
        return cut_at

    def grow(self, place: Path, volume: VolumeFile, size_bytes: int) -> None:
        """Lengthen the file, reserving its space for a volume that asks for it; never shortens it."""
        image = str(place / IMAGE)
        with GROWN:
            if volume.allocation == "reserved":
                ensure_size(image, 0)  # makes the file; reserving space lengthens it
                ensure_allocated(image, size_bytes)
            ensure_size(image, size_bytes)

    def apply(self, place: Path, before: VolumeFile, after: VolumeFile) -> None:
        """Reserve or release space, then set the read-ahead of an attached device."""
        image = place / IMAGE
        if after.allocation == "reserved":
            with RESERVED:
                ensure_allocated(str(image), after.size_bytes)
        elif before.allocation == "reserved":
            with RESERVED:
                _release(image)
        use = image_uses([image])[0]
        if after.read_ahead_kib is not None and use.loop is not None:
            ensure_read_ahead(use.loop.path, after.read_ahead_kib)

    def source(self, place: Path, volume: VolumeFile) -> Source:
        """The image, for a loop device."""
        return ImageFile(place / IMAGE, read_ahead_kib=volume.read_ahead_kib, root=volume.root)

    def usage(self, place: Path, volume: VolumeFile) -> tuple[VolumeUsage, ...]:
        """The file system on the image, or the device, tells it."""
        del place, volume
        return ()

    def damage(self, place: Path, volume: VolumeFile) -> Damage | None:
        """Looks at the file's presence and length."""
        try:
            info = os.lstat(place / IMAGE)
        except FileNotFoundError:
            return Damage("its image file is gone")
        if not stat.S_ISREG(info.st_mode):
            return Damage("its image is no regular file")
        if info.st_size < volume.size_bytes:
            return Damage(f"its image file has {info.st_size} of {volume.size_bytes} bytes", lost=True)
        return None


def clone_all(
    pairs: Sequence[tuple[Path, Path]], *, hold: Callable[[], AbstractContextManager[None]] = nullcontext
) -> datetime:
    """Have each target share all blocks of its source, all cut within one `hold`; the time of the cut.

    Files are opened before and synced after it: inside is one ioctl for each image. Raises OSError.
    """
    with ExitStack() as stack:
        opened = []
        for source, target in pairs:
            source_fd = os.open(source, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
            stack.callback(os.close, source_fd)
            target_fd = os.open(target, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
            stack.callback(os.close, target_fd)
            opened.append((source_fd, target_fd))
        with hold():
            cut_at = datetime.now(UTC)
            for source_fd, target_fd in opened:
                ioctl.call(target_fd, ioctl.FICLONE, source_fd)
        for _, target_fd in opened:
            os.fsync(target_fd)
    return cut_at


def _release(image: Path) -> None:
    """Give back space that was reserved and never written, without ever taking away what is being written.

    An image that no device shows is punched while none can be attached. A mounted file system says itself what is
    free. The space of a raw block device in use stays with the volume, which does no harm.
    """
    with kept_unbound(str(image)) as unbound:
        if unbound:
            unwritten = (extent for extent in file_extents(str(image)) if extent.flags & FIEMAP_EXTENT_UNWRITTEN)
            punch_holes(str(image), [(extent.logical, extent.length) for extent in unwritten])
            return
    for mount_point in image_uses([image])[0].mount_points[:1]:
        discard_free_space(mount_point)
