"""Time as a dependency, so that whatever waits can be tested without waiting.

`moorage.testing.clock` has the clock that a test moves by hand.
"""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime
from typing import Protocol


class Clock(Protocol):
    """What code may know about time."""

    def monotonic(self) -> float:
        """Seconds since an arbitrary moment; never goes back."""

    def wall_time(self) -> datetime:
        """The date and time in UTC, as an aware datetime."""

    async def sleep(self, duration_s: float) -> None:
        """Suspend the task; a duration of zero or less only lets other tasks run."""


class SystemClock:
    """The clock of the machine."""

    __slots__ = ()

    def monotonic(self) -> float:
        return time.monotonic()

    def wall_time(self) -> datetime:
        return datetime.now(UTC)

    async def sleep(self, duration_s: float) -> None:
        await asyncio.sleep(max(duration_s, 0))
