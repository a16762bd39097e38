"""Tokens are taken from where the configuration says, and read again when they may have changed."""

from __future__ import annotations

import base64
from dataclasses import replace
from pathlib import Path

import pytest

from moorage.kube.config import ClientConfig, Cluster, ExecPlugin, Pem, User
from moorage.kube.credentials import Grant, TokenFile, bearer, credentials_of
from moorage.kube.errors import Unreachable
from moorage.kube.exec_plugin import PluginCredentials
from moorage.testing.clock import VirtualClock

CONFIG = ClientConfig(cluster=Cluster(server="https://h"))
PLUGIN = ExecPlugin(api_version="client.authentication.k8s.io/v1", command="x")
PAIR = base64.b64encode("jané:pw".encode()).decode()


@pytest.mark.parametrize(
    ("user", "authorization"),
    [
        pytest.param(User(), "", id="anonymous"),
        pytest.param(User(token="t"), "Bearer t", id="token"),
        pytest.param(User(username="jané", password="pw"), f"Basic {PAIR}", id="password"),
        pytest.param(User(token="t", exec_plugin=PLUGIN), "Bearer t", id="token-before-plugin"),
        pytest.param(
            User(certificate=Pem(b"c"), key=Pem(b"k"), exec_plugin=PLUGIN), "", id="certificate-before-plugin"
        ),
    ],
)
async def test_what_never_changes(user: User, authorization: str) -> None:
    credentials = credentials_of(replace(CONFIG, user=user), environ={})
    grant = await credentials.grant()
    assert grant == Grant(authorization=authorization)
    assert not await credentials.renew(grant)


def test_a_plugin_is_asked_when_there_is_nothing_else() -> None:
    credentials = credentials_of(replace(CONFIG, user=User(exec_plugin=PLUGIN)), environ={})
    assert isinstance(credentials, PluginCredentials)


async def test_a_token_file_goes_before_a_token(tmp_path: Path) -> None:
    path = tmp_path / "token"
    path.write_text("from-file\n")
    credentials = credentials_of(replace(CONFIG, user=User(token="first", token_file=path)), environ={})
    assert await credentials.grant() == bearer("from-file")


async def test_a_replaced_token_is_seen_after_ten_seconds_at_most(tmp_path: Path) -> None:
    path, clock = tmp_path / "token", VirtualClock()
    path.write_text("one")
    credentials = TokenFile(path, clock=clock)
    assert await credentials.grant() == bearer("one")
    path.write_text("two")
    clock.shift(9.9)
    assert await credentials.grant() == bearer("one")
    clock.shift(0.1)
    assert await credentials.grant() == bearer("two")


async def test_a_refused_token_is_read_again_at_once(tmp_path: Path) -> None:
    path, clock = tmp_path / "token", VirtualClock()
    path.write_text("one")
    credentials = TokenFile(path, clock=clock)
    refused = await credentials.grant()
    assert not await credentials.renew(refused)
    path.write_text("two")
    assert await credentials.renew(refused)
    assert await credentials.grant() == bearer("two")


@pytest.mark.parametrize("content", [None, "", " \n", b"\xff\xfe\xff"])
async def test_an_unreadable_file_leaves_the_last_token_in_use(
    tmp_path: Path, content: str | bytes | None, capsys: pytest.CaptureFixture[str]
) -> None:
    path, clock = tmp_path / "token", VirtualClock()
    path.write_text("one")
    credentials = TokenFile(path, clock=clock)
    await credentials.grant()
    if content is None:
        path.unlink()
    else:
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    clock.shift(20)
    assert await credentials.grant() == bearer("one")
    assert "kube.token_" in capsys.readouterr().err


async def test_no_token_at_all_is_an_error_that_names_the_file(tmp_path: Path) -> None:
    with pytest.raises(Unreachable, match="none") as caught:
        await TokenFile(tmp_path / "none").grant()
    assert (caught.value.kind, caught.value.sent) == ("credentials", False)


def test_grants_do_not_show_their_secrets() -> None:
    grant = Grant(authorization="Bearer s3cret", certificate=b"s3cret", key=b"s3cret")
    assert "s3cret" not in repr(grant)
