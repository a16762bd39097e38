"""Every answer as it came over the wire: status, message, details, fields; and requests that nobody expects.

The rules at the top judge every call that the suite made until then, whichever rule made it.
"""

from __future__ import annotations

from typing import Final

from moorage.rpc.raw import RawClient
from moorage.rpc.wire import encode
from moorage.spec import messages as m
from moorage.spec.errors import Code
from moorage.spec.rules import Rpc
from moorage.spec.types import AccessMode, ControllerCapability
from moorage.verify.exchange import Exchange
from moorage.verify.judging import (
    MESSAGE_LIMIT_BYTES,
    ProblemKind,
    answer_problems,
    fail_with_first,
    has_details,
    is_unlisted,
    message_size_problem,
    refusals,
    unreadable,
)
from moorage.verify.lab import Lab
from moorage.verify.protowire import UNKNOWN_FIELD
from moorage.verify.rule import Danger, Failed, Severity, expect, rule
from moorage.verify.samples import CHANGING, CREATING, open_rpcs, sample, with_secrets
from moorage.verify.tour import tour

CREATE = ControllerCapability.CREATE_DELETE_VOLUME
_EVERY_CALL: Final = "nothing of its own: every call of the run, or a tour of all RPCs when there was none"
_TOUR: Final = (Danger.MAY_CREATE,)


@rule(
    "wire.error-message",
    section="Error Scheme",
    title="every error says in words what is wrong",
    sends=_EVERY_CALL,
    demands="a status message that is not empty, whenever the code is not OK",
    danger=_TOUR,
)
async def error_message(lab: Lab) -> None:
    await tour(lab)
    fail_with_first(
        refusals(lab.peer.exchanges),
        lambda e: None if e.message.strip() else f"{e.rpc.name} answered {e.code.name} without a message",
        what="errors",
    )


@rule(
    "wire.no-status-details",
    section="Error Scheme",
    title="the status details are empty",
    sends=_EVERY_CALL,
    demands="no details in any status: what the driver has to say belongs into the message",
    danger=_TOUR,
)
async def no_status_details(lab: Lab) -> None:
    await tour(lab)
    fail_with_first(
        refusals(lab.peer.exchanges),
        lambda e: f"{e.rpc.name} has status details" if has_details(e.answer.details) else None,
        what="errors",
    )


@rule(
    "wire.message-size",
    section="Error Scheme",
    title="status messages stay short enough to arrive",
    sends="every call of the run, or a tour of all RPCs; among them ids of 8000 characters",
    demands=f"messages of {MESSAGE_LIMIT_BYTES} bytes at most: a longer one reaches many clients as RESOURCE_EXHAUSTED",
    severity=Severity.SHOULD,
    danger=_TOUR,
)
async def message_size(lab: Lab) -> None:
    await tour(lab)
    fail_with_first(refusals(lab.peer.exchanges), message_size_problem, what="errors")


@rule(
    "wire.code-not-unknown",
    section="Error Scheme",
    title="no error has the code UNKNOWN",
    sends=_EVERY_CALL,
    demands="a code that tells the caller what to do; UNKNOWN is what gRPC makes of an exception that nobody caught",
    severity=Severity.SHOULD,
    danger=_TOUR,
)
async def code_not_unknown(lab: Lab) -> None:
    await tour(lab)
    fail_with_first(
        refusals(lab.peer.exchanges),
        lambda e: f"{e.rpc.name} answered {e.described()}" if e.code is Code.UNKNOWN else None,
        what="errors",
    )


@rule(
    "wire.code-listed",
    section="Error Scheme",
    title="errors have codes from the error tables",
    sends=_EVERY_CALL,
    demands="final errors with a code that the specification lists for all RPCs or for this one",
    severity=Severity.ADVICE,
    danger=_TOUR,
)
async def code_listed(lab: Lab) -> None:
    await tour(lab)
    fail_with_first(
        refusals(lab.peer.exchanges),
        lambda e: f"{e.rpc.name} answered {e.described()}, which none of its tables has" if is_unlisted(e) else None,
        what="errors",
    )


@rule(
    "wire.readable",
    section="Field Requirements",
    title="every answer is a message of its RPC",
    sends=_EVERY_CALL,
    demands="exactly one message in a good answer, valid protobuf with valid UTF-8 in its strings",
    danger=_TOUR,
)
async def readable(lab: Lab) -> None:
    await tour(lab)
    fail_with_first(lab.peer.exchanges, unreadable)


async def _judge(lab: Lab, kind: ProblemKind) -> None:
    await tour(lab)

    def problem(exchange: Exchange) -> str | None:
        return next((text for of, text in answer_problems(exchange, lab.declared) if of is kind), None)

    fail_with_first([exchange for exchange in lab.peer.exchanges if exchange.answer.bodies], problem, what="responses")


@rule(
    "wire.required-fields",
    section="Field Requirements",
    title="responses have every required field",
    sends=_EVERY_CALL,
    demands="no REQUIRED field left out; lists and maps among them with one element at least",
    danger=_TOUR,
)
async def required_fields(lab: Lab) -> None:
    await _judge(lab, ProblemKind.REQUIRED)


@rule(
    "wire.size-limits",
    section="Size Limits",
    title="what the driver sends keeps to the size limits",
    sends=_EVERY_CALL,
    demands="strings of 128 bytes at most, maps of 4 KiB, node ids of 256 bytes; in bytes, not in characters",
    danger=_TOUR,
)
async def size_limits(lab: Lab) -> None:
    await _judge(lab, ProblemKind.SIZE)


@rule(
    "wire.sound-responses",
    section="Field Requirements",
    title="responses do not contradict themselves or what the driver declares",
    sends=_EVERY_CALL,
    demands="no negative numbers, no entry twice, legal topologies, nothing that needs a capability not declared",
    danger=_TOUR,
)
async def sound_responses(lab: Lab) -> None:
    await _judge(lab, ProblemKind.OTHER)


@rule(
    "wire.unknown-fields",
    section="Field Requirements",
    title="a field from a later version of the specification does no harm",
    sends="a request to every RPC on offer, about things that are not there, plain and with an unknown field",
    demands="the same code both times",
)
async def unknown_fields(lab: Lab) -> None:
    for rpc in open_rpcs(lab):
        if rpc.name in CREATING or (lab.read_only and rpc.name in CHANGING):
            continue
        request = with_secrets(lab, sample(lab, rpc))
        plain = await lab.call(request)
        later = await lab.call_bytes(rpc, encode(request) + UNKNOWN_FIELD, request)
        same = plain.code is later.code or not (plain.final and later.final)
        expect(
            same,
            f"{rpc.name} answered {plain.described()}, and with a field added that it cannot know {later.described()}",
            later,
        )


@rule(
    "wire.later-access-mode",
    section="CreateVolume",
    title="an access mode from a later version of the specification is refused",
    sends="CreateVolume with access mode 99; ValidateVolumeCapabilities of a volume with it",
    demands="INVALID_ARGUMENT; and no confirmation",
    needs=(CREATE,),
    danger=(Danger.CREATES,),
)
async def later_access_mode(lab: Lab) -> None:
    capability = lab.capability(AccessMode(99))
    exchange = await lab.settle(lab.create_request(volume_capabilities=(capability,)))
    exchange.refused(Code.INVALID_ARGUMENT, why="the driver cannot know what access mode 99 asks for")
    volume = await lab.create()
    asked = await lab.settle(m.ValidateVolumeCapabilitiesRequest(volume.volume_id, (capability,)))
    if not asked.ok:
        asked.refused(Code.INVALID_ARGUMENT, why="the driver cannot know what access mode 99 asks for")
    else:
        confirmed = asked.response(m.ValidateVolumeCapabilitiesResponse).confirmed
        expect(confirmed is None, "access mode 99 is confirmed, which the driver cannot know", asked)
    await lab.delete(volume.volume_id)


_GARBAGE: Final = {
    "bytes that are no protobuf": b"\xff" * 64,
    "a message cut off in the middle": b"\x0a\x7fabc",
    "a string that is no UTF-8": b"\x0a\x04\xff\xfe\xfd\xfc",
}


@rule(
    "wire.garbage",
    section="Error Scheme",
    title="bytes that are no request are refused, and the driver lives on",
    sends="to ValidateVolumeCapabilities and NodeUnpublishVolume: noise, a message cut off, a string that is no UTF-8",
    demands="an error each time, and Probe answers afterwards from the same process",
    needs=(("Controller", "Node"),),
)
async def garbage(lab: Lab) -> None:
    offered = [rpc for rpc in open_rpcs(lab) if rpc.name in ("ValidateVolumeCapabilities", "NodeUnpublishVolume")]
    before = lab.peer.pids()
    for rpc in offered:
        for what, body in _GARBAGE.items():
            await _refuses(lab, rpc, what, body)
    expect(await lab.peer.is_alive(), "the driver does not answer Probe any more after bytes that were no request")
    expect(lab.peer.pids() == before, "another process listens at the socket: the driver ended over bytes it got")


async def _refuses(lab: Lab, rpc: Rpc, what: str, body: bytes) -> None:
    """The client is one of its own: nobody may judge these calls by the tables of the specification."""
    client = RawClient(lab.peer.endpoint_of(rpc))
    try:
        answer = await client.call(rpc.path, body, timeout_s=lab.settings.call_timeout_s)
    finally:
        await client.close()
    if not answer.answered:
        raise Failed(f"{rpc.name} did not answer {what}: {answer.message}")
    expect(answer.code is not Code.OK, f"{rpc.name} answered OK to {what}")
