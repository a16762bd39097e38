"""What a program that was run leaves behind: its output, or the error that tells how it failed.

The argv may hold secrets, so no error text contains it: only the program's name and its own words.
"""

from __future__ import annotations

import signal
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

SEARCH_PATH: Final = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

_PACKAGE_OF: Final[Mapping[str, str]] = {
    "blkid": "util-linux", "blockdev": "util-linux", "findmnt": "util-linux", "fsfreeze": "util-linux",
    "losetup": "util-linux", "lsblk": "util-linux", "mkfs": "util-linux", "wipefs": "util-linux",
    "mount": "mount", "umount": "mount",
    "dumpe2fs": "e2fsprogs", "e2fsck": "e2fsprogs", "mkfs.ext3": "e2fsprogs", "mkfs.ext4": "e2fsprogs",
    "resize2fs": "e2fsprogs", "tune2fs": "e2fsprogs", "e2image": "e2fsprogs",
    "mkfs.xfs": "xfsprogs", "xfs_admin": "xfsprogs", "xfs_growfs": "xfsprogs", "xfs_info": "xfsprogs",
    "xfs_io": "xfsprogs", "xfs_quota": "xfsprogs", "xfs_repair": "xfsprogs",
    "btrfs": "btrfs-progs", "btrfstune": "btrfs-progs", "mkfs.btrfs": "btrfs-progs",
    "cryptsetup": "cryptsetup", "iscsiadm": "open-iscsi", "multipath": "multipath-tools",
    "mount.nfs": "nfs-common", "mount.nfs4": "nfs-common", "showmount": "nfs-common",
    "mount.cifs": "cifs-utils", "ceph": "ceph-common", "mount.ceph": "ceph-common", "rbd": "ceph-common",
    "lvcreate": "lvm2", "lvs": "lvm2", "dmsetup": "dmsetup", "qemu-img": "qemu-utils",
    "qemu-nbd": "qemu-utils", "zfs": "zfsutils-linux", "zpool": "zfsutils-linux", "modprobe": "kmod",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Completed:
    """What a finished program left: decoded output, exit status, and whether output was cut at the limit.

    `stdout` holds the first bytes up to the limit, `stderr` the last ones. Bytes that are not UTF-8 appear as
    `\\xNN`. A negative `returncode` is the signal that ended the program.
    """

    stdout: str
    stderr: str
    returncode: int
    truncated: bool = False


class CommandError(Exception):
    """A program failed. `program` is its name, `returncode` its status, `stderr` the end of what it wrote."""

    def __init__(self, program: str, returncode: int, stderr: str = "") -> None:
        super().__init__(program, returncode, stderr)
        self.program = program
        self.returncode = returncode
        self.stderr = stderr

    def __str__(self) -> str:
        lines = [line.strip() for line in self.stderr.splitlines() if line.strip()]
        last = lines[-1] if lines else "it wrote nothing to stderr"
        return f"{self.program} {_ending(self.returncode)}: {last}"


class CommandTimeout(CommandError):
    """A program ran longer than `timeout_s` and was killed; `abandoned` when not even SIGKILL ended it."""

    def __init__(self, program: str, timeout_s: float, *, stderr: str = "", abandoned: bool = False) -> None:
        super().__init__(program, -signal.SIGKILL, stderr)
        self.args = (program, timeout_s)
        self.timeout_s = timeout_s
        self.abandoned = abandoned

    def __str__(self) -> str:
        if self.abandoned:
            return (
                f"{self.program} did not finish within {self.timeout_s:g} s and does not die after SIGKILL: "
                "it waits in the kernel, look at the storage it talks to"
            )
        return f"{self.program} did not finish within {self.timeout_s:g} s and was killed"


class CommandNotFound(CommandError):
    """A program is not installed where it is looked for; the text says which package to install."""

    def __init__(self, program: str) -> None:
        super().__init__(program, 127)
        self.args = (program,)

    def __str__(self) -> str:
        package = _PACKAGE_OF.get(self.program)
        if package is None:
            return f"{self.program} was not found in {SEARCH_PATH}; install {self.program} and try again"
        return f"{self.program} was not found; install {package} (Debian package name) and try again"


class CommandOutputTooLarge(CommandError):
    """A program succeeded but wrote more to stdout than the caller accepts, so its answer is incomplete."""

    def __init__(self, program: str, max_output_bytes: int) -> None:
        super().__init__(program, 0)
        self.args = (program, max_output_bytes)
        self.max_output_bytes = max_output_bytes

    def __str__(self) -> str:
        return f"{self.program} wrote more than {self.max_output_bytes} bytes; ask for less or raise the limit"


def _ending(returncode: int) -> str:
    if returncode >= 0:
        return f"failed with status {returncode}"
    try:
        return f"was killed by {signal.Signals(-returncode).name}"
    except ValueError:
        return f"was killed by signal {-returncode}"
