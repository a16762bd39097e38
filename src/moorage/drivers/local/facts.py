"""What a pool's directory can do, found out by trying it, not by guessing from names.

The answer decides which backends a pool offers: subvolumes on btrfs, image files wherever loop devices can be had,
plain directories everywhere.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

from msgspec import Struct

from moorage.drivers.local.config import BackendName
from moorage.host.mountinfo import covering_mount, read_mounts
from moorage.host.reflink import supports_reflink

_LOOP_CONTROL: Final = "/dev/loop-control"
_WHOLE_ID_RANGE: Final = ["0", "0", "4294967295"]
_LARGEST_FILE: Final = {"ext2": 2 << 40, "ext3": 2 << 40, "ext4": (16 << 40) - 4096}
_LARGEST: Final = (1 << 63) - 4096


class PoolFacts(Struct, frozen=True, kw_only=True):
    """What was found: `privileged` means that loop devices and mounts can be had."""

    fs_type: str
    reflink: bool
    privileged: bool

    @property
    def backends(self) -> tuple[BackendName, ...]:
        """The backends that mounted volumes can have here, the best first."""
        if not self.privileged:
            return ("directory",)
        if self.fs_type == "btrfs":
            return ("subvolume", "image", "directory")
        return ("image", "directory")

    @property
    def largest_file_bytes(self) -> int:
        """The largest file that the pool's file system can hold."""
        return _LARGEST_FILE.get(self.fs_type, _LARGEST)


def examine(directory: Path, *, privileged: bool) -> PoolFacts:
    """Look at a pool that exists and can be written. Raises OSError."""
    return PoolFacts(
        fs_type=filesystem_type(directory),
        reflink=supports_reflink(str(directory)),
        privileged=privileged,
    )


def filesystem_type(directory: Path) -> str:
    """The type of the file system that holds `directory`, as the kernel names it; empty when it cannot be told."""
    entry = covering_mount(os.path.realpath(directory), mounts=read_mounts())
    return entry.fs_type if entry is not None else ""


def is_privileged() -> bool:
    """Whether this process is root of the machine and may use loop devices, not merely of a user namespace."""
    if os.geteuid() != 0 or not os.access(_LOOP_CONTROL, os.R_OK | os.W_OK):
        return False
    try:
        return Path("/proc/self/uid_map").read_text(encoding="ascii").split() == _WHOLE_ID_RANGE
    except OSError:
        return False
