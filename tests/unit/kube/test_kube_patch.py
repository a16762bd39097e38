"""Patches do what they say and lose nothing."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moorage.kube.patch import (
    Operation,
    edit_annotations,
    edit_raw,
    merge_difference,
    pointer,
    preconditions,
    with_finalizer,
    without_finalizer,
)

Edit = Callable[[dict[str, Any]], bool]
scalars = st.one_of(st.booleans(), st.integers(-3, 3), st.text(max_size=2))
values = st.recursive(
    scalars,
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=2), inner)),
    max_leaves=8,
)
objects = st.dictionaries(st.text(max_size=2), values, max_size=5)


def merged(target: Any, patch: Any) -> Any:
    """RFC 7386, section 2, as it is written there."""
    if not isinstance(patch, dict):
        return patch
    result = dict(target) if isinstance(target, dict) else {}
    for name, value in patch.items():
        if value is None:
            result.pop(name, None)
        else:
            result[name] = merged(result.get(name), value)
    return result


def as_json(value: Any) -> str:
    return json.dumps(value, sort_keys=True)


@given(objects, objects)
def test_the_merge_patch_turns_one_into_the_other(before: dict[str, Any], after: dict[str, Any]) -> None:
    assert as_json(merged(before, merge_difference(before, after))) == as_json(after)


@given(objects)
def test_equal_objects_need_no_patch(value: dict[str, Any]) -> None:
    assert merge_difference(value, json.loads(json.dumps(value))) == {}


def test_true_is_not_one() -> None:
    assert merge_difference({"a": 1, "b": [True]}, {"a": True, "b": [1]}) == {"a": True, "b": [1]}


def test_the_patch_is_small() -> None:
    before = {"metadata": {"annotations": {"a": "1", "b": "2"}, "labels": {"x": "y"}}, "spec": {"size": 1}}
    after = {"metadata": {"annotations": {"a": "1", "c": "3"}, "labels": {"x": "y"}}, "spec": {"size": 2}}
    assert merge_difference(before, after) == {"metadata": {"annotations": {"b": None, "c": "3"}}, "spec": {"size": 2}}


@pytest.mark.parametrize("after", [{"a": None}, {"a": {"b": {"c": None}}}])
def test_null_cannot_be_set_by_a_merge_patch(after: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="use a JSON patch"):
        merge_difference({}, after)


@pytest.mark.parametrize(
    ("parts", "expected"),
    [
        pytest.param(
            ("metadata", "annotations", "a.example/b~c"), "/metadata/annotations/a.example~1b~0c", id="escape"
        ),
        pytest.param(("metadata", "finalizers", 0), "/metadata/finalizers/0", id="index"),
        pytest.param(("metadata", "finalizers", "-"), "/metadata/finalizers/-", id="end"),
        pytest.param((), "", id="whole"),
    ],
)
def test_pointer(parts: tuple[str | int, ...], expected: str) -> None:
    assert pointer(*parts) == expected


def test_operations_as_json() -> None:
    assert Operation.test("/a", None).as_json() == {"op": "test", "path": "/a", "value": None}
    assert Operation.add("/a/-", 1).as_json() == {"op": "add", "path": "/a/-", "value": 1}
    assert Operation.replace("/a", [1]).as_json() == {"op": "replace", "path": "/a", "value": [1]}
    assert Operation.remove("/a").as_json() == {"op": "remove", "path": "/a"}


def test_preconditions_hold_only_what_is_given() -> None:
    assert preconditions() == {}
    assert preconditions(uid="u", resource_version="5") == {"uid": "u", "resourceVersion": "5"}


RAW = b'{"kind":"X","metadata":{"name":"a","resourceVersion":"5","finalizers":["x/1","x/2"]},"spec":{"new":[1.5,null]}}'


@pytest.mark.parametrize(
    ("edit", "finalizers"),
    [
        pytest.param(with_finalizer("x/3"), ["x/1", "x/2", "x/3"], id="add"),
        pytest.param(with_finalizer("x/1"), None, id="add-present"),
        pytest.param(without_finalizer("x/1"), ["x/2"], id="remove"),
        pytest.param(without_finalizer("x/9"), None, id="remove-absent"),
    ],
)
def test_finalizers(edit: Edit, finalizers: list[str] | None) -> None:
    edited = edit_raw(RAW, edit)
    if finalizers is None:
        assert edited is None
        return
    assert edited is not None
    expected = json.loads(RAW)
    expected["metadata"]["finalizers"] = finalizers
    assert json.loads(edited) == expected


@pytest.mark.parametrize("raw", [b"{}", b'{"metadata":{"finalizers":null}}'])
def test_finalizers_of_an_object_without_any(raw: bytes) -> None:
    added = edit_raw(raw, with_finalizer("x/1"))
    assert added is not None
    assert json.loads(added) == {"metadata": {"finalizers": ["x/1"]}}
    assert edit_raw(raw, without_finalizer("x/1")) is None
    removed = edit_raw(added, without_finalizer("x/1"))
    assert removed is not None
    assert json.loads(removed) == {"metadata": {}}


def test_annotations() -> None:
    added = edit_raw(RAW, edit_annotations({"a/b": "1", "c": None}))
    assert added is not None
    assert json.loads(added)["metadata"]["annotations"] == {"a/b": "1"}
    assert edit_raw(added, edit_annotations({"a/b": "1"})) is None
    removed = edit_raw(added, edit_annotations({"a/b": None}))
    assert removed is not None
    assert json.loads(removed) == json.loads(RAW)
