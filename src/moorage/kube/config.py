"""Which API server to talk to and as whom: values, and where they come from.

Everything is read once, here or in `moorage.kube.kubeconfig`, except what changes while a process runs: token
files, certificate files and what plugins say stay names here, and are read by `moorage.kube.credentials` and
`moorage.kube.tls`. The environment comes in as an argument.
"""

from __future__ import annotations

import ipaddress
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final, Literal
from urllib.parse import urlsplit

__all__ = [
    "ClientConfig",
    "Cluster",
    "ConfigError",
    "ExecPlugin",
    "Impersonation",
    "Pem",
    "User",
    "config_for_controller",
    "config_for_person",
    "in_cluster",
    "kubeconfig_paths",
    "normal_server",
]

SERVICE_ACCOUNT_DIRECTORY: Final = Path("/var/run/secrets/kubernetes.io/serviceaccount")


class ConfigError(ValueError):
    """It cannot be told which API server to talk to, or as whom; the text says what to change."""


@dataclass(frozen=True, slots=True)
class Pem:
    """Certificates or a key: the text itself, or a file that may be replaced while the process runs."""

    data: bytes = field(default=b"", repr=False)
    path: Path | None = None

    def __bool__(self) -> bool:
        return bool(self.data or self.path)


@dataclass(frozen=True, slots=True, kw_only=True)
class Cluster:
    """An API server. `extension` is what a kubeconfig tells exec plugins about it, as JSON."""

    server: str
    authority: Pem = Pem()
    insecure_skip_tls_verify: bool = False
    tls_server_name: str = ""
    proxy_url: str = ""
    disable_compression: bool = False
    extension: object = None

    @property
    def host(self) -> str:
        """Host and port, as metrics and messages name the server."""
        return urlsplit(self.server).netloc


@dataclass(frozen=True, slots=True, kw_only=True)
class ExecPlugin:
    """A program that hands out credentials (client.authentication.k8s.io); `command` may be a path."""

    api_version: str
    command: str
    arguments: tuple[str, ...] = field(default=(), repr=False)
    environment: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    install_hint: str = ""
    provide_cluster_info: bool = False
    interactive: Literal["Never", "IfAvailable", "Always"] = "IfAvailable"


@dataclass(frozen=True, slots=True, kw_only=True)
class Impersonation:
    """Whom to act as, which the real user must be allowed to do."""

    user: str = ""
    uid: str = ""
    groups: tuple[str, ...] = ()
    extra: tuple[tuple[str, tuple[str, ...]], ...] = ()

    def __bool__(self) -> bool:
        return bool(self.user or self.uid or self.groups or self.extra)


@dataclass(frozen=True, slots=True, kw_only=True)
class User:
    """As whom to talk: nothing at all is the anonymous user. A token file takes precedence over `token`."""

    certificate: Pem = Pem()
    key: Pem = Pem()
    token: str = field(default="", repr=False)
    token_file: Path | None = None
    username: str = ""
    password: str = field(default="", repr=False)
    exec_plugin: ExecPlugin | None = None
    impersonate: Impersonation = Impersonation()


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientConfig:
    """All that a client needs. `namespace` is the one to use when none is named; `source` says where this is from."""

    cluster: Cluster
    user: User = User()
    namespace: str = "default"
    source: str = ""


def in_cluster(environ: Mapping[str, str], *, directory: Path = SERVICE_ACCOUNT_DIRECTORY) -> ClientConfig:
    """What a pod's service account gives: address from the environment, token and CA from its volume.

    Raises ConfigError outside a pod.
    """
    host, port = environ.get("KUBERNETES_SERVICE_HOST", ""), environ.get("KUBERNETES_SERVICE_PORT", "")
    if not host or not port:
        raise ConfigError(
            "KUBERNETES_SERVICE_HOST and KUBERNETES_SERVICE_PORT are not set, so this is no pod; name a kubeconfig file"
        )
    token, authority = directory / "token", directory / "ca.crt"
    for path in (token, authority):
        if not path.is_file():
            raise ConfigError(
                f"{str(path)!r} is missing; let the pod mount its service account token, or name a kubeconfig file"
            )
    namespace = directory / "namespace"
    return ClientConfig(
        cluster=Cluster(server=f"https://{_bracketed(host)}:{port}", authority=Pem(path=authority)),
        user=User(token_file=token),
        namespace=namespace.read_text().strip() if namespace.is_file() else "default",
        source="the service account of this pod",
    )


def config_for_controller(environ: Mapping[str, str], *, kubeconfig: str = "", master: str = "") -> ClientConfig:
    """What `--kubeconfig` and `--master` of a sidecar mean: neither is the service account of the pod."""
    from moorage.kube.kubeconfig import load_kubeconfig

    if not kubeconfig:
        if not master:
            return in_cluster(environ)
        return ClientConfig(cluster=Cluster(server=normal_server(master, secure=False)), source="--master")
    config = load_kubeconfig([Path(kubeconfig)], must_exist=True)
    if master:
        secure = config.cluster.server.startswith("https:")
        config = replace(config, cluster=replace(config.cluster, server=normal_server(master, secure=secure)))
    return config


def config_for_person(environ: Mapping[str, str], *, kubeconfig: str = "", context: str = "") -> ClientConfig:
    """What `kubectl` would use: the named file, else KUBECONFIG, else ~/.kube/config, else the pod's account."""
    from moorage.kube.kubeconfig import load_kubeconfig

    if kubeconfig:
        return load_kubeconfig([Path(kubeconfig)], context=context, must_exist=True)
    paths = kubeconfig_paths(environ)
    if not any(path.exists() for path in paths) and not context and "KUBERNETES_SERVICE_HOST" in environ:
        return in_cluster(environ)
    return load_kubeconfig(paths, context=context)


def kubeconfig_paths(environ: Mapping[str, str]) -> Sequence[Path]:
    """The files that KUBECONFIG lists, or the one in the home directory."""
    if listed := environ.get("KUBECONFIG", ""):
        return list(dict.fromkeys(Path(name) for name in listed.split(os.pathsep) if name))
    return [Path(environ.get("HOME") or "/") / ".kube" / "config"]


def normal_server(server: str, *, secure: bool) -> str:
    """An absolute URL of an API server without a trailing slash; `secure` chooses the scheme when it has none.

    Raises ConfigError for anything but http and https.
    """
    url = server if "://" in server else f"{'https' if secure else 'http'}://{server}"
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError:
        parts = urlsplit("")
    if parts.scheme not in {"http", "https"} or not parts.hostname or parts.query or parts.fragment or parts.username:
        raise ConfigError(f"server {server!r} is not the URL of an API server; write for example https://10.0.0.1:6443")
    return url.rstrip("/")


def _bracketed(host: str) -> str:
    try:
        return f"[{host}]" if ipaddress.ip_address(host).version == 6 else host
    except ValueError:
        return host
