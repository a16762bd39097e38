"""A storage system in memory, or in a JSON file, in which anything can be made to go wrong.

What a method does is atomic and is saved at once; a trouble strikes before or after that effect, so that a
lost reply and a request that never arrived can be told apart. Public through `moorage.testing.memory`.
"""

from __future__ import annotations

import os
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec

import moorage.framework as csi

__all__ = ["Gate", "MemoryContent", "MemoryStorage", "StoredSnapshot", "StoredVolume"]

GATE_LIMIT_S = 30.0


class StoredVolume(msgspec.Struct, kw_only=True):
    """A volume in the storage system."""

    volume_id: str
    size_bytes: int
    data: str = ""
    settings: dict[str, str] = {}
    tags: dict[str, str] = {}


class StoredSnapshot(msgspec.Struct, kw_only=True):
    """A snapshot in the storage system."""

    snapshot: csi.Snapshot
    data: str = ""
    tags: dict[str, str] = {}


class MemoryContent(msgspec.Struct, kw_only=True):
    """Everything that exists in the storage system; attachments by volume and node."""

    volumes: dict[str, StoredVolume] = {}
    snapshots: dict[str, StoredSnapshot] = {}
    attached: dict[str, csi.Attachment] = {}


class Gate:
    """Holds one call of the driver: `entered` is set when it has come, `release` lets it go on."""

    def __init__(self) -> None:
        self.entered = threading.Event()
        self._open = threading.Event()

    def release(self) -> None:
        """Let the call go on, whether it has come already or not."""
        self._open.set()

    def __call__(self) -> None:
        self.entered.set()
        self._open.wait(GATE_LIMIT_S)


class MemoryStorage:
    """The storage system: what exists, what was called, and what goes wrong next."""

    def __init__(self, file: Path | None = None) -> None:
        self._file = file
        self._lock = threading.RLock()
        self._troubles: dict[tuple[str, bool], list[Callable[[], None]]] = {}
        self.calls: Counter[str] = Counter()
        self.content = MemoryContent()
        if file is not None and file.exists():
            self.content = msgspec.json.decode(file.read_bytes(), type=MemoryContent)

    def trouble(self, method: str, what: Callable[[], None], *, after: bool = False, times: int = 1) -> None:
        """Have `what` called by the next `times` calls of the method, before or after its effect."""
        with self._lock:
            self._troubles.setdefault((method, after), []).extend([what] * times)

    def fail(self, method: str, error: BaseException, *, after: bool = False, times: int = 1) -> None:
        """Have the next `times` calls of the method raise, before or after its effect."""

        def strike() -> None:
            raise error

        self.trouble(method, strike, after=after, times=times)

    def hold(self, method: str, *, after: bool = False) -> Gate:
        """Have the next call of the method wait for the gate that is returned (30 s at most)."""
        gate = Gate()
        self.trouble(method, gate, after=after)
        return gate

    def delay(self, method: str, duration_s: float, *, times: int = 1) -> None:
        """Have the next `times` calls of the method take longer."""
        self.trouble(method, lambda: time.sleep(duration_s), times=times)

    def clear_troubles(self) -> None:
        """Let nothing more go wrong."""
        with self._lock:
            self._troubles.clear()

    @contextmanager
    def acting(self, method: str) -> Iterator[MemoryContent]:
        """One call of a method: counted, troubled, its effect atomic and saved."""
        self.calls[method] += 1
        self._strike(method, after=False)
        with self._lock:
            yield self.content
            if self._file is not None:
                fresh = self._file.with_suffix(".new")
                fresh.write_bytes(msgspec.json.encode(self.content))
                os.replace(fresh, self._file)
        self._strike(method, after=True)

    def _strike(self, method: str, *, after: bool) -> None:
        with self._lock:
            due = self._troubles.get((method, after))
            what = due.pop(0) if due else None
        if what is not None:
            what()
