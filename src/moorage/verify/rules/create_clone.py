"""Clones, by their data: whole, independent, and as large as they say."""

from __future__ import annotations

import asyncio
import time
from typing import Final

from moorage.spec import messages as m
from moorage.spec.errors import Code
from moorage.spec.types import CapacityRange, ControllerCapability, Volume, VolumeSource
from moorage.verify.content import Pattern, read_pattern, write_pattern
from moorage.verify.exchange import Exchange
from moorage.verify.extent import has_own_file_system, published_bytes
from moorage.verify.lab import Lab
from moorage.verify.rule import Danger, Facility, Need, Skipped, expect, rule
from moorage.verify.use import Use

CREATE = ControllerCapability.CREATE_DELETE_VOLUME
CLONE = ControllerCapability.CLONE_VOLUME

_DATA: Final[tuple[Need | tuple[Need, ...], ...]] = ("Node", (Facility.MOUNT, Facility.BLOCK), Facility.LOCAL)
_NEEDS: Final = (CREATE, CLONE, *_DATA)
_COPYING_S: Final = 60.0
_PAUSE_S: Final = 0.1
_TOO_SHORT_S: Final = 0.05


async def _written(lab: Lab, *, size_bytes: int = 1 << 20) -> tuple[Volume, Pattern]:
    """A volume with a pattern in it, away from the node again."""
    volume = await lab.create()
    use = await lab.use(volume)
    pattern = Pattern(seed=lab.random.getrandbits(32), size_bytes=size_bytes)
    await use.write(pattern)
    await use.end()
    return volume, pattern


def _clone_request(lab: Lab, source: Volume, *, required_bytes: int = 0) -> m.CreateVolumeRequest:
    size_bytes = required_bytes or source.capacity_bytes or lab.settings.size_bytes
    return lab.create_request(
        capacity_range=CapacityRange(required_bytes=size_bytes),
        volume_content_source=VolumeSource(source.volume_id),
    )


async def _clone(lab: Lab, source: Volume) -> Volume:
    return (await lab.settle(_clone_request(lab, source))).response(m.CreateVolumeResponse).volume


@rule(
    "create.larger-clone-shows",
    section="CreateVolume",
    title="a clone that is larger than its source shows all of its size where it is published",
    sends="write to a volume; clone it with the run's expanded size; publish the clone",
    demands="the data is there, and the device has the new size, or the file system has grown with it; or "
    "CreateVolume answers OUT_OF_RANGE",
    needs=_NEEDS,
    danger=(Danger.CREATES,),
)
async def larger_clone_shows(lab: Lab) -> None:
    source = await lab.create()
    use = await lab.use(source)
    pattern = Pattern(seed=lab.random.getrandbits(32))
    await use.write(pattern)
    before_bytes = await published_bytes(use)
    await use.end()
    wanted_bytes = max(lab.settings.expanded_bytes, source.capacity_bytes + 1)
    exchange = await lab.settle(_clone_request(lab, source, required_bytes=wanted_bytes))
    if exchange.code is Code.OUT_OF_RANGE:
        raise Skipped("the driver makes no clones that are larger than their source")
    clone = exchange.response(m.CreateVolumeResponse).volume
    copy = await lab.use(clone)
    await copy.expect_pattern(pattern, "in the larger clone")
    after_bytes = await published_bytes(copy)
    await copy.end()
    _expect_grown(source, clone, before_bytes=before_bytes, after_bytes=after_bytes, use=copy, shown=exchange)


def _expect_grown(
    source: Volume, clone: Volume, *, before_bytes: int, after_bytes: int, use: Use, shown: Exchange
) -> None:
    """Raises Failed when what is published is not as large as the clone, Skipped when that cannot be told."""
    if use.capability.is_block:
        least_bytes = clone.capacity_bytes
    elif has_own_file_system(source, before_bytes):
        least_bytes = before_bytes + (clone.capacity_bytes - source.capacity_bytes) // 2
    else:
        raise Skipped("the file system at the target is not the volume's own, so its size tells nothing")
    expect(
        after_bytes >= least_bytes,
        f"the clone has {clone.capacity_bytes} bytes and what is published shows {after_bytes}, not much more than "
        f"the {before_bytes} of its source",
        shown,
    )


@rule(
    "create.clone-content",
    section="CreateVolume",
    title="a clone holds the data of its source",
    sends="write to a volume, take it from the node, clone it, read the clone",
    demands="the bytes are those written",
    needs=_NEEDS,
    danger=(Danger.CREATES,),
)
async def clone_content(lab: Lab) -> None:
    source, pattern = await _written(lab)
    copy = await lab.use(await _clone(lab, source))
    await copy.expect_pattern(pattern, "in the clone")
    await copy.end()


@rule(
    "create.clone-independent",
    section="CreateVolume",
    title="a clone and its source go separate ways",
    sends="clone a volume with data; overwrite the data in the clone; then overwrite it differently in the source",
    demands="each holds what was last written to it",
    needs=_NEEDS,
    danger=(Danger.CREATES,),
)
async def clone_independent(lab: Lab) -> None:
    source, first = await _written(lab)
    clone = await _clone(lab, source)
    copy = await lab.use(clone)
    await _overwrite(copy, first, seed=first.seed ^ 1)
    await copy.end()
    original = await lab.use(source)
    await original.expect_pattern(first, "in the source, after its clone was written to")
    await _overwrite(original, first, seed=first.seed ^ 2)
    await original.end()
    copy = await lab.use(clone)
    kept = await lab.io(read_pattern, copy.place(first), Pattern(seed=first.seed ^ 1))
    expect(kept, "the clone's data changed when its source was written to", lab.last)
    await copy.end()


async def _overwrite(use: Use, pattern: Pattern, *, seed: int) -> None:
    """Write another pattern where this one lies, in its file or on the device."""
    await use.lab.io(write_pattern, use.place(pattern), Pattern(seed=seed))


@rule(
    "create.clone-outlives-source",
    section="DeleteVolume",
    title="a clone is whole when its source is deleted",
    sends="clone a volume with data, DeleteVolume of the source, read the clone",
    demands="OK and the bytes written; or DeleteVolume answers FAILED_PRECONDITION",
    needs=_NEEDS,
    danger=(Danger.CREATES,),
)
async def clone_outlives_source(lab: Lab) -> None:
    source, pattern = await _written(lab)
    clone = await _clone(lab, source)
    exchange = await lab.settle(m.DeleteVolumeRequest(source.volume_id))
    if not exchange.ok:
        exchange.refused(Code.FAILED_PRECONDITION, why="the volume has a clone that needs it")
    copy = await lab.use(clone)
    await copy.expect_pattern(pattern, "in the clone, after DeleteVolume of its source")
    await copy.end()


@rule(
    "create.clone-answered-when-whole",
    section="CreateVolume",
    title="CreateVolume answers OK for a clone when the clone is whole, not before",
    sends="write 8 MiB to a volume; clone it with a deadline that is too short, and again until the outcome is final; "
    "read the clone at once",
    demands="OK and the bytes written: a half-made copy is not an existing volume",
    needs=_NEEDS,
    danger=(Danger.CREATES,),
)
async def clone_answered_when_whole(lab: Lab) -> None:
    source, pattern = await _written(lab, size_bytes=8 << 20)
    request = _clone_request(lab, source)
    give_up_s = time.monotonic() + _COPYING_S
    exchange = await lab.call(request, timeout_s=_TOO_SHORT_S)
    while not exchange.final and time.monotonic() < give_up_s:
        await asyncio.sleep(_PAUSE_S)
        exchange = await lab.call(request)
    copy = await lab.use(exchange.response(m.CreateVolumeResponse).volume)
    await copy.expect_pattern(pattern, "in the clone, when CreateVolume had answered OK")
    await copy.end()
