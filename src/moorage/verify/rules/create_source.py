"""CreateVolume from a source: what must be there, what is said of it, how large the volume may be."""

from __future__ import annotations

from typing import Final

import msgspec

from moorage.spec import messages as m
from moorage.spec.errors import Code
from moorage.spec.types import (
    CapacityRange,
    ContentSource,
    ControllerCapability,
    SnapshotSource,
    Volume,
    VolumeSource,
)
from moorage.verify.extent import expect_in_range
from moorage.verify.lab import Lab
from moorage.verify.rule import Danger, Skipped, expect, rule

CREATE = ControllerCapability.CREATE_DELETE_VOLUME
CLONE = ControllerCapability.CLONE_VOLUME
SNAPSHOT = ControllerCapability.CREATE_DELETE_SNAPSHOT

_SOURCES: Final = (SNAPSHOT, CLONE)


async def _sources(lab: Lab, volume: Volume) -> list[tuple[ContentSource, int]]:
    """Each kind of source that the driver has, made of this volume, with the bytes that it needs."""
    found: list[tuple[ContentSource, int]] = []
    if lab.has(CLONE):
        found.append((VolumeSource(volume.volume_id), volume.capacity_bytes))
    if lab.has(SNAPSHOT):
        snapshot = await lab.snapshot(volume.volume_id)
        found.append((SnapshotSource(snapshot.snapshot_id), snapshot.size_bytes))
    return found


def _kind(source: ContentSource) -> str:
    return "clone" if isinstance(source, VolumeSource) else "restored volume"


# --- the source itself -----------------------------------------------------------------------------


@rule(
    "create.missing-source",
    section="CreateVolume",
    title="a source that does not exist makes no volume",
    sends="CreateVolume with a snapshot id (and a volume id, where clones are offered) that nothing has; then with "
    "the same name and no source",
    demands="NOT_FOUND, then OK",
    needs=(CREATE, _SOURCES),
    danger=(Danger.CREATES,),
)
async def missing_source(lab: Lab) -> None:
    sources: list[ContentSource] = []
    if lab.has(SNAPSHOT):
        sources.append(SnapshotSource(lab.name("unknown")))
    if lab.has(CLONE):
        sources.append(VolumeSource(lab.name("unknown")))
    for source in sources:
        request = lab.create_request(volume_content_source=source)
        (await lab.settle(request)).refused(Code.NOT_FOUND, why="the content source does not exist")
        await lab.create(name=request.name)


@rule(
    "create.source-echoed",
    section="CreateVolume",
    title="a volume made from a source names it",
    sends="CreateVolume from a snapshot and from a volume, as far as offered, each twice",
    demands="OK with content_source as it was sent, and the same volume both times",
    needs=(CREATE, _SOURCES),
    danger=(Danger.CREATES,),
)
async def source_echoed(lab: Lab) -> None:
    volume = await lab.create()
    for source, _ in await _sources(lab, volume):
        size_bytes = max(volume.capacity_bytes, lab.settings.size_bytes)
        request = lab.create_request(capacity_range=CapacityRange(size_bytes), volume_content_source=source)
        made = (await lab.settle(request)).response(m.CreateVolumeResponse).volume
        expect(
            made.content_source == source,
            f"the {_kind(source)} does not name its source in content_source, so it passes for an empty volume",
            lab.last,
        )
        again = (await lab.settle(request)).response(m.CreateVolumeResponse).volume
        expect(again.volume_id == made.volume_id, f"one name gave two {_kind(source)}s", lab.last)


@rule(
    "create.same-name-other-source",
    section="CreateVolume",
    title="a name that is taken by a volume with other content is refused",
    sends="CreateVolume without a source, then with the same name from a snapshot or a volume; and the other way round",
    demands="ALREADY_EXISTS: the volume there does not hold what was asked for",
    needs=(CREATE, _SOURCES),
    danger=(Danger.CREATES,),
)
async def same_name_other_source(lab: Lab) -> None:
    volume = await lab.create()
    source, _ = (await _sources(lab, volume))[0]
    size = CapacityRange(max(volume.capacity_bytes, lab.settings.size_bytes))
    empty = lab.create_request(capacity_range=size)
    filled = lab.create_request(capacity_range=size, volume_content_source=source)
    for request in (empty, filled):
        (await lab.settle(request)).response(m.CreateVolumeResponse)
        other = None if request is filled else source
        exchange = await lab.settle(msgspec.structs.replace(request, volume_content_source=other))
        exchange.refused(Code.ALREADY_EXISTS, why="the name belongs to a volume with other content")


# --- sizes -------------------------------------------------------------------------------------------


@rule(
    "create.smaller-than-source",
    section="CreateVolume",
    title="what does not fit is not cut off",
    sends="CreateVolume from a snapshot and from a volume, as far as offered, with a limit of half their size",
    demands="OUT_OF_RANGE; a snapshot or volume that tells no size cannot be judged",
    needs=(CREATE, _SOURCES),
    danger=(Danger.CREATES,),
)
async def smaller_than_source(lab: Lab) -> None:
    volume = await lab.create()
    judged = False
    for source, size_bytes in await _sources(lab, volume):
        if size_bytes:
            judged = True
            half = CapacityRange(size_bytes // 2, size_bytes // 2)
            exchange = await lab.settle(lab.create_request(capacity_range=half, volume_content_source=source))
            exchange.refused(Code.OUT_OF_RANGE, why=f"a {_kind(source)} must hold {size_bytes} bytes")
    if not judged:
        raise Skipped("neither volumes nor snapshots tell their size")


@rule(
    "create.source-range-kept",
    section="CreateVolume",
    title="a range is kept for volumes from a source, too",
    sends="CreateVolume from a snapshot and from a volume, as far as offered: without a range, and with the run's "
    "expanded size as required_bytes",
    demands="OK with a size that is no less than the source's and lies in the range (0 for unknown); OUT_OF_RANGE "
    "is legal for the larger one",
    needs=(CREATE, _SOURCES),
    danger=(Danger.CREATES,),
)
async def source_range_kept(lab: Lab) -> None:
    volume = await lab.create()
    for source, size_bytes in await _sources(lab, volume):
        made = await lab.create(capacity_range=None, volume_content_source=source)
        expect_in_range(made, CapacityRange(required_bytes=size_bytes), lab.last)
        larger = CapacityRange(required_bytes=max(lab.settings.expanded_bytes, size_bytes + 1))
        exchange = await lab.settle(lab.create_request(capacity_range=larger, volume_content_source=source))
        if exchange.ok:
            expect_in_range(exchange.response(m.CreateVolumeResponse).volume, larger, exchange)
        else:
            exchange.refused(Code.OUT_OF_RANGE, why="the driver makes no larger volumes from this source")
