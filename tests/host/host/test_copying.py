"""Sparse copies, reflinks, allocation and extents on real file systems."""

from __future__ import annotations

import errno
import itertools
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from moorage.host import copy, ioctl, loop, syscalls
from moorage.host.copy import CopyCancelled, allocated_bytes, copy_sparse, ensure_allocated, ensure_size, punch_holes
from moorage.host.fiemap import FIEMAP_EXTENT_UNWRITTEN, Range, allocated_ranges, changed_ranges, file_extents
from moorage.host.reflink import ReflinkUnsupported, reflink, supports_reflink

pytestmark = pytest.mark.root
MIB = 1 << 20
KIB = 1 << 10
MakeImage = Callable[..., Path]


def sparse(path: Path, *, pieces: dict[int, bytes], size: int) -> Path:
    with path.open("wb") as file:
        file.truncate(size)
        for offset, data in pieces.items():
            file.seek(offset)
            file.write(data)
    return path


@pytest.fixture
def source(place: Path) -> Path:
    pieces = {MIB: os.urandom(300 * KIB), 20 * MIB + 4096: os.urandom(5 * MIB), 40 * MIB - 10: b"tail-bytes"}
    return sparse(place / "source", pieces=pieces, size=40 * MIB)


@pytest.fixture(params=["copy-range", "read-write"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    if request.param == "read-write":

        def refused(*args: int) -> int:
            raise OSError(errno.EXDEV, "Invalid cross-device link")

        monkeypatch.setattr(os, "copy_file_range", refused)
    return str(request.param)


@pytest.mark.usefixtures("way")
def test_holes_stay_holes(source: Path, place: Path) -> None:
    target = place / "target"
    seen: list[int] = []
    assert copy_sparse(str(source), str(target), progress=seen.append) == 40 * MIB
    assert target.read_bytes() == source.read_bytes()
    assert allocated_bytes(str(target)) <= allocated_bytes(str(source)) + 64 * KIB
    assert seen == [40 * MIB]


@pytest.mark.usefixtures("way")
def test_old_content_is_replaced_and_a_longer_target_stays_long(source: Path, place: Path) -> None:
    target = sparse(place / "target", pieces={0: b"\xff" * (50 * MIB)}, size=50 * MIB)
    copy_sparse(str(source), str(target))
    assert target.stat().st_size == 50 * MIB
    content = target.read_bytes()
    assert content[: 40 * MIB] == source.read_bytes()
    assert content[40 * MIB :] == b"\xff" * (10 * MIB)
    assert allocated_bytes(str(target)) < 20 * MIB


@pytest.mark.usefixtures("way")
def test_cancelled_and_resumed_where_it_stopped(source: Path, place: Path) -> None:
    target = place / "target"
    answers = iter([False, False, True])
    with pytest.raises(CopyCancelled) as caught:
        copy_sparse(str(source), str(target), cancelled=lambda: next(answers))
    stopped = caught.value.offset_bytes
    assert 20 * MIB < stopped < 26 * MIB
    assert target.read_bytes()[:stopped] == source.read_bytes()[:stopped]
    with source.open("r+b") as file:
        file.write(b"changed before the resume point")
    copy_sparse(str(source), str(target), start=stopped)
    assert target.read_bytes()[stopped:] == source.read_bytes()[stopped:]
    assert target.read_bytes()[:8] == bytes(8)


def test_progress_tells_synced_offsets(source: Path, place: Path) -> None:
    seen: list[int] = []
    copy_sparse(str(source), str(place / "target"), progress=seen.append, sync_every_bytes=MIB)
    assert len(seen) > 2
    assert all(left < right for left, right in itertools.pairwise(seen))
    assert seen[-1] == 40 * MIB


def test_a_device_can_be_source_and_target(source: Path, make_image: MakeImage, place: Path) -> None:
    from_device = loop.attach(str(source), readonly=True).path
    image = sparse(place / "old", pieces={0: b"\xee" * (2 * MIB)}, size=48 * MIB)
    to_device = loop.attach(str(image)).path
    copy_sparse(from_device, to_device)
    with open(to_device, "rb") as device:
        assert device.read(40 * MIB) == source.read_bytes()
    copy_sparse(from_device, str(place / "file"))
    assert (place / "file").read_bytes() == source.read_bytes()


def test_an_empty_and_a_hollow_file(place: Path) -> None:
    assert copy_sparse(str(sparse(place / "a", pieces={}, size=0)), str(place / "b")) == 0
    assert copy_sparse(str(sparse(place / "c", pieces={}, size=10 * MIB)), str(place / "d")) == 10 * MIB
    assert (place / "d").stat().st_size == 10 * MIB
    assert allocated_bytes(str(place / "d")) == 0


def test_zeroing_falls_back_to_writing(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = sparse(place / "f", pieces={0: b"\xaa" * (3 * MIB)}, size=3 * MIB)

    def refused(fd: int, mode: int, *, offset: int, length: int) -> None:
        raise OSError(errno.EOPNOTSUPP, "Operation not supported")

    monkeypatch.setattr(syscalls, "fallocate", refused)
    with path.open("r+b") as file:
        copy.zero(file.fileno(), 100, length=2 * MIB)
    assert path.read_bytes() == b"\xaa" * 100 + bytes(2 * MIB) + b"\xaa" * (MIB - 100)


def test_sizes_and_allocation(place: Path) -> None:
    path = str(place / "file")
    assert ensure_size(path, 8 * MIB) is True
    assert ensure_size(path, 4 * MIB) is False
    assert os.stat(path).st_size == 8 * MIB
    assert allocated_bytes(path) == 0
    assert ensure_allocated(path, 8 * MIB) is True
    assert ensure_allocated(path, 8 * MIB) is False
    assert allocated_bytes(path) >= 8 * MIB
    punch_holes(path, [(0, 4 * MIB)])
    assert allocated_bytes(path) <= 4 * MIB + 64 * KIB
    assert os.stat(path).st_size == 8 * MIB


@pytest.mark.parametrize("pool", ["xfs_pool", "btrfs_pool"])
def test_reflinks_share_and_diverge(request: pytest.FixtureRequest, pool: str) -> None:
    directory: Path = request.getfixturevalue(pool)
    assert supports_reflink(str(directory)) is True
    source, clone = directory / "source", directory / "clone"
    source.write_bytes(os.urandom(8 * MIB))
    os.sync()
    free = os.statvfs(directory).f_bfree
    reflink(str(source), str(clone))
    assert clone.read_bytes() == source.read_bytes()
    assert (free - os.statvfs(directory).f_bfree) * os.statvfs(directory).f_frsize < 2 * MIB
    base = file_extents(str(source))
    assert changed_ranges(base, file_extents(str(clone))) == []
    with clone.open("r+b") as file:
        file.seek(3 * MIB + 100)
        file.write(b"different")
    changed = changed_ranges(base, file_extents(str(clone)))
    assert changed == [Range(3 * MIB, 4096)]
    os.truncate(clone, 20 * MIB)
    reflink(str(source), str(clone))
    assert clone.stat().st_size == 8 * MIB
    assert sorted(path.name for path in directory.iterdir()) == ["clone", "source"]


@pytest.mark.parametrize("pool", ["xfs_pool", "btrfs_pool"])
def test_the_trial_of_reflinks_has_no_names_to_leave_behind(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, pool: str
) -> None:
    directory: Path = request.getfixturevalue(pool)
    before, during = sorted(os.listdir(directory)), []
    call = ioctl.call

    def look(fd: int, number: int, argument: int | bytes | bytearray = 0) -> int:
        during.append(sorted(os.listdir(directory)))
        return call(fd, number, argument)

    monkeypatch.setattr(ioctl, "call", look)
    assert supports_reflink(str(directory)) is True
    assert during == [before]


def test_no_reflink_on_ext4(place: Path, make_volume: Callable[..., object]) -> None:
    directory: Path = make_volume("ext4").mount()  # type: ignore[attr-defined]  # a Volume, see conftest
    assert supports_reflink(str(directory)) is False
    (directory / "a").write_bytes(b"x" * 4096)
    with pytest.raises(ReflinkUnsupported, match="copy it instead"):
        reflink(str(directory / "a"), str(directory / "b"))
    assert not (directory / "b").exists()
    (place / "elsewhere").write_bytes(b"keep")
    with pytest.raises(ReflinkUnsupported):
        reflink(str(directory / "a"), str(place / "elsewhere"))
    assert (place / "elsewhere").read_bytes() == b"keep"


@pytest.mark.parametrize("pool", ["xfs_pool", "btrfs_pool"])
def test_random_changes_are_all_found(request: pytest.FixtureRequest, pool: str) -> None:
    """The promise of changed-block tracking: every byte that differs lies in a reported range."""
    directory: Path = request.getfixturevalue(pool)
    source, clone = directory / "source", directory / "clone"
    sparse(source, pieces={0: os.urandom(MIB), 3 * MIB: os.urandom(2 * MIB)}, size=16 * MIB)
    ensure_allocated(str(source), 8 * MIB)
    reflink(str(source), str(clone))
    with clone.open("r+b") as file:
        for offset in (0, 999_999, 2 * MIB + 5, 4 * MIB, 7 * MIB, 15 * MIB):
            file.seek(offset)
            file.write(os.urandom(5000))
    punch_holes(str(clone), [(3 * MIB, 64 * KIB)])
    changed = changed_ranges(file_extents(str(source)), file_extents(str(clone)))
    old, new = source.read_bytes(), bytearray(clone.read_bytes())
    for found in changed:
        new[found.offset : found.offset + found.length] = old[found.offset : found.offset + found.length]
    assert bytes(new) == old
    assert sum(found.length for found in changed) < 256 * KIB


def test_extents_of_a_fragmented_file_come_in_batches(xfs_pool: Path) -> None:
    path = xfs_pool / "fragmented"
    with path.open("wb") as file:
        for index in range(1200):
            file.seek(index * 8192)
            file.write(b"x" * 4096)
    extents = file_extents(str(path))
    assert len(allocated_ranges(extents)) == 1200
    assert [extent.logical for extent in extents] == sorted(extent.logical for extent in extents)
    (xfs_pool / "empty").touch()
    assert file_extents(str(xfs_pool / "empty")) == []


def test_preallocated_space_is_unwritten(xfs_pool: Path) -> None:
    path = xfs_pool / "file"
    path.touch()
    ensure_allocated(str(path), MIB)
    extents = file_extents(str(path))
    assert all(extent.flags & FIEMAP_EXTENT_UNWRITTEN for extent in extents)
    assert allocated_ranges(extents) == []
    path.write_bytes(b"x" * 8192)
    assert allocated_ranges(file_extents(str(path))) == [Range(0, 8192)]
