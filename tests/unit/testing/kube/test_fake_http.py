"""The fake API server behind a port: the same table, faults as a client meets them, and as a process."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from tests.support.api_table import CASES, Case, Site, site_on

from moorage.kube.config import ClientConfig, Cluster, User
from moorage.kube.errors import Unreachable
from moorage.kube.http_transport import HttpTransport
from moorage.kube.kubeconfig import load_kubeconfig
from moorage.kube.resource import LEASES
from moorage.testing.kube import AttachDetach, Binder, FakeApiServer, LoseReply, NamespaceLifecycle, Protection
from moorage.testing.kube.http import serving


@asynccontextmanager
async def served(server: FakeApiServer, *, token: str = "") -> AsyncIterator[HttpTransport]:
    async with serving(server) as url:
        transport = HttpTransport(ClientConfig(cluster=Cluster(server=url), user=User(token=token)))
        try:
            yield transport
        finally:
            await transport.close()


@pytest.mark.parametrize("row", CASES, ids=lambda row: row.id)
async def test_over_http(row: Case) -> None:
    server = FakeApiServer(behaviours=[Binder(), Protection(), AttachDetach(), NamespaceLifecycle()])
    async with served(server) as transport, site_on(transport) as site:
        await row.run(site)


async def test_a_lost_reply_breaks_the_connection_after_the_effect() -> None:
    server = FakeApiServer()
    async with served(server) as transport:
        server.faults.add(LoseReply(), verb="create", resource="leases")
        with pytest.raises(Unreachable) as caught:
            await Site(transport, "default").lease("one")
        assert (caught.value.kind, caught.value.sent) == ("reset", True)
        assert server.find(LEASES, "one") is not None


async def test_a_broken_watch_is_unreachable_and_an_ended_one_ends() -> None:
    server = FakeApiServer()
    async with served(server) as transport:
        site = Site(transport, "default")
        async with site.watching(LEASES) as events:
            await site.lease("one")
            assert await events.take(1) == [("ADDED", "one")]
            assert server.break_watches() == 1
            with pytest.raises(Unreachable):
                await events.next()
        async with site.watching(LEASES) as events:
            assert await events.take(1) == [("ADDED", "one")]
            server.break_watches(cleanly=True)
            with pytest.raises(StopAsyncIteration):
                await events.next()


async def test_the_token_is_the_user_in_the_log() -> None:
    server = FakeApiServer()
    async with served(server, token="system:serviceaccount") as transport:
        await Site(transport, "default").lease("one")
    assert server.log.count(verb="create", user="system") == 1


async def test_it_can_be_controlled_over_http() -> None:
    server = FakeApiServer()
    async with served(server) as transport:
        site = Site(transport, "default")
        fault = {"effect": "refuse", "with": {"code": 503}, "verb": "create", "times": 1}
        assert (await site.send("POST", "/fake/faults", body=fault)).status == 200
        assert (await site.ask("POST", LEASES, body={"metadata": {"name": "one"}})).refusal == (
            503,
            "ServiceUnavailable",
        )
        await site.lease("one")
        assert (await site.send("GET", "/fake/requests")).tree == {"create leases": 2}
        assert (await site.send("POST", "/fake/nonsense")).status == 404
        assert (await site.send("POST", "/fake/faults", body={"effect": "none"})).status == 400


async def test_it_runs_as_a_process(tmp_path: Path) -> None:
    kubeconfig = tmp_path / "kubeconfig"
    argv = [sys.executable, "-m", "moorage.testing.kube", "--listen", "127.0.0.1:0", "--kubeconfig", str(kubeconfig)]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            said = json.loads(process.stdout.readline())
            config = load_kubeconfig([kubeconfig], must_exist=True)
            assert config.cluster.server == said["url"]
            transport = HttpTransport(config)
            async with site_on(transport) as site:
                await site.lease("one")
                assert (await site.get(LEASES, "one")).status == 200
            await transport.close()
        finally:
            process.terminate()
        assert process.wait(timeout=20) == 0


def test_a_bad_address_is_a_usage_error() -> None:
    argv = [sys.executable, "-m", "moorage.testing.kube", "--listen", "nowhere"]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "127.0.0.1:8001" in done.stderr
