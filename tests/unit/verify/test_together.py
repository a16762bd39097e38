from __future__ import annotations

import asyncio

import pytest

from moorage.verify.rule import Failed
from moorage.verify.together import together


async def test_results_come_in_order() -> None:
    async def after(turns: int) -> int:
        for _ in range(turns):
            await asyncio.sleep(0)
        return turns

    assert await together(after(turns) for turns in (3, 1, 2)) == [3, 1, 2]


async def test_a_failure_waits_for_the_others() -> None:
    ended = []

    async def fails() -> None:
        raise Failed("first")

    async def goes_on() -> None:
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        ended.append(True)

    with pytest.raises(Failed, match="first"):
        await together([fails(), goes_on()])
    assert ended == [True]
