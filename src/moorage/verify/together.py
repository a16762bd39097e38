"""Several things at once, all of them to their end: a call that runs on would meet the cleaning up after the rule."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Iterable
from typing import TypeVar

__all__ = ["together"]

T = TypeVar("T")


async def together(work: Iterable[Awaitable[T]]) -> list[T]:
    """Wait for all, and return their results in order. Raises what the first of them raised, when all have ended."""
    outcomes = await asyncio.gather(*work, return_exceptions=True)
    results: list[T] = []
    for outcome in outcomes:
        if isinstance(outcome, BaseException):
            raise outcome
        results.append(outcome)
    return results
