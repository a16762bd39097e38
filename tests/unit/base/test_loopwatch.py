"""The loop watch finds the callback that keeps the loop busy, and only that."""

from __future__ import annotations

import asyncio
import json
import time
from pathlib import Path

import pytest

from moorage.base.loopwatch import watching


def burn(seconds: float) -> None:
    end_s = time.thread_time() + seconds
    while time.thread_time() < end_s:
        pass


async def busy_task() -> None:
    await asyncio.sleep(0)
    burn(0.05)


async def test_the_busy_task_is_named(tmp_path: Path) -> None:
    path = tmp_path / "loop.json"
    with watching(str(path)):
        await asyncio.create_task(busy_task(), name="the busy one")
    found = json.loads(path.read_text())
    assert found["callbacks"] >= 2
    assert found["slowest"][0]["cpu_s"] >= 0.05
    assert "the busy one" in found["slowest"][0]["callback"]


async def test_waiting_is_not_work(tmp_path: Path) -> None:
    path = tmp_path / "loop.json"
    with watching(str(path)):
        asyncio.get_running_loop().call_soon(time.sleep, 0.05)
        await asyncio.sleep(0.06)
    assert json.loads(path.read_text())["slowest"][0]["cpu_s"] < 0.04


async def test_nothing_is_watched_unasked() -> None:
    original = asyncio.Handle._run
    with watching(None):
        assert asyncio.Handle._run is original


async def test_the_loop_is_given_back_after_a_failure(tmp_path: Path) -> None:
    original = asyncio.Handle._run
    with pytest.raises(KeyError), watching(str(tmp_path / "loop.json")):
        raise KeyError(asyncio.Handle._run is original)
    assert asyncio.Handle._run is original
    assert (tmp_path / "loop.json").exists()
