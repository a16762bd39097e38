"""Reads kubeconfig files and chooses one context of them, as kubectl does.

Of several files the first to name a cluster, user, context or current-context wins, whole entry by whole
entry; relative paths are relative to the file they stand in. YAML needs PyYAML, JSON does not. Error texts
name the place of a mistake and never a value, which may be a secret.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal, TypeVar
from urllib.parse import urlsplit

import msgspec
from msgspec import Struct, field

from moorage.kube.config import (
    ClientConfig,
    Cluster,
    ConfigError,
    ExecPlugin,
    Impersonation,
    Pem,
    User,
    normal_server,
)

__all__ = ["load_kubeconfig"]

T = TypeVar("T")
EXEC_API_VERSIONS: Final = ("client.authentication.k8s.io/v1", "client.authentication.k8s.io/v1beta1")
_EXEC_EXTENSION: Final = "client.authentication.k8s.io/exec"


class _Extension(Struct):
    name: str
    extension: Any = None


class _Cluster(Struct, rename="kebab"):
    server: str = ""
    certificate_authority: str = ""
    certificate_authority_data: str = ""
    insecure_skip_tls_verify: bool = False
    tls_server_name: str = ""
    proxy_url: str = ""
    disable_compression: bool = False
    extensions: list[_Extension] | None = None


class _Variable(Struct):
    name: str
    value: str = ""


class _Exec(Struct, rename="camel"):
    command: str
    api_version: str = ""
    args: list[str] | None = None
    env: list[_Variable] | None = None
    install_hint: str = ""
    provide_cluster_info: bool = False
    interactive_mode: Literal["Never", "IfAvailable", "Always", ""] = ""


class _User(Struct, rename="kebab"):
    client_certificate: str = ""
    client_certificate_data: str = ""
    client_key: str = ""
    client_key_data: str = ""
    token: str = ""
    token_file: str = field(default="", name="tokenFile")
    username: str = ""
    password: str = ""
    exec: _Exec | None = None
    auth_provider: Any = None
    as_: str = field(default="", name="as")
    as_uid: str = ""
    as_groups: list[str] | None = None
    as_user_extra: dict[str, list[str]] | None = None


class _Context(Struct):
    cluster: str = ""
    user: str = ""
    namespace: str = ""


class _NamedCluster(Struct):
    name: str
    cluster: _Cluster


class _NamedUser(Struct):
    name: str
    user: _User | None = None


class _NamedContext(Struct):
    name: str
    context: _Context


class _File(Struct, rename="kebab"):
    current_context: str = ""
    clusters: list[_NamedCluster] | None = None
    users: list[_NamedUser] | None = None
    contexts: list[_NamedContext] | None = None


@dataclass(frozen=True, slots=True)
class _Entry:
    """An entry and the directory that its relative paths start from."""

    value: Any
    directory: Path


def load_kubeconfig(paths: Sequence[Path], *, context: str = "", must_exist: bool = False) -> ClientConfig:
    """The chosen `context`, or the current one, of all `paths` together.

    Files that do not exist are left out unless `must_exist`. Raises ConfigError.
    """
    files = [(path, _read(path)) for path in paths if must_exist or path.exists()]
    source = ", ".join(str(path) for path, _ in files) or ", ".join(str(path) for path in paths)
    if not files:
        raise ConfigError(f"there is no kubeconfig file at {source}; name one, or set KUBECONFIG")
    name = context or next((file.current_context for _, file in files if file.current_context), "")
    if not name:
        raise ConfigError(f"{source} has no current-context; choose one with `kubectl config use-context NAME`")
    chosen: _Context = _find(files, "contexts", name, "context", source).value
    cluster = _find(files, "clusters", chosen.cluster, "cluster", source)
    user = _find(files, "users", chosen.user, "user", source) if chosen.user else _Entry(_User(), Path())
    return ClientConfig(
        cluster=_cluster(cluster.value, cluster.directory, f"cluster {chosen.cluster!r} of {source}"),
        user=_user(user.value or _User(), user.directory, f"user {chosen.user!r} of {source}"),
        namespace=chosen.namespace or "default",
        source=f"context {name!r} of {source}",
    )


def _find(files: Sequence[tuple[Path, _File]], section: str, name: str, what: str, source: str) -> _Entry:
    names = []
    for path, file in files:
        for entry in getattr(file, section) or ():
            if entry.name == name:
                return _Entry(getattr(entry, what), path.absolute().parent)
            names.append(entry.name)
    known = f"it has {', '.join(map(repr, names))}" if names else "it has none"
    raise ConfigError(f"{source} has no {what} {name!r} ({known}); correct the name or the file")


def _cluster(found: _Cluster, directory: Path, what: str) -> Cluster:
    authority = _pem(found.certificate_authority_data, found.certificate_authority, directory, what)
    if found.insecure_skip_tls_verify and authority:
        raise ConfigError(f"{what} names a certificate authority and insecure-skip-tls-verify; remove one of them")
    if not found.server:
        raise ConfigError(f"{what} names no server; add its URL")
    if found.proxy_url and urlsplit(found.proxy_url).scheme not in {"http", "https"}:
        raise ConfigError(f"{what} has a proxy-url that is not http:// or https://, the only ones supported")
    extensions = {extension.name: extension.extension for extension in found.extensions or ()}
    return Cluster(
        server=normal_server(found.server, secure=bool(authority) or found.insecure_skip_tls_verify),
        authority=authority,
        insecure_skip_tls_verify=found.insecure_skip_tls_verify,
        tls_server_name=found.tls_server_name,
        proxy_url=found.proxy_url,
        disable_compression=found.disable_compression,
        extension=extensions.get(_EXEC_EXTENSION),
    )


def _user(found: _User, directory: Path, what: str) -> User:
    if found.auth_provider is not None and not (found.token or found.token_file or found.exec):
        raise ConfigError(f"{what} uses auth-provider, which Kubernetes has given up; use an exec plugin instead")
    certificate = _pem(found.client_certificate_data, found.client_certificate, directory, what)
    key = _pem(found.client_key_data, found.client_key, directory, what)
    if bool(certificate) != bool(key):
        raise ConfigError(f"{what} has a client certificate or a client key but not both; add the other")
    return User(
        certificate=certificate,
        key=key,
        token=found.token,
        token_file=directory / found.token_file if found.token_file else None,
        username=found.username,
        password=found.password,
        exec_plugin=_exec(found.exec, directory, what) if found.exec else None,
        impersonate=Impersonation(
            user=found.as_,
            uid=found.as_uid,
            groups=tuple(found.as_groups or ()),
            extra=tuple((key, tuple(values)) for key, values in (found.as_user_extra or {}).items()),
        ),
    )


def _exec(found: _Exec, directory: Path, what: str) -> ExecPlugin:
    if found.api_version not in EXEC_API_VERSIONS:
        raise ConfigError(
            f"the exec plugin of {what} has apiVersion {found.api_version!r}; use {' or '.join(EXEC_API_VERSIONS)}"
        )
    if found.interactive_mode == "Always":
        raise ConfigError(f"the exec plugin of {what} needs a terminal (interactiveMode Always); use another user")
    if not found.interactive_mode and found.api_version.endswith("/v1"):
        raise ConfigError(f"the exec plugin of {what} has no interactiveMode, which v1 demands; add for example Never")
    return ExecPlugin(
        api_version=found.api_version,
        command=str(directory / found.command) if "/" in found.command else found.command,
        arguments=tuple(found.args or ()),
        environment=tuple((variable.name, variable.value) for variable in found.env or ()),
        install_hint=found.install_hint,
        provide_cluster_info=found.provide_cluster_info,
        interactive=found.interactive_mode or "IfAvailable",
    )


def _pem(data: str, path: str, directory: Path, what: str) -> Pem:
    if not data:
        return Pem(path=directory / path) if path else Pem()
    try:
        return Pem(data=base64.b64decode("".join(data.split()), validate=True))
    except binascii.Error as error:
        raise ConfigError(f"a field ...-data of {what} is not base64; copy it again from where it came") from error


def _read(path: Path) -> _File:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ConfigError(
            f"kubeconfig file {str(path)!r} cannot be read ({error.strerror}); name one that can"
        ) from error
    try:
        if content.lstrip().startswith(b"{"):
            return msgspec.json.decode(content, type=_File)
        return msgspec.convert(_yaml(content, path) or {}, _File)
    except (msgspec.DecodeError, msgspec.ValidationError, UnicodeDecodeError) as error:
        raise ConfigError(f"kubeconfig file {str(path)!r} is not well-formed: {error}") from error


def _yaml(content: bytes, path: Path) -> Any:
    try:
        import yaml
    except ImportError as error:
        raise ConfigError(
            f"kubeconfig file {str(path)!r} is YAML, which needs PyYAML; install moorage[kube] or write it as JSON"
        ) from error
    try:
        return yaml.load(content, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))  # both are safe loaders
    except yaml.YAMLError as error:
        # Its text shows the line, which may hold a secret.
        mark = getattr(error, "problem_mark", None)
        place = f"line {mark.line + 1}, column {mark.column + 1}" if mark is not None else "an unknown place"
        raise ConfigError(f"kubeconfig file {str(path)!r} is not YAML at {place}; correct it") from None
