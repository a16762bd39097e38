"""What was typed wrongly is told at once, all of it, with exit code 2."""

from __future__ import annotations

from pathlib import Path

import pytest

from moorage.cli.app import run

ENDPOINTS = [
    pytest.param(["serve", "local", "--pool", "/nowhere", "--endpoint", "tcp://0.0.0.0:10000"], id="serve"),
    pytest.param(["volume", "create", "x", "--driver", "tcp://a"], id="volume-driver"),
    pytest.param(["volume", "drivers", "add", "tcp://192.0.2.1:1"], id="volume-drivers-add"),
    pytest.param(["demo", "--driver", "tcp://a"], id="demo"),
    pytest.param(["rpc", "-e", "tcp://a", "identity", "probe"], id="rpc"),
]


@pytest.mark.parametrize("arguments", ENDPOINTS)
def test_endpoint_that_is_none_is_a_usage_error(
    arguments: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MOORAGE_STATE_DIR", str(tmp_path))
    assert run(arguments) == 2
    told = capsys.readouterr()
    (line,) = told.err.splitlines()
    assert "endpoint 'tcp://" in line
    assert "--help" in line
    assert told.out == ""


def test_everything_that_is_wrong_with_a_driver_is_told_at_once(capsys: pytest.CaptureFixture[str]) -> None:
    settings = ["--overcommit-percent", "-3", "--volume-limit", "many", "--reserve", "some"]
    common = ["--endpoint", "tcp://a", "--socket-mode", "999", "--metrics-address", "nowhere", "--faults", "/nowhere"]
    assert run(["serve", "local", *settings, *common]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    for part in ("pool is not given", "'many'", "'some'", "endpoint 'tcp://a'", "'999'", "nowhere", "/nowhere"):
        assert part in line


def test_rules_of_a_driver_are_all_told(capsys: pytest.CaptureFixture[str]) -> None:
    settings = ["--overcommit-percent", "-3", "--volume-limit", "-1", "--node-id", ""]
    pools = ["--pool", "relative", "--pool", "b=/b", "--pool", "b=/c", "--pool", "!=/d", "--backend", "x"]
    assert run(["serve", "local", *settings, *pools, "--endpoint", "unix:///tmp/a.sock"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    for part in ("overcommit_percent", "volume_limit", "'relative'", "'b' is given twice", "'!'", "backend 'x'"):
        assert part in line
