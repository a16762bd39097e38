"""Drivers that are wrong about ListSnapshots."""

from __future__ import annotations

from datetime import timedelta

import msgspec

from moorage.spec import messages as m
from moorage.spec.errors import Code
from moorage.spec.types import Snapshot
from moorage.testing.mutants.mutant import Call, Reply, mutant


async def _listed(call: Call, source_volume_id: str = "", snapshot_id: str = "") -> tuple[Snapshot, ...]:
    """What the correct driver lists, in one page."""
    reply = await call.forward(m.ListSnapshotsRequest(source_volume_id=source_volume_id, snapshot_id=snapshot_id))
    return call.read_of("ListSnapshots", reply, m.ListSnapshotsResponse).entries


def _page(entries: tuple[Snapshot, ...], start: int, max_entries: int) -> Reply:
    """A page whose token is a position."""
    end = start + (max_entries or len(entries))
    return Reply.of(
        m.ListSnapshotsResponse(entries=entries[start:end], next_token=str(end) if end < len(entries) else "")
    )


@mutant("listing.new-snapshot-is-listed", on=("CreateSnapshot", "ListSnapshots"))
async def lists_not_the_first_snapshot(call: Call) -> Reply:
    """The first snapshot that is cut is not listed before another one is."""
    ids: dict[str, None] = call.memory.setdefault("ids", {})
    reply = await call.forward()
    if not reply.ok:
        return reply
    if isinstance(call.request, m.CreateSnapshotRequest):
        ids[call.read(reply, m.CreateSnapshotResponse).snapshot.snapshot_id] = None
        return reply
    page = call.read(reply, m.ListSnapshotsResponse)
    if len(ids) > 1:
        return reply
    entries = tuple(entry for entry in page.entries if entry.snapshot_id not in ids)
    return Reply.of(m.ListSnapshotsResponse(entries=entries, next_token=page.next_token))


@mutant("listing.deleted-snapshot-is-not-listed", on=("ListSnapshots", "DeleteSnapshot"))
async def lists_deleted_snapshots(call: Call) -> Reply:
    """Snapshots that were deleted stay in the list without filter."""
    dead: dict[str, Snapshot] = call.memory.setdefault("dead", {})
    if isinstance(call.request, m.DeleteSnapshotRequest):
        dead.update({entry.snapshot_id: entry for entry in await _listed(call, snapshot_id=call.request.snapshot_id)})
        return await call.forward()
    reply = await call.forward()
    if not reply.ok or call.request.snapshot_id or call.request.source_volume_id:
        return reply
    page = call.read(reply, m.ListSnapshotsResponse)
    if page.next_token:
        return reply
    return Reply.of(m.ListSnapshotsResponse(entries=(*page.entries, *dead.values())))


@mutant("listing.snapshot-agrees-with-create", on=("ListSnapshots",))
async def lists_local_time(call: Call) -> Reply:
    """The creation times in the list are in a time zone two hours away."""
    reply = await call.forward()
    if not reply.ok:
        return reply
    page = call.read(reply, m.ListSnapshotsResponse)
    entries = tuple(
        msgspec.structs.replace(entry, creation_time=entry.creation_time + timedelta(hours=2)) for entry in page.entries
    )
    return Reply.of(m.ListSnapshotsResponse(entries=entries, next_token=page.next_token))


@mutant("listing.snapshot-by-id", on=("ListSnapshots",))
async def ignores_the_snapshot_filter(call: Call) -> Reply:
    """The filter for one snapshot is ignored."""
    return await call.forward(msgspec.structs.replace(call.request, snapshot_id=""))


@mutant("listing.snapshot-by-id", on=("ListSnapshots",))
async def refuses_unknown_snapshots_in_lists(call: Call) -> Reply:
    """The filter for a snapshot that does not exist is answered with NOT_FOUND instead of an empty list."""
    reply = await call.forward()
    if reply.ok and call.request.snapshot_id and not call.read(reply, m.ListSnapshotsResponse).entries:
        return Reply.failed(Code.NOT_FOUND, f"snapshot {call.request.snapshot_id} does not exist")
    return reply


@mutant("listing.snapshot-by-source", on=("ListSnapshots",))
async def lists_one_snapshot_of_a_volume(call: Call) -> Reply:
    """The filter for one volume gives its first snapshot only."""
    reply = await call.forward()
    if not reply.ok or not call.request.source_volume_id:
        return reply
    page = call.read(reply, m.ListSnapshotsResponse)
    return Reply.of(m.ListSnapshotsResponse(entries=page.entries[:1]))


@mutant("listing.snapshot-filters-combine", on=("ListSnapshots",))
async def takes_one_filter_of_two(call: Call) -> Reply:
    """When a snapshot is named, the filter for a volume is ignored."""
    if call.request.snapshot_id:
        return await call.forward(msgspec.structs.replace(call.request, source_volume_id=""))
    return await call.forward()


@mutant("listing.snapshot-pages", on=("ListSnapshots",))
async def skips_an_entry_between_snapshot_pages(call: Call) -> Reply:
    """Without a filter, each page begins one entry too late."""
    reply = await call.forward()
    if not reply.ok or not call.request.starting_token or call.request.source_volume_id:
        return reply
    page = call.read(reply, m.ListSnapshotsResponse)
    return Reply.of(msgspec.structs.replace(page, entries=page.entries[1:]))


@mutant("listing.snapshot-filtered-pages", on=("ListSnapshots",))
async def filters_after_paging(call: Call) -> Reply:
    """A page is cut from the list of all snapshots, filtered then, and the last one if it is not full."""
    source, limit = call.request.source_volume_id, call.request.max_entries
    if not source or not limit or call.request.starting_token:
        return await call.forward()
    page = (await _listed(call))[:limit]
    return Reply.of(m.ListSnapshotsResponse(entries=tuple(e for e in page if e.source_volume_id == source)))


@mutant("listing.snapshot-page-size", on=("ListSnapshots",))
async def gives_one_snapshot_more(call: Call) -> Reply:
    """A page has one entry more than max_entries."""
    limit = call.request.max_entries
    return await call.forward(msgspec.structs.replace(call.request, max_entries=limit and limit + 1))


@mutant("listing.snapshot-pages-survive-deletion", on=("ListSnapshots",))
async def counts_snapshot_positions(call: Call) -> Reply:
    """A token is the number of entries given out, so that deletions make the next page skip some."""
    token = call.request.starting_token
    if token and not (token.isdigit() and len(token) < 10):
        return Reply.failed(Code.ABORTED, "starting_token is no number; list from the start")
    entries = await _listed(call, call.request.source_volume_id, call.request.snapshot_id)
    return _page(entries, int(token or 0), call.request.max_entries)


@mutant("listing.snapshot-invalid-token", on=("ListSnapshots",))
async def starts_snapshots_again_at_a_bad_token(call: Call) -> Reply:
    """An invalid token is taken for none."""
    reply = await call.forward()
    if reply.code is Code.ABORTED:
        return await call.forward(msgspec.structs.replace(call.request, starting_token=""))
    return reply


@mutant("listing.snapshot-strange-tokens", on=("ListSnapshots",))
async def fails_at_a_long_number(call: Call) -> Reply:
    """A token that is a number beyond 64 bits raises an error."""
    token = call.request.starting_token
    if token.isdigit() and int(token) >= 1 << 63:
        return Reply.failed(Code.INTERNAL, "OverflowError: Python int too large to convert to C long")
    return await call.forward()
