"""Which callbacks keep the event loop busy: a debugging aid, off unless it is asked for.

Every step of every task and every callback is timed by the CPU time of its thread, so that what other processes do
meanwhile does not count. asyncio's own slow-callback warning goes by the clock and blames the innocent on a busy
machine. Knows nothing of what the callbacks do.
"""

from __future__ import annotations

import asyncio
import contextlib
import heapq
import json
import os
import time
from collections.abc import Callable, Iterator
from typing import Any, Final

_KEPT: Final = 10


class LoopWatch:
    """The slowest callbacks of this process since `install`; times are seconds of CPU."""

    def __init__(self) -> None:
        self.callbacks = 0
        self._slowest: list[tuple[float, int, str]] = []
        self._original: Callable[[asyncio.Handle], None] | None = None

    def install(self) -> None:
        """Time every callback of every event loop of this process from now on."""
        handle: Any = asyncio.Handle
        original = self._original = handle._run
        cpu_s = time.thread_time

        def timed(each: asyncio.Handle) -> None:
            began_s = cpu_s()
            original(each)
            self._note(cpu_s() - began_s, each)

        handle._run = timed

    def remove(self) -> None:
        """Time no more."""
        if self._original is not None:
            handle: Any = asyncio.Handle
            handle._run, self._original = self._original, None

    def slowest(self) -> list[tuple[float, str]]:
        """CPU seconds and description of the ten slowest callbacks, the slowest first."""
        return [(cpu_s, what) for cpu_s, _, what in sorted(self._slowest, reverse=True)]

    def _note(self, cpu_s: float, handle: asyncio.Handle) -> None:
        self.callbacks += 1
        if len(self._slowest) < _KEPT:
            heapq.heappush(self._slowest, (cpu_s, self.callbacks, _describe(handle)))
        elif cpu_s > self._slowest[0][0]:
            heapq.heapreplace(self._slowest, (cpu_s, self.callbacks, _describe(handle)))


@contextlib.contextmanager
def watching(path: str | None) -> Iterator[None]:
    """Watch the loop during the body and write the findings to the file `path`; without a path do nothing.

    The file holds JSON: `callbacks` (how many ran) and `slowest` (rows of `cpu_s` and `callback`). OSError.
    """
    if not path:
        yield
        return
    watch = LoopWatch()
    watch.install()
    try:
        yield
    finally:
        watch.remove()
        rows = [{"cpu_s": round(cpu_s, 6), "callback": what} for cpu_s, what in watch.slowest()]
        temporary = f"{path}.tmp"
        with open(temporary, "w", encoding="utf-8") as file:
            json.dump({"callbacks": watch.callbacks, "slowest": rows}, file, indent=1)
        os.replace(temporary, path)


def _describe(handle: asyncio.Handle) -> str:
    """A task by its name and code, as the step of a task says nothing by itself."""
    callback = getattr(handle, "_callback", None)
    owner = getattr(callback, "__self__", None)
    return repr(owner) if isinstance(owner, asyncio.Task) else repr(handle)
