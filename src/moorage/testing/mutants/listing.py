"""Drivers that are wrong about ListVolumes and ControllerGetVolume."""

from __future__ import annotations

from typing import Any

import msgspec

from moorage.spec import messages as m
from moorage.spec.errors import Code
from moorage.spec.types import Volume
from moorage.testing.mutants.mutant import Call, Reply, mutant


async def _listed(call: Call) -> tuple[m.ListedVolume, ...]:
    """Everything that the correct driver lists."""
    reply = await call.forward(m.ListVolumesRequest())
    return call.read(reply, m.ListVolumesResponse).entries


def _changed(entry: m.ListedVolume, **fields: Any) -> m.ListedVolume:
    return msgspec.structs.replace(entry, volume=msgspec.structs.replace(entry.volume, **fields))


async def _with_entries(call: Call, **fields: Any) -> Reply:
    reply = await call.forward()
    if not reply.ok:
        return reply
    page = call.read(reply, m.ListVolumesResponse)
    entries = tuple(_changed(entry, **fields) for entry in page.entries)
    return Reply.of(m.ListVolumesResponse(entries=entries, next_token=page.next_token))


@mutant("listing.new-volume-is-listed", on=("CreateVolume", "ListVolumes"))
async def lists_seven_of_eight(call: Call) -> Reply:
    """Of eight volumes that are made, the list lacks the third."""
    names: dict[str, None] = call.memory.setdefault("names", {})
    hidden: set[str] = call.memory.setdefault("hidden", set())
    reply = await call.forward()
    if isinstance(call.request, m.CreateVolumeRequest):
        names[call.request.name] = None
        if reply.ok and list(names).index(call.request.name) % 8 == 2:
            hidden.add(call.read(reply, m.CreateVolumeResponse).volume.volume_id)
    elif reply.ok:
        page = call.read(reply, m.ListVolumesResponse)
        shown = tuple(entry for entry in page.entries if entry.volume.volume_id not in hidden)
        return Reply.of(m.ListVolumesResponse(entries=shown, next_token=page.next_token))
    return reply


@mutant("listing.deleted-volume-is-not-listed", on=("ListVolumes", "CreateVolume"))
async def lists_the_dead(call: Call) -> Reply:
    """Volumes that were deleted stay in the list."""
    known: dict[str, Volume] = call.memory.setdefault("known", {})
    reply = await call.forward()
    if not reply.ok:
        return reply
    if isinstance(call.request, m.CreateVolumeRequest):
        volume = call.read(reply, m.CreateVolumeResponse).volume
        known[volume.volume_id] = volume
        return reply
    page = call.read(reply, m.ListVolumesResponse)
    if page.next_token:
        return reply
    here = {entry.volume.volume_id for entry in page.entries}
    dead = tuple(m.ListedVolume(volume=volume) for key, volume in known.items() if key not in here)
    return Reply.of(m.ListVolumesResponse(entries=page.entries + dead))


@mutant("listing.volume-agrees-with-create", on=("ListVolumes",))
async def lists_sizes_in_kib(call: Call) -> Reply:
    """The sizes in the list are in KiB."""
    reply = await call.forward()
    if not reply.ok:
        return reply
    page = call.read(reply, m.ListVolumesResponse)
    entries = tuple(_changed(entry, capacity_bytes=entry.volume.capacity_bytes // 1024) for entry in page.entries)
    return Reply.of(m.ListVolumesResponse(entries=entries, next_token=page.next_token))


@mutant("listing.volume-entry-is-complete", on=("ListVolumes",))
async def lists_bare_ids(call: Call) -> Reply:
    """Entries of the list have an id and nothing else."""
    return await _with_entries(call, capacity_bytes=0, volume_context={}, accessible_topology=())


@mutant("listing.volume-pages", on=("ListVolumes",))
async def drops_the_last_page(call: Call) -> Reply:
    """The page before the last one says that it is the last."""
    reply = await call.forward()
    if not reply.ok:
        return reply
    page = call.read(reply, m.ListVolumesResponse)
    if not page.next_token or not call.request.max_entries:
        return reply
    following = await call.forward(msgspec.structs.replace(call.request, starting_token=page.next_token))
    if call.request.starting_token and not call.read(following, m.ListVolumesResponse).next_token:
        return Reply.of(msgspec.structs.replace(page, next_token=""))
    return reply


@mutant("listing.volume-pages", on=("ListVolumes",))
async def repeats_the_last_entry_of_a_page(call: Call) -> Reply:
    """A page begins with the entry that ended the page before."""
    reply = await call.forward()
    if not reply.ok:
        return reply
    page = call.read(reply, m.ListVolumesResponse)
    last = call.memory.get("last")
    call.memory["last"] = page.entries[-1] if page.next_token and page.entries else None
    if not call.request.starting_token or last is None:
        return reply
    entries = (last, *page.entries)
    return Reply.of(msgspec.structs.replace(page, entries=entries[: call.request.max_entries or None]))


@mutant("listing.volume-page-size", on=("ListVolumes",))
async def ignores_max_entries(call: Call) -> Reply:
    """All volumes come at once, whatever max_entries is."""
    return await call.forward(m.ListVolumesRequest(starting_token=call.request.starting_token))


@mutant("listing.volume-token-after-deletion", on=("ListVolumes",))
async def stumbles_over_a_deleted_token(call: Call) -> Reply:
    """A token names a position, and a position behind the end of the list raises an error."""
    token = call.request.starting_token
    if token and not token.isdigit():
        return Reply.failed(Code.ABORTED, "starting_token is no number; list from the start")
    entries, start = await _listed(call), int(token or 0)
    if start and start >= len(entries):
        return Reply.failed(Code.UNKNOWN, "list index out of range")
    end = start + (call.request.max_entries or len(entries))
    return Reply.of(
        m.ListVolumesResponse(entries=entries[start:end], next_token=str(end) if end < len(entries) else "")
    )


@mutant("listing.volume-pages-survive-deletion", on=("ListVolumes",))
async def counts_positions(call: Call) -> Reply:
    """A token is the number of entries given out, so that a deletion makes the next page skip one."""
    token = call.request.starting_token
    entries = await _listed(call)
    if token and not (token.isdigit() and len(token) < 10):
        return Reply.failed(Code.ABORTED, "starting_token is no number; list from the start")
    start = int(token or 0)
    end = start + (call.request.max_entries or len(entries))
    return Reply.of(
        m.ListVolumesResponse(entries=entries[start:end], next_token=str(end) if end < len(entries) else "")
    )


@mutant("listing.volume-invalid-token", on=("ListVolumes",))
async def starts_again_at_a_bad_token(call: Call) -> Reply:
    """An invalid token is taken for none."""
    reply = await call.forward()
    if reply.code is Code.ABORTED:
        return await call.forward(msgspec.structs.replace(call.request, starting_token=""))
    return reply


@mutant("listing.volume-strange-tokens", on=("ListVolumes",))
async def fails_at_a_negative_token(call: Call) -> Reply:
    """A negative number as token is used as an index and raises an error."""
    if call.request.starting_token == "-1":
        return Reply.failed(Code.INTERNAL, "slice bounds out of range [-1:]")
    return await call.forward()


@mutant("listing.published-nodes", on=("ListVolumes",))
async def lists_no_nodes(call: Call) -> Reply:
    """The list never says where a volume is attached."""
    reply = await call.forward()
    if not reply.ok:
        return reply
    page = call.read(reply, m.ListVolumesResponse)
    entries = tuple(msgspec.structs.replace(entry, status=m.VolumeStatus()) for entry in page.entries)
    return Reply.of(m.ListVolumesResponse(entries=entries, next_token=page.next_token))


@mutant("listing.unpublished-nodes", on=("ListVolumes", "ControllerPublishVolume"))
async def remembers_old_nodes(call: Call) -> Reply:
    """A node that a volume was attached to once is listed for ever."""
    seen: dict[str, set[str]] = call.memory.setdefault("seen", {})
    reply = await call.forward()
    if not reply.ok:
        return reply
    if isinstance(call.request, m.ControllerPublishVolumeRequest):
        seen.setdefault(call.request.volume_id, set()).add(call.request.node_id)
        return reply
    page = call.read(reply, m.ListVolumesResponse)
    entries = tuple(
        msgspec.structs.replace(
            entry, status=m.VolumeStatus(published_node_ids=tuple(seen.get(entry.volume.volume_id, ())))
        )
        for entry in page.entries
    )
    return Reply.of(m.ListVolumesResponse(entries=entries, next_token=page.next_token))


@mutant("listing.get-volume", on=("ControllerGetVolume",))
async def gets_the_first_volume(call: Call) -> Reply:
    """ControllerGetVolume answers with another volume's id."""
    reply = await call.forward()
    if not reply.ok:
        return reply
    answer = call.read(reply, m.ControllerGetVolumeResponse)
    volume = msgspec.structs.replace(answer.volume, volume_id=f"{answer.volume.volume_id}-0")
    return Reply.of(m.ControllerGetVolumeResponse(volume=volume, status=answer.status))


@mutant("listing.get-volume-published-nodes", on=("ControllerGetVolume",))
async def gets_no_nodes(call: Call) -> Reply:
    """ControllerGetVolume never says where the volume is attached."""
    reply = await call.forward()
    if not reply.ok:
        return reply
    answer = call.read(reply, m.ControllerGetVolumeResponse)
    return Reply.of(m.ControllerGetVolumeResponse(volume=answer.volume, status=m.VolumeStatus()))


@mutant("listing.get-volume-unknown", on=("ControllerGetVolume",))
async def gets_what_is_not_there(call: Call) -> Reply:
    """ControllerGetVolume answers for volumes that do not exist."""
    reply = await call.forward()
    if reply.code is not Code.NOT_FOUND:
        return reply
    volume = Volume(call.request.volume_id, 1 << 30)
    return Reply.of(m.ControllerGetVolumeResponse(volume=volume, status=m.VolumeStatus()))
