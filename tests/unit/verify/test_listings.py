from __future__ import annotations

import pytest

from moorage.verify.listings import paging_problem

WHOLE = frozenset({"a", "b", "c"})


def test_pages_in_any_order_that_hold_each_entry_once_are_right() -> None:
    assert paging_problem(WHOLE, ("c", "a", "b"), "volumes") is None


def test_an_empty_list_is_right() -> None:
    assert paging_problem(frozenset(), (), "volumes") is None


@pytest.mark.parametrize(
    ("paged", "said"),
    [
        pytest.param(("a", "c"), "1 of 3 volumes were on no page, 'b' for example", id="lost"),
        pytest.param(("a", "b", "b", "c"), "1 of 3 volumes were on more than one page, 'b' for example", id="twice"),
        pytest.param(("a", "b", "c", "d"), "'d' is on a page and not among the volumes", id="made-up"),
    ],
)
def test_what_is_wrong_with_pages_is_told(paged: tuple[str, ...], said: str) -> None:
    assert said in (paging_problem(WHOLE, paged, "volumes") or "")
