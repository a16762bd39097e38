"""mkfs, check, grow and UUID change on real devices, and what is left when they are killed half way."""

from __future__ import annotations

import os
import shutil
import subprocess
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from moorage.base.run import CommandError
from moorage.host import filesystem as fs
from moorage.host import loop, mount
from moorage.host.fsuuid import btrfs_checksum, crc32c, ensure_uuid
from moorage.host.probe import Blank, Unrecognised, probe, wipe
from moorage.host.reflink import reflink
from moorage.host.signature import Known, Unfinished

pytestmark = pytest.mark.root
MIB = 1 << 20
CAP_SYS_RESOURCE = 24
TYPES = ["ext4", "xfs", "btrfs"]
FIRST, SECOND, THIRD = (str(uuid.uuid4()) for _ in range(3))  # mkfs.btrfs refuses one in use on the machine
MakeImage = Callable[..., Path]
MakeVolume = Callable[..., Any]


def run_limited(argv: list[str], *, largest_file_bytes: int) -> int:
    """Run a program that the kernel kills when it writes past an offset: a crash in the middle, repeatable."""
    limit = ("prlimit", f"--fsize={largest_file_bytes}:{largest_file_bytes}", "--core=0:0")
    return subprocess.run([*limit, *argv], capture_output=True, check=False).returncode


@pytest.mark.parametrize("fs_type", ["ext2", "ext3", *TYPES])
def test_made_once_found_afterwards(make_image: MakeImage, fs_type: str) -> None:
    image = make_image(size_bytes=fs.minimum_bytes(fs_type))
    device = loop.attach(str(image)).path
    assert fs.ensure_filesystem(device, fs_type, uuid=FIRST, label="moorage") is True
    assert fs.ensure_filesystem(device, fs_type, uuid=FIRST, label="moorage") is False
    content = probe(device)
    assert isinstance(content, Known)
    assert (content.fs_type, content.uuid, content.label) == (fs_type, FIRST, "moorage")
    assert content.size_bytes == fs.minimum_bytes(fs_type)
    blkid = subprocess.run(["blkid", "-p", "-o", "export", device], capture_output=True, text=True, check=True).stdout
    assert f"UUID={FIRST}" in blkid
    assert f"TYPE={fs_type}" in blkid


@pytest.mark.parametrize("fs_type", TYPES)
def test_the_minimum_is_the_real_one(make_image: MakeImage, fs_type: str) -> None:
    below = make_image(size_bytes=fs.minimum_bytes(fs_type) - 4096)
    with pytest.raises(ValueError, match="needs at least"):
        fs.make_filesystem(str(below), fs_type)
    argv = fs.mkfs_command(str(below), fs_type)
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert done.returncode != 0 or "too small for a journal" in done.stderr


@pytest.mark.parametrize("fs_type", TYPES)
def test_nothing_is_formatted_over_data(make_volume: MakeVolume, fs_type: str) -> None:
    device = make_volume("ext4", size_bytes=300 * MIB, uuid=FIRST).device
    for wanted, identity in ((fs_type, SECOND), ("xfs" if fs_type != "xfs" else "btrfs", None)):
        for ours in (False, True):
            with pytest.raises(fs.NotBlank, match="holds ext4"):
                fs.ensure_filesystem(device, wanted, uuid=identity, leftovers_are_ours=ours)
    content = probe(device)
    assert isinstance(content, Known)
    assert content.uuid == FIRST


def test_unrecognised_data_needs_the_callers_word(make_image: MakeImage) -> None:
    image = make_image(size_bytes=16 * MIB)
    with image.open("r+b") as file:
        file.seek(5000)
        file.write(b"precious")
    with pytest.raises(fs.NotBlank, match="byte 5000"):
        fs.ensure_filesystem(str(image), "ext4")
    assert probe(str(image)) == Unrecognised(5000)
    assert fs.ensure_filesystem(str(image), "ext4", leftovers_are_ours=True) is True


def test_an_unreadable_device_is_never_formatted(place: Path) -> None:
    for ours in (False, True):
        with pytest.raises(fs.NotBlank, match="could not be examined"):
            fs.ensure_filesystem(str(place / "missing"), "ext4", leftovers_are_ours=ours)


def test_options_reach_mkfs_and_a_wrong_one_is_an_error(make_image: MakeImage) -> None:
    image = make_image()
    fs.ensure_filesystem(str(image), "ext4", options=["-O", "^metadata_csum_seed,^metadata_csum", "-E", "stride=2"])
    shown = subprocess.run(["dumpe2fs", "-h", str(image)], capture_output=True, text=True, check=True).stdout
    assert "metadata_csum" not in shown
    assert "RAID stride:              2" in shown
    assert "Reserved block count:     0" in shown
    with pytest.raises(CommandError, match=r"mkfs\.ext4"):
        fs.ensure_filesystem(str(make_image("other")), "ext4", options=["--nonsense"])


@pytest.mark.parametrize(
    ("fs_type", "limit"),
    [("ext4", 4096), ("ext4", 10 * MIB), ("xfs", 10 * MIB), ("btrfs", 70000), ("btrfs", 40 * MIB)],
)
def test_a_killed_mkfs_is_noticed_and_repeated(make_image: MakeImage, fs_type: str, limit: int) -> None:
    image = str(make_image(size_bytes=max(64 * MIB, fs.minimum_bytes(fs_type))))
    argv = fs.mkfs_command(image, fs_type, uuid=FIRST)
    assert run_limited(argv, largest_file_bytes=limit) != 0
    assert isinstance(probe(image), Blank | Unrecognised | Unfinished)
    assert fs.ensure_filesystem(image, fs_type, uuid=FIRST, leftovers_are_ours=True) is True
    assert fs.ensure_filesystem(image, fs_type, uuid=FIRST, leftovers_are_ours=True) is False
    fs.check_filesystem(image, fs_type, full=fs_type != "xfs")


def test_a_preallocated_image_stays_allocated(make_image: MakeImage) -> None:
    image = make_image(size_bytes=32 * MIB)
    os.posix_fallocate(os.open(image, os.O_RDWR), 0, 32 * MIB)
    device = loop.attach(str(image)).path
    fs.make_filesystem(device, "ext4")
    assert image.stat().st_blocks * 512 >= 32 * MIB


def has_capability(bit: int) -> bool:
    """The kernel lets only CAP_SYS_RESOURCE resize a mounted ext4, and some sandboxes withhold it even from root."""
    (line,) = (line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("CapEff:"))
    return bool(int(line.split()[1], 16) >> bit & 1)


def test_btrfs_below_the_kernels_limit_says_so(make_volume: MakeVolume) -> None:
    volume = make_volume("btrfs")
    target = volume.mount()
    os.truncate(volume.image, volume.image.stat().st_size + 16 * MIB)
    loop.attach(str(volume.image))
    with pytest.raises(fs.CannotGrow, match="256 MiB"):
        fs.grow_filesystem(volume.device, "btrfs", mount_point=str(target))


@pytest.mark.parametrize("fs_type", TYPES)
def test_growing_online(make_volume: MakeVolume, fs_type: str) -> None:
    volume = make_volume(fs_type)
    target = volume.mount()
    (target / "file").write_bytes(b"kept" * 1000)
    before = os.statvfs(target).f_blocks
    assert fs.grow_filesystem(volume.device, fs_type, mount_point=str(target)) is False
    os.truncate(volume.image, volume.image.stat().st_size + 150 * MIB)
    loop.attach(str(volume.image))
    if fs_type == "ext4" and not has_capability(CAP_SYS_RESOURCE):
        with pytest.raises(fs.CannotGrow, match="CAP_SYS_RESOURCE"):
            fs.grow_filesystem(volume.device, fs_type, mount_point=str(target))
        volume.unmount()
        assert fs.grow_filesystem(volume.device, fs_type, mount_point=None) is True
        volume.mount()
    else:
        assert fs.grow_filesystem(volume.device, fs_type, mount_point=str(target)) is True
    assert fs.grow_filesystem(volume.device, fs_type, mount_point=str(target)) is False
    after = os.statvfs(target)
    assert (after.f_blocks - before) * after.f_frsize > 130 * MIB
    assert (target / "file").read_bytes() == b"kept" * 1000
    volume.unmount()
    assert fs.filesystem_size(volume.device) == volume.image.stat().st_size
    assert fs.check_filesystem(volume.device, fs_type, full=True) is False


def test_growing_offline(make_volume: MakeVolume) -> None:
    volume = make_volume("ext4")
    os.truncate(volume.image, 40 * MIB)
    loop.attach(str(volume.image))
    assert fs.grow_filesystem(volume.device, "ext4", mount_point=None) is True
    assert fs.filesystem_size(volume.device) == 40 * MIB
    assert fs.grow_filesystem(volume.device, "ext4", mount_point=None) is False


@pytest.mark.parametrize("fs_type", ["xfs", "btrfs"])
def test_growing_offline_is_refused_where_it_cannot_work(make_volume: MakeVolume, fs_type: str) -> None:
    with pytest.raises(fs.CannotGrow, match="mount it first"):
        fs.grow_filesystem(make_volume(fs_type).device, fs_type, mount_point=None)


def test_checking_repairs_what_is_safe_and_reports_the_rest(make_volume: MakeVolume) -> None:
    volume = make_volume("ext4")
    assert fs.check_filesystem(volume.device, "ext4") is False
    subprocess.run(["debugfs", "-w", "-R", "clri <2>", volume.device], capture_output=True, check=True)
    with pytest.raises(fs.FilesystemCorrupt, match="copy the device"):
        fs.check_filesystem(volume.device, "ext4", full=True)
    other = make_volume("ext4", "other")
    subprocess.run(["debugfs", "-w", "-R", "ssv free_blocks_count 1", other.device], capture_output=True, check=True)
    assert fs.check_filesystem(other.device, "ext4", full=True) is True
    assert fs.check_filesystem(other.device, "ext4", full=True) is False


@pytest.mark.parametrize("fs_type", ["xfs", "btrfs"])
def test_damage_is_found_by_a_full_check(make_volume: MakeVolume, fs_type: str) -> None:
    volume = make_volume(fs_type)
    assert fs.check_filesystem(volume.device, fs_type, full=True) is False
    loop.detach(volume.device, expected_backing=str(volume.image))
    with volume.image.open("r+b") as file:
        for offset in (8192, 16384) if fs_type == "xfs" else (range(22 * MIB, 80 * MIB, 16384)):
            file.seek(offset)
            file.write(b"\xff" * 8192)
    device = loop.attach(str(volume.image)).path
    assert fs.check_filesystem(device, fs_type) is False
    with pytest.raises((fs.FilesystemCorrupt, OSError)):
        fs.check_filesystem(device, fs_type, full=True)


@pytest.mark.parametrize("fs_type", TYPES)
@pytest.mark.parametrize("clean", [True, False], ids=["clean", "dirty-log"])
def test_a_clone_gets_its_own_uuid_and_mounts_beside_its_source(
    xfs_pool: Path, place: Path, fs_type: str, clean: bool
) -> None:
    source, clone = xfs_pool / "source.img", xfs_pool / "clone.img"
    source.touch()
    os.truncate(source, max(64 * MIB, fs.minimum_bytes(fs_type)))
    device = loop.attach(str(source)).path
    fs.ensure_filesystem(device, fs_type, uuid=FIRST)
    one, two = place / "one", place / "two"
    one.mkdir()
    two.mkdir()
    mount.ensure_mounted(device, str(one), fs_type=fs_type)
    (one / "file").write_bytes(os.urandom(1 * MIB))
    with (one / "synced").open("wb") as file:
        file.write(b"in the log")
        file.flush()
        os.fsync(file.fileno())
    if clean:
        mount.ensure_unmounted(str(one))
    reflink(str(source), str(clone))
    if fs_type == "btrfs":
        assert ensure_uuid(str(clone), fs_type, SECOND) is True
    clone_device = loop.attach(str(clone)).path
    assert ensure_uuid(clone_device, fs_type, SECOND) is (fs_type != "btrfs")
    assert ensure_uuid(clone_device, fs_type, SECOND) is False
    if clean:
        fs.check_filesystem(clone_device, fs_type, full=True)
    mount.ensure_mounted(device, str(one), fs_type=fs_type)
    assert mount.ensure_mounted(clone_device, str(two), fs_type=fs_type) is True
    assert (two / "synced").read_bytes() == b"in the log"
    if clean:
        assert (two / "file").read_bytes() == (one / "file").read_bytes()
    with pytest.raises(OSError, match="in use"):
        ensure_uuid(clone_device, fs_type, FIRST)
    mount.ensure_unmounted(str(two))
    fs.check_filesystem(clone_device, fs_type, full=True)
    for path, backing in ((str(two), clone), (str(one), source)):
        mount.ensure_unmounted(path)
        found = loop.find_loop(str(backing))
        assert found is not None
        loop.detach(found.path, expected_backing=str(backing))


def test_ext4_without_a_checksum_seed_also_changes(make_image: MakeImage) -> None:
    image = str(make_image(size_bytes=32 * MIB))
    fs.ensure_filesystem(image, "ext4", uuid=FIRST, options=["-O", "^metadata_csum_seed"])
    assert ensure_uuid(image, "ext4", SECOND) is True
    assert fs.check_filesystem(image, "ext4", full=True) is False


@pytest.mark.parametrize("checksum", ["crc32c", "sha256", "blake2"])
def test_a_btrfs_uuid_goes_there_and_back(make_image: MakeImage, checksum: str) -> None:
    image = make_image(size_bytes=fs.minimum_bytes("btrfs"))
    fs.ensure_filesystem(str(image), "btrfs", uuid=FIRST, options=["--csum", checksum])
    original = image.read_bytes()
    for wanted in (SECOND, THIRD, FIRST):
        assert ensure_uuid(str(image), "btrfs", wanted) is True
        fs.check_filesystem(str(image), "btrfs", full=True)
    assert image.read_bytes() == original


def test_a_half_done_btrfs_change_is_finished(make_image: MakeImage) -> None:
    """The mirror at 64 MiB has the new UUID, the primary the old one: what a kill between the writes leaves."""
    image = make_image(size_bytes=fs.minimum_bytes("btrfs"))
    fs.ensure_filesystem(str(image), "btrfs", uuid=FIRST)
    changed = image.with_name("changed")
    shutil.copyfile(image, changed)
    ensure_uuid(str(changed), "btrfs", SECOND)
    with changed.open("rb") as new, image.open("r+b") as old:
        new.seek(64 * MIB)
        old.seek(64 * MIB)
        old.write(new.read(4096))
    assert ensure_uuid(str(image), "btrfs", SECOND) is True
    assert image.read_bytes() == changed.read_bytes()


def test_an_interrupted_btrfstune_is_resumed(make_image: MakeImage) -> None:
    image = str(make_image(size_bytes=fs.minimum_bytes("btrfs")))
    fs.ensure_filesystem(image, "btrfs", uuid=FIRST)
    assert run_limited(["btrfstune", "-f", "-u", image], largest_file_bytes=30 * MIB) != 0
    assert isinstance(probe(image), Unfinished)
    with pytest.raises(fs.NotBlank, match="unfinished btrfs"):
        fs.ensure_filesystem(image, "btrfs")
    assert ensure_uuid(image, "btrfs", SECOND) is True
    fs.check_filesystem(image, "btrfs", full=True)


def test_a_damaged_btrfs_superblock_is_not_rewritten(make_image: MakeImage) -> None:
    image = make_image(size_bytes=fs.minimum_bytes("btrfs"))
    fs.ensure_filesystem(str(image), "btrfs", uuid=FIRST)
    with image.open("r+b") as file:
        file.seek(65536 + 0x48)
        file.write(b"\xff")
    with pytest.raises(fs.FilesystemError, match="checksum"):
        ensure_uuid(str(image), "btrfs", SECOND)


def test_the_wrong_type_is_refused(make_volume: MakeVolume) -> None:
    device = make_volume("ext4", uuid=FIRST).device
    with pytest.raises(fs.FilesystemError, match="holds no xfs"):
        ensure_uuid(device, "xfs", SECOND)
    with pytest.raises(ValueError, match="not supported"):
        fs.ensure_filesystem(device, "zfs")


def test_a_device_in_use_is_not_wiped(make_volume: MakeVolume) -> None:
    volume = make_volume("ext4", uuid=FIRST)
    volume.mount()
    with pytest.raises(OSError, match="busy"):
        wipe(volume.device)


def test_checksums_match_what_mkfs_wrote(make_image: MakeImage) -> None:
    image = make_image(size_bytes=fs.minimum_bytes("btrfs"))
    fs.ensure_filesystem(str(image), "btrfs")
    block = image.read_bytes()[65536 : 65536 + 4096]
    assert btrfs_checksum(block) == block[:4]
    assert crc32c(b"123456789") == 0xE3069283
