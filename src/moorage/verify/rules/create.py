"""CreateVolume: one name, one volume."""

from __future__ import annotations

import asyncio
from typing import Final

import msgspec

from moorage.spec import messages as m
from moorage.spec.errors import Code
from moorage.spec.rules import STRING_LIMIT_BYTES
from moorage.spec.types import CapacityRange, ControllerCapability
from moorage.verify.exchange import Exchange
from moorage.verify.lab import Lab
from moorage.verify.rule import Danger, Facility, Skipped, expect, rule
from moorage.verify.unsupported import unsupported_capability

CREATE = ControllerCapability.CREATE_DELETE_VOLUME
MODIFY = ControllerCapability.MODIFY_VOLUME


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
    "create.replay-in-wider-range",
    section="CreateVolume",
    title="a name is answered with its volume when the volume's size lies in the range",
    sends="CreateVolume, then again with one half of required_bytes and a limit_bytes far above the volume's size",
    demands="OK with the same volume: it is compatible with what is asked for",
    needs=(CREATE,),
    danger=(Danger.CREATES,),
)
async def replay_in_wider_range(lab: Lab) -> None:
    request = lab.create_request()
    first = (await lab.settle(request)).response(m.CreateVolumeResponse).volume
    size_bytes = lab.settings.size_bytes
    wider = CapacityRange(size_bytes // 2, 4 * max(first.capacity_bytes, size_bytes))
    again = await lab.settle(msgspec.structs.replace(request, capacity_range=wider))
    expect(
        again.response(m.CreateVolumeResponse).volume.volume_id == first.volume_id,
        "one name gave two volumes when the range had changed",
        again,
    )


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
    if not volume.capacity_bytes:
        raise Skipped("the driver does not tell the size of its volumes")
    larger = CapacityRange(required_bytes=2 * max(volume.capacity_bytes, lab.settings.size_bytes))
    exchange = await lab.settle(msgspec.structs.replace(request, capacity_range=larger))
    exchange.refused(Code.ALREADY_EXISTS, why="the name belongs to a smaller volume")


@rule(
    "create.same-name-other-capability",
    section="CreateVolume",
    title="a name is not answered with a volume that cannot be used as asked",
    sends="CreateVolume for a mount (or for a block device), then with the same name for the other",
    demands="ALREADY_EXISTS (INVALID_ARGUMENT where the driver never has the other), or OK with the same volume and "
    "a ValidateVolumeCapabilities that confirms it for the other use",
    needs=(CREATE,),
    danger=(Danger.CREATES,),
)
async def same_name_other_capability(lab: Lab) -> None:
    request = lab.create_request()
    volume = (await lab.settle(request)).response(m.CreateVolumeResponse).volume
    other = lab.capability(block=not lab.capability().is_block)
    exchange = await lab.settle(msgspec.structs.replace(request, volume_capabilities=(other,)))
    if not exchange.ok:
        codes = (Code.ALREADY_EXISTS,) if await lab.supports(other) else (Code.ALREADY_EXISTS, Code.INVALID_ARGUMENT)
        exchange.refused(*codes, why="the name belongs to a volume for another use")
        return
    again = exchange.response(m.CreateVolumeResponse).volume
    expect(again.volume_id == volume.volume_id, "one name gave two volumes when the capability had changed", exchange)
    asked = await lab.settle(m.ValidateVolumeCapabilitiesRequest(volume.volume_id, (other,), volume.volume_context))
    expect(
        asked.response(m.ValidateVolumeCapabilitiesResponse).confirmed is not None,
        "CreateVolume answered OK with an existing volume for a capability that the volume does not have",
        asked,
    )


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


# --- names ---------------------------------------------------------------------------------------


async def _made(lab: Lab, *names: str) -> list[Exchange]:
    """Volumes of these names, asked for at once."""
    requests = [lab.create_request(name=name) for name in names]
    return await asyncio.gather(*(lab.settle(request) for request in requests))


def _long(lab: Lab, *, end: str, filler: str = "n") -> str:
    """A name of as many bytes as names can have."""
    start = lab.name()[:80]
    room = STRING_LIMIT_BYTES - len((start + end).encode())
    unit = len(filler.encode())
    return start + "." * (room % unit) + filler * (room // unit) + end


@rule(
    "create.parallel-names",
    section="CreateVolume",
    title="requests for different volumes at the same time do not get in each other's way",
    sends="CreateVolume for six names at once",
    demands="each becomes OK, with a volume of its own",
    needs=(CREATE,),
    danger=(Danger.CREATES,),
)
async def parallel_names(lab: Lab) -> None:
    made = await _made(lab, *(lab.name() for _ in range(6)))
    ids = {exchange.response(m.CreateVolumeResponse).volume.volume_id for exchange in made}
    expect(len(ids) == len(made), f"{len(made)} names gave {len(ids)} volumes when asked for at once", made[0])


@rule(
    "create.any-legal-name",
    section="CreateVolume",
    title="a name may be any Unicode but control characters",
    sends="CreateVolume with names that hold slashes, '..', quotes, '%', a tab and a line feed, a dash in front, "
    "characters beyond ASCII",
    demands="OK: a name is a suggestion, and whatever becomes an object of the storage system must be made of it",
    needs=(CREATE,),
    danger=(Danger.CREATES,),
)
async def any_legal_name(lab: Lab) -> None:
    base = lab.name()
    names = (f"-{base}", f"{base}/../x", f"..{base}", f"{base}\t\"'`$%s\n", f"{base} größe 巻 \U0001f4be", f".{base}.")
    for exchange in await _made(lab, *names):
        exchange.response(m.CreateVolumeResponse)


@rule(
    "create.longest-name",
    section="Size Limits",
    title="names of 128 bytes are accepted",
    sends="CreateVolume with names of 128 bytes, of one-byte and of three-byte characters",
    demands="OK",
    needs=(CREATE,),
    danger=(Danger.CREATES,),
)
async def longest_name(lab: Lab) -> None:
    for exchange in await _made(lab, _long(lab, end="x"), _long(lab, end="", filler="巻")):
        exchange.response(m.CreateVolumeResponse)


_ENDS: Final = ("a", "A", "/a", "-a", "_a", ".a", " a")


@rule(
    "create.similar-names",
    section="CreateVolume",
    title="names that differ in little are different volumes",
    sends="CreateVolume with names that differ only in one character, in case, or in the last of 128 bytes",
    demands="as many volumes as names: two claims that share a volume destroy each other's data",
    needs=(CREATE,),
    danger=(Danger.CREATES,),
)
async def similar_names(lab: Lab) -> None:
    base, long = lab.name(), _long(lab, end="1")
    made = await _made(lab, *(base + end for end in _ENDS), long, f"{long[:-1]}2")
    volumes: dict[str, str] = {}
    for exchange in made:
        if exchange.ok:
            name = str(getattr(exchange.request, "name", ""))
            volume_id = exchange.response(m.CreateVolumeResponse).volume.volume_id
            twin = volumes.setdefault(volume_id, name)
            expect(twin == name, f"the names {twin!r} and {name!r} were given one volume, {volume_id!r}", exchange)
    expect(bool(volumes), "none of the names was accepted", made[0])


# --- what is asked for -----------------------------------------------------------------------------


@rule(
    "create.unsupported-capability",
    section="CreateVolume",
    title="a volume that could not be used in every way asked for is not made",
    sends="CreateVolume with a capability that works and one that the driver refuses; then with the first alone, "
    "the same name and another size",
    demands="an error, INVALID_ARGUMENT; then OK: nothing was left of the refused volume",
    needs=(CREATE,),
    danger=(Danger.CREATES,),
)
async def unsupported_capability_refused(lab: Lab) -> None:
    refused = await unsupported_capability(lab)
    request = lab.create_request(volume_capabilities=(lab.capability(), refused))
    exchange = await lab.settle(request)
    exchange.refused(Code.INVALID_ARGUMENT, why="the driver has no volumes with the second capability")
    larger = CapacityRange(required_bytes=lab.settings.expanded_bytes)
    await lab.create(name=request.name, capacity_range=larger)


@rule(
    "create.all-capabilities",
    section="CreateVolume",
    title="a volume can be used in every way it was asked for",
    sends="CreateVolume for a mount and for a block device, then ValidateVolumeCapabilities for each",
    demands="both are confirmed; or CreateVolume answers INVALID_ARGUMENT",
    needs=(CREATE, Facility.MOUNT, Facility.BLOCK),
    danger=(Danger.CREATES,),
)
async def all_capabilities(lab: Lab) -> None:
    both = (lab.capability(block=False), lab.capability(block=True))
    volume = await lab.create_or_skip("both uses", volume_capabilities=both)
    for capability in both:
        request = m.ValidateVolumeCapabilitiesRequest(volume.volume_id, (capability,), volume.volume_context)
        answer = (await lab.settle(request)).response(m.ValidateVolumeCapabilitiesResponse)
        what = "a block device" if capability.is_block else "a mount"
        expect(
            answer.confirmed is not None,
            f"a volume was made for both uses and is not confirmed for use as {what}",
            lab.last,
        )


@rule(
    "create.unknown-parameter",
    section="CreateVolume",
    title="a parameter that the driver does not know is the caller's fault, if anybody's",
    sends="CreateVolume with a parameter that no driver has; if that was refused, without it",
    demands="INVALID_ARGUMENT and then OK, or OK at once",
    needs=(CREATE,),
    danger=(Danger.CREATES,),
)
async def unknown_parameter(lab: Lab) -> None:
    more = {**lab.settings.parameters, "verify.moorage.dev/unknown": "1"}
    request = lab.create_request(parameters=more)
    exchange = await lab.settle(request)
    if not exchange.ok:
        exchange.refused(Code.INVALID_ARGUMENT, why="a parameter is unknown")
        await lab.create(name=request.name)


@rule(
    "create.mutable-parameters",
    section="CreateVolume",
    title="mutable parameters are accepted when a volume is made",
    sends="CreateVolume with the run's --mutable-parameters, twice",
    demands="OK with one volume",
    needs=(CREATE, MODIFY, Facility.MUTABLE_PARAMETERS),
    danger=(Danger.CREATES,),
)
async def mutable_parameters(lab: Lab) -> None:
    request = lab.create_request(mutable_parameters=lab.settings.mutable_parameters)
    first = (await lab.settle(request)).response(m.CreateVolumeResponse).volume
    again = (await lab.settle(request)).response(m.CreateVolumeResponse).volume
    expect(first.volume_id == again.volume_id, "one name with mutable parameters gave two volumes", lab.last)


@rule(
    "create.unknown-mutable-parameter",
    section="CreateVolume",
    title="a mutable parameter that the driver does not know makes no volume",
    sends="CreateVolume with a mutable parameter that no driver has; then without it",
    demands="INVALID_ARGUMENT, then OK",
    needs=(CREATE, MODIFY),
    danger=(Danger.CREATES,),
)
async def unknown_mutable_parameter(lab: Lab) -> None:
    request = lab.create_request(mutable_parameters={"verify.moorage.dev/unknown": "1"})
    exchange = await lab.settle(request)
    exchange.refused(Code.INVALID_ARGUMENT, why="the mutable parameter is unknown")
    await lab.create(name=request.name)
