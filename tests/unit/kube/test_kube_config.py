"""Which server and which user: flags, the environment of a person, and that of a pod."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from moorage.kube import config as configs
from moorage.kube.config import (
    ClientConfig,
    ConfigError,
    Pem,
    config_for_controller,
    config_for_person,
    in_cluster,
    normal_server,
)

POD = {"KUBERNETES_SERVICE_HOST": "10.96.0.1", "KUBERNETES_SERVICE_PORT": "443"}


def write_kubeconfig(path: Path, server: str = "https://files:6443") -> Path:
    found: dict[str, Any] = {
        "current-context": "c",
        "contexts": [{"name": "c", "context": {"cluster": "k", "namespace": "shop"}}],
        "clusters": [{"name": "k", "cluster": {"server": server}}],
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(found))
    return path


@pytest.fixture
def account(tmp_path: Path) -> Path:
    directory = tmp_path / "serviceaccount"
    directory.mkdir()
    (directory / "token").write_text("t0ken")
    (directory / "ca.crt").write_text("pem")
    (directory / "namespace").write_text("storage\n")
    return directory


def test_a_pod_uses_its_service_account(account: Path) -> None:
    config = in_cluster(POD, directory=account)
    assert config.cluster.server == "https://10.96.0.1:443"
    assert config.cluster.host == "10.96.0.1:443"
    assert config.cluster.authority == Pem(path=account / "ca.crt")
    assert config.user.token_file == account / "token"
    assert config.namespace == "storage"


def test_a_pod_on_ipv6(account: Path) -> None:
    config = in_cluster({**POD, "KUBERNETES_SERVICE_HOST": "fd00::1"}, directory=account)
    assert config.cluster.server == "https://[fd00::1]:443"


@pytest.mark.parametrize("missing", ["token", "ca.crt"])
def test_a_pod_without_its_volume_is_told(account: Path, missing: str) -> None:
    (account / missing).unlink()
    with pytest.raises(ConfigError, match=f"{missing}.*missing"):
        in_cluster(POD, directory=account)


def test_outside_a_pod_there_is_no_service_account(account: Path) -> None:
    with pytest.raises(ConfigError, match="this is no pod"):
        in_cluster({}, directory=account)


class TestController:
    def test_a_file_is_read_whatever_the_environment_says(self, tmp_path: Path) -> None:
        path = write_kubeconfig(tmp_path / "config")
        config = config_for_controller({"KUBECONFIG": "/elsewhere"}, kubeconfig=str(path))
        assert config.cluster.server == "https://files:6443"
        assert config.namespace == "shop"

    def test_master_replaces_the_server_of_the_file(self, tmp_path: Path) -> None:
        path = write_kubeconfig(tmp_path / "config")
        assert config_for_controller({}, kubeconfig=str(path), master="h:1").cluster.server == "https://h:1"

    def test_master_alone_is_a_server_without_credentials(self) -> None:
        config = config_for_controller({}, master="http://127.0.0.1:8080/")
        assert config.cluster.server == "http://127.0.0.1:8080"
        assert config.user == configs.User()

    def test_neither_is_the_pod(self, monkeypatch: pytest.MonkeyPatch) -> None:
        with pytest.raises(ConfigError, match="this is no pod"):
            config_for_controller({"HOME": "/root"})

    def test_a_file_that_is_missing_is_an_error(self, tmp_path: Path) -> None:
        with pytest.raises(ConfigError, match="cannot be read"):
            config_for_controller({}, kubeconfig=str(tmp_path / "none"))


class TestPerson:
    def test_the_home_directory(self, tmp_path: Path) -> None:
        write_kubeconfig(tmp_path / ".kube" / "config", "https://home:1")
        assert config_for_person({"HOME": str(tmp_path)}).cluster.server == "https://home:1"

    def test_kubeconfig_goes_before_home(self, tmp_path: Path) -> None:
        write_kubeconfig(tmp_path / ".kube" / "config", "https://home:1")
        other = write_kubeconfig(tmp_path / "other", "https://other:1")
        environ = {"HOME": str(tmp_path), "KUBECONFIG": f":{tmp_path / 'none'}:{other}"}
        assert config_for_person(environ).cluster.server == "https://other:1"

    def test_the_flag_goes_before_kubeconfig(self, tmp_path: Path) -> None:
        other = write_kubeconfig(tmp_path / "other", "https://other:1")
        flag = write_kubeconfig(tmp_path / "flag", "https://flag:1")
        assert config_for_person({"KUBECONFIG": str(other)}, kubeconfig=str(flag)).cluster.server == "https://flag:1"

    def test_without_any_file_there_is_a_hint(self, tmp_path: Path) -> None:
        with pytest.raises(ConfigError, match="set KUBECONFIG"):
            config_for_person({"HOME": str(tmp_path)})

    def test_a_person_in_a_pod_uses_its_account(self, tmp_path: Path) -> None:
        with pytest.raises(ConfigError, match="service account token"):
            config_for_person({"HOME": str(tmp_path), **POD})


@pytest.mark.parametrize(
    ("server", "secure", "expected"),
    [
        pytest.param("https://h:6443/", True, "https://h:6443", id="trailing-slash"),
        pytest.param("https://h/k8s/clusters/c-1/", True, "https://h/k8s/clusters/c-1", id="prefix"),
        pytest.param("h:6443", True, "https://h:6443", id="no-scheme-secure"),
        pytest.param("h:8080", False, "http://h:8080", id="no-scheme"),
        pytest.param("https://[::1]:6443", True, "https://[::1]:6443", id="ipv6"),
    ],
)
def test_servers(server: str, secure: bool, expected: str) -> None:
    assert normal_server(server, secure=secure) == expected


@pytest.mark.parametrize(
    "server", ["ftp://h", "https://", "https://h:port", "https://u:p@h", "https://h/?a=b", "https://[::1"]
)
def test_what_is_no_server_is_refused(server: str) -> None:
    with pytest.raises(ConfigError, match="not the URL of an API server"):
        normal_server(server, secure=True)


def test_secrets_do_not_show() -> None:
    user = configs.User(token="s3cret", password="s3cret", key=Pem(data=b"s3cret"))
    plugin = configs.ExecPlugin(api_version="v1", command="x", arguments=("s3cret",), environment=(("A", "s3cret"),))
    config = ClientConfig(cluster=configs.Cluster(server="https://h"), user=user)
    assert "s3cret" not in repr(config) + repr(plugin)
