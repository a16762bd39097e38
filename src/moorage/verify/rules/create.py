"""CreateVolume: one name, one volume; sizes, sources and places as asked for."""

from __future__ import annotations

import asyncio

import msgspec

from moorage.spec import messages as m
from moorage.spec.errors import Code
from moorage.spec.types import CapacityRange, ControllerCapability
from moorage.verify.lab import Lab
from moorage.verify.rule import Danger, expect, rule

CREATE = ControllerCapability.CREATE_DELETE_VOLUME


@rule(
    "create.replay-same-answer",
    section="CreateVolume",
    title="the same request twice gives the same volume",
    sends="CreateVolume twice with equal fields",
    demands="both answers are OK and name the same volume with the same size, context and topology",
    needs=(CREATE,),
    danger=(Danger.CREATES,),
)
async def replay_same_answer(lab: Lab) -> None:
    request = lab.create_request()
    first = (await lab.settle(request)).response(m.CreateVolumeResponse).volume
    again = (await lab.settle(request)).response(m.CreateVolumeResponse).volume
    expect(
        first.volume_id == again.volume_id,
        f"one name gave two volumes, {first.volume_id!r} and {again.volume_id!r}",
        lab.last,
    )
    expect(first == again, "the second answer differs from the first in size, context, source or topology", lab.last)


@rule(
    "create.same-name-other-size",
    section="CreateVolume",
    title="a name that is taken by a volume of another size is refused",
    sends="CreateVolume twice with one name, the second with a capacity range that excludes the first's size",
    demands="ALREADY_EXISTS",
    needs=(CREATE,),
    danger=(Danger.CREATES,),
)
async def same_name_other_size(lab: Lab) -> None:
    request = lab.create_request()
    volume = (await lab.settle(request)).response(m.CreateVolumeResponse).volume
    size_bytes = max(volume.capacity_bytes, lab.settings.size_bytes)
    larger = CapacityRange(required_bytes=2 * size_bytes)
    exchange = await lab.settle(msgspec.structs.replace(request, capacity_range=larger))
    exchange.refused(Code.ALREADY_EXISTS, why="the name belongs to a smaller volume")


@rule(
    "create.parallel-same-name",
    section="CreateVolume",
    title="equal requests at the same time give one volume",
    sends="CreateVolume eight times at once with equal fields",
    demands="each is OK or ABORTED, and all that are OK name one volume",
    needs=(CREATE,),
    danger=(Danger.CREATES,),
)
async def parallel_same_name(lab: Lab) -> None:
    request = lab.create_request()
    exchanges = await asyncio.gather(*(lab.call(request) for _ in range(8)))
    final = await lab.settle(request)
    ids = {final.response(m.CreateVolumeResponse).volume.volume_id}
    for exchange in exchanges:
        if exchange.ok:
            ids.add(exchange.response(m.CreateVolumeResponse).volume.volume_id)
        else:
            exchange.refused(Code.ABORTED, why="a call for the same volume was pending")
    expect(len(ids) == 1, f"one name gave {len(ids)} volumes when asked for at once", final)
