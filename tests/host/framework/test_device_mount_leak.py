"""A loop device goes with its volume, also when somebody removed the image by hand."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from moorage.framework import device_mount
from moorage.framework.source import ImageFile
from moorage.host.filesystem import make_filesystem
from moorage.host.loop import LoopDevice, detach, list_loops
from moorage.host.mount import ensure_unmounted, mount_filesystem
from moorage.spec.errors import VolumeInUse

pytestmark = pytest.mark.root


@pytest.fixture
def image(tmp_path: Path) -> Iterator[Path]:
    path = tmp_path / "v1" / "disk.img"
    path.parent.mkdir()
    fill(path)
    yield path
    ensure_unmounted(str(tmp_path / "mount"))
    for device in on(tmp_path):
        detach(device.path, expected_backing=device.backing)


def fill(path: Path) -> None:
    with path.open("wb") as file:
        file.truncate(8 << 20)


def on(directory: Path) -> list[LoopDevice]:
    return [device for device in list_loops() if device.backing_path.startswith(f"{directory}/")]


def test_device_of_a_removed_image_is_given_back(image: Path) -> None:
    device_mount.attach(ImageFile(image))
    image.unlink()
    assert device_mount.detach(str(image))
    assert on(image.parent) == []
    assert not device_mount.detach(str(image))


def test_device_goes_when_the_whole_volume_was_removed(image: Path) -> None:
    device_mount.attach(ImageFile(image))
    image.unlink()
    image.parent.rmdir()
    assert device_mount.detach(str(image))
    assert on(image.parent) == []


def test_devices_of_the_old_and_the_new_image_of_a_name_both_go(image: Path) -> None:
    device_mount.attach(ImageFile(image))
    image.unlink()
    fill(image)
    device_mount.attach(ImageFile(image))
    assert len(on(image.parent)) == 2
    assert device_mount.detach(str(image))
    assert on(image.parent) == []


def test_removed_image_that_is_mounted_stays(image: Path, tmp_path: Path) -> None:
    device = device_mount.attach(ImageFile(image))
    make_filesystem(device, "ext4")
    (tmp_path / "mount").mkdir()
    mount_filesystem(device, str(tmp_path / "mount"), fs_type="ext4")
    image.unlink()
    with pytest.raises(VolumeInUse, match=str(tmp_path / "mount")):
        device_mount.detach(str(image))
    ensure_unmounted(str(tmp_path / "mount"))
    assert device_mount.detach(str(image))


def test_other_devices_stay(image: Path) -> None:
    other = image.with_name("disk.img2")
    fill(other)
    kept = device_mount.attach(ImageFile(other))
    other.unlink()
    device_mount.attach(ImageFile(image))
    assert device_mount.detach(str(image))
    assert [device.path for device in on(image.parent)] == [kept]


def test_source_that_is_no_file_has_no_device(tmp_path: Path) -> None:
    assert not device_mount.detach(str(tmp_path))
    assert not device_mount.detach("/dev/null")
