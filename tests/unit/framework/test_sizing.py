"""The least size of a volume."""

from __future__ import annotations

import pytest
from tests.support.controller import BLOCK, MIB, MOUNT

from moorage.framework.driver import Driver
from moorage.framework.sizing import minimum_bytes
from moorage.host.filesystem import MINIMUM_BYTES
from moorage.spec.types import AccessMode, MountAccess, VolumeCapability


class Formats(Driver):
    """Makes ext4 unless told otherwise."""

    name = "formats.example.org"


class Directories(Formats):
    """Makes no file systems."""

    formats = False
    fs_types = ()


class Large(Formats):
    """Has a minimum of its own."""

    minimum_size_bytes = 1 << 40


XFS = VolumeCapability(AccessMode.SINGLE_NODE_WRITER, MountAccess("xfs"))


@pytest.mark.parametrize(
    ("driver", "capabilities", "least"),
    [
        (Formats, (BLOCK,), MIB),
        (Formats, (MOUNT,), max(MIB, MINIMUM_BYTES["ext4"])),
        (Formats, (BLOCK, XFS), MINIMUM_BYTES["xfs"]),
        (Formats, (MOUNT, XFS), MINIMUM_BYTES["xfs"]),
        (Directories, (MOUNT, XFS), MIB),
        (Large, (XFS,), 1 << 40),
    ],
)
def test_minimum(driver: type[Driver], capabilities: tuple[VolumeCapability, ...], least: int) -> None:
    assert minimum_bytes(driver(None), capabilities) == least
