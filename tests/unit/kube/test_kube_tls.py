"""Who is trusted and who one is: real handshakes with certificates of a CA made for the test."""

from __future__ import annotations

import json
import shutil
import ssl
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from tests.support.cluster.certificates import Authority, Pair
from tests.support.kube_servers import Seen, serving

from moorage.kube.config import ClientConfig, Cluster, ExecPlugin, Pem, User
from moorage.kube.errors import Unreachable
from moorage.kube.http_transport import HttpTransport
from moorage.kube.transport import Request
from moorage.testing.clock import VirtualClock

GET = Request(method="GET", path="/x", timeout_s=10, verb="get", resource="pods")


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("pki") / "ca")


@pytest.fixture(scope="module")
def other_authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("other-pki") / "ca")


@pytest.fixture(scope="module")
def server_pair(authority: Authority) -> Pair:
    return authority.issue("server", "/CN=server", alternative_names="IP:127.0.0.1,DNS:kube.test")


def server_context(pair: Pair, *, clients: Authority | None = None) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pair.certificate, pair.key)
    if clients is not None:
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(clients.ca.certificate)
    return context


async def who(request: web.Request) -> web.Response:
    """The common name of the client's certificate."""
    assert request.transport is not None
    peer = request.transport.get_extra_info("peercert") or {}
    names = [value for entry in peer.get("subject", ()) for key, value in entry if key == "commonName"]
    return web.Response(text=" ".join(names))


def cluster_at(seen: Seen, signer: Authority, **changes: Any) -> Cluster:
    cluster = Cluster(server=f"https://127.0.0.1:{seen.port}", authority=Pem(path=signer.ca.certificate))
    return replace(cluster, **changes)


@asynccontextmanager
async def connected(cluster: Cluster, user: User | None = None, **options: Any) -> AsyncIterator[HttpTransport]:
    transport = HttpTransport(ClientConfig(cluster=cluster, user=user or User()), **options)
    try:
        yield transport
    finally:
        await transport.close()


async def ask(cluster: Cluster, user: User | None = None, **options: Any) -> str:
    async with connected(cluster, user, **options) as transport:
        return (await transport.request(GET)).body.decode()


async def test_a_server_of_the_authority_is_trusted(authority: Authority, server_pair: Pair) -> None:
    async with serving(who, tls=server_context(server_pair)) as seen:
        assert await ask(cluster_at(seen, authority)) == ""
        data = Pem(data=authority.ca.certificate.read_bytes())
        assert await ask(cluster_at(seen, authority, authority=data)) == ""


async def test_a_server_certificate_may_itself_be_the_anchor(authority: Authority, server_pair: Pair) -> None:
    async with serving(who, tls=server_context(server_pair)) as seen:
        assert await ask(cluster_at(seen, authority, authority=Pem(path=server_pair.certificate))) == ""


async def test_another_authority_is_refused(
    authority: Authority, other_authority: Authority, server_pair: Pair
) -> None:
    async with serving(who, tls=server_context(server_pair)) as seen:
        for cluster in (cluster_at(seen, other_authority), cluster_at(seen, authority, authority=Pem())):
            with pytest.raises(Unreachable, match="failed the TLS handshake") as caught:
                await ask(cluster)
            assert (caught.value.kind, caught.value.sent) == ("tls", False)
        assert not seen.requests


async def test_verification_can_be_switched_off(other_authority: Authority, authority: Authority) -> None:
    pair = other_authority.issue("stranger", "/CN=stranger")
    async with serving(who, tls=server_context(pair)) as seen:
        cluster = cluster_at(seen, authority, authority=Pem(), insecure_skip_tls_verify=True)
        assert await ask(cluster) == ""


async def test_the_name_to_expect_can_be_given(authority: Authority) -> None:
    pair = authority.issue("named", "/CN=named", alternative_names="DNS:kube.test")
    async with serving(who, tls=server_context(pair)) as seen:
        with pytest.raises(Unreachable, match="TLS handshake"):
            await ask(cluster_at(seen, authority))
        assert await ask(cluster_at(seen, authority, tls_server_name="kube.test")) == ""
        with pytest.raises(Unreachable, match="TLS handshake"):
            await ask(cluster_at(seen, authority, tls_server_name="other.test"))


async def test_plain_http_on_a_tls_address_is_explained(authority: Authority) -> None:
    async with serving(who) as seen:
        with pytest.raises(Unreachable) as caught:
            await ask(cluster_at(seen, authority))
        assert caught.value.kind == "tls"


class TestClientCertificates:
    @pytest.mark.parametrize("form", ["files", "data", "mixed"])
    async def test_they_say_who_one_is(self, authority: Authority, server_pair: Pair, form: str) -> None:
        pair = authority.issue("jane", "/CN=jane")
        certificate = Pem(path=pair.certificate) if form != "data" else Pem(pair.certificate.read_bytes())
        key = Pem(path=pair.key) if form == "files" else Pem(pair.key.read_bytes())
        async with serving(who, tls=server_context(server_pair, clients=authority)) as seen:
            assert await ask(cluster_at(seen, authority), User(certificate=certificate, key=key)) == "jane"

    async def test_replaced_files_are_used_without_a_restart(
        self, authority: Authority, server_pair: Pair, tmp_path: Path
    ) -> None:
        clock = VirtualClock()
        user = User(certificate=Pem(path=tmp_path / "crt"), key=Pem(path=tmp_path / "key"))

        def install(name: str) -> None:
            pair = authority.issue(name, f"/CN={name}")
            shutil.copy(pair.certificate, tmp_path / "crt")
            shutil.copy(pair.key, tmp_path / "key")

        install("first")
        async with serving(who, tls=server_context(server_pair, clients=authority)) as seen:
            async with connected(cluster_at(seen, authority), user, clock=clock) as transport:
                assert (await transport.request(GET)).body == b"first"
                install("second")
                clock.shift(9)
                assert (await transport.request(GET)).body == b"first"
                clock.shift(1)
                assert (await transport.request(GET)).body == b"second"
                (tmp_path / "crt").unlink()
                clock.shift(20)
                assert (await transport.request(GET)).body == b"second"
            assert len(seen.peers) == 2

    async def test_a_plugin_may_give_them(self, authority: Authority, server_pair: Pair, tmp_path: Path) -> None:
        pair = authority.issue("plugin-user", "/CN=plugin-user")
        version = "client.authentication.k8s.io/v1"
        status = {"clientCertificateData": pair.certificate.read_text(), "clientKeyData": pair.key.read_text()}
        answer = {"apiVersion": version, "kind": "ExecCredential", "status": status}
        (tmp_path / "answer").write_text(json.dumps(answer))
        plugin = ExecPlugin(api_version=version, command="cat", arguments=(str(tmp_path / "answer"),))
        async with serving(who, tls=server_context(server_pair, clients=authority)) as seen:
            found = await ask(cluster_at(seen, authority), User(exec_plugin=plugin))
        assert found == "plugin-user"

    async def test_without_one_the_server_hangs_up(self, authority: Authority, server_pair: Pair) -> None:
        async with serving(who, tls=server_context(server_pair, clients=authority)) as seen:
            with pytest.raises(Unreachable):
                await ask(cluster_at(seen, authority))
            assert not seen.requests

    @pytest.mark.parametrize("mistake", ["no-pem", "other-key", "encrypted", "missing"])
    async def test_mistakes_are_named_and_nothing_is_asked_on_the_terminal(
        self, authority: Authority, server_pair: Pair, tmp_path: Path, mistake: str
    ) -> None:
        pair = authority.issue(f"bad-{mistake}", "/CN=bad")
        certificate, key = Pem(path=pair.certificate), Pem(path=pair.key)
        if mistake == "no-pem":
            certificate = Pem(data=b"nonsense")
        elif mistake == "other-key":
            key = Pem(path=server_pair.key)
        elif mistake == "missing":
            key = Pem(path=tmp_path / "none")
        else:
            out = tmp_path / "encrypted.key"
            command = ["openssl", "ec", "-in", str(pair.key), "-aes256", "-passout", "pass:x", "-out", str(out)]
            subprocess.run(command, check=True, capture_output=True)
            key = Pem(path=out)
        async with serving(who, tls=server_context(server_pair, clients=authority)) as seen:
            with pytest.raises(Unreachable, match="check the kubeconfig") as caught:
                await ask(cluster_at(seen, authority), User(certificate=certificate, key=key))
        assert (caught.value.kind, caught.value.sent) == ("tls", False)


@pytest.mark.parametrize("content", [b"nonsense", b"\xff"])
async def test_an_authority_that_is_no_certificate_is_named(content: bytes) -> None:
    cluster = Cluster(server="https://127.0.0.1:1", authority=Pem(data=content))
    with pytest.raises(Unreachable, match="not a PEM certificate"):
        await ask(cluster)
