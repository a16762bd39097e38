from __future__ import annotations

from pathlib import Path

import pytest

from moorage.verify.map_file import MapFileError, read_map
from moorage.verify.settings import secrets_for

FLAT = {"token": "t"}
BY_RPC = {"CreateVolume": {"a": "1"}, "NodeStageVolumeSecret": {"b": "2"}}


@pytest.mark.parametrize(
    ("secrets", "rpc", "sent"),
    [
        pytest.param(FLAT, "CreateVolume", {"token": "t"}, id="one-map-for-all"),
        pytest.param(FLAT, "NodeUnstageVolume", {}, id="an-rpc-that-takes-none"),
        pytest.param(BY_RPC, "CreateVolume", {"a": "1"}, id="by-rpc"),
        pytest.param(BY_RPC, "NodeStageVolume", {"b": "2"}, id="csi-sanity-key"),
        pytest.param(BY_RPC, "DeleteVolume", {}, id="not-named"),
    ],
)
def test_each_rpc_gets_its_secrets(secrets: dict[str, str | dict[str, str]], rpc: str, sent: dict[str, str]) -> None:
    assert secrets_for(rpc, secrets) == sent


@pytest.mark.parametrize(
    ("name", "text", "nested", "found"),
    [
        pytest.param("p.json", '{"a": "1"}', False, {"a": "1"}, id="json"),
        pytest.param("p.yaml", "a: '1'\n", False, {"a": "1"}, id="yaml"),
        pytest.param("p.json", '{"CreateVolume": {"a": "1"}}', True, {"CreateVolume": {"a": "1"}}, id="nested"),
    ],
)
def test_a_map_is_read(tmp_path: Path, name: str, text: str, nested: bool, found: dict[str, object]) -> None:
    (tmp_path / name).write_text(text)
    assert read_map(str(tmp_path / name), nested=nested) == found


@pytest.mark.parametrize(
    ("text", "message"),
    [
        pytest.param('{"a": 5, "k": "hush"}', "must hold a map from texts to texts", id="a-number"),
        pytest.param('["hush"]', "must hold a map", id="a-list"),
        pytest.param('{"a": "hush"', "is not valid JSON", id="cut-off"),
        pytest.param('{"a": {"k": "hush"}}', "must hold a map", id="nested-where-flat-is-due"),
    ],
)
def test_a_bad_map_is_refused_and_never_quoted(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "p.json"
    path.write_text(text)
    with pytest.raises(MapFileError, match=message) as caught:
        read_map(str(path))
    assert "hush" not in str(caught.value)


def test_no_file_is_an_empty_map() -> None:
    assert read_map(None) == {}


def test_a_missing_file_is_told(tmp_path: Path) -> None:
    with pytest.raises(MapFileError, match="cannot be read: No such file"):
        read_map(str(tmp_path / "none.json"))
