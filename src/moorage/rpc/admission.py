"""How many RPCs run at once, and what is said to the others.

Overload must read UNAVAILABLE, which every orchestrator takes for "maybe later". The limit built into grpcio
answers RESOURCE_EXHAUSTED, which is final for a provisioner and makes it forget a volume, so it is not used.
Services are counted apart: a controller that hangs does not keep a node from unpublishing. Probe is never
refused for load.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Final

from moorage.rpc.context import Call
from moorage.spec.errors import Unavailable
from moorage.spec.rules import Rpc

MAX_CALLS: Final = 256
"""RPCs of one service that may run at once."""


class Admission:
    """Counts running RPCs by service and knows their tasks; closed while the server stops."""

    def __init__(self, *, driver_name: str, max_calls: int = MAX_CALLS) -> None:
        self._driver_name = driver_name
        self._max_calls = max_calls
        self._running: Counter[str] = Counter()
        self._tasks: dict[asyncio.Task[object], Call] = {}
        self._stopped: set[asyncio.Task[object]] = set()
        self._closed = False

    def enter(self, rpc: Rpc, call: Call) -> None:
        """Let the RPC of the current task in, or raise Unavailable. Each entry is paired with `leave`."""
        if self._closed:
            raise Unavailable(f"driver {self._driver_name} is stopping; repeat the call")
        if self._running[rpc.service] >= self._max_calls and rpc.name != "Probe":
            raise Unavailable(
                f"driver {self._driver_name} already runs {self._max_calls} calls of the {rpc.service} "
                "service; repeat the call later"
            )
        self._running[rpc.service] += 1
        self._tasks[_this_task()] = call

    def leave(self, rpc: Rpc) -> None:
        """The RPC of the current task has ended."""
        self._running[rpc.service] -= 1
        del self._tasks[_this_task()]

    def calls(self) -> list[Call]:
        """What runs now, oldest first."""
        return list(self._tasks.values())

    def was_stopped(self) -> bool:
        """Whether the current task was cancelled by `drain`, and not by its caller."""
        return _this_task() in self._stopped

    async def drain(self, *, grace_s: float, abort_s: float) -> None:
        """Let nothing in, wait `grace_s` for what runs, then cancel it and wait `abort_s` for the replies."""
        self._closed = True
        if self._tasks:
            await asyncio.wait(list(self._tasks), timeout=grace_s)
        for task in list(self._tasks):
            self._stopped.add(task)
            task.cancel()
        if self._tasks:
            await asyncio.wait(list(self._tasks), timeout=abort_s)


def _this_task() -> asyncio.Task[object]:
    task = asyncio.current_task()
    assert task is not None
    return task
