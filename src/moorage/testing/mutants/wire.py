"""Drivers whose answers are wrong as messages: status, details, fields; and that misread requests."""

from __future__ import annotations

from dataclasses import replace

import msgspec

from moorage.spec import messages as m
from moorage.spec.errors import Code
from moorage.spec.types import AccessMode
from moorage.testing.mutants.mutant import Call, Reply, mutant
from moorage.verify.protowire import field_numbers

_STATUS_WITH_DETAILS = b"\x08\x05\x1a\x06\x0a\x04oops"


@mutant("wire.error-message", on=("ValidateVolumeCapabilities",))
async def fails_without_a_word(call: Call) -> Reply:
    """A refused ValidateVolumeCapabilities has a code and no message."""
    reply = await call.forward()
    return reply if reply.ok else reply.with_message("")


@mutant("wire.no-status-details", on=("ValidateVolumeCapabilities",))
async def sends_status_details(call: Call) -> Reply:
    """Errors carry a google.rpc.Status with details."""
    reply = await call.forward()
    return reply if reply.ok else replace(reply, details=_STATUS_WITH_DETAILS)


@mutant("wire.message-size", on=("ValidateVolumeCapabilities",))
async def repeats_the_whole_request_in_the_message(call: Call) -> Reply:
    """The message of a refusal quotes the request three times."""
    reply = await call.forward()
    return reply if reply.ok else reply.with_message(f"{reply.message}: {call.request!r} {call.request!r}" * 2)


@mutant("wire.code-not-unknown", on=("ValidateVolumeCapabilities",))
async def lets_the_exception_through(call: Call) -> Reply:
    """A volume that does not exist ends in an exception that nobody catches."""
    reply = await call.forward()
    if reply.code is Code.NOT_FOUND:
        return Reply.failed(Code.UNKNOWN, f"Exception calling application: KeyError {call.request.volume_id[:40]!r}")
    return reply


@mutant("wire.code-listed", on=("ValidateVolumeCapabilities",))
async def calls_every_failure_internal(call: Call) -> Reply:
    """Whatever is wrong, the code is INTERNAL."""
    reply = await call.forward()
    return reply if reply.ok else Reply.failed(Code.INTERNAL, reply.message)


@mutant("wire.readable", on=("ValidateVolumeCapabilities",))
async def sends_latin_1(call: Call) -> Reply:
    """The message in a good answer is Latin-1 instead of UTF-8."""
    reply = await call.forward()
    text = "geprüft".encode("latin-1")
    return Reply(bodies=(reply.bodies[0] + bytes([0x12, len(text)]) + text,)) if reply.ok else reply


@mutant("wire.required-fields", on=("ValidateVolumeCapabilities",))
async def confirms_nothing_in_particular(call: Call) -> Reply:
    """`confirmed` is there and empty, without the capabilities that it confirms."""
    reply = await call.forward()
    return Reply.of(m.ValidateVolumeCapabilitiesResponse(confirmed=m.Confirmed())) if reply.ok else reply


@mutant("wire.size-limits", on=("ValidateVolumeCapabilities",))
async def is_long_winded(call: Call) -> Reply:
    """The message of ValidateVolumeCapabilities has more than 128 bytes."""
    reply = await call.forward()
    if not reply.ok:
        return reply
    answer = call.read(reply, m.ValidateVolumeCapabilitiesResponse)
    return Reply.of(msgspec.structs.replace(answer, message="this volume can be used as was asked for, and " * 5))


@mutant("wire.sound-responses", on=("GetCapacity", "ListVolumes"))
async def has_less_than_nothing(call: Call) -> Reply:
    """The available capacity is negative, as when a quota was lowered below what is in use."""
    if not isinstance(call.request, m.GetCapacityRequest):
        return await call.forward()
    return Reply.of(m.GetCapacityResponse(available_capacity=-(1 << 20)))


@mutant("wire.unknown-fields", on=("ValidateVolumeCapabilities",))
async def knows_all_fields_there_can_be(call: Call) -> Reply:
    """A request with a field that this version does not define is refused."""
    known = {field.number for field in call.rpc.request_proto.DESCRIPTOR.fields}
    if field_numbers(call.body) <= known:
        return await call.forward()
    return Reply.failed(Code.INVALID_ARGUMENT, "the request has fields that do not exist")


@mutant("wire.later-access-mode", on=("CreateVolume",))
async def takes_any_access_mode(call: Call) -> Reply:
    """Access modes that are not known are treated as the first one."""
    capabilities = tuple(
        c if c.access_mode.recognized else msgspec.structs.replace(c, access_mode=AccessMode.SINGLE_NODE_WRITER)
        for c in call.request.volume_capabilities
    )
    return await call.forward(msgspec.structs.replace(call.request, volume_capabilities=capabilities))


@mutant("wire.garbage", on=("NodeUnpublishVolume",))
async def takes_noise_for_an_empty_request(call: Call) -> Reply:
    """Bytes that are no request are answered with OK."""
    return await call.forward() if call.request is not None else Reply.of(m.NodeUnpublishVolumeResponse())
