"""A correct driver under a restart command, for the command line and the plugin to examine."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from moorage.testing.mutants.farm import Backend, backend


@pytest.fixture(scope="module")
async def local_driver(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Backend]:
    """`serve local --attach --attach-node other` on image files."""
    async with backend(tmp_path_factory.mktemp("v")) as found:
        yield found
