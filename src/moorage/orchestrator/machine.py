"""What the orchestrator does to this machine itself: directories, and reading the mount table and the boot id.

Mounting is the driver's business; nothing here mounts, unmounts or deletes recursively. Whether a path is a mount
point is read from mountinfo, so that a hung network mount cannot block the orchestrator.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Set
from typing import Protocol

from moorage.host.mountinfo import find_mount, read_mounts
from moorage.orchestrator.model import OrchestratorError

BOOT_ID = "/proc/sys/kernel/random/boot_id"


class Machine(Protocol):
    """The seam between the orchestrator and the host; `LocalMachine` is the real one."""

    def boot_id(self) -> str:
        """Names the running boot; another one after a reboot."""
        ...

    def mounted(self, paths: Set[str]) -> frozenset[str]:
        """Those of `paths` that are mount points."""
        ...

    def make_staging(self, path: str) -> None:
        """Make sure that the staging directory exists, with mode 0700."""
        ...

    def remove_staging(self, path: str) -> str:
        """Remove the empty staging directory; returns why not, or an empty string."""
        ...

    def make_parent(self, path: str, *, block: bool) -> None:
        """Make sure that the parent of a target path exists and that the target can be published at."""
        ...


class LocalMachine:
    """This machine; `base` is where staging directories live, which are removed up to there."""

    def __init__(self, base: str) -> None:
        self.base = base

    def boot_id(self) -> str:
        """The kernel's random id of this boot; empty where /proc does not tell."""
        try:
            with open(BOOT_ID, encoding="ascii") as file:
                return file.read().strip()
        except OSError:
            return ""

    def mounted(self, paths: Set[str]) -> frozenset[str]:
        """Those of `paths` that are mount points, by one reading of mountinfo."""
        table = read_mounts() if paths else []
        return frozenset(path for path in paths if find_mount(path, mounts=table) is not None)

    def make_staging(self, path: str) -> None:
        """Make sure that the staging directory exists, with mode 0700; a mounted one is left as it is."""
        if find_mount(path) is not None:
            return
        try:
            os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
            os.makedirs(path, mode=0o700, exist_ok=True)
        except OSError as error:
            raise OrchestratorError(
                f"staging directory {path} cannot be made ({error.strerror}); check the permissions of --state-dir"
            ) from error

    def remove_staging(self, path: str) -> str:
        """Remove the staging directory and parents that became empty; returns why not, or an empty string."""
        if find_mount(path) is not None:
            return f"{path} is still a mount point"
        try:
            os.rmdir(path)
        except FileNotFoundError:
            pass
        except OSError as error:
            return f"{path} was left in place ({error.strerror})"
        parent = os.path.dirname(path)
        while parent.startswith(self.base + "/"):
            try:
                os.rmdir(parent)
            except OSError:
                break
            parent = os.path.dirname(parent)
        return ""

    def make_parent(self, path: str, *, block: bool) -> None:
        """Make the parent of a target path; the target itself is the driver's to make.

        Raises OrchestratorError when something lies at the target that publishing would hide.
        """
        try:
            os.makedirs(os.path.dirname(path), exist_ok=True)
        except OSError as error:
            raise OrchestratorError(
                f"directory {os.path.dirname(path)} cannot be made ({error.strerror}); choose another mount path"
            ) from error
        if find_mount(path) is None and (obstacle := _obstacle(path, block=block)):
            raise OrchestratorError(f"{path} {obstacle}; move it away or choose another mount path")


def _obstacle(path: str, *, block: bool) -> str:
    try:
        mode = os.lstat(path).st_mode
    except FileNotFoundError:
        return ""
    if stat.S_ISLNK(mode):
        return "is a symbolic link"
    if block:
        if stat.S_ISDIR(mode):
            return "is a directory, and a block volume appears as a file"
        return "is a file with content" if stat.S_ISREG(mode) and os.lstat(path).st_size else ""
    if not stat.S_ISDIR(mode):
        return "is not a directory"
    with os.scandir(path) as entries:
        return "is not empty" if next(entries, None) is not None else ""


def target_path(text: str) -> str:
    """The absolute, normalised form of a mount path that a user typed; symlinks of its parents are resolved.

    Raises OrchestratorError for the root directory and for paths with a NUL byte.
    """
    if not text or "\0" in text:
        raise OrchestratorError("the mount path is empty or holds a NUL byte; give an absolute path")
    path = os.path.abspath(text)
    resolved = os.path.join(os.path.realpath(os.path.dirname(path)), os.path.basename(path))
    if resolved == "/":
        raise OrchestratorError("the root directory cannot be a mount path; give a directory below it")
    return resolved
