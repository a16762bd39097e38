"""The patches of the server against the client's ways to build them, and against each other."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moorage.kube.patch import merge_difference
from moorage.testing.kube import Refusal
from moorage.testing.kube.ownership import applied, recorded
from moorage.testing.kube.patching import json_patch, merge_patch, strategic_patch

LEAVES = st.booleans() | st.integers(-5, 5) | st.text(max_size=3)
VALUES = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("abc"), inner, max_size=3),
    max_leaves=8,
)
TREES = st.dictionaries(st.sampled_from("abc"), VALUES, max_size=3)


@given(before=TREES, after=TREES)
def test_a_merge_difference_makes_the_one_out_of_the_other(before: dict[str, Any], after: dict[str, Any]) -> None:
    kept = json.dumps(before)
    assert merge_patch(before, json.dumps(merge_difference(before, after)).encode()) == after
    assert json.dumps(before) == kept


@given(tree=TREES, patch=st.dictionaries(st.sampled_from("abc"), VALUES | st.none(), max_size=3))
def test_merging_twice_is_merging_once(tree: dict[str, Any], patch: dict[str, Any]) -> None:
    body = json.dumps(patch).encode()
    once = merge_patch(tree, body)
    assert merge_patch(once, body) == once


@given(tree=TREES)
def test_a_test_on_the_whole_object_holds(tree: dict[str, Any]) -> None:
    body = json.dumps([{"op": "test", "path": "", "value": tree}]).encode()
    assert json_patch(tree, body) == tree


@pytest.mark.parametrize(
    ("steps", "result"),
    [
        pytest.param([{"op": "move", "from": "/a", "path": "/c"}], {"b": [1, 2], "c": {"x": 1}}, id="move"),
        pytest.param([{"op": "copy", "from": "/b/0", "path": "/a/y"}], {"a": {"x": 1, "y": 1}, "b": [1, 2]}, id="copy"),
        pytest.param([{"op": "add", "path": "/b/2", "value": 3}], {"a": {"x": 1}, "b": [1, 2, 3]}, id="add-at-end"),
        pytest.param([{"op": "remove", "path": "/b/-1"}], {"a": {"x": 1}, "b": [1]}, id="remove-from-end"),
    ],
)
def test_steps(steps: list[dict[str, Any]], result: dict[str, Any]) -> None:
    assert json_patch({"a": {"x": 1}, "b": [1, 2]}, json.dumps(steps).encode()) == result


@pytest.mark.parametrize(
    "step",
    [
        pytest.param({"op": "add", "path": "/b/3", "value": 1}, id="beyond-the-end"),
        pytest.param({"op": "add", "path": "/b/x", "value": 1}, id="no-index"),
        pytest.param({"op": "test", "path": "/b/0", "value": True}, id="true-is-not-one"),
        pytest.param({"op": "remove", "path": ""}, id="the-whole-object"),
        pytest.param({"op": "explode", "path": "/a"}, id="unknown-operation"),
        pytest.param({"op": "add", "value": 1}, id="no-path"),
        pytest.param({"op": "add", "path": "a", "value": 1}, id="no-pointer"),
    ],
)
def test_steps_that_do_not_fit(step: dict[str, Any]) -> None:
    with pytest.raises(Refusal) as caught:
        json_patch({"a": {"x": 1}, "b": [1, 2]}, json.dumps([step]).encode())
    assert caught.value.code == 422


def test_a_patch_of_too_many_steps_is_too_large() -> None:
    body = json.dumps([{"op": "test", "path": "/a", "value": 1}] * 10_001).encode()
    with pytest.raises(Refusal) as caught:
        json_patch({"a": 1}, body)
    assert caught.value.code == 413


def test_strategic_directives() -> None:
    tree = {
        "metadata": {"finalizers": ["a", "b"]},
        "status": {"conditions": [{"type": "x", "status": "1"}]},
        "m": {"k": 1},
    }
    patch = {
        "metadata": {"finalizers": ["c"], "$setElementOrder/finalizers": ["a", "c", "b"]},
        "status": {"conditions": [{"type": "x", "reason": "r"}, {"type": "y"}]},
        "m": {"$patch": "replace", "n": 2},
    }
    assert strategic_patch(tree, json.dumps(patch).encode()) == {
        "metadata": {"finalizers": ["a", "c", "b"]},
        "status": {"conditions": [{"type": "x", "status": "1", "reason": "r"}, {"type": "y"}]},
        "m": {"n": 2},
    }


def test_a_strategic_entry_without_its_key_is_refused() -> None:
    with pytest.raises(Refusal, match="merge key"):
        strategic_patch({}, b'{"conditions": [{"status": "1"}]}')


DATA = st.dictionaries(st.sampled_from(["x", "y", "z"]), st.sampled_from(["1", "2"]), max_size=3)


@given(updates=DATA, first=DATA, second=DATA)
def test_what_is_applied_is_there_and_what_others_own_stays(
    updates: dict[str, str], first: dict[str, str], second: dict[str, str]
) -> None:
    def apply(before: dict[str, Any] | None, data: dict[str, str], manager: str) -> dict[str, Any]:
        wanted = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "n"}, "data": data}
        return applied(before, wanted, manager=manager, force=True, api_version="v1", subresource="", time="t")

    tree: dict[str, Any] = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "n"}, "data": updates}
    recorded(None, tree, manager="editor", api_version="v1", subresource="", time="t")
    tree = apply(apply(tree, first, "applier"), second, "applier")
    data = tree.get("data") or {}
    assert {key: data.get(key) for key in second} == second
    for key in updates.keys() - second.keys():
        if key not in first or first[key] == updates[key]:
            assert data[key] == updates[key]
    if not updates:
        assert data.keys() == second.keys()
