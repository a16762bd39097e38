"""Credentials from a program (an exec plugin of client-go): how it is asked, and what its answer means.

The program gets an ExecCredential in KUBERNETES_EXEC_INFO and prints one with a status. It runs when there is
no valid credential, and again after the server refused one; callers that come meanwhile wait for the same run.
It never gets a terminal. Source: client.authentication.k8s.io/v1 and v1beta1.
"""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

import msgspec
from msgspec import Struct

from moorage.base.clock import Clock, SystemClock
from moorage.base.command import CommandError, CommandNotFound, CommandTimeout
from moorage.base.run import run
from moorage.kube.config import Cluster, ExecPlugin
from moorage.kube.credentials import Grant
from moorage.kube.errors import Unreachable

__all__ = ["PluginCredentials", "grant_of_answer", "question"]

PLUGIN_TIMEOUT_S: Final = 60.0
FAILURE_HOLDS_S: Final = 2.0


class _Status(Struct, rename="camel"):
    token: str = ""
    client_certificate_data: str = ""
    client_key_data: str = ""
    expiration_timestamp: datetime | None = None


class _Credential(Struct, rename="camel"):
    api_version: str = ""
    kind: str = ""
    status: _Status | None = None


class PluginCredentials:
    """Runs `plugin` for grants and keeps the last one until it expires or is refused."""

    def __init__(
        self, plugin: ExecPlugin, cluster: Cluster, *, environ: Mapping[str, str], clock: Clock | None = None
    ) -> None:
        """`environ` is what the program inherits, PATH included."""
        self._plugin = plugin
        self._cluster = cluster
        self._environ = dict(environ)
        self._clock = clock or SystemClock()
        self._lock = asyncio.Lock()
        self._grant: Grant | None = None
        self._failure: tuple[float, Unreachable] | None = None

    async def grant(self) -> Grant:
        if (found := self._valid()) is not None:
            return found
        async with self._lock:
            return self._valid() or await self._run()

    async def renew(self, refused: Grant) -> bool:
        async with self._lock:
            if self._grant is not None and self._grant == refused:
                self._grant = None
                await self._run()
        return self._grant != refused

    def _valid(self) -> Grant | None:
        found = self._grant
        if found is None or (found.expires_at is not None and self._clock.wall_time() >= found.expires_at):
            return None
        return found

    async def _run(self) -> Grant:
        """Ask the program; a failure holds for a moment, so that a crowd of callers does not ask one by one."""
        if self._failure is not None and self._clock.monotonic() - self._failure[0] < FAILURE_HOLDS_S:
            raise self._failure[1]
        try:
            output = await self._output()
            self._grant = grant_of_answer(output, self._plugin)
        except Unreachable as error:
            self._failure = (self._clock.monotonic(), error)
            raise
        self._failure = None
        return self._grant

    async def _output(self) -> bytes:
        plugin = self._plugin
        information = question(plugin, self._cluster)
        environment = {**self._environ, **dict(plugin.environment), "KUBERNETES_EXEC_INFO": information}
        try:
            done = await run([plugin.command, *plugin.arguments], env=environment, timeout_s=PLUGIN_TIMEOUT_S)
        except CommandNotFound as error:
            hint = " ".join(plugin.install_hint.split())
            raise _failed(plugin, f"is not installed{f'; {hint}' if hint else ''}") from error
        except CommandTimeout as error:
            raise _failed(plugin, f"gave no answer within {PLUGIN_TIMEOUT_S:g} s; run it by hand") from error
        except CommandError as error:
            raise _failed(plugin, f"failed ({error}); run it by hand") from error
        return done.stdout.encode()


def question(plugin: ExecPlugin, cluster: Cluster) -> str:
    """The ExecCredential that the program is asked with."""
    spec: dict[str, Any] = {"interactive": False}
    if plugin.provide_cluster_info:
        spec["cluster"] = _cluster_information(cluster)
    return msgspec.json.encode({"kind": "ExecCredential", "apiVersion": plugin.api_version, "spec": spec}).decode()


def grant_of_answer(output: bytes, plugin: ExecPlugin) -> Grant:
    """The grant that a program printed. Raises Unreachable, without quoting it, when it is not one."""
    try:
        answer = msgspec.json.decode(output, type=_Credential)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise _failed(plugin, "did not print an ExecCredential in JSON; run it by hand") from error
    if answer.kind != "ExecCredential" or answer.api_version != plugin.api_version:
        raise _failed(
            plugin,
            f"answered with {answer.api_version!r} where the kubeconfig says {plugin.api_version!r}; make both equal",
        )
    status = answer.status or _Status()
    if bool(status.client_certificate_data) != bool(status.client_key_data):
        raise _failed(plugin, "gave a client certificate or its key but not both; repair the plugin")
    if not status.token and not status.client_certificate_data:
        raise _failed(plugin, "gave neither a token nor a client certificate; log in with it first")
    if status.expiration_timestamp is not None and status.expiration_timestamp.tzinfo is None:
        raise _failed(plugin, "gave an expirationTimestamp without a time zone; repair the plugin")
    return Grant(
        authorization=f"Bearer {status.token}" if status.token else "",
        certificate=status.client_certificate_data.encode(),
        key=status.client_key_data.encode(),
        expires_at=status.expiration_timestamp,
    )


def _cluster_information(cluster: Cluster) -> dict[str, Any]:
    authority = cluster.authority.data
    if cluster.authority.path is not None:
        try:
            authority = cluster.authority.path.read_bytes()
        except OSError as error:
            raise Unreachable(
                f"the authority of {cluster.server} cannot be read ({error.strerror}); check the kubeconfig",
                kind="credentials",
                sent=False,
            ) from error
    information = {
        "server": cluster.server,
        "tls-server-name": cluster.tls_server_name,
        "insecure-skip-tls-verify": cluster.insecure_skip_tls_verify,
        "certificate-authority-data": base64.b64encode(authority).decode(),
        "proxy-url": cluster.proxy_url,
        "disable-compression": cluster.disable_compression,
        "config": cluster.extension,
    }
    return {key: value for key, value in information.items() if value}


def _failed(plugin: ExecPlugin, what: str) -> Unreachable:
    return Unreachable(f"the credential plugin {plugin.command!r} {what}", kind="credentials", sent=False)
