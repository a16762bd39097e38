"""The fake API server behaves as the table says."""

from __future__ import annotations

import pytest
from tests.support.api_table import CASES, Case, site_on

from moorage.testing.clock import LoopClock, run_virtual
from moorage.testing.kube import AttachDetach, Binder, FakeApiServer, FakeTransport, NamespaceLifecycle, Protection


def fake() -> FakeTransport:
    return FakeTransport(
        FakeApiServer(clock=LoopClock(), behaviours=[Binder(), Protection(), AttachDetach(), NamespaceLifecycle()])
    )


@pytest.mark.parametrize("row", CASES, ids=lambda row: row.id)
def test_in_memory(row: Case) -> None:
    async def work() -> None:
        async with site_on(fake()) as site:
            await row.run(site)

    run_virtual(work(), limit_s=3600)
