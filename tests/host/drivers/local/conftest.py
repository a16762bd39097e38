"""Fixtures of the local driver's host tests; what they give is in `pool_node`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from tests.host.drivers.local.pool_node import MakeNode, Node, mounted_pool

from moorage.drivers.local import LocalConfig, LocalDriver


@pytest.fixture
def make_node(tmp_path: Path) -> Iterator[MakeNode]:
    """Builds a node on a fresh pool of a file system; volumes of that pool first, then the pool, are cleaned up."""
    with ExitStack() as pools:

        def make(fs_type: str, **settings: object) -> Node:
            pool = pools.enter_context(mounted_pool(tmp_path, fs_type))
            volumes = pools.enter_context(ExitStack())
            mounts = tmp_path / f"{fs_type}-mounts"
            mounts.mkdir()
            driver = LocalDriver(LocalConfig(pool=(str(pool),), node_id="node-a", **settings))  # type: ignore[arg-type]  # test settings
            node = Node(driver, pool, mounts, volumes)
            volumes.callback(node.stop)
            driver.start()
            return node

        yield make


@pytest.fixture
def node(make_node: MakeNode, request: pytest.FixtureRequest) -> Node:
    """A node on the pool that the test is parametrised with: xfs (reflink), ext4 (none) or btrfs."""
    settings = {"backend": ("image",)} if request.param == "btrfs" else {}
    return make_node(request.param, **settings)
