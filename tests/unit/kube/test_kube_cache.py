"""A store finds objects by key and by every index, whatever was put and removed before."""

from __future__ import annotations

from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Struct

from moorage.kube.cache import Store, key_of, split_key
from moorage.kube.objects.meta import ObjectMeta


class Thing(Struct, frozen=True):
    metadata: ObjectMeta
    tags: tuple[str, ...] = ()


def thing(name: str, *tags: str, namespace: str = "n") -> Thing:
    return Thing(ObjectMeta(name=name, namespace=namespace), tags)


def tags_of(item: Thing) -> Iterable[str]:
    return item.tags


@pytest.mark.parametrize(
    ("namespace", "name", "key"), [pytest.param("n", "a", "n/a", id="namespaced"), pytest.param("", "a", "a", id="not")]
)
def test_keys(namespace: str, name: str, key: str) -> None:
    assert key_of(namespace, name) == key
    assert split_key(key) == (namespace, name)


def test_put_returns_what_it_replaces() -> None:
    store: Store[Thing] = Store()
    first, second = thing("a"), thing("a", "x")
    assert store.put(first) is None
    assert store.put(second) is first
    assert store.get("n/a") is second
    assert store.remove("n/a") is second
    assert store.remove("n/a") is None
    assert "n/a" not in store


names = st.sampled_from(["a", "b", "c"])
steps = st.lists(
    st.one_of(st.tuples(names, st.lists(st.sampled_from(["x", "y", "z"]), max_size=4)), names), max_size=40
)


@given(steps)
def test_an_index_agrees_with_a_search(done: list[tuple[str, list[str]] | str]) -> None:
    store: Store[Thing] = Store({"tags": tags_of})
    model: dict[str, Thing] = {}
    for step in done:
        if isinstance(step, str):
            store.remove(f"n/{step}")
            model.pop(step, None)
        else:
            model[step[0]] = thing(step[0], *step[1])
            store.put(model[step[0]])
    assert {item.metadata.name for item in store} == set(model)
    for tag in "xyz":
        found = sorted(item.metadata.name for item in store.by_index("tags", tag))
        assert found == sorted(name for name, item in model.items() if tag in item.tags)
    assert set(store.values_of("tags")) == {tag for item in model.values() for tag in item.tags}


def test_an_index_that_comes_late_covers_what_is_there() -> None:
    store: Store[Thing] = Store()
    store.put(thing("a", "x"))
    store.add_index("tags", tags_of)
    store.add_index("tags", tags_of)
    assert [item.metadata.name for item in store.by_index("tags", "x")] == ["a"]
    with pytest.raises(ValueError, match="another index 'tags'"):
        store.add_index("tags", lambda item: item.tags)


def test_an_unknown_index_is_an_error_and_not_empty() -> None:
    with pytest.raises(KeyError):
        Store[Thing]().by_index("tgas", "x")
