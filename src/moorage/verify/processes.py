"""The driver's processes as /proc shows them: children, open descriptors, mounts, command lines.

Processes may end at any moment; what is gone has nothing to show. This module knows neither CSI nor rules.
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from typing import Final

__all__ = ["CommandLines", "descriptors_of", "family_of", "loop_devices", "mounts_of"]

_PAUSE_S: Final = 0.001


def family_of(pids: Iterable[int]) -> frozenset[int]:
    """These processes and all that descend from them; zombies count, as nobody has waited for them."""
    children_of = _listed_children if os.path.exists("/proc/thread-self/children") else _searched_children()
    found: set[int] = set()
    left = [pid for pid in pids if os.path.isdir(f"/proc/{pid}")]
    while left:
        pid = left.pop()
        if pid not in found:
            found.add(pid)
            left += children_of(pid)
    return frozenset(found)


def _listed_children(pid: int) -> list[int]:
    """By the kernel's own list, which not every kernel offers and which costs a tenth of a search."""
    with contextlib.suppress(OSError):
        lists = [_read(f"/proc/{pid}/task/{thread}/children") for thread in os.listdir(f"/proc/{pid}/task")]
        return [int(child) for line in lists for child in line.split()]
    return []


def _searched_children() -> Callable[[int], list[int]]:
    """By the parents of all processes."""
    children: dict[int, list[int]] = defaultdict(list)
    for pid in _all_pids():
        if (parent := _parent_of(pid)) is not None:
            children[parent].append(pid)
    return lambda pid: children.get(pid, [])


def _all_pids() -> Iterator[int]:
    return (int(name) for name in os.listdir("/proc") if name.isdecimal())


def _parent_of(pid: int) -> int | None:
    """The parent's number, which is the second field behind the name in parentheses. Source: proc_pid_stat(5)."""
    stat = _read(f"/proc/{pid}/stat")
    return int(stat.rpartition(b")")[2].split()[1]) if stat else None


def _read(path: str) -> bytes:
    with contextlib.suppress(OSError), open(path, "rb") as file:
        return file.read()
    return b""


def descriptors_of(pids: Iterable[int]) -> int:
    """How many descriptors these processes hold open; those of others' processes need root to see."""
    count = 0
    for pid in pids:
        with contextlib.suppress(OSError):
            count += len(os.listdir(f"/proc/{pid}/fd"))
    return count


def mounts_of(pids: Iterable[int]) -> int:
    """How many mounts the mount namespaces of these processes and our own hold, each counted once."""
    tables: dict[str, int] = {}
    for pid in ("self", *pids):
        with contextlib.suppress(OSError):
            tables[os.readlink(f"/proc/{pid}/ns/mnt")] = _read(f"/proc/{pid}/mountinfo").count(b"\n")
    return sum(tables.values())


def loop_devices() -> int:
    """How many loop devices are bound on this machine."""
    with contextlib.suppress(OSError):
        return sum(os.path.exists(f"/sys/block/{name}/loop") for name in os.listdir("/sys/block"))
    return 0


class CommandLines:
    """Reads, while it is entered, the command lines of a driver's processes over and over, for `needles` in them.

        with CommandLines(pids, needles) as watch: ...
        watch.found

    `found` has the command lines with a needle, `seen` how many different ones were read.
    """

    def __init__(self, pids: Iterable[int], needles: Iterable[str]) -> None:
        self.found: list[str] = []
        self._pids = tuple(pids)
        self._needles = [needle.encode() for needle in needles]
        self._seen: set[bytes] = set()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="verify-command-lines", daemon=True)

    @property
    def seen(self) -> int:
        """How many different command lines were read."""
        return len(self._seen)

    def __enter__(self) -> CommandLines:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._stop.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._stop.wait(_PAUSE_S):
            for pid in family_of(self._pids):
                line = _read(f"/proc/{pid}/cmdline")
                if line in self._seen:
                    continue
                self._seen.add(line)
                if any(needle in line for needle in self._needles):
                    self.found.append(line.replace(b"\0", b" ").decode(errors="replace").strip())
