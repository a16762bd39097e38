"""Credential plugins: real programs, asked when needed and only then."""

from __future__ import annotations

import asyncio
import base64
import json
import os
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from moorage.kube import exec_plugin
from moorage.kube.config import Cluster, ExecPlugin, Pem
from moorage.kube.credentials import Grant, bearer
from moorage.kube.errors import Unreachable
from moorage.kube.exec_plugin import PluginCredentials, grant_of_answer, question
from moorage.testing.clock import VirtualClock

V1 = "client.authentication.k8s.io/v1"
CLUSTER = Cluster(server="https://h:6443")
SCRIPT = """#!/bin/sh
echo run >> {directory}/runs
printf '%s' "$KUBERNETES_EXEC_INFO" > {directory}/question
printf '%s' "$PROFILE $HOME $1" > {directory}/environment
cat {directory}/answer
"""


class Plugin:
    """A plugin program in a directory, which prints what the test says."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.program = directory / "plugin"
        self.program.write_text(SCRIPT.format(directory=directory))
        self.program.chmod(0o755)
        self.clock = VirtualClock()

    def says(self, **status: Any) -> None:
        answer = {"apiVersion": V1, "kind": "ExecCredential", "status": status}
        (self.directory / "answer").write_text(json.dumps(answer))

    @property
    def runs(self) -> int:
        path = self.directory / "runs"
        return len(path.read_text().splitlines()) if path.exists() else 0

    def credentials(self, **options: Any) -> PluginCredentials:
        plugin = ExecPlugin(
            api_version=V1,
            command=str(self.program),
            arguments=("token",),
            environment=(("PROFILE", "dev"),),
            **options,
        )
        environ = {"PATH": os.environ["PATH"], "HOME": "/home/x", "PROFILE": "other"}
        return PluginCredentials(plugin, CLUSTER, environ=environ, clock=self.clock)


@pytest.fixture
def plugin(tmp_path: Path) -> Plugin:
    made = Plugin(tmp_path)
    made.says(token="t1")
    return made


async def test_a_token_is_asked_for_once(plugin: Plugin) -> None:
    credentials = plugin.credentials()
    grants = await asyncio.gather(*[credentials.grant() for _ in range(20)])
    assert set(grants) == {bearer("t1")}
    assert plugin.runs == 1
    asked = json.loads((plugin.directory / "question").read_text())
    assert asked == {"apiVersion": V1, "kind": "ExecCredential", "spec": {"interactive": False}}
    assert (plugin.directory / "environment").read_text() == "dev /home/x token"


async def test_an_expired_token_is_asked_for_again(plugin: Plugin) -> None:
    expires_at = plugin.clock.wall_time() + timedelta(minutes=15)
    plugin.says(token="t1", expirationTimestamp=expires_at.isoformat().replace("+00:00", "Z"))
    credentials = plugin.credentials()
    assert (await credentials.grant()).expires_at == expires_at
    plugin.says(token="t2")
    plugin.clock.shift(15 * 60 - 1)
    assert (await credentials.grant()).authorization == "Bearer t1"
    plugin.clock.shift(1)
    assert (await credentials.grant()).authorization == "Bearer t2"
    assert plugin.runs == 2


async def test_a_refused_token_is_asked_for_again_once_for_all(plugin: Plugin) -> None:
    credentials = plugin.credentials()
    refused = await credentials.grant()
    plugin.says(token="t2")
    assert all(await asyncio.gather(*[credentials.renew(refused) for _ in range(10)]))
    assert await credentials.grant() == bearer("t2")
    assert plugin.runs == 2


async def test_the_same_token_again_is_no_renewal(plugin: Plugin) -> None:
    credentials = plugin.credentials()
    refused = await credentials.grant()
    assert not await credentials.renew(refused)


async def test_a_client_certificate(plugin: Plugin) -> None:
    plugin.says(clientCertificateData="CERT", clientKeyData="KEY")
    assert await plugin.credentials().grant() == Grant(certificate=b"CERT", key=b"KEY")


async def test_a_failure_is_shared_by_those_who_wait_and_forgotten_soon(plugin: Plugin) -> None:
    plugin.program.write_text(f"#!/bin/sh\necho run >> {plugin.directory}/runs\necho 'please log in' >&2\nexit 3\n")
    credentials = plugin.credentials()
    found = await asyncio.gather(*[credentials.grant() for _ in range(10)], return_exceptions=True)
    assert all(isinstance(error, Unreachable) and "please log in" in str(error) for error in found)
    assert plugin.runs == 1
    plugin.clock.shift(3)
    with pytest.raises(Unreachable) as caught:
        await credentials.grant()
    assert (caught.value.kind, caught.value.sent) == ("credentials", False)
    assert plugin.runs == 2


async def test_a_plugin_that_hangs_is_ended(plugin: Plugin, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exec_plugin, "PLUGIN_TIMEOUT_S", 0.2)
    plugin.program.write_text("#!/bin/sh\nexec sleep 30\n")
    with pytest.raises(Unreachable, match=r"no answer within 0\.2 s"):
        await plugin.credentials().grant()


async def test_a_plugin_that_is_missing_tells_how_to_get_it(plugin: Plugin) -> None:
    plugin.program.unlink()
    with pytest.raises(Unreachable, match="is not installed; apt install it"):
        await plugin.credentials(install_hint="apt\n install it").grant()


def answer(**changes: Any) -> bytes:
    return json.dumps({"apiVersion": V1, "kind": "ExecCredential", "status": {"token": "s3cret"}, **changes}).encode()


@pytest.mark.parametrize(
    ("output", "text"),
    [
        pytest.param(b"s3cret", "did not print an ExecCredential", id="no-json"),
        pytest.param(answer(apiVersion="client.authentication.k8s.io/v1beta1"), "make both equal", id="version"),
        pytest.param(answer(kind="Other"), "answered with", id="kind"),
        pytest.param(answer(status={}), "neither a token nor", id="empty"),
        pytest.param(answer(status=None), "neither a token nor", id="no-status"),
        pytest.param(answer(status={"clientCertificateData": "s3cret"}), "not both", id="half-a-pair"),
        pytest.param(
            answer(status={"token": "s3cret", "expirationTimestamp": "2026-01-01T00:00:00"}), "time zone", id="no-zone"
        ),
        pytest.param(answer(status={"token": "s3cret", "expirationTimestamp": "x"}), "did not print", id="no-time"),
    ],
)
def test_bad_answers_are_refused_without_quoting_them(output: bytes, text: str) -> None:
    plugin = ExecPlugin(api_version=V1, command="x")
    with pytest.raises(Unreachable, match=text) as caught:
        grant_of_answer(output, plugin)
    assert "s3cret" not in str(caught.value)


def test_a_timestamp_with_another_zone_is_understood() -> None:
    output = answer(status={"token": "t", "expirationTimestamp": "2026-01-01T02:00:00+02:00"})
    grant = grant_of_answer(output, ExecPlugin(api_version=V1, command="x"))
    assert grant.expires_at == datetime(2026, 1, 1, tzinfo=UTC)


def test_the_cluster_is_described_when_the_plugin_wants_it(tmp_path: Path) -> None:
    authority = tmp_path / "ca"
    authority.write_bytes(b"PEM")
    plugin = ExecPlugin(api_version=V1, command="x", provide_cluster_info=True)
    cluster = Cluster(
        server="https://h", authority=Pem(path=authority), tls_server_name="k", extension={"audience": "a"}
    )
    assert json.loads(question(plugin, cluster))["spec"]["cluster"] == {
        "server": "https://h",
        "tls-server-name": "k",
        "certificate-authority-data": base64.b64encode(b"PEM").decode(),
        "config": {"audience": "a"},
    }
