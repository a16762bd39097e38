"""Real loop devices: adoption, sizes, races, and never touching somebody else's."""

from __future__ import annotations

import contextlib
import errno
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from moorage.host import loop, mount
from moorage.host.device import inspect_device
from moorage.host.filesystem import make_filesystem

pytestmark = pytest.mark.root
MIB = 1 << 20
MakeImage = Callable[..., Path]


def test_attach_detach_and_again(make_image: MakeImage) -> None:
    image = make_image()
    assert loop.find_loop(str(image)) is None
    device = loop.attach(str(image))
    assert device.size_bytes == 16 * MIB
    assert not device.readonly
    assert loop.attach(str(image)) == device
    assert loop.find_loop(str(image)) == device
    assert loop.detach(device.path, expected_backing=str(image)) is True
    assert loop.detach(device.path, expected_backing=str(image)) is False
    assert loop.find_loop(str(image)) is None


def test_the_file_is_found_under_any_name(make_image: MakeImage, place: Path) -> None:
    image = make_image()
    device = loop.attach(str(image))
    os.link(image, place / "other-name")
    image.rename(place / "renamed")
    assert loop.find_loop(str(place / "other-name")) == loop.find_loop(str(place / "renamed"))
    assert loop.attach(str(place / "renamed")).number == device.number


def test_a_file_with_the_same_name_later_is_another_file(make_image: MakeImage) -> None:
    image = make_image()
    device = loop.attach(str(image))
    image.unlink()
    second = make_image()
    assert loop.find_loop(str(second)) is None
    assert loop.detach(device.path, expected_backing=str(second)) is False
    second.unlink()
    assert loop.detach(device.path, expected_backing=str(image)) is True


def test_readonly(make_image: MakeImage) -> None:
    image = make_image()
    device = loop.attach(str(image), readonly=True)
    assert device.readonly
    assert inspect_device(device.path).readonly
    with pytest.raises(OSError, match="read-only; detach that device first") as caught:
        loop.attach(str(image))
    assert caught.value.errno == errno.EEXIST


def test_direct_io_is_used_where_it_works_and_given_up_where_not(make_image: MakeImage) -> None:
    assert loop.attach(str(make_image("direct"))).direct_io is True
    assert loop.attach(str(make_image("buffered")), direct_io=False).direct_io is False
    backing = Path("/dev/shm") / f"moorage-test-{os.getpid()}"  # another file system than that of the other tests
    try:
        with backing.open("xb") as file:
            file.truncate(MIB)
        device = loop.attach(str(backing), block_size=512)
        assert device.size_bytes == MIB
        assert loop.detach(device.path, expected_backing=str(backing))
    finally:
        backing.unlink(missing_ok=True)


def test_growing_the_file_shows_after_refresh_and_by_adoption(make_image: MakeImage) -> None:
    image = make_image()
    device = loop.attach(str(image))
    os.truncate(image, 24 * MIB)
    assert loop.refresh_capacity(device).size_bytes == 24 * MIB
    os.truncate(image, 32 * MIB)
    assert loop.attach(str(image)).size_bytes == 32 * MIB
    assert inspect_device(device.path).size_bytes == 32 * MIB


def test_a_mounted_device_is_not_detached(make_image: MakeImage, place: Path) -> None:
    image = make_image()
    device = loop.attach(str(image))
    make_filesystem(device.path, "ext4")
    target = place / "target"
    target.mkdir()
    mount.ensure_mounted(device.path, str(target), fs_type="ext4")
    with pytest.raises(OSError, match="still in use") as caught:
        loop.detach(device.path, expected_backing=str(image))
    assert caught.value.errno == errno.EBUSY
    found = loop.find_loop(str(image))
    assert found is not None
    assert found.number == device.number


def test_a_partial_mapping_is_not_taken_for_the_file(make_image: MakeImage) -> None:
    image = make_image()
    offset_device = subprocess.run(
        ["losetup", "--find", "--show", "--offset", "1048576", str(image)], capture_output=True, text=True, check=True
    ).stdout.strip()
    try:
        assert loop.find_loop(str(image)) is None
        assert loop.attach(str(image)).path != offset_device
    finally:
        subprocess.run(["losetup", "-d", offset_device], check=True)


def test_read_ahead(make_image: MakeImage) -> None:
    device = loop.attach(str(make_image())).path
    assert loop.ensure_read_ahead(device, 64) is True
    assert loop.read_ahead_kib(device) == 64
    assert loop.ensure_read_ahead(device, 64) is False


def test_a_missing_device_node_is_made(make_image: MakeImage) -> None:
    image = make_image()
    device = loop.attach(str(image))
    Path(device.path).unlink()
    found = loop.find_loop(str(image))
    assert found is not None
    assert inspect_device(found.path).number == f"7:{device.number}"


def test_many_threads_get_one_device_for_one_file(make_image: MakeImage) -> None:
    images = [make_image(f"i{index}", size_bytes=MIB) for index in range(3)]
    found: list[tuple[str, int]] = []

    def attach(path: Path) -> None:
        found.append((path.name, loop.attach(str(path)).number))

    threads = [threading.Thread(target=attach, args=(image,)) for image in images * 4]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 12
    assert len(set(found)) == 3
    assert len({number for _, number in set(found)}) == 3


ATTACHER = """
import sys
from moorage.host import loop
while True:
    device = loop.attach(sys.argv[1])
    print(device.path, flush=True)
    loop.detach(device.path, expected_backing=sys.argv[1])
"""


def test_a_killed_attacher_leaves_something_to_adopt(make_image: MakeImage) -> None:
    image = make_image()
    for _ in range(5):
        process = subprocess.Popen([sys.executable, "-c", ATTACHER, str(image)], stdout=subprocess.PIPE)
        assert process.stdout is not None
        process.stdout.readline()
        process.send_signal(signal.SIGKILL)
        process.wait()
        process.stdout.close()
        device = loop.attach(str(image))
        assert device.size_bytes == 16 * MIB
        assert loop.detach(device.path, expected_backing=str(image)) is True


def test_wrong_arguments(place: Path) -> None:
    with pytest.raises(OSError, match="no regular file"):
        loop.attach(str(place))
    with pytest.raises(ValueError, match="no loop device"):
        loop.detach("/dev/sda", expected_backing=(0, 0))
    with contextlib.suppress(FileNotFoundError):
        loop.attach(str(place / "missing"))
        pytest.fail("a missing file was attached")


def test_a_file_kept_unbound_is_attached_afterwards(make_image: MakeImage) -> None:
    image = make_image()
    attached: list[loop.LoopDevice] = []
    attacher = threading.Thread(target=lambda: attached.append(loop.attach(str(image))))
    with loop.kept_unbound(str(image)) as unbound:
        attacher.start()
        attacher.join(0.2)
        assert unbound
        assert loop.find_loop(str(image)) is None
    attacher.join()
    with loop.kept_unbound(str(image)) as unbound:
        assert not unbound
    loop.detach(attached[0].path, expected_backing=str(image))
