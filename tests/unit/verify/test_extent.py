"""Sizes as they are published, and as they may be told."""

from __future__ import annotations

import os
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest

from moorage.spec.types import AccessMode, BlockAccess, CapacityRange, MountAccess, Volume, VolumeCapability
from moorage.verify.extent import expect_in_range, has_own_file_system, published_bytes
from moorage.verify.lab import Lab
from moorage.verify.rule import Failed
from moorage.verify.use import Use

MIB = 1 << 20


async def _io(function: object, *args: object) -> object:
    return function(*args)  # type: ignore[operator]  # what a lab does on a thread, done here


def a_use(target: Path, *, block: bool) -> Use:
    lab = cast("Lab", SimpleNamespace(io=_io, last=None))
    access_type = BlockAccess() if block else MountAccess()
    capability = VolumeCapability(AccessMode.SINGLE_NODE_WRITER, access_type)
    return Use(lab, volume=Volume("v"), capability=capability, target=str(target))


async def test_a_device_is_as_large_as_its_end(tmp_path: Path) -> None:
    device = tmp_path / "device"
    device.touch()
    os.truncate(device, 3 * MIB)
    assert await published_bytes(a_use(device, block=True)) == 3 * MIB


async def test_a_mount_is_as_large_as_its_file_system(tmp_path: Path) -> None:
    found = os.statvfs(tmp_path)
    assert await published_bytes(a_use(tmp_path, block=False)) == found.f_blocks * found.f_frsize


@pytest.mark.parametrize("block", [True, False], ids=["block", "mount"])
async def test_what_is_not_there_has_no_size(tmp_path: Path, block: bool) -> None:
    with pytest.raises(Failed, match="cannot be read"):
        await published_bytes(a_use(tmp_path / "missing", block=block))


@pytest.mark.parametrize(
    ("measured_bytes", "own"),
    [
        pytest.param(27 * MIB, True, id="a-little-smaller"),
        pytest.param(32 * MIB, True, id="just-as-large"),
        pytest.param(900 * MIB, False, id="the-server's"),
        pytest.param(0, False, id="tells-nothing"),
    ],
)
def test_a_file_system_of_its_own_is_no_larger_than_the_volume(measured_bytes: int, own: bool) -> None:
    assert has_own_file_system(Volume("v", 32 * MIB), measured_bytes) is own


def test_a_volume_of_unknown_size_has_no_file_system_to_judge() -> None:
    assert not has_own_file_system(Volume("v"), 27 * MIB)


@pytest.mark.parametrize(
    ("size_bytes", "capacity_range", "fits"),
    [
        pytest.param(MIB, CapacityRange(MIB), True, id="just-enough"),
        pytest.param(MIB - 1, CapacityRange(MIB), False, id="too-small"),
        pytest.param(MIB + 1, CapacityRange(limit_bytes=MIB), False, id="too-large"),
        pytest.param(0, CapacityRange(MIB, MIB), True, id="unknown"),
    ],
)
def test_a_size_that_is_told_lies_in_the_range(size_bytes: int, capacity_range: CapacityRange, fits: bool) -> None:
    volume = Volume("v", size_bytes)
    if fits:
        expect_in_range(volume, capacity_range, None)
    else:
        with pytest.raises(Failed, match=str(size_bytes)):
            expect_in_range(volume, capacity_range, None)
