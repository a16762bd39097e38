"""kubeconfig files mean what they mean to kubectl, and mistakes in them are named without their secrets."""

from __future__ import annotations

import base64
import json
import sys
from pathlib import Path
from typing import Any

import pytest

from moorage.kube.config import ClientConfig, ConfigError, ExecPlugin, Impersonation, Pem
from moorage.kube.kubeconfig import load_kubeconfig

YAML = """\
apiVersion: v1
kind: Config
preferences: {}
current-context: first
contexts:
- name: first
  context: {cluster: one, user: admin}
- name: second
  context: {cluster: two, user: plain, namespace: shop}
clusters:
- name: one
  cluster:
    server: https://one:6443
    certificate-authority: pki/ca.crt
    tls-server-name: kubernetes
- name: two
  cluster:
    server: https://two:6443
    insecure-skip-tls-verify: true
    proxy-url: http://proxy:3128
    disable-compression: true
users:
- name: admin
  user:
    client-certificate-data: Y2VydA==
    client-key: keys/admin.key
- name: plain
  user:
    token: abc
    tokenFile: token
    as: jane
    as-groups: [dev, ops]
    as-user-extra: {scopes: [view]}
"""


def write(path: Path, content: str | dict[str, Any]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


def with_user(tmp_path: Path, user: dict[str, Any], **cluster: Any) -> ClientConfig:
    """The configuration of a file with one user and one cluster."""
    content = {
        "current-context": "c",
        "contexts": [{"name": "c", "context": {"cluster": "k", "user": "u"}}],
        "clusters": [{"name": "k", "cluster": {"server": "https://h", **cluster}}],
        "users": [{"name": "u", "user": user}],
    }
    return load_kubeconfig([write(tmp_path / "config", content)])


def test_the_current_context(tmp_path: Path) -> None:
    config = load_kubeconfig([write(tmp_path / "k" / "config", YAML)])
    assert config.cluster.server == "https://one:6443"
    assert config.cluster.authority == Pem(path=tmp_path / "k" / "pki" / "ca.crt")
    assert config.cluster.tls_server_name == "kubernetes"
    assert config.user.certificate == Pem(data=b"cert")
    assert config.user.key == Pem(path=tmp_path / "k" / "keys" / "admin.key")
    assert config.namespace == "default"
    assert "'first'" in config.source


def test_a_named_context(tmp_path: Path) -> None:
    config = load_kubeconfig([write(tmp_path / "config", YAML)], context="second")
    assert config.cluster.insecure_skip_tls_verify
    assert config.cluster.proxy_url == "http://proxy:3128"
    assert config.cluster.disable_compression
    assert (config.user.token, config.user.token_file) == ("abc", tmp_path / "token")
    assert config.user.impersonate == Impersonation(user="jane", groups=("dev", "ops"), extra=(("scopes", ("view",)),))
    assert config.namespace == "shop"


def test_the_first_file_wins_entry_by_entry(tmp_path: Path) -> None:
    first = write(
        tmp_path / "a" / "first",
        {
            "users": [{"name": "u", "user": {"token": "from-first"}}],
            "contexts": [{"name": "c", "context": {"cluster": "k", "user": "u"}}],
            "clusters": None,
        },
    )
    second = write(
        tmp_path / "b" / "second",
        {
            "current-context": "c",
            "users": [{"name": "u", "user": {"username": "lost", "password": "lost"}}],
            "clusters": [{"name": "k", "cluster": {"server": "https://h", "certificate-authority": "ca"}}],
        },
    )
    config = load_kubeconfig([first, tmp_path / "missing", second])
    assert (config.user.token, config.user.username) == ("from-first", "")
    assert config.cluster.authority == Pem(path=tmp_path / "b" / "ca")


def test_a_context_without_user_is_anonymous(tmp_path: Path) -> None:
    content = {
        "current-context": "c",
        "contexts": [{"name": "c", "context": {"cluster": "k"}}],
        "clusters": [{"name": "k", "cluster": {"server": "h:8080"}}],
    }
    config = load_kubeconfig([write(tmp_path / "config", content)])
    assert config.user.token == ""
    assert config.cluster.server == "http://h:8080"


def test_data_goes_before_files(tmp_path: Path) -> None:
    data = base64.encodebytes(b"x" * 100).decode()
    config = with_user(tmp_path, {}, **{"certificate-authority": "ca", "certificate-authority-data": data})
    assert config.cluster.authority == Pem(data=b"x" * 100)


def test_an_exec_plugin(tmp_path: Path) -> None:
    exec_ = {
        "apiVersion": "client.authentication.k8s.io/v1beta1",
        "command": "./bin/login",
        "args": ["--cluster", "x"],
        "env": [{"name": "PROFILE", "value": "dev"}],
        "installHint": "get it",
        "provideClusterInfo": True,
    }
    extensions = [{"name": "client.authentication.k8s.io/exec", "extension": {"audience": "me"}}]
    config = with_user(tmp_path, {"exec": exec_}, extensions=extensions)
    assert config.user.exec_plugin == ExecPlugin(
        api_version="client.authentication.k8s.io/v1beta1",
        command=str(tmp_path / "bin" / "login"),
        arguments=("--cluster", "x"),
        environment=(("PROFILE", "dev"),),
        install_hint="get it",
        provide_cluster_info=True,
        interactive="IfAvailable",
    )
    assert config.cluster.extension == {"audience": "me"}


def test_an_exec_plugin_as_cloud_tools_write_it(tmp_path: Path) -> None:
    exec_ = {
        "apiVersion": "client.authentication.k8s.io/v1",
        "command": "aws",
        "args": None,
        "env": None,
        "interactiveMode": "Never",
    }
    config = with_user(tmp_path, {"exec": exec_})
    assert config.user.exec_plugin is not None
    assert config.user.exec_plugin.command == "aws"
    assert config.user.exec_plugin.arguments == ()


V1 = {"apiVersion": "client.authentication.k8s.io/v1", "command": "x"}


@pytest.mark.parametrize(
    ("user", "cluster", "text"),
    [
        pytest.param({"exec": {**V1, "interactiveMode": "Always"}}, {}, "needs a terminal", id="interactive-always"),
        pytest.param({"exec": V1}, {}, "no interactiveMode", id="v1-without-interactive-mode"),
        pytest.param({"exec": {"command": "x", "apiVersion": "v1alpha1"}}, {}, "apiVersion 'v1alpha1'", id="alpha"),
        pytest.param({"auth-provider": {"name": "gcp"}}, {}, "use an exec plugin", id="auth-provider"),
        pytest.param({"client-certificate": "c"}, {}, "not both", id="certificate-without-key"),
        pytest.param({"client-key-data": "!"}, {}, "not base64", id="bad-base64"),
        pytest.param({"token": 12345}, {}, r"\.users\[0\]\.user\.token", id="token-is-a-number"),
        pytest.param({}, {"server": ""}, "names no server", id="no-server"),
        pytest.param({}, {"server": "ssh://h"}, "not the URL", id="bad-server"),
        pytest.param({}, {"proxy-url": "socks5://h"}, "not http://", id="socks"),
        pytest.param(
            {},
            {"insecure-skip-tls-verify": True, "certificate-authority": "ca"},
            "remove one of them",
            id="insecure-with-authority",
        ),
    ],
)
def test_mistakes(tmp_path: Path, user: dict[str, Any], cluster: dict[str, Any], text: str) -> None:
    with pytest.raises(ConfigError, match=text):
        with_user(tmp_path, user, **cluster)


@pytest.mark.parametrize(
    ("content", "context", "text"),
    [
        pytest.param(YAML, "third", "no context 'third'.*'first', 'second'", id="unknown-context"),
        pytest.param(YAML.replace("cluster: one,", "cluster: gone,"), "", "no cluster 'gone'", id="unknown-cluster"),
        pytest.param(YAML.replace("user: admin}", "user: gone}"), "", "no user 'gone'", id="unknown-user"),
        pytest.param(YAML.replace("current-context: first", ""), "", "no current-context", id="no-current-context"),
        pytest.param("", "", "no current-context", id="empty"),
        pytest.param("a: [s3cret", "", "not YAML at line", id="bad-yaml"),
        pytest.param("{", "", "not well-formed", id="bad-json"),
        pytest.param("- a", "", "not well-formed", id="a-list"),
    ],
)
def test_mistakes_of_the_whole_file(tmp_path: Path, content: str, context: str, text: str) -> None:
    with pytest.raises(ConfigError, match=text) as caught:
        load_kubeconfig([write(tmp_path / "config", content)], context=context)
    assert "s3cret" not in str(caught.value)


def test_without_pyyaml_json_still_works(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "yaml", None)
    assert with_user(tmp_path, {"token": "t"}).user.token == "t"
    with pytest.raises(ConfigError, match="install moorage"):
        load_kubeconfig([write(tmp_path / "yaml", YAML)])
