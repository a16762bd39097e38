from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest_asyncio
from tests.support.controller import Controller

from moorage.base import faults


@pytest_asyncio.fixture
async def controller(tmp_path: Path) -> AsyncIterator[Controller]:
    """A started plugin of `MemoryDriver`."""
    async with Controller(tmp_path / "state") as running:
        yield running
    faults.install(None)
