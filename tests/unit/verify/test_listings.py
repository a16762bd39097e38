from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import pytest
from tests.support.exchanges import exchange

from moorage.spec import messages as m
from moorage.spec.types import Volume
from moorage.verify.exchange import Exchange
from moorage.verify.lab import Lab
from moorage.verify.listings import VOLUMES, expect_unshaken, paging_problem
from moorage.verify.rule import Failed, Skipped

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


class ListingLab:
    """A lab whose driver lists `names`, sorted, with a position as token, or with the last name when `by_name`."""

    def __init__(self, names: list[str], *, by_name: bool, meanwhile: Callable[[list[str]], None]) -> None:
        self.names = sorted(names)
        self.by_name = by_name
        self.meanwhile = meanwhile
        self.last: Exchange | None = None

    async def settle(self, request: m.ListVolumesRequest, **_: Any) -> Exchange:
        if request.max_entries:
            self.meanwhile(self.names)
        token, names = request.starting_token, sorted(self.names)
        rest = [name for name in names if name > token] if self.by_name else names[int(token or 0) :]
        page = rest[: request.max_entries or None]
        more = page[-1] if self.by_name and page else str(len(names) - len(rest) + len(page))
        entries = tuple(m.ListedVolume(Volume(name)) for name in page)
        self.last = exchange(request, m.ListVolumesResponse(entries, more if len(page) < len(rest) else ""))
        return self.last

    async def delete(self, name: str) -> None:
        self.names.remove(name)

    async def examine(self, own: list[str]) -> None:
        await expect_unshaken(cast("Lab", self), VOLUMES, own, self.delete)


OWN = [f"own-{number}" for number in range(5)]
FOREIGN = [f"{letter}-{number}" for letter in "az" for number in range(20)]


def quiet(names: list[str]) -> None:
    """Nobody else is there."""


def busy(names: list[str]) -> None:
    """Others make two volumes before each page, which come first in the list."""
    names += [f"0-{len(names)}", f"0-{len(names) + 1}"]


@pytest.mark.parametrize("others", [quiet, busy])
@pytest.mark.parametrize(
    "foreign", [[], FOREIGN, FOREIGN[:20], FOREIGN[20:]], ids=["none", "around", "before", "after"]
)
async def test_a_list_that_goes_on_after_a_name_is_not_shaken_by_a_deletion(
    foreign: list[str], others: Callable[[list[str]], None]
) -> None:
    lab = ListingLab(OWN + foreign, by_name=True, meanwhile=others)
    await lab.examine(OWN)
    assert len(set(OWN) - set(lab.names)) == 1


@pytest.mark.parametrize(
    "foreign", [[], FOREIGN, FOREIGN[:20], FOREIGN[20:]], ids=["none", "around", "before", "after"]
)
async def test_a_list_that_counts_entries_misses_one_after_a_deletion_no_matter_whose(foreign: list[str]) -> None:
    with pytest.raises(Failed, match=r"was deleted when its page had been read, and 1 of .* were on no page"):
        await ListingLab(OWN + foreign, by_name=False, meanwhile=quiet).examine(OWN)


async def test_what_others_may_have_caused_is_no_failure() -> None:
    with pytest.raises(Skipped, match="changed each time"):
        await ListingLab(OWN + FOREIGN, by_name=False, meanwhile=busy).examine(OWN)
