"""What the local driver can be told, and what it refuses to be told."""

from __future__ import annotations

from pathlib import Path

import pytest

from moorage.drivers.local.config import LocalConfig, PoolSetting, parse_pools
from moorage.framework.config import ConfigError, load, options


def test_a_pool_is_all_that_is_needed() -> None:
    config = load(LocalConfig, flags={"pool": ("/data",)}, environment={}, file_values={})
    assert config.pools == (PoolSetting("default", Path("/data"), "auto"),)
    assert config.node_id
    assert config.node_ids == {config.node_id}


def test_without_a_pool_the_sentence_says_how_to_give_one() -> None:
    with pytest.raises(ConfigError, match="--pool"):
        load(LocalConfig, flags={}, environment={}, file_values={})


def test_every_setting_is_documented() -> None:
    assert all(option.help for option in options(LocalConfig))


@pytest.mark.parametrize(
    ("pools", "backends", "expected"),
    [
        pytest.param(
            ["/a", "fast=/b"], [], [("default", "/a", "auto"), ("fast", "/b", "auto")], id="one-unnamed-one-named"
        ),
        pytest.param(["/with=sign/x"], [], [("default", "/with=sign/x", "auto")], id="equals-sign-in-a-path"),
        pytest.param(
            ["/a", "fast=/b"],
            ["image", "fast=directory"],
            [("default", "/a", "image"), ("fast", "/b", "directory")],
            id="backend-for-all-then-for-one",
        ),
    ],
)
def test_pools_are_read(pools: list[str], backends: list[str], expected: list[tuple[str, str, str]]) -> None:
    assert parse_pools(pools, backends) == tuple(PoolSetting(name, Path(at), kind) for name, at, kind in expected)


@pytest.mark.parametrize(
    ("pools", "backends", "text"),
    [
        pytest.param([], [], "no pool", id="none"),
        pytest.param(["/a", "/b"], [], "NAME=DIR", id="two-unnamed"),
        pytest.param(["x=/a", "x=/b"], [], "twice", id="same-name"),
        pytest.param(["/a", "x=/a"], [], "two pools", id="same-directory"),
        pytest.param(["relative"], [], "absolute", id="relative-path"),
        pytest.param(["a b=/x"], [], "letters", id="odd-name"),
        pytest.param(["/a"], ["zfs"], "not one of", id="unknown-backend"),
        pytest.param(["/a"], ["fast=image"], "not given", id="backend-of-an-unknown-pool"),
    ],
)
def test_bad_pools_are_refused(pools: list[str], backends: list[str], text: str) -> None:
    with pytest.raises(ValueError, match=text):
        parse_pools(pools, backends)


@pytest.mark.parametrize("name", ["overcommit_percent", "max_volume_size", "volume_limit", "attach_limit"])
def test_negative_limits_are_refused(name: str) -> None:
    with pytest.raises(ConfigError, match=name):
        load(LocalConfig, flags={"pool": ("/a",), name: "-1"}, environment={}, file_values={})
