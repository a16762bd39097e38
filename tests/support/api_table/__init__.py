"""How the Kubernetes API behaves, as a table that any API server can be held against.

    @pytest.mark.parametrize("row", CASES, ids=lambda row: row.id)
    async def test_it(row: Case, transport: Transport) -> None:
        async with site_on(transport) as site:
            await row.run(site)

The fake server of `moorage.testing.kube` is tested with it, in memory and over HTTP. A real kube-apiserver passes
it too, which is what makes the fake worth trusting.
"""

from __future__ import annotations

from tests.support.api_table import changes, controllers, deletion, patches, reading, storage, watches
from tests.support.api_table.case import CASES, Case
from tests.support.api_table.site import Site, site_on

__all__ = [
    "CASES",
    "Case",
    "Site",
    "changes",
    "controllers",
    "deletion",
    "patches",
    "reading",
    "site_on",
    "storage",
    "watches",
]
