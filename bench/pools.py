"""A pool with reflinks to measure on: xfs in a sparse image, mounted for the time being. Needs root."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bench.measure import Unable

from moorage.host.loop import list_loops
from moorage.host.mountinfo import read_mounts

_DETACH = "losetup", "--detach"


@contextmanager
def xfs(directory: Path, *, size_bytes: int, filled_bytes: int) -> Iterator[Path]:
    """The mount point of an empty xfs with reflinks below `directory`; whatever is mounted on it goes with it.

    filled_bytes: what will be written at most; refused beforehand where the disk has less. Raises Unable.
    """
    free_bytes = shutil.disk_usage(directory).free
    if free_bytes < filled_bytes:
        raise Unable(
            f"{directory} has {free_bytes >> 20} MiB free and {filled_bytes >> 20} are needed; set TMPDIR to a disk "
            "with more room"
        )
    image, mount_point = directory / "pool.xfs", directory / "xfs"
    mount_point.mkdir()
    with image.open("wb") as file:
        file.truncate(size_bytes)
    try:
        _command("mkfs.xfs", "-q", "-m", "reflink=1", str(image))
        _command("mount", "-o", "loop", str(image), str(mount_point))
        yield mount_point
    finally:
        _release(directory, mount_point)
        image.unlink()


def _release(directory: Path, mount_point: Path) -> None:
    """Unmount everything below `directory`, the latest first, with the loop devices of files in the pool."""
    inside: set[tuple[int, int]] = set()
    if mount_point.is_mount():
        for path, _, names in os.walk(mount_point):
            for name in names:
                info = os.lstat(os.path.join(path, name))
                inside.add((info.st_dev, info.st_ino))
    points = [e.mount_point for e in read_mounts() if e.mount_point.startswith(f"{directory}/")]
    for point in reversed([point for point in points if point != str(mount_point)]):
        subprocess.run(["umount", point], check=False)
    for device in list_loops():
        if device.backing in inside:
            subprocess.run([*_DETACH, device.path], check=False)
    if mount_point.is_mount():
        subprocess.run(["umount", str(mount_point)], check=True)
    with contextlib.suppress(OSError):
        mount_point.rmdir()


def _command(*argv: str) -> None:
    try:
        subprocess.run(argv, check=True, capture_output=True, text=True)
    except FileNotFoundError:
        raise Unable(f"{argv[0]} is not installed; run `make deps`") from None
    except subprocess.CalledProcessError as error:
        raise Unable(f"{' '.join(argv)} failed: {error.stderr.strip()}") from None
