"""Pools of each kind on real file systems."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest


@contextmanager
def file_system(directory: Path, fs_type: str) -> Iterator[Path]:
    """A file system of its own, mounted from a sparse image."""
    image, mount_point = directory / f"{fs_type}.img", directory / fs_type
    image.touch()
    with image.open("r+b") as file:
        file.truncate(2 << 30)
    mount_point.mkdir()
    subprocess.run([f"mkfs.{fs_type}", "-q", str(image)], check=True, capture_output=True)
    subprocess.run(["mount", "-o", "loop", str(image), str(mount_point)], check=True)
    try:
        yield mount_point
    finally:
        subprocess.run(["umount", str(mount_point)], check=True)


@pytest.fixture
def pool_of(tmp_path: Path) -> Iterator[Callable[[str], Path]]:
    """Makes an empty pool: on xfs (reflink), ext4 (no reflink) or btrfs (subvolumes)."""
    with ExitStack() as stack:

        def make(fs_type: str) -> Path:
            directory = tmp_path / f"disk{len(list(tmp_path.iterdir()))}"
            directory.mkdir()
            pool = stack.enter_context(file_system(directory, fs_type)) / "pool"
            pool.mkdir()
            return pool

        yield make
