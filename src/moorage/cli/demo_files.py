"""The files of the demo: bytes that follow from a word, written durably and checked by SHA-256."""

from __future__ import annotations

import hashlib
import os
import random
from collections.abc import Mapping

FILE_BYTES = 4 << 20
IGNORED = frozenset({"lost+found"})


class ContentWrong(Exception):
    """A volume does not hold what it must; the text is one sentence."""


def content_of(word: str) -> bytes:
    """The bytes that belong to a word; the same in every run."""
    return random.Random(word).randbytes(FILE_BYTES)


def checksum(data: bytes) -> str:
    """SHA-256 in hexadecimal."""
    return hashlib.sha256(data).hexdigest()


def write(path: str, files: Mapping[str, str]) -> None:
    """Write the files below `path`, durably; a file without a name means `path` itself, a block device."""
    for name, word in files.items():
        full_path = os.path.join(path, name) if name else path
        flags = os.O_WRONLY | os.O_CLOEXEC | (os.O_CREAT | os.O_TRUNC if name else 0)
        fd = os.open(full_path, flags, 0o600)
        with open(fd, "wb") as file:
            file.write(content_of(word))
            file.flush()
            os.fsync(fd)


def verify(path: str, files: Mapping[str, str]) -> str:
    """Check that exactly these files are below `path`; returns the checksums in short. Raises ContentWrong."""
    if "" not in files:
        found = set(os.listdir(path)) - IGNORED
        if found != set(files):
            raise ContentWrong(f"{path} holds {_list(found)} instead of {_list(set(files))}")
    sums = []
    for name, word in files.items():
        full_path = os.path.join(path, name) if name else path
        with open(full_path, "rb") as file:
            got, wanted = checksum(file.read(FILE_BYTES)), checksum(content_of(word))
        if got != wanted:
            raise ContentWrong(f"{full_path} has checksum {got[:16]} instead of {wanted[:16]}")
        sums.append(f"{name or 'device'} {got[:12]}")
    return ", ".join(sums)


def total_bytes(path: str) -> int:
    """The size of the file system at `path`."""
    figures = os.statvfs(path)
    return figures.f_blocks * figures.f_frsize


def _list(names: set[str]) -> str:
    return ", ".join(sorted(names)) or "nothing"
