"""Pages: nothing is lost or repeated, whatever happens to the list in between."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moorage.spec.errors import BadToken, Code
from moorage.spec.paging import decode_token, encode_token, position_of, take_page

keys = st.lists(st.text(min_size=1, max_size=130), unique=True, max_size=12)


def walk(items: list[str], size: int) -> list[str]:
    found: list[str] = []
    token = ""
    while True:
        page, token = take_page([(key, key) for key in items], max_entries=size, starting_token=token, kind="volume")
        assert len(page) <= size
        found += page
        if not token:
            return found


@given(keys, st.integers(1, 5))
def test_a_walk_gives_every_entry_once(items: list[str], size: int) -> None:
    found = walk(items, size)
    assert len(found) == len(items)
    assert set(found) == set(items)


@given(keys.filter(lambda items: len(items) > 2), st.data())
def test_a_token_survives_changes_of_the_list(items: list[str], data: st.DataObject) -> None:
    size = data.draw(st.integers(1, len(items) - 1))
    first, token = take_page([(key, key) for key in items], max_entries=size, starting_token="", kind="v")
    assert token
    gone = data.draw(st.sampled_from(first))
    added = data.draw(st.text(min_size=1, max_size=100).filter(lambda key: key not in items))
    changed = [key for key in items if key not in (gone, first[-1])] + [added]
    rest, end = take_page([(key, key) for key in changed], max_entries=0, starting_token=token, kind="v")
    assert end == ""
    assert set(rest) - {added} == set(items) - set(first)
    assert (added in rest) == (position_of(added) > position_of(first[-1]))


def test_no_limit_means_one_page() -> None:
    items = [(f"v{number:05}", number) for number in range(2000)]
    page, token = take_page(reversed(items), max_entries=0, starting_token="", kind="volume")
    assert page == list(range(2000))
    assert token == ""


def test_the_last_full_page_has_no_token() -> None:
    page, token = take_page([("a", 1), ("b", 2)], max_entries=2, starting_token="", kind="volume")
    assert (page, token) == ([1, 2], "")


@given(st.text(max_size=300), st.sampled_from(["volume", "snapshot", "health"]))
def test_tokens_keep_to_the_limit_and_can_be_read(key: str, kind: str) -> None:
    token = encode_token(key, kind)
    assert len(token.encode()) <= 128
    assert decode_token(token, kind) == position_of(key)


@given(st.text(max_size=200), st.text(max_size=200))
def test_positions_tell_keys_apart(first: str, second: str) -> None:
    assert (position_of(first) == position_of(second)) == (first == second)


@given(st.text(max_size=80))
def test_garbage_is_refused(token: str) -> None:
    with pytest.raises(BadToken):
        decode_token(token, "volume")


@pytest.mark.parametrize(
    "token",
    [
        pytest.param("invalid-token", id="csi-sanity"),
        pytest.param("2", id="a-number"),
        pytest.param(encode_token("a", "snapshot"), id="of-another-list"),
        pytest.param(encode_token("a", "volume")[:-4], id="cut-short"),
        pytest.param(encode_token("a", "volume") + "=", id="longer"),
        pytest.param(encode_token("a", "volume").removeprefix("m1."), id="without-version"),
    ],
)
def test_foreign_tokens_are_refused(token: str) -> None:
    with pytest.raises(BadToken, match="list from the start") as caught:
        take_page([("a", 1)], max_entries=1, starting_token=token, kind="volume")
    assert caught.value.code is Code.ABORTED
