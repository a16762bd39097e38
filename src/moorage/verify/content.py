"""Bytes that can be recognised: patterns written to files and devices, and read back past the page cache."""

from __future__ import annotations

import hashlib
import os
import random
from dataclasses import dataclass
from typing import Final

__all__ = ["Pattern", "digest_of", "read_pattern", "write_pattern"]

_MIB: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class Pattern:
    """`size_bytes` bytes at `offset` that follow from `seed` alone."""

    seed: int
    size_bytes: int = _MIB
    offset: int = 0

    def data(self) -> bytes:
        """The bytes."""
        return random.Random(self.seed).randbytes(self.size_bytes)


def write_pattern(path: str, pattern: Pattern) -> None:
    """Write the pattern into the file or device at `path`, made if missing, and force it to storage.

    Raises OSError.
    """
    flags = os.O_WRONLY | os.O_CLOEXEC | (0 if os.path.exists(path) else os.O_CREAT)
    fd = os.open(path, flags, 0o600)
    try:
        data = memoryview(pattern.data())
        done = 0
        while done < len(data):
            done += os.pwrite(fd, data[done:], pattern.offset + done)
        os.fsync(fd)
    finally:
        os.close(fd)


def read_pattern(path: str, pattern: Pattern) -> bool:
    """Whether the file or device at `path` holds the pattern; False also when it is missing or too short.

    Raises OSError for any other trouble.
    """
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        os.posix_fadvise(fd, pattern.offset, pattern.size_bytes, os.POSIX_FADV_DONTNEED)
        return _read(fd, pattern.offset, pattern.size_bytes) == pattern.data()
    finally:
        os.close(fd)


def digest_of(path: str, *, size_bytes: int, offset: int = 0) -> str:
    """SHA-256 of a range of a file or device. Raises OSError."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.posix_fadvise(fd, offset, size_bytes, os.POSIX_FADV_DONTNEED)
        return hashlib.sha256(_read(fd, offset, size_bytes)).hexdigest()
    finally:
        os.close(fd)


def _read(fd: int, offset: int, size_bytes: int) -> bytes:
    parts = []
    end = offset + size_bytes
    while offset < end and (part := os.pread(fd, min(end - offset, 4 * _MIB), offset)):
        parts.append(part)
        offset += len(part)
    return b"".join(parts)
