"""Lists read page by page, and what changes in them waited for: shared by the rules about lists of any kind.

Other people's volumes come and go while a suite runs. The specification promises nobody a consistent view of a
list that changes between two pages, so what is demanded of a whole list is demanded of a quiet one only.
"""

from __future__ import annotations

import asyncio
import itertools
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Collection
from dataclasses import dataclass
from typing import Final, Generic, TypeVar

from msgspec import Struct

from moorage.spec import messages as m
from moorage.spec.types import Snapshot, VolumeHealth
from moorage.verify.exchange import Exchange
from moorage.verify.lab import Lab
from moorage.verify.rule import Failed, Skipped

__all__ = [
    "SNAPSHOTS",
    "VOLUMES",
    "VOLUME_HEALTH",
    "Listable",
    "Walk",
    "eventually",
    "expect_unshaken",
    "paging_problem",
    "quiet_walk",
    "snapshots_of",
    "wait_listed",
    "walk",
]

EntryT = TypeVar("EntryT", bound=Struct)
_PATIENCE_S: Final = 5.0
_PAUSE_S: Final = 0.1
_MOST_PAGES: Final = 2000
_PAGES: Final = 6
_MOST_SHAKEN_PAGES: Final = 50
_TRIES: Final = 5


@dataclass(frozen=True, slots=True)
class Listable(Generic[EntryT]):
    """One kind of list: `what` it holds (a plural), how a page is asked for and read, and an entry's id."""

    what: str
    ask: Callable[[int, str], Struct]
    read: Callable[[Exchange], tuple[tuple[EntryT, ...], str]]
    id_of: Callable[[EntryT], str]


def _volumes(exchange: Exchange) -> tuple[tuple[m.ListedVolume, ...], str]:
    page = exchange.response(m.ListVolumesResponse)
    return page.entries, page.next_token


def _snapshots(exchange: Exchange) -> tuple[tuple[Snapshot, ...], str]:
    page = exchange.response(m.ListSnapshotsResponse)
    return page.entries, page.next_token


def _health(exchange: Exchange) -> tuple[tuple[VolumeHealth, ...], str]:
    page = exchange.response(m.ControllerListVolumeHealthResponse)
    return page.entries, page.next_token


VOLUMES: Final = Listable("volumes", m.ListVolumesRequest, _volumes, lambda entry: entry.volume.volume_id)
"""ListVolumes."""

VOLUME_HEALTH: Final = Listable(
    "volumes that are not healthy", m.ControllerListVolumeHealthRequest, _health, lambda entry: entry.volume_id
)
"""ControllerListVolumeHealth."""


def snapshots_of(source_volume_id: str, snapshot_id: str = "") -> Listable[Snapshot]:
    """ListSnapshots with filters for one source volume and one snapshot; "" is no filter."""
    return Listable(
        f"snapshots of volume {source_volume_id!r}" if source_volume_id else "snapshots",
        lambda max_entries, token: m.ListSnapshotsRequest(max_entries, token, source_volume_id, snapshot_id),
        _snapshots,
        lambda entry: entry.snapshot_id,
    )


SNAPSHOTS: Final = snapshots_of("")
"""ListSnapshots without a filter."""


@dataclass(frozen=True, slots=True)
class Walk(Generic[EntryT]):
    """A list as it was read: its pages, the ids in their order, and the last call."""

    pages: tuple[tuple[EntryT, ...], ...]
    ids: tuple[str, ...]
    exchange: Exchange


async def walk(lab: Lab, listable: Listable[EntryT], *, max_entries: int = 0, token: str = "") -> Walk[EntryT]:
    """Read a list to its end, from `token` on. Raises Failed when a page is refused or the end never comes."""
    read = [page async for page in _pages(lab, listable, max_entries=max_entries, token=token)]
    ids = tuple(listable.id_of(entry) for entries, _, _ in read for entry in entries)
    return Walk(tuple(entries for entries, _, _ in read), ids, read[-1][2])


async def _pages(
    lab: Lab, listable: Listable[EntryT], *, max_entries: int, token: str = ""
) -> AsyncIterator[tuple[tuple[EntryT, ...], str, Exchange]]:
    """The pages of a list as they come, each with the token for the next and its call; there is one at least."""
    given: set[str] = {token}
    for count in itertools.count(1):
        exchange = await lab.settle(listable.ask(max_entries, token), patience_s=_PATIENCE_S)
        entries, token = listable.read(exchange)
        yield entries, token, exchange
        if not token:
            return
        if token in given or count > _MOST_PAGES:
            said = f"next_token {token!r} was given out before" if token in given else f"{count} pages were read"
            raise Failed(f"the list of {listable.what} does not come to an end: {said}", exchange)
        given.add(token)


async def quiet_walk(lab: Lab, listable: Listable[EntryT]) -> tuple[frozenset[str], int, Walk[EntryT]]:
    """The ids of a list that was the same before and after it was read in pages, the page size, and the pages.

    Raises Skipped when other users change the list all the time.
    """
    for _ in range(_TRIES):
        before = frozenset((await walk(lab, listable)).ids)
        size = max(2, -(-len(before) // _PAGES))
        paged = await walk(lab, listable, max_entries=size)
        if before == frozenset((await walk(lab, listable)).ids):
            return before, size, paged
    raise Skipped(f"the list of {listable.what} changed each time while it was read; ask a driver with fewer users")


def paging_problem(whole: frozenset[str], paged: tuple[str, ...], what: str) -> str | None:
    """What the pages of a quiet list lack or hold twice or made up, as a sentence; None when they are right."""
    counts = Counter(paged)
    if missing := sorted(whole - counts.keys()):
        return f"{len(missing)} of {len(whole)} {what} were on no page, {missing[0]!r} for example"
    if repeated := sorted(name for name, count in counts.items() if count > 1):
        return f"{len(repeated)} of {len(whole)} {what} were on more than one page, {repeated[0]!r} for example"
    if strange := sorted(counts.keys() - whole):
        return f"{strange[0]!r} is on a page and not among the {what} that are listed at once"
    return None


async def expect_unshaken(
    lab: Lab, listable: Listable[EntryT], own: Collection[str], delete: Callable[[str], Awaitable[None]]
) -> None:
    """Read a list in pages, and delete one of `own`, which all are listed, when it was met and pages are to come.

    Whatever is listed before and after must be met exactly once, no matter whose it is. Raises Failed, also when
    `delete` does, and Skipped when nothing could be deleted between two pages, or when other users change a list
    all the time in which something is missed.
    """
    left = set(own)
    for _ in range(len(own) - 1):
        before = (await walk(lab, listable)).ids
        met, gone = await _met_while_deleting(lab, listable, left, delete, max_entries=_shaken_size(before, left))
        if not gone:
            continue
        after = frozenset((await walk(lab, listable)).ids) - {gone}
        lasting = after.intersection(before)
        problem = paging_problem(lasting, tuple(name for name in met if name in lasting), listable.what)
        if problem is None:
            return
        if after == frozenset(before) - {gone}:
            raise Failed(f"{gone!r} was deleted when its page had been read, and {problem}", lab.last)
        left.remove(gone)
    if len(left) == len(own):
        raise Skipped(f"the list of {listable.what} came on one page each time, so nothing could be deleted meanwhile")
    raise Skipped(f"the list of {listable.what} changed each time while it was read; ask a driver with fewer users")


def _shaken_size(listed: tuple[str, ...], own: Collection[str]) -> int:
    """A page size that parts `own`, so that one of them is not on the last page, and makes not too many pages."""
    places = [index for index, name in enumerate(listed) if name in own] or [0]
    return max(1, places[(len(places) - 1) // 2] + 1, len(listed) // _MOST_SHAKEN_PAGES)


async def _met_while_deleting(
    lab: Lab,
    listable: Listable[EntryT],
    own: Collection[str],
    delete: Callable[[str], Awaitable[None]],
    *,
    max_entries: int,
) -> tuple[tuple[str, ...], str]:
    """The ids on all pages, and which of `own` was deleted when it had been on one that was not the last, if any."""
    met: list[str] = []
    gone = ""
    async for entries, token, _ in _pages(lab, listable, max_entries=max_entries):
        met += [listable.id_of(entry) for entry in entries]
        mine = [name for name in met if name in own]
        if mine and token and not gone:
            gone = mine[-1]
            await delete(gone)
    return tuple(met), gone


async def eventually(check: Callable[[], Awaitable[bool]], *, patience_s: float = _PATIENCE_S) -> bool:
    """Whether `check` comes true within `patience_s`; a storage system may need a moment to tell its news."""
    give_up_s = time.monotonic() + patience_s
    while not await check():
        if time.monotonic() > give_up_s:
            return False
        await asyncio.sleep(_PAUSE_S)
    return True


async def wait_listed(
    lab: Lab, listable: Listable[EntryT], entry_id: str, *, suits: Callable[[EntryT], bool] = lambda entry: True
) -> EntryT:
    """The entry of this id, waited for a few seconds until it is there and `suits`.

    An entry that never suits is returned as it was last. Raises Failed when there is none.
    """
    found: list[EntryT] = []

    async def there() -> bool:
        read = await walk(lab, listable)
        found[:] = [entry for page in read.pages for entry in page if listable.id_of(entry) == entry_id]
        return bool(found) and suits(found[0])

    await eventually(there)
    if not found:
        raise Failed(f"{entry_id!r} exists and is not among the {listable.what} that are listed", lab.last)
    return found[0]
