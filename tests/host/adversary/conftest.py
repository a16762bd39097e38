"""Drivers for adversaries to work on."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import grpc.aio
import pytest
from tests.support.adversary import ServedLocal, loops_below, reflink_pool, tear_down
from tests.support.playground import Place, furnish, make_playground

from moorage.host.mountinfo import mounts_below


@pytest.fixture
def pool(tmp_path: Path) -> Iterator[Path]:
    """An empty pool on xfs with reflink."""
    with reflink_pool(tmp_path) as made:
        yield made


@pytest.fixture(scope="module")
async def served(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[tuple[ServedLocal, grpc.aio.Channel]]:
    base = tmp_path_factory.mktemp("hostile")
    with reflink_pool(base) as pool:
        async with ServedLocal(base, pool) as driver:
            options = (("grpc.default_authority", "localhost"),)
            async with grpc.aio.insecure_channel(f"unix:{driver.socket}", options=options) as channel:
                yield driver, channel


@pytest.fixture
async def place(served: tuple[ServedLocal, grpc.aio.Channel], tmp_path: Path) -> AsyncIterator[Place]:
    """Volumes in use and not in use, snapshots, a group, all gone again afterwards without a trace."""
    driver, channel = served
    made = Place(driver, channel, tmp_path, tmp_path / "play", tmp_path / "outside")
    make_playground(made.play, made.outside)
    await furnish(made)
    yield made
    await driver.idle()
    await tear_down(driver)
    assert driver.rows() == {}
    assert [str(path) for path in driver.pool.rglob("*") if path.parent != driver.pool] == []
    assert mounts_below(str(tmp_path)) == []
    assert loops_below(driver.pool) == []
