"""Keys are taken together or not at all, and the table is empty when all are back."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moorage.base.locks import Held, KeyedLocks


def test_all_keys_or_none() -> None:
    locks = KeyedLocks()
    with take(locks, ["a"], holder="CreateVolume a"):
        assert locks.try_acquire(["b", "a"]) is None
        assert locks.holder("b") is None
        assert locks.holder("a") == "CreateVolume a"
    assert len(locks) == 0


@pytest.mark.parametrize(
    ("first", "second", "both"),
    [
        pytest.param({"keys": ["s"]}, {"keys": ["s"]}, False, id="exclusive-twice"),
        pytest.param({"shared": ["s"]}, {"shared": ["s"]}, True, id="readers-together"),
        pytest.param({"shared": ["s"]}, {"keys": ["s"]}, False, id="writer-waits-for-readers"),
        pytest.param({"keys": ["s"]}, {"shared": ["s"]}, False, id="reader-waits-for-writer"),
        pytest.param({"keys": ["s"], "shared": ["s"]}, {"shared": ["s"]}, False, id="both-means-exclusive"),
        pytest.param({"keys": ["a"], "shared": ["s"]}, {"keys": ["b"], "shared": ["s"]}, True, id="two-clones"),
    ],
)
def test_modes(first: dict[str, list[str]], second: dict[str, list[str]], *, both: bool) -> None:
    locks = KeyedLocks()
    held = locks.try_acquire(first.get("keys", []), shared=first.get("shared", []))
    assert held is not None
    assert (locks.try_acquire(second.get("keys", []), shared=second.get("shared", [])) is not None) is both


def test_release_twice_gives_nothing_of_others_back() -> None:
    locks = KeyedLocks()
    first = take(locks, ["a"])
    first.release()
    take(locks, ["a"], holder="second")
    first.release()
    assert locks.holder("a") == "second"


def test_a_failing_block_gives_its_keys_back() -> None:
    locks = KeyedLocks()
    with pytest.raises(LookupError), take(locks, ["a"]):
        raise LookupError
    assert locks.try_acquire(["a"]) is not None


@given(
    st.lists(st.tuples(st.booleans(), st.sets(st.sampled_from("abc")), st.sets(st.sampled_from("abc"))), max_size=20)
)
def test_never_two_writers_and_never_a_writer_with_readers(steps: list[tuple[bool, set[str], set[str]]]) -> None:
    locks = KeyedLocks()
    holders: list[Held] = []
    for release, keys, shared in steps:
        if release and holders:
            holders.pop(0).release()
        elif (held := locks.try_acquire(keys, shared=shared)) is not None:
            holders.append(held)
        for key in "abc":
            writers = sum(key in held.exclusive for held in holders)
            readers = sum(key in held.shared for held in holders)
            assert writers <= 1
            assert not (writers and readers)
            assert (locks.holder(key) is not None) == bool(writers or readers)
    for held in holders:
        held.release()
    assert len(locks) == 0


def take(locks: KeyedLocks, keys: list[str], *, holder: str = "a test") -> Held:
    held = locks.try_acquire(keys, holder=holder)
    assert held is not None
    return held
