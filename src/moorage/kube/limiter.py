"""Keeps a client below a rate of requests that its operator chose, as client-go's `--kube-api-qps` does.

A bucket holds up to `burst` tokens and gains `qps` of them a second; each request takes one, and requests are
served in the order in which they came. The arithmetic is pure; only `Limiter` knows the event loop.
"""

from __future__ import annotations

import asyncio
import math
from typing import Final, Self

from moorage.kube.errors import Unreachable

__all__ = ["DEFAULT_BURST", "DEFAULT_QPS", "Limiter", "TokenBucket"]

DEFAULT_QPS: Final = 200.0
DEFAULT_BURST: Final = 400


class TokenBucket:
    """Tokens that may be taken before they are there: the debt is the time to wait."""

    __slots__ = ("_burst", "_qps", "_tokens", "_updated_s")

    def __init__(self, qps: float, burst: int, *, now_s: float = 0.0) -> None:
        if not 0 < qps < math.inf or burst < 1:
            raise ValueError(f"a rate of {qps:g} requests a second with bursts of {burst} lets nothing pass")
        self._qps = qps
        self._burst = burst
        self._tokens = float(burst)
        self._updated_s = now_s

    def wait_s(self, now_s: float) -> float:
        """Seconds that a request which came at `now_s` would have to wait."""
        self._gain(now_s)
        return max(0.0, (1.0 - self._tokens) / self._qps)

    def take(self, now_s: float) -> float:
        """Take a token; returns the seconds to wait before it may be used."""
        wait_s = self.wait_s(now_s)
        self._tokens -= 1.0
        return wait_s

    def give_back(self, now_s: float) -> None:
        """Return a token that was taken and not used."""
        self._gain(now_s)
        self._tokens = min(self._tokens + 1.0, self._burst)

    def _gain(self, now_s: float) -> None:
        elapsed_s = max(0.0, now_s - self._updated_s)
        self._updated_s = max(now_s, self._updated_s)
        self._tokens = min(self._tokens + elapsed_s * self._qps, self._burst)


class Limiter:
    """Lets at most `qps` requests a second pass, and `burst` at once; for use inside one event loop.

    `waited_s` is the total time that requests have been held back, `held` how many of them were.
    """

    def __init__(self, qps: float = DEFAULT_QPS, burst: int = DEFAULT_BURST) -> None:
        self._qps = qps
        self._burst = burst
        self._bucket: TokenBucket | None = None
        self.waited_s = 0.0
        self.held = 0
        if not self.unlimited:
            TokenBucket(qps, burst)

    @classmethod
    def from_flags(cls, qps: float, burst: int) -> Self:
        """As `--kube-api-qps` and `--kube-api-burst` mean it: below 0 is no limit, 0 is client-go's 5 and 10."""
        return cls(qps or 5.0, burst or 10)

    @property
    def unlimited(self) -> bool:
        return self._qps < 0

    async def acquire(self, *, timeout_s: float) -> float:
        """Wait for a turn; returns the seconds waited.

        Raises Unreachable at once when the turn would come only after `timeout_s`, as client-go does.
        """
        if self.unlimited:
            return 0.0
        loop = asyncio.get_running_loop()
        now_s = loop.time()
        if self._bucket is None:
            self._bucket = TokenBucket(self._qps, self._burst, now_s=now_s)
        wait_s = self._bucket.wait_s(now_s)
        if wait_s > timeout_s:
            raise Unreachable(
                f"the request would wait {wait_s:.1f} s for its turn, longer than its {timeout_s:.1f} s; "
                f"raise the limit of {self._qps:g} requests a second or send fewer",
                kind="throttled",
                sent=False,
            )
        self._bucket.take(now_s)
        if wait_s > 0:
            await self._wait(wait_s, self._bucket)
        return wait_s

    async def _wait(self, wait_s: float, bucket: TokenBucket) -> None:
        self.held += 1
        loop = asyncio.get_running_loop()
        start_s = loop.time()
        try:
            await asyncio.sleep(wait_s)
        except asyncio.CancelledError:
            bucket.give_back(loop.time())
            raise
        finally:
            self.waited_s += loop.time() - start_s
