"""ListVolumes and ControllerGetVolume: what is told of volumes agrees with what was made."""

from __future__ import annotations

from typing import Final

from moorage.spec import messages as m
from moorage.spec.errors import Code
from moorage.spec.types import ControllerCapability, Volume
from moorage.verify.lab import Lab
from moorage.verify.listings import VOLUMES, eventually, expect_unshaken, paging_problem, quiet_walk, wait_listed, walk
from moorage.verify.rule import Danger, Failed, Severity, expect, rule
from moorage.verify.together import together

CREATE = ControllerCapability.CREATE_DELETE_VOLUME
LIST = ControllerCapability.LIST_VOLUMES
GET = ControllerCapability.GET_VOLUME
PUBLISH = ControllerCapability.PUBLISH_UNPUBLISH_VOLUME
NODES = ControllerCapability.LIST_VOLUMES_PUBLISHED_NODES

STRANGE_TOKENS: Final = ("-1", "99999999999999999999", "../../etc/passwd", "%00%ff", "\u6f22\u5b57", "A" * 128)
"""Texts that drivers have taken for an offset, a path or a name, and fallen over."""


@rule(
    "listing.new-volume-is-listed",
    section="ListVolumes",
    title="a volume that was made is listed",
    sends="CreateVolume, then ListVolumes through all pages",
    demands="the volume is among the entries within 5 s",
    needs=(CREATE, LIST),
    danger=(Danger.CREATES,),
)
async def new_volume_is_listed(lab: Lab) -> None:
    volume = await lab.create()
    await wait_listed(lab, VOLUMES, volume.volume_id)


@rule(
    "listing.deleted-volume-is-not-listed",
    section="ListVolumes",
    title="a volume that was deleted is no longer listed",
    sends="CreateVolume, DeleteVolume, then ListVolumes through all pages",
    demands="the volume is not among the entries after 5 s",
    needs=(CREATE, LIST),
    danger=(Danger.CREATES,),
)
async def deleted_volume_is_not_listed(lab: Lab) -> None:
    volume = await lab.create()
    await wait_listed(lab, VOLUMES, volume.volume_id)
    await lab.delete(volume.volume_id)

    async def gone() -> bool:
        return volume.volume_id not in (await walk(lab, VOLUMES)).ids

    expect(await eventually(gone), f"volume {volume.volume_id!r} was deleted and is still listed", lab.last)


@rule(
    "listing.volume-agrees-with-create",
    section="ListVolumes",
    title="what the list tells of a volume is what CreateVolume told",
    sends="CreateVolume, then ListVolumes through all pages",
    demands="size, context, content source and topology of the entry are unset or those of the volume",
    needs=(CREATE, LIST),
    danger=(Danger.CREATES,),
)
async def volume_agrees_with_create(lab: Lab) -> None:
    volume = await lab.create()
    entry = await wait_listed(lab, VOLUMES, volume.volume_id)
    _expect_agreement(entry.volume, volume, "ListVolumes", lab)


def _expect_agreement(told: Volume, made: Volume, where: str, lab: Lab) -> None:
    """Raises Failed for a field that is set and contradicts what CreateVolume answered."""
    pairs: list[tuple[str, object, object]] = [
        ("capacity_bytes", told.capacity_bytes, made.capacity_bytes),
        ("content_source", told.content_source, made.content_source),
        ("accessible_topology", _places(told), _places(made)),
    ]
    pairs += [
        (f"volume_context key {key!r} as", value, made.volume_context.get(key))
        for key, value in told.volume_context.items()
    ]
    for name, says, answered in pairs:
        if says and answered and says != answered:
            text = f"{where} tells {name} {says!r} of a volume for which CreateVolume answered {answered!r}"
            raise Failed(text, lab.last)


def _places(volume: Volume) -> list[list[tuple[str, str]]]:
    return sorted(sorted(place.segments.items()) for place in volume.accessible_topology)


@rule(
    "listing.volume-entry-is-complete",
    section="ListVolumes",
    title="the list tells everything that CreateVolume told of a volume",
    sends="CreateVolume, then ListVolumes through all pages",
    demands="the entry is equal to the volume that CreateVolume answered",
    severity=Severity.ADVICE,
    needs=(CREATE, LIST),
    danger=(Danger.CREATES,),
)
async def volume_entry_is_complete(lab: Lab) -> None:
    volume = await lab.create()
    entry = await wait_listed(lab, VOLUMES, volume.volume_id)
    for name in ("capacity_bytes", "volume_context", "content_source", "accessible_topology"):
        told, made = getattr(entry.volume, name), getattr(volume, name)
        expect(told == made, f"ListVolumes tells {name} {told!r} and CreateVolume answered {made!r}", lab.last)


@rule(
    "listing.volume-pages",
    section="ListVolumes",
    title="the pages of the list hold every volume exactly once",
    sends="CreateVolume five times, then ListVolumes at once, in pages, and at once again",
    demands="when nobody changed the list meanwhile, the pages hold the same volumes, none missing, none twice",
    needs=(CREATE, LIST),
    danger=(Danger.CREATES,),
)
async def volume_pages(lab: Lab) -> None:
    await together(lab.create() for _ in range(5))
    problem = None
    for _ in range(2):
        whole, _, paged = await quiet_walk(lab, VOLUMES)
        problem = paging_problem(whole, paged.ids, VOLUMES.what)
        if problem is None:
            return
    raise Failed(problem or "", lab.last)


@rule(
    "listing.volume-page-size",
    section="ListVolumes",
    title="no page of the list is longer than max_entries",
    sends="CreateVolume three times, then ListVolumes with max_entries 1 and 2",
    demands="at most so many entries",
    needs=(CREATE, LIST),
    danger=(Danger.CREATES,),
)
async def volume_page_size(lab: Lab) -> None:
    for volume in await together(lab.create() for _ in range(3)):
        await wait_listed(lab, VOLUMES, volume.volume_id)
    for limit in (1, 2):
        exchange = await lab.settle(m.ListVolumesRequest(max_entries=limit))
        page = exchange.response(m.ListVolumesResponse)
        expect(len(page.entries) <= limit, f"{len(page.entries)} entries came for max_entries {limit}", exchange)
        told = "more than that are there, and next_token is empty: whoever follows the pages never sees the others"
        expect(bool(page.next_token), told, exchange)


@rule(
    "listing.volume-token-after-deletion",
    section="ListVolumes",
    title="a token is no trap when volumes were deleted since it was given out",
    sends="CreateVolume three times, a first page of one, DeleteVolume of all three, then ListVolumes with the token",
    demands="OK or ABORTED",
    needs=(CREATE, LIST),
    danger=(Danger.CREATES,),
)
async def volume_token_after_deletion(lab: Lab) -> None:
    volumes = await together(lab.create() for _ in range(3))
    for volume in volumes:
        await wait_listed(lab, VOLUMES, volume.volume_id)
    page = (await lab.settle(m.ListVolumesRequest(max_entries=1))).response(m.ListVolumesResponse)
    for volume in volumes:
        await lab.delete(volume.volume_id)
    exchange = await lab.call(m.ListVolumesRequest(max_entries=1, starting_token=page.next_token))
    exchange.refused(Code.OK, Code.ABORTED, why="the token is either still good or has to be told as invalid")


@rule(
    "listing.volume-pages-survive-deletion",
    section="ListVolumes",
    title="who follows the pages misses nothing when a volume that was seen is deleted",
    sends="CreateVolume five times; ListVolumes in pages, and DeleteVolume of the first of the five that is met",
    demands="whatever is listed before and after is met exactly once, foreign volumes included",
    severity=Severity.ADVICE,
    needs=(CREATE, LIST),
    danger=(Danger.CREATES,),
)
async def volume_pages_survive_deletion(lab: Lab) -> None:
    own = [volume.volume_id for volume in await together(lab.create() for _ in range(5))]
    for volume_id in own:
        await wait_listed(lab, VOLUMES, volume_id)
    await expect_unshaken(lab, VOLUMES, own, lab.delete)


@rule(
    "listing.volume-invalid-token",
    section="ListVolumes",
    title="a token that was never given out is refused",
    sends='ListVolumes with starting_token "invalid-token"',
    demands="ABORTED",
    needs=(LIST,),
)
async def volume_invalid_token(lab: Lab) -> None:
    exchange = await lab.call(m.ListVolumesRequest(starting_token="invalid-token"))
    exchange.refused(Code.ABORTED, why="starting_token is not valid, and the caller has to start again")


@rule(
    "listing.volume-strange-tokens",
    section="ListVolumes",
    title="no token makes the driver fail",
    sends="ListVolumes with tokens like -1, a number of 20 digits and a path",
    demands="OK or ABORTED each time, and a driver that still answers",
    needs=(LIST,),
)
async def volume_strange_tokens(lab: Lab) -> None:
    for token in STRANGE_TOKENS:
        exchange = await lab.call(m.ListVolumesRequest(max_entries=1, starting_token=token))
        exchange.refused(Code.OK, Code.ABORTED, why="a bad starting_token means that the caller starts again")
    expect(
        await lab.peer.is_alive(), "the driver does not answer Probe after ListVolumes with strange tokens", lab.last
    )


# --- where a volume is attached -------------------------------------------------------------------


@rule(
    "listing.published-nodes",
    section="ListVolumes",
    title="the list tells the node that a volume is attached to",
    sends="CreateVolume, ControllerPublishVolume, then ListVolumes through all pages",
    demands="the entry has a status that names the node within 5 s",
    needs=(CREATE, LIST, PUBLISH, NODES, "Node"),
    danger=(Danger.CREATES,),
)
async def published_nodes(lab: Lab) -> None:
    volume = await lab.create()
    await lab.attach(volume, lab.capability())
    node_id = lab.peer.node.node_id
    entry = await wait_listed(lab, VOLUMES, volume.volume_id, suits=lambda entry: node_id in _nodes_of(entry.status))
    expect(
        node_id in _nodes_of(entry.status),
        f"the volume is attached to node {node_id!r}, and its entry names {list(_nodes_of(entry.status))}",
        lab.last,
    )


def _nodes_of(status: m.VolumeStatus | None) -> tuple[str, ...]:
    return () if status is None else status.published_node_ids


@rule(
    "listing.unpublished-nodes",
    section="ListVolumes",
    title="the list no longer tells a node that a volume was detached from",
    sends="CreateVolume, ControllerPublishVolume, ControllerUnpublishVolume, then ListVolumes through all pages",
    demands="the entry has a status, and it does not name the node after 5 s",
    severity=Severity.SHOULD,
    needs=(CREATE, LIST, PUBLISH, NODES, "Node"),
    danger=(Danger.CREATES,),
)
async def unpublished_nodes(lab: Lab) -> None:
    volume = await lab.create()
    await lab.attach(volume, lab.capability())
    node_id = lab.peer.node.node_id
    request = m.ControllerUnpublishVolumeRequest(volume_id=volume.volume_id, node_id=node_id)
    (await lab.settle(request)).response(m.ControllerUnpublishVolumeResponse)

    def suits(entry: m.ListedVolume) -> bool:
        return entry.status is not None and node_id not in entry.status.published_node_ids

    entry = await wait_listed(lab, VOLUMES, volume.volume_id, suits=suits)
    expect(entry.status is not None, "the entry has no status, which LIST_VOLUMES_PUBLISHED_NODES promises", lab.last)
    expect(suits(entry), f"the volume was detached from node {node_id!r}, and its entry still names it", lab.last)


# --- one volume -----------------------------------------------------------------------------------


@rule(
    "listing.get-volume",
    section="ControllerGetVolume",
    title="a volume can be asked for by its id",
    sends="CreateVolume, then ControllerGetVolume",
    demands="OK with that volume; size, context, source and topology are unset or those that CreateVolume answered",
    needs=(CREATE, GET),
    danger=(Danger.CREATES,),
)
async def get_volume(lab: Lab) -> None:
    volume = await lab.create()
    exchange = await lab.settle(m.ControllerGetVolumeRequest(volume_id=volume.volume_id))
    told = exchange.response(m.ControllerGetVolumeResponse).volume
    expect(told.volume_id == volume.volume_id, f"the answer is about volume {told.volume_id!r}", exchange)
    _expect_agreement(told, volume, "ControllerGetVolume", lab)


@rule(
    "listing.get-volume-published-nodes",
    section="ControllerGetVolume",
    title="ControllerGetVolume tells the node that a volume is attached to",
    sends="CreateVolume, ControllerPublishVolume, then ControllerGetVolume",
    demands="the status names the node within 5 s",
    needs=(CREATE, GET, PUBLISH, NODES, "Node"),
    danger=(Danger.CREATES,),
)
async def get_volume_published_nodes(lab: Lab) -> None:
    volume = await lab.create()
    await lab.attach(volume, lab.capability())
    node_id = lab.peer.node.node_id

    async def told() -> bool:
        exchange = await lab.settle(m.ControllerGetVolumeRequest(volume_id=volume.volume_id))
        return node_id in exchange.response(m.ControllerGetVolumeResponse).status.published_node_ids

    expect(await eventually(told), f"the volume is attached to node {node_id!r}, which is not told", lab.last)


@rule(
    "listing.get-volume-unknown",
    section="ControllerGetVolume",
    title="a volume that does not exist is not found",
    sends="ControllerGetVolume with an id that no volume has, and with that of a volume that was deleted",
    demands="NOT_FOUND",
    needs=(CREATE, GET),
    danger=(Danger.CREATES,),
)
async def get_volume_unknown(lab: Lab) -> None:
    exchange = await lab.settle(m.ControllerGetVolumeRequest(volume_id=lab.name("no-such-volume")))
    exchange.refused(Code.NOT_FOUND, why="no volume has this id")
    volume = await lab.create()
    await lab.delete(volume.volume_id)
    exchange = await lab.settle(m.ControllerGetVolumeRequest(volume_id=volume.volume_id))
    exchange.refused(Code.NOT_FOUND, why="the volume was deleted")
