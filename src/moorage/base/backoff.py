"""How long to wait before the next attempt: a pure schedule, without clock and without sleep."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Backoff:
    """Exponential growth from `initial_s` by `factor` up to `maximum_s`, in seconds.

    `jitter` is the share of a delay that is left to chance: 0 is exact, 0.5 gives between half of the delay
    and all of it. A delay never exceeds `maximum_s`. Raises ValueError for a schedule that cannot be.
    """

    initial_s: float
    maximum_s: float
    factor: float = 2.0
    jitter: float = 0.0

    def __post_init__(self) -> None:
        if not 0 < self.initial_s <= self.maximum_s or not math.isfinite(self.maximum_s):
            raise ValueError(f"backoff from {self.initial_s:g} s to {self.maximum_s:g} s must be positive and rising")
        if not 1 <= self.factor < math.inf:
            raise ValueError(f"backoff factor {self.factor:g} must be 1 or more, for example 2")
        if not 0 <= self.jitter <= 1:
            raise ValueError(f"backoff jitter {self.jitter:g} must lie between 0 and 1, for example 0.2")

    def delay_s(self, attempt: int, random: Callable[[], float] | None = None) -> float:
        """Seconds to wait after failed attempt number `attempt` (from 0); `random` yields from [0, 1)."""
        if attempt < 0:
            raise ValueError(f"attempt {attempt} must be 0 or more")
        try:
            full_s = min(self.initial_s * self.factor**attempt, self.maximum_s)
        except OverflowError:
            full_s = self.maximum_s
        if self.jitter == 0 or random is None:
            return full_s
        return full_s * (1 - self.jitter * random())

    def delays_s(self, random: Callable[[], float] | None = None) -> Iterator[float]:
        """The endless sequence of delays, from the first failure on."""
        return (self.delay_s(attempt, random) for attempt in itertools.count())
