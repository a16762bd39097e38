"""ControllerModifyVolume: parameters change, and nothing else does."""

from __future__ import annotations

from typing import Final

from moorage.spec import messages as m
from moorage.spec.errors import Code
from moorage.spec.types import ControllerCapability, Volume
from moorage.verify.content import Pattern
from moorage.verify.exchange import Exchange
from moorage.verify.lab import Lab
from moorage.verify.rule import Danger, Facility, Severity, expect, rule
from moorage.verify.together import together

CREATE = ControllerCapability.CREATE_DELETE_VOLUME
MODIFY = ControllerCapability.MODIFY_VOLUME

_UNKNOWN: Final = "verify.moorage.dev/unknown"


async def _modify(lab: Lab, volume: Volume, **more: str) -> Exchange:
    """Ask for the run's mutable parameters and `more`, which wins."""
    mutable = {**lab.settings.mutable_parameters, **more}
    return await lab.settle(m.ControllerModifyVolumeRequest(volume.volume_id, mutable))


async def _modified(lab: Lab, volume: Volume) -> None:
    (await _modify(lab, volume)).response(m.ControllerModifyVolumeResponse)


@rule(
    "modify.changes",
    section="ControllerModifyVolume",
    title="mutable parameters can be changed, and changed to what they are",
    sends="ControllerModifyVolume with the run's --mutable-parameters, twice, then twice at once; for a volume made "
    "without them and for one made with them",
    demands="OK each time; one of those at once may be ABORTED, and is OK when repeated",
    needs=(CREATE, MODIFY, Facility.MUTABLE_PARAMETERS),
    danger=(Danger.CREATES,),
)
async def changes(lab: Lab) -> None:
    plain = await lab.create()
    made_with = await lab.create(mutable_parameters=lab.settings.mutable_parameters)
    for volume in (plain, made_with):
        await _modified(lab, volume)
        await _modified(lab, volume)
        await together((_modified(lab, volume), _modified(lab, volume)))


@rule(
    "modify.one-by-one",
    section="ControllerModifyVolume",
    title="a parameter can be changed without naming the others",
    sends="ControllerModifyVolume with each of the run's --mutable-parameters alone",
    demands="OK: what is not named stays as it is",
    severity=Severity.SHOULD,
    needs=(CREATE, MODIFY, Facility.MUTABLE_PARAMETERS),
    danger=(Danger.CREATES,),
)
async def one_by_one(lab: Lab) -> None:
    volume = await lab.create(mutable_parameters=lab.settings.mutable_parameters)
    for key, value in lab.settings.mutable_parameters.items():
        exchange = await lab.settle(m.ControllerModifyVolumeRequest(volume.volume_id, {key: value}))
        exchange.response(m.ControllerModifyVolumeResponse)


@rule(
    "modify.unknown-parameter",
    section="ControllerModifyVolume",
    title="a parameter that the driver does not know is refused",
    sends="ControllerModifyVolume with a parameter that no driver has, alone, for a volume made without mutable "
    "parameters and for one made with those of the run",
    demands="INVALID_ARGUMENT",
    needs=(CREATE, MODIFY),
    danger=(Danger.CREATES,),
)
async def unknown_parameter(lab: Lab) -> None:
    mutable = lab.settings.mutable_parameters
    for parameters in ({}, mutable) if mutable else ({},):
        volume = await lab.create(mutable_parameters=parameters)
        exchange = await lab.settle(m.ControllerModifyVolumeRequest(volume.volume_id, {_UNKNOWN: "1"}))
        exchange.refused(Code.INVALID_ARGUMENT, why="the parameter is unknown")


@rule(
    "modify.all-or-nothing",
    section="ControllerModifyVolume",
    title="one wrong parameter is enough to refuse all of them",
    sends="ControllerModifyVolume with the run's --mutable-parameters and one that no driver has, for a volume made "
    "without and one made with mutable parameters; then without the wrong one",
    demands="INVALID_ARGUMENT, then OK",
    needs=(CREATE, MODIFY, Facility.MUTABLE_PARAMETERS),
    danger=(Danger.CREATES,),
)
async def all_or_nothing(lab: Lab) -> None:
    plain = await lab.create()
    made_with = await lab.create(mutable_parameters=lab.settings.mutable_parameters)
    for volume in (plain, made_with):
        exchange = await _modify(lab, volume, **{_UNKNOWN: "1"})
        exchange.refused(Code.INVALID_ARGUMENT, why="one of the parameters is unknown")
        await _modified(lab, volume)


@rule(
    "modify.unknown-volume",
    section="ControllerModifyVolume",
    title="a volume that does not exist cannot be modified",
    sends="ControllerModifyVolume with the run's --mutable-parameters for an id that nothing has, and for a deleted "
    "volume",
    demands="NOT_FOUND",
    needs=(CREATE, MODIFY, Facility.MUTABLE_PARAMETERS),
    danger=(Danger.CREATES,),
)
async def unknown_volume(lab: Lab) -> None:
    deleted = await lab.create()
    await lab.delete(deleted.volume_id)
    for volume in (Volume(lab.name("unknown")), deleted):
        (await _modify(lab, volume)).refused(Code.NOT_FOUND, why="there is no such volume")


@rule(
    "modify.in-use",
    section="ControllerModifyVolume",
    title="a volume that is in use keeps working when it is modified",
    sends="write to a published volume; ControllerModifyVolume; read, write, publish elsewhere, read",
    demands="OK (or FAILED_PRECONDITION from a driver that wants the volume at rest); the bytes are those written",
    needs=(CREATE, MODIFY, Facility.MUTABLE_PARAMETERS, "Node", (Facility.MOUNT, Facility.BLOCK), Facility.LOCAL),
    danger=(Danger.CREATES,),
)
async def in_use(lab: Lab) -> None:
    volume = await lab.create()
    use = await lab.use(volume)
    first = Pattern(seed=lab.random.getrandbits(32))
    await use.write(first)
    exchange = await _modify(lab, volume)
    if not exchange.ok:
        exchange.refused(Code.FAILED_PRECONDITION, why="the parameters are good, and only its use can be in the way")
    await use.expect_pattern(first, "after ControllerModifyVolume")
    second = Pattern(seed=first.seed + 1, offset=first.size_bytes if use.capability.is_block else 0)
    await use.write(second)
    await use.end()
    use = await lab.use(volume)
    await use.expect_pattern(first, "when the modified volume was published again")
    await use.expect_pattern(second, "when the modified volume was published again")
    await use.end()


@rule(
    "modify.name-stays",
    section="CreateVolume",
    title="a volume that was modified is still the volume of its name",
    sends="CreateVolume, ControllerModifyVolume, CreateVolume as before",
    demands="OK with the same volume: an orchestrator that lost the first answer must not get a second volume",
    severity=Severity.SHOULD,
    needs=(CREATE, MODIFY, Facility.MUTABLE_PARAMETERS),
    danger=(Danger.CREATES,),
)
async def name_stays(lab: Lab) -> None:
    request = lab.create_request()
    volume = (await lab.settle(request)).response(m.CreateVolumeResponse).volume
    await _modified(lab, volume)
    again = (await lab.settle(request)).response(m.CreateVolumeResponse).volume
    expect(again.volume_id == volume.volume_id, "one name gave two volumes after the first was modified", lab.last)
