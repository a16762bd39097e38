"""Copies of images where blocks cannot be shared: long, so resumable, and worthless if the source moved meanwhile.

How far a copy has come is written beside it, together with what identifies the source at that time. After kill -9
the copy goes on where it was if the source is provably the same, and starts again otherwise.
"""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Final

import msgspec
from msgspec import Struct

from moorage.base.faults import declare_step
from moorage.base.log import get_logger
from moorage.host.copy import allocated_bytes, copy_sparse, data_ranges
from moorage.host.paths import write_atomically
from moorage.host.reflink import supports_reflink
from moorage.spec.errors import ResourceExhausted, Unavailable

PROGRESS_FILE: Final = "copy.json"
BEGUN = declare_step("local.copy.begun", "it is recorded which image is being copied")
COPIED = declare_step("local.copy.copied", "all of the image is copied and on disk")
_SYNC_BYTES: Final = 256 << 20

log = get_logger(__name__)


class SourceMark(Struct, frozen=True):
    """What changes when an image is written, grown or replaced."""

    path: str
    inode: int
    size_bytes: int
    modified_ns: int


class Progress(Struct, frozen=True):
    """How far the copy of a source has come, in bytes that are on disk."""

    source: SourceMark
    offset_bytes: int = 0


def mark_of(image: Path) -> SourceMark:
    """The mark of an image as it is now. Raises OSError."""
    info = os.stat(image)
    return SourceMark(str(image), info.st_ino, info.st_size, info.st_mtime_ns)


def is_resumable(build: Path) -> bool:
    """Whether a build directory holds a copy that a replay can go on with."""
    return (build / PROGRESS_FILE).exists()


def require_room(pairs: Iterable[tuple[Path, Path]]) -> None:
    """Raise ResourceExhausted when copies of these (source, target) images do not fit beside what is there now.

    Asked before writers are held for a copy that cannot succeed; what is taken meanwhile still ends in ENOSPC.
    Raises OSError.
    """
    taken_bytes: defaultdict[int, int] = defaultdict(int)
    for source, target in pairs:
        device = os.stat(target.parent).st_dev
        taken_bytes[device] += _bytes_to_copy(source, target)
        stats = os.statvfs(target.parent)
        free_bytes = stats.f_bavail * stats.f_frsize
        if taken_bytes[device] <= free_bytes:
            continue
        if os.stat(source).st_dev == device and supports_reflink(str(target.parent)):
            continue  # the kernel shares the blocks of such a copy
        raise ResourceExhausted(
            f"the pool is too full for a copy of {source.parent.name}: it takes {taken_bytes[device]} bytes and "
            f"{free_bytes} are free; free space or use another pool"
        )


def _bytes_to_copy(source: Path, target: Path) -> int:
    """What the copy takes of its pool: data, not space that is only reserved, and less what gives way to it."""
    start = _resume_offset(target.parent / PROGRESS_FILE, mark_of(source), target)
    fd = os.open(source, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        info = os.fstat(fd)
        data_bytes = sum(end - begin for begin, end in data_ranges(fd, start, length=info.st_size))
    finally:
        os.close(fd)
    replaced_bytes = allocated_bytes(str(target)) if start == 0 and target.exists() else 0
    return min(data_bytes, info.st_blocks * 512) - replaced_bytes


def copy_image(source: Path, target: Path, *, sync_every_bytes: int = _SYNC_BYTES) -> None:
    """Copy an image, going on where an earlier attempt was cut off. Raises OSError.

    Raises Unavailable when the source was written meanwhile: the copy is then of no instant, and must be repeated.
    """
    notes = target.parent / PROGRESS_FILE
    mark = mark_of(source)
    start = _resume_offset(notes, mark, target)
    if start == 0:
        target.unlink(missing_ok=True)
        with BEGUN:
            _note(notes, mark)(0)
    else:
        log.info("local.copy.resumed", target=target.parent.name, offset_bytes=start)
    with COPIED:
        copy_sparse(
            str(source), str(target), start=start, progress=_note(notes, mark), sync_every_bytes=sync_every_bytes
        )
    if mark_of(source) != mark:
        notes.unlink(missing_ok=True)
        raise Unavailable(f"{source.parent.name} was written while it was copied; repeat the call when it is idle")


def _resume_offset(notes: Path, mark: SourceMark, target: Path) -> int:
    try:
        progress = msgspec.json.decode(notes.read_bytes(), type=Progress)
    except (FileNotFoundError, ValueError):
        return 0
    if progress.source != mark or not target.exists():
        return 0
    return progress.offset_bytes


def _note(notes: Path, mark: SourceMark) -> Callable[[int], None]:
    def write(offset_bytes: int) -> None:
        write_atomically(str(notes), msgspec.json.encode(Progress(mark, offset_bytes)))

    return write
