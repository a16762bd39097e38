"""Where the demo happens: a directory of its own, a namespace of its own without root, and the proof that it is gone.

Nothing here calls a driver. What is removed by force is only ever below the demo's own directory.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import shutil
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from moorage.drivers.local.layout import KINDS, Layout
from moorage.drivers.local.pool_lock import LOCK_FILE, PoolLock
from moorage.host import loop
from moorage.host.mount import ensure_unmounted
from moorage.host.mountinfo import mounts_below, read_mounts
from moorage.orchestrator.model import OrchestratorError

CLONE_NEWNS = 0x00020000
CLONE_NEWUSER = 0x10000000
MS_REC, MS_PRIVATE = 0x4000, 0x40000
CAP_SYS_RESOURCE = 24
LONGEST_SOCKET_DIRECTORY = 90


@dataclass(frozen=True, slots=True)
class Traces:
    """What can be left behind on a machine: mount points, loop devices with their files, files of the pool."""

    mounts: frozenset[str]
    loops: frozenset[str]
    pool_files: frozenset[str]

    def beyond(self, before: Traces) -> list[str]:
        """What is here and was not there before."""
        return [
            *(f"mount {point}" for point in sorted(self.mounts - before.mounts)),
            *(f"loop device {device}" for device in sorted(self.loops - before.loops)),
            *(f"file {path}" for path in sorted(self.pool_files - before.pool_files)),
        ]


def traces(*directories: str) -> Traces:
    """What there is now below these directories."""
    roots = tuple(os.path.realpath(directory) + "/" for directory in directories if directory)
    mounts = (entry.mount_point for entry in read_mounts() if entry.mount_point.startswith(roots))
    return Traces(
        mounts=frozenset(mounts),
        loops=frozenset(f"{device.path} ({device.backing_path})" for device in _loops_below(roots)),
        pool_files=frozenset(
            os.path.join(folder, name)
            for directory in directories
            for folder, _, names in os.walk(directory)
            for name in names
        ),
    )


def _loops_below(roots: tuple[str, ...]) -> list[loop.LoopDevice]:
    try:
        return [device for device in loop.list_loops() if device.backing_path.startswith(roots)]
    except OSError:
        return []


def missing_of_pool(pool: str) -> list[Path]:
    """What the local driver will make in a directory that is to be its pool."""
    if not pool:
        return []
    layout = Layout(Path(pool))
    parts = (*map(layout.home, KINDS), layout.tmp, layout.root / LOCK_FILE)
    return [part for part in parts if not os.path.lexists(part)]


def clear_pool(made: Iterable[Path]) -> None:
    """Remove what the local driver made in a pool where that is empty, once the driver is stopped."""
    for part in made:
        with contextlib.suppress(OSError):  # not empty, never made, or in use again
            if part.name == LOCK_FILE:
                held = PoolLock.take(part.parent, name=part.parent.name, owner="moorage demo")
                part.unlink()
                held.release()
            else:
                part.rmdir()


def make_directory() -> str:
    """A new private directory in TMPDIR, or in /tmp where that path is too long for a socket."""
    parent = tempfile.gettempdir()
    if len(os.fsencode(parent)) > LONGEST_SOCKET_DIRECTORY - 20:
        parent = "/tmp"
    return os.path.realpath(tempfile.mkdtemp(prefix="moorage-demo-", dir=parent))


def clear(directory: str, *, force: bool) -> list[str]:
    """Remove the demo's directory; returns what stands in the way, and then removes nothing.

    `force` first unmounts what is mounted below it and detaches loop devices on files below it: for the demo's
    own driver only, whose volumes hold nothing but the demo's files.
    """
    if force:
        for entry in mounts_below(directory):
            ensure_unmounted(entry.mount_point, lazy=True)
        for device in _loops_below((directory + "/",)):
            loop.detach(device.path, expected_backing=device.backing)
    if left := [f"mount {entry.mount_point}" for entry in mounts_below(directory)]:
        return left
    shutil.rmtree(directory, ignore_errors=True)
    return [f"directory {directory}"] if os.path.exists(directory) else []


def enter_namespace() -> None:
    """Become root of a new user and mount namespace, where bind mounts are allowed to everybody.

    Only for a process with a single thread. Raises OrchestratorError where the kernel forbids it.
    """
    uid, gid = os.geteuid(), os.getegid()
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(CLONE_NEWUSER | CLONE_NEWNS) != 0:
        reason = os.strerror(ctypes.get_errno())
        raise OrchestratorError(
            f"this machine does not let ordinary users make namespaces ({reason}); run `moorage demo` as root"
        )
    try:
        _write("/proc/self/setgroups", "deny")
        _write("/proc/self/uid_map", f"0 {uid} 1")
        _write("/proc/self/gid_map", f"0 {gid} 1")
    except OSError as error:
        raise OrchestratorError(
            f"the ids of the new namespace cannot be set ({error.strerror}); run `moorage demo` as root"
        ) from error
    if libc.mount(b"none", b"/", None, ctypes.c_ulong(MS_REC | MS_PRIVATE), None) != 0:
        reason = os.strerror(ctypes.get_errno())
        raise OrchestratorError(f"mounts of the new namespace cannot be made private ({reason}); run as root")


def _write(path: str, text: str) -> None:
    with open(path, "w", encoding="ascii") as file:
        file.write(text)


def may_grow_ext4_online() -> bool:
    """Whether this process has CAP_SYS_RESOURCE, which growing a mounted ext4 needs."""
    with open("/proc/self/status", encoding="ascii") as file:
        for line in file:
            if line.startswith("CapEff:"):
                return bool(int(line.split()[1], 16) >> CAP_SYS_RESOURCE & 1)
    return False


def growing_fs_type() -> str:
    """A file system that grows while mounted on this machine; empty when only ext4 is there and may not."""
    if may_grow_ext4_online():
        return "ext4"
    with open("/proc/filesystems", encoding="ascii") as file:
        known = {line.split()[-1] for line in file}
    return next((fs for fs in ("xfs", "btrfs") if fs in known and shutil.which(f"mkfs.{fs}")), "")
