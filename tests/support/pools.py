"""Pools on file systems of their own, for tests of the local driver."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def pool_on(fs_type: str, directory: Path) -> Iterator[Path]:
    """A mounted file system of 8 GiB in an image file below `directory`; it is unmounted at the end."""
    image, mount_point = directory / "disk.img", directory / "disk"
    with image.open("wb") as file:
        file.truncate(8 << 30)
    mount_point.mkdir()
    subprocess.run([f"mkfs.{fs_type}", "-q", str(image)], check=True, capture_output=True)
    subprocess.run(["mount", "-o", "loop", str(image), str(mount_point)], check=True)
    try:
        yield mount_point
    finally:
        subprocess.run(["umount", str(mount_point)], check=True)
