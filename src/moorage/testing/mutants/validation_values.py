"""Drivers that take values which cannot be, and that talk of volumes which do not exist."""

from __future__ import annotations

import msgspec

from moorage.spec import messages as m
from moorage.spec.errors import Code
from moorage.spec.names import banned_characters
from moorage.spec.types import AccessMode, CapacityRange, MountAccess, TopologyRequirement
from moorage.testing.mutants.mutant import Call, Reply, mutant


@mutant("validation.incomplete-capability", on=("CreateVolume",))
async def takes_no_mode_for_writing(call: Call) -> Reply:
    """A capability without an access mode is taken for one that writes on one node."""
    capabilities = tuple(
        msgspec.structs.replace(capability, access_mode=capability.access_mode or AccessMode.SINGLE_NODE_WRITER)
        for capability in call.request.volume_capabilities
    )
    return await call.forward(msgspec.structs.replace(call.request, volume_capabilities=capabilities))


@mutant("validation.incomplete-capability-of-volume", on=("ControllerPublishVolume",))
async def takes_no_type_for_a_mount(call: Call) -> Reply:
    """A volume is attached with a capability that says neither block nor mount."""
    capability = call.request.volume_capability
    if capability is None or capability.access_type is not None:
        return await call.forward()
    mounted = msgspec.structs.replace(capability, access_type=MountAccess())
    return await call.forward(msgspec.structs.replace(call.request, volume_capability=mounted))


@mutant("validation.empty-content-source", on=("CreateVolume",))
async def takes_an_empty_source_for_none(call: Call) -> Reply:
    """A content source whose id is empty gives an empty volume."""
    source = call.request.volume_content_source
    if source is None or any(msgspec.structs.astuple(source)):
        return await call.forward()
    return await call.forward(msgspec.structs.replace(call.request, volume_content_source=None))


@mutant("validation.empty-requirement", on=("CreateVolume",))
async def takes_an_empty_requirement_for_none(call: Call) -> Reply:
    """A topology requirement without topologies is left out of account."""
    if call.request.accessibility_requirements != TopologyRequirement():
        return await call.forward()
    return await call.forward(msgspec.structs.replace(call.request, accessibility_requirements=None))


@mutant("validation.impossible-range", on=("CreateVolume",))
async def looks_at_no_limit(call: Call) -> Reply:
    """Only required_bytes is read of a capacity range."""
    wanted = call.request.capacity_range
    if wanted is None:
        return await call.forward()
    floor = CapacityRange(required_bytes=wanted.required_bytes)
    return await call.forward(msgspec.structs.replace(call.request, capacity_range=floor))


@mutant("validation.control-characters", on=("CreateVolume",))
async def swallows_control_characters(call: Call) -> Reply:
    """Characters that no name may have are dropped."""
    banned = banned_characters(call.request.name)
    if not banned:
        return await call.forward()
    name = "".join(character for character in call.request.name if character not in banned)
    return await call.forward(msgspec.structs.replace(call.request, name=name))


@mutant("validation.negative-page", on=("ListSnapshots",))
async def breaks_on_a_negative_page(call: Call) -> Reply:
    """A negative number of entries breaks the driver's code."""
    if call.request.max_entries >= 0:
        return await call.forward()
    return Reply.failed(Code.UNKNOWN, "slice bounds out of range [:-1]")


@mutant("validation.unknown-volume", on=("ControllerExpandVolume",))
async def cannot_grow_the_unknown(call: Call) -> Reply:
    """A volume that does not exist is an internal error."""
    reply = await call.forward()
    if reply.code is not Code.NOT_FOUND:
        return reply
    return Reply.failed(Code.INTERNAL, "failed to get volume: 404")


@mutant("validation.id-of-any-form", on=("ValidateVolumeCapabilities",))
async def knows_its_ids_by_form(call: Call) -> Reply:
    """An id with a slash is refused as malformed."""
    if "/" not in call.request.volume_id:
        return await call.forward()
    return Reply.failed(Code.INVALID_ARGUMENT, f"malformed volume id {call.request.volume_id}")


@mutant("validation.confirmed", on=("ValidateVolumeCapabilities",))
async def confirms_without_saying_what(call: Call) -> Reply:
    """The answer has `confirmed` with nothing in it."""
    reply = await call.forward()
    if not reply.ok or call.read(reply, m.ValidateVolumeCapabilitiesResponse).confirmed is None:
        return reply
    return Reply.of(m.ValidateVolumeCapabilitiesResponse(confirmed=m.Confirmed()))


@mutant("validation.not-confirmed", on=("ValidateVolumeCapabilities",))
async def confirms_everything(call: Call) -> Reply:
    """Whatever is asked about a volume is confirmed."""
    reply = await call.forward()
    if not reply.ok:
        return reply
    confirmed = m.Confirmed(volume_capabilities=call.request.volume_capabilities)
    return Reply.of(m.ValidateVolumeCapabilitiesResponse(confirmed=confirmed))
