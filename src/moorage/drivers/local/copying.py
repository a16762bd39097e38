"""Copies of images where blocks cannot be shared: long, so resumable, and worthless if the source moved meanwhile.

How far a copy has come is written beside it, together with what identifies the source at that time. After kill -9
the copy goes on where it was if the source is provably the same, and starts again otherwise.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Final

import msgspec
from msgspec import Struct

from moorage.base.faults import declare_step
from moorage.base.log import get_logger
from moorage.host.copy import copy_sparse
from moorage.host.paths import write_atomically
from moorage.spec.errors import Unavailable

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
