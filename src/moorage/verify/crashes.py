"""Drivers killed at work: at a random moment, or right before or after a durable step of our fault injector.

The driver is ended by the restart command alone. Moments are drawn from the rule's random numbers, so a seed
repeats them, as far as a machine repeats its timing. What must hold afterwards is for the rules to say.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from msgspec import Struct

from moorage.verify.exchange import Exchange
from moorage.verify.lab import Lab
from moorage.verify.together import together

__all__ = ["FAULTS", "KillPoint", "kill_at", "read_trace", "revived", "survive", "trace_faults"]

FAULTS: Final = "MOORAGE_FAULTS"
"""The environment variable that drivers built on moorage read a fault plan from."""

_KILL_TAKES_S: Final = 0.03
"""About what a restart command needs until the driver is dead."""
_GUARD_PAUSE_S: Final = 0.05


async def survive(lab: Lab, request: Struct, *, usual_s: float) -> Exchange:
    """Make a call, have the driver killed at some moment of it and started again, and repeat the call to its end.

    `usual_s` is what such a call takes. Raises Failed when the driver does not come back.
    """
    moment_s = lab.random.uniform(-_KILL_TAKES_S, usual_s)

    async def call() -> None:
        await asyncio.sleep(max(0.0, -moment_s))
        await lab.call(request)

    async def kill() -> None:
        await asyncio.sleep(max(0.0, moment_s))
        await lab.peer.restart()

    await together([call(), kill()])
    return await lab.settle(request)


@dataclass(frozen=True, slots=True)
class KillPoint:
    """The `occurrence`-th passing (from 0) of one point, `before:NAME` or `after:NAME`."""

    point: str
    occurrence: int

    def __str__(self) -> str:
        return f"{self.point}, time {self.occurrence + 1}"


@asynccontextmanager
async def revived(lab: Lab) -> AsyncIterator[list[float]]:
    """While this is entered, a driver that died is started again, so that calls repeated by `settle` come through.

    What it yields gets the moment of every start. Raises Failed when the driver does not come back.
    """
    starts: list[float] = []
    guard = asyncio.ensure_future(_guard(lab, starts))
    try:
        yield starts
    finally:
        guard.cancel()
        outcome = (await asyncio.gather(guard, return_exceptions=True))[0]
    if isinstance(outcome, Exception):
        raise outcome


async def _guard(lab: Lab, starts: list[float]) -> None:
    while True:
        if await lab.peer.is_down():
            await lab.peer.restart()
            starts.append(time.monotonic())
        await asyncio.sleep(_GUARD_PAUSE_S)


async def trace_faults(lab: Lab, trace: Path) -> None:
    """Restart the driver so that it notes every point it passes in `trace`, if it has our fault injector."""
    await lab.peer.restart(environment={FAULTS: json.dumps({"rules": [], "trace": str(trace)})})


async def kill_at(lab: Lab, point: KillPoint) -> None:
    """Restart the driver so that it kills itself at this point."""
    rule = {"point": point.point, "action": "kill", "skip": point.occurrence}
    await lab.peer.restart(environment={FAULTS: json.dumps([rule])})


def read_trace(trace: Path) -> list[KillPoint]:
    """The points that were passed, in order; empty when there is no trace."""
    if not trace.exists():
        return []
    passed: Counter[str] = Counter()
    found = []
    for point in trace.read_text().splitlines():
        found.append(KillPoint(point, passed[point]))
        passed[point] += 1
    return found
