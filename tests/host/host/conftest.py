"""Small images, loop devices and mounts that are gone after each test, whatever happened in it."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from moorage.host import loop, mount
from moorage.host.filesystem import MINIMUM_BYTES, make_filesystem
from moorage.host.mountinfo import mounts_below

MIB = 1 << 20

MakeImage = Callable[..., Path]
MakeFilesystem = Callable[..., "Volume"]


class Volume:
    """An image file, its loop device, and where it is mounted (if it is)."""

    def __init__(self, image: Path, device: str, fs_type: str, mount_point: Path) -> None:
        self.image = image
        self.device = device
        self.fs_type = fs_type
        self.mount_point = mount_point

    def mount(self, *options: str) -> Path:
        self.mount_point.mkdir(exist_ok=True)
        mount.ensure_mounted(self.device, str(self.mount_point), fs_type=self.fs_type, options=options)
        return self.mount_point

    def unmount(self) -> None:
        mount.ensure_unmounted(str(self.mount_point))


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Path]:
    """A directory whose mounts and loop devices are removed at the end."""
    yield tmp_path
    root = str(tmp_path)
    for attempt in range(4):  # images may lie on mounts of other images
        for entry in mounts_below(root):
            with contextlib.suppress(OSError):
                mount.ensure_unmounted(entry.mount_point, lazy=attempt == 3)
        for device in reversed(_loops_below(root)):
            with contextlib.suppress(OSError):
                loop.detach(device.path, expected_backing=device.backing)
    assert mounts_below(root) == []
    assert _loops_below(root) == []


def _loops_below(root: str) -> list[loop.LoopDevice]:
    return [device for device in loop.list_loops() if device.backing_path.startswith(root + "/")]


@pytest.fixture
def make_image(place: Path) -> MakeImage:
    """Make a sparse file of `size_bytes`."""

    def make(name: str = "image", *, size_bytes: int = 16 * MIB) -> Path:
        path = place / name
        with path.open("xb") as file:
            file.truncate(size_bytes)
        return path

    return make


@pytest.fixture
def make_volume(place: Path, make_image: MakeImage) -> MakeFilesystem:
    """Make an image with a file system on a loop device, not mounted yet."""

    def make(fs_type: str, name: str = "volume", *, size_bytes: int = 0, uuid: str | None = None) -> Volume:
        size_bytes = size_bytes or max(MINIMUM_BYTES[fs_type], 16 * MIB)
        image = make_image(f"{name}.img", size_bytes=size_bytes)
        device = loop.attach(str(image))
        make_filesystem(device.path, fs_type, uuid=uuid)
        return Volume(image, device.path, fs_type, place / f"{name}.mnt")

    return make


@pytest.fixture
def xfs_pool(make_volume: MakeFilesystem) -> Path:
    """A mounted xfs with reflinks."""
    volume: Volume = make_volume("xfs", "pool", size_bytes=600 * MIB)
    return volume.mount()


@pytest.fixture
def btrfs_pool(make_volume: MakeFilesystem) -> Path:
    """A mounted btrfs."""
    volume: Volume = make_volume("btrfs", "pool", size_bytes=256 * MIB)
    return volume.mount()
