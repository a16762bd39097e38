"""Whether something is still listed that nobody knows of, or that was deleted: shared by rules that interrupt."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection
from typing import Final, TypeVar

from msgspec import Struct

from moorage.verify.lab import Lab
from moorage.verify.listings import Listable, eventually, walk
from moorage.verify.rule import Failed

__all__ = ["expect_unlisted", "leaves_nothing"]

EntryT = TypeVar("EntryT", bound=Struct)
_PATIENCE_S: Final = (2.0, 5.0)


async def leaves_nothing(lab: Lab, series: Callable[[], Awaitable[None]], listable: Listable[EntryT]) -> None:
    """Do a series of calls that take everything back. Raises Failed when the list is longer afterwards, twice.

    Once is no proof: other users make volumes as well.
    """
    for attempt in range(2):
        before = frozenset((await walk(lab, listable)).ids)
        await series()
        new: list[str] = []

        async def shorter(before: frozenset[str] = before, new: list[str] = new) -> bool:
            new[:] = [entry for entry in (await walk(lab, listable)).ids if entry not in before]
            return not new

        if await eventually(shorter, patience_s=_PATIENCE_S[attempt]):
            return
        if attempt:
            raise Failed(
                f"{len(new)} {listable.what} are listed that were not there before, {new[0]!r} for example, although "
                "everything that the driver gave an id for was deleted",
                lab.last,
            )


async def expect_unlisted(lab: Lab, listable: Listable[EntryT], deleted: Collection[str]) -> None:
    """Raises Failed when the list still has something that was deleted, even after a few seconds."""
    left: list[str] = []

    async def gone() -> bool:
        left[:] = [entry for entry in (await walk(lab, listable)).ids if entry in deleted]
        return not left

    if not await eventually(gone):
        example = left[0]
        raise Failed(f"{len(left)} {listable.what} are listed that were deleted, {example!r} for example", lab.last)
