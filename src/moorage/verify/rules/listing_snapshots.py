"""ListSnapshots: filters, pages, and agreement with what CreateSnapshot told."""

from __future__ import annotations

import asyncio

from moorage.spec import messages as m
from moorage.spec.errors import Code
from moorage.spec.types import ControllerCapability, Snapshot
from moorage.verify.lab import Lab
from moorage.verify.listings import (
    SNAPSHOTS,
    eventually,
    expect_unshaken,
    paging_problem,
    quiet_walk,
    snapshots_of,
    wait_listed,
    walk,
)
from moorage.verify.rule import Danger, Failed, Severity, expect, rule
from moorage.verify.rules.listing import STRANGE_TOKENS

CREATE = ControllerCapability.CREATE_DELETE_VOLUME
SNAPSHOT = ControllerCapability.CREATE_DELETE_SNAPSHOT
LIST = ControllerCapability.LIST_SNAPSHOTS
NEEDS = (CREATE, SNAPSHOT, LIST)


async def _snapshots(lab: Lab, count: int) -> tuple[str, list[Snapshot]]:
    """A volume's id and so many snapshots of it."""
    volume_id = (await lab.create()).volume_id
    return volume_id, [await lab.snapshot(volume_id) for _ in range(count)]


async def _ids(lab: Lab, wanted: list[str], *, source: str = "", snapshot_id: str = "") -> list[str]:
    """The sorted ids that the filters give, waited for a few seconds until they are those wanted."""
    found: list[str] = []

    async def right() -> bool:
        found[:] = sorted((await walk(lab, snapshots_of(source, snapshot_id))).ids)
        return found == wanted

    await eventually(right)
    return found


@rule(
    "listing.new-snapshot-is-listed",
    section="ListSnapshots",
    title="a snapshot that was cut is listed",
    sends="CreateSnapshot, then ListSnapshots through all pages",
    demands="the snapshot is among the entries within 5 s",
    needs=NEEDS,
    danger=(Danger.CREATES,),
)
async def new_snapshot_is_listed(lab: Lab) -> None:
    _, (snapshot,) = await _snapshots(lab, 1)
    await wait_listed(lab, SNAPSHOTS, snapshot.snapshot_id)


@rule(
    "listing.deleted-snapshot-is-not-listed",
    section="ListSnapshots",
    title="a snapshot that was deleted is no longer listed",
    sends="CreateSnapshot, DeleteSnapshot, then ListSnapshots through all pages",
    demands="the snapshot is not among the entries after 5 s",
    needs=NEEDS,
    danger=(Danger.CREATES,),
)
async def deleted_snapshot_is_not_listed(lab: Lab) -> None:
    _, (snapshot,) = await _snapshots(lab, 1)
    await wait_listed(lab, SNAPSHOTS, snapshot.snapshot_id)
    await lab.delete_snapshot(snapshot.snapshot_id)

    async def gone() -> bool:
        return snapshot.snapshot_id not in (await walk(lab, SNAPSHOTS)).ids

    expect(await eventually(gone), f"snapshot {snapshot.snapshot_id!r} was deleted and is still listed", lab.last)


@rule(
    "listing.snapshot-agrees-with-create",
    section="ListSnapshots",
    title="what the list tells of a snapshot is what CreateSnapshot told",
    sends="CreateSnapshot until the snapshot is ready, then ListSnapshots through all pages",
    demands="the source volume and the creation time are the same, the size is unset or the same, and it is ready",
    needs=NEEDS,
    danger=(Danger.CREATES,),
)
async def snapshot_agrees_with_create(lab: Lab) -> None:
    _, (made,) = await _snapshots(lab, 1)
    told = await wait_listed(lab, SNAPSHOTS, made.snapshot_id, suits=lambda entry: entry.ready_to_use)
    for name in ("source_volume_id", "creation_time", "ready_to_use"):
        says, answered = getattr(told, name), getattr(made, name)
        expect(says == answered, f"the list tells {name} {says}, and CreateSnapshot answered {answered}", lab.last)
    expect(
        not (told.size_bytes and made.size_bytes) or told.size_bytes == made.size_bytes,
        f"the list tells size_bytes {told.size_bytes}, and CreateSnapshot answered {made.size_bytes}",
        lab.last,
    )


# --- filters --------------------------------------------------------------------------------------


@rule(
    "listing.snapshot-by-id",
    section="ListSnapshots",
    title="the filter for one snapshot gives that snapshot, or nothing when there is none",
    sends="CreateSnapshot twice; ListSnapshots with snapshot_id of the first, then with an id that none has",
    demands="one entry, the first snapshot; then OK without entries",
    needs=NEEDS,
    danger=(Danger.CREATES,),
)
async def snapshot_by_id(lab: Lab) -> None:
    _, (first, _) = await _snapshots(lab, 2)
    ids = await _ids(lab, [first.snapshot_id], snapshot_id=first.snapshot_id)
    expect(ids == [first.snapshot_id], f"the list for snapshot {first.snapshot_id!r} holds {ids}", lab.last)
    ids = await _ids(lab, [], snapshot_id=lab.name("no-such-snapshot"))
    expect(not ids, f"{len(ids)} entries came for an id that no snapshot has", lab.last)


@rule(
    "listing.snapshot-by-source",
    section="ListSnapshots",
    title="the filter for one volume gives all of its snapshots and no others",
    sends="three snapshots of a volume, one of another; ListSnapshots with either source_volume_id and an unknown one",
    demands="three entries, one entry, none; each of that volume",
    needs=NEEDS,
    danger=(Danger.CREATES,),
)
async def snapshot_by_source(lab: Lab) -> None:
    (volume_id, three), (other_id, one) = await _snapshots(lab, 3), await _snapshots(lab, 1)
    for source, snapshots in ((volume_id, three), (other_id, one), (lab.name("no-such-volume"), [])):
        wanted = sorted(snapshot.snapshot_id for snapshot in snapshots)
        found = await _ids(lab, wanted, source=source)
        text = f"volume {source!r} has snapshots {wanted}, and the list filtered by it holds {found}"
        expect(found == wanted, text, lab.last)


@rule(
    "listing.snapshot-filters-combine",
    section="ListSnapshots",
    title="with both filters only what fulfils both is listed",
    sends="a snapshot of each of two volumes; ListSnapshots with one snapshot_id and either source_volume_id",
    demands="one entry for its own volume, none for the other",
    needs=NEEDS,
    danger=(Danger.CREATES,),
)
async def snapshot_filters_combine(lab: Lab) -> None:
    (own_id, (own,)), (other_id, _) = await _snapshots(lab, 1), await _snapshots(lab, 1)
    for source, wanted in ((own_id, [own.snapshot_id]), (other_id, [])):
        found = await _ids(lab, wanted, source=source, snapshot_id=own.snapshot_id)
        expect(found == wanted, f"{wanted} fulfil both filters, and the list holds {found}", lab.last)


# --- pages ----------------------------------------------------------------------------------------


@rule(
    "listing.snapshot-pages",
    section="ListSnapshots",
    title="the pages of the list hold every snapshot exactly once",
    sends="CreateSnapshot five times, then ListSnapshots at once, in pages, and at once again",
    demands="when nobody changed the list meanwhile, the pages hold the same snapshots, none missing, none twice",
    needs=NEEDS,
    danger=(Danger.CREATES,),
)
async def snapshot_pages(lab: Lab) -> None:
    await _snapshots(lab, 5)
    problem = None
    for _ in range(2):
        whole, _, paged = await quiet_walk(lab, SNAPSHOTS)
        problem = paging_problem(whole, paged.ids, SNAPSHOTS.what)
        if problem is None:
            return
    raise Failed(problem or "", lab.last)


@rule(
    "listing.snapshot-filtered-pages",
    section="ListSnapshots",
    title="pages and filters work together",
    sends="four snapshots of one volume and one of another; ListSnapshots with source_volume_id and max_entries 3",
    demands="pages of at most 3 entries that hold the four exactly once and no other",
    needs=NEEDS,
    danger=(Danger.CREATES,),
)
async def snapshot_filtered_pages(lab: Lab) -> None:
    (volume_id, four), _ = await _snapshots(lab, 4), await _snapshots(lab, 1)
    listable = snapshots_of(volume_id)
    paged = await walk(lab, listable, max_entries=3)
    longest = max(len(page) for page in paged.pages)
    expect(longest <= 3, f"a page has {longest} entries although max_entries is 3", paged.exchange)
    problem = paging_problem(frozenset(snapshot.snapshot_id for snapshot in four), paged.ids, listable.what)
    expect(problem is None, problem or "", paged.exchange)


@rule(
    "listing.snapshot-page-size",
    section="ListSnapshots",
    title="no page of the list is longer than max_entries",
    sends="CreateSnapshot five times, then ListSnapshots with max_entries 1 and 2",
    demands="at most so many entries, and a next_token",
    needs=NEEDS,
    danger=(Danger.CREATES,),
)
async def snapshot_page_size(lab: Lab) -> None:
    await _snapshots(lab, 5)
    for limit in (1, 2):
        exchange = await lab.settle(m.ListSnapshotsRequest(max_entries=limit))
        page = exchange.response(m.ListSnapshotsResponse)
        expect(len(page.entries) <= limit, f"{len(page.entries)} entries came for max_entries {limit}", exchange)
        told = "more than that are there, and next_token is empty: whoever follows the pages never sees the others"
        expect(bool(page.next_token), told, exchange)


@rule(
    "listing.snapshot-pages-survive-deletion",
    section="ListSnapshots",
    title="who follows the pages misses nothing when a snapshot that was seen is deleted",
    sends="five snapshots of a volume; ListSnapshots in pages, and DeleteSnapshot of the first of the five that is met",
    demands="whatever is listed before and after is met exactly once, foreign snapshots included",
    severity=Severity.ADVICE,
    needs=NEEDS,
    danger=(Danger.CREATES,),
)
async def snapshot_pages_survive_deletion(lab: Lab) -> None:
    _, five = await _snapshots(lab, 5)
    own = [snapshot.snapshot_id for snapshot in five]
    for snapshot_id in own:
        await wait_listed(lab, SNAPSHOTS, snapshot_id)
    await expect_unshaken(lab, SNAPSHOTS, own, lab.delete_snapshot)


@rule(
    "listing.snapshot-invalid-token",
    section="ListSnapshots",
    title="a token that was never given out is refused",
    sends='ListSnapshots with starting_token "invalid-token"',
    demands="ABORTED",
    needs=(LIST,),
)
async def snapshot_invalid_token(lab: Lab) -> None:
    exchange = await lab.call(m.ListSnapshotsRequest(starting_token="invalid-token"))
    exchange.refused(Code.ABORTED, why="starting_token is not valid, and the caller has to start again")


@rule(
    "listing.snapshot-strange-tokens",
    section="ListSnapshots",
    title="no token makes the driver fail",
    sends="ListSnapshots with tokens like -1, a number of 20 digits and a path",
    demands="OK or ABORTED each time, and a driver that still answers",
    needs=(LIST,),
)
async def snapshot_strange_tokens(lab: Lab) -> None:
    exchanges = await asyncio.gather(
        *(lab.call(m.ListSnapshotsRequest(max_entries=1, starting_token=token)) for token in STRANGE_TOKENS)
    )
    for exchange in exchanges:
        exchange.refused(Code.OK, Code.ABORTED, why="a bad starting_token means that the caller starts again")
    expect(await lab.peer.is_alive(), "the driver does not answer Probe after strange tokens", lab.last)
