"""What a test run may leave behind on the host: mounts and loop devices.

What other test runs hold at the same time is not ours: it lies below a pytest directory of another
number, and is left out.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from pathlib import Path

PYTEST_DIRECTORY = re.compile(r"/[^\s]*/pytest-of-[^/\s]+/pytest-\d+(?=[/\s]|$)")
ESCAPE = re.compile(r"\\([0-7]{3})")


def mounts(mountinfo: str) -> set[str]:
    """A line "mount on PATH of SOURCE" for every entry of a mountinfo text."""
    found = set()
    for line in mountinfo.splitlines():
        mount, _, source = line.partition(" - ")
        path, root = (unescape(mount.split()[index]) for index in (4, 3))
        found.add(f"mount on {path} of {source.split()[1]} (root {root})")
    return found


def unescape(text: str) -> str:
    """Undo the octal escapes of mountinfo."""
    return ESCAPE.sub(lambda match: chr(int(match[1], 8)), text)


def loop_devices(sys_block: Path = Path("/sys/block")) -> set[str]:
    """A line "loop device N backed by FILE" for every loop device in use."""
    found = set()
    for backing in sys_block.glob("loop*/loop/backing_file"):
        try:
            found.add(f"loop device {backing.parts[-3]} backed by {backing.read_text().strip()}")
        except OSError:  # detached since the listing
            continue
    return found


def held_now() -> set[str]:
    """Everything of the host that is held at this moment, one line each."""
    return mounts(Path("/proc/self/mountinfo").read_text()) | loop_devices()


def left_behind(before: set[str], after: set[str], own_directory: Path) -> list[str]:
    """What is held after but was not before, without what other test runs hold."""

    def foreign(line: str) -> bool:
        directories = {found[0] for found in PYTEST_DIRECTORY.finditer(line)}
        return bool(directories) and not any(own_directory.is_relative_to(path) for path in directories)

    return sorted(line for line in after - before if not foreign(line))


def settle(
    before: set[str], own_directory: Path, *, timeout_s: float = 2.0, held: Callable[[], set[str]] = held_now
) -> list[str]:
    """What is left behind once the kernel has finished lazy unmounts and detaches, or after `timeout_s`."""
    deadline = time.monotonic() + timeout_s
    while (left := left_behind(before, held(), own_directory)) and time.monotonic() < deadline:
        time.sleep(0.05)
    return left
