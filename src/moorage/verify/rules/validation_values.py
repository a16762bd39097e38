"""Requests whose fields are set to what they cannot be, and requests about what does not exist."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import msgspec
from msgspec import Struct

from moorage.rpc.wire import encode
from moorage.spec import messages as m
from moorage.spec.capabilities import gate_open
from moorage.spec.errors import Code
from moorage.spec.rules import BY_REQUEST, RPCS
from moorage.spec.types import (
    AccessMode,
    CapacityRange,
    ControllerCapability,
    PluginCapability,
    SnapshotSource,
    TopologyRequirement,
    VolumeCapability,
    VolumeSource,
)
from moorage.verify.exchange import Exchange
from moorage.verify.lab import Lab
from moorage.verify.rule import Danger, Severity, expect, rule
from moorage.verify.samples import CHANGING
from moorage.verify.unsupported import unsupported_capability

CREATE = ControllerCapability.CREATE_DELETE_VOLUME
CLONE = ControllerCapability.CLONE_VOLUME
SNAPSHOT = ControllerCapability.CREATE_DELETE_SNAPSHOT
PLACES = PluginCapability.VOLUME_ACCESSIBILITY_CONSTRAINTS

_UNSET_SOURCE: Final = b"\x32\x00"
"""CreateVolumeRequest.volume_content_source (field 6) as a message in which nothing is set."""


def _incomplete(lab: Lab) -> tuple[tuple[str, VolumeCapability], ...]:
    whole = lab.capability()
    return (
        ("access mode UNKNOWN", msgspec.structs.replace(whole, access_mode=AccessMode.UNKNOWN)),
        ("neither block nor mount access", msgspec.structs.replace(whole, access_type=None)),
    )


@rule(
    "validation.incomplete-capability",
    section="CreateVolume",
    title="a capability without access mode or access type makes no volume",
    sends="CreateVolume with access mode UNKNOWN, and with neither block nor mount set",
    demands="INVALID_ARGUMENT",
    needs=(CREATE,),
    danger=(Danger.CREATES,),
)
async def incomplete_capability(lab: Lab) -> None:
    for what, capability in _incomplete(lab):
        exchange = await lab.settle(lab.create_request(volume_capabilities=(capability,)))
        exchange.refused(Code.INVALID_ARGUMENT, why=f"the capability has {what}")


@rule(
    "validation.incomplete-capability-of-volume",
    section="ValidateVolumeCapabilities",
    title="a capability without access mode or access type is neither confirmed nor attached",
    sends="ValidateVolumeCapabilities, and ControllerPublishVolume where it is offered, with access mode UNKNOWN "
    "and with neither block nor mount set, for a volume that exists",
    demands="INVALID_ARGUMENT; ValidateVolumeCapabilities may also answer OK without `confirmed`",
    needs=(CREATE,),
    danger=(Danger.CREATES,),
)
async def incomplete_capability_of_volume(lab: Lab) -> None:
    volume = await lab.create()
    for what, capability in _incomplete(lab):
        exchange = await lab.settle(m.ValidateVolumeCapabilitiesRequest(volume.volume_id, (capability,)))
        _not_confirmed(exchange, f"the capability has {what}")
        if lab.has(ControllerCapability.PUBLISH_UNPUBLISH_VOLUME):
            attach = m.ControllerPublishVolumeRequest(volume.volume_id, lab.peer.node.node_id, capability)
            exchange = await lab.settle(attach)
            exchange.refused(Code.INVALID_ARGUMENT, why=f"the capability has {what}")


@rule(
    "validation.empty-content-source",
    section="CreateVolume",
    title="a content source that names nothing makes no volume",
    sends="CreateVolume with a content source in which nothing is set, with an empty snapshot id, with an empty "
    "volume id",
    demands="INVALID_ARGUMENT: an empty volume instead of a restored one would pass for the data",
    needs=(CREATE, (SNAPSHOT, CLONE)),
    danger=(Danger.CREATES,),
)
async def empty_content_source(lab: Lab) -> None:
    request = lab.create_request(secrets=lab.secrets("CreateVolume"))
    exchange = await lab.call_bytes(RPCS["CreateVolume"], encode(request) + _UNSET_SOURCE, request)
    exchange.refused(Code.INVALID_ARGUMENT, why="volume_content_source was sent with nothing set in it")
    for source in (SnapshotSource(""), VolumeSource("")):
        exchange = await lab.settle(lab.create_request(volume_content_source=source))
        exchange.refused(Code.INVALID_ARGUMENT, why="the id in volume_content_source is empty")


@rule(
    "validation.empty-requirement",
    section="CreateVolume",
    title="a topology requirement without any topology is refused",
    sends="CreateVolume with accessibility_requirements that hold neither requisite nor preferred topologies",
    demands="INVALID_ARGUMENT: one of the two must be set",
    severity=Severity.SHOULD,
    needs=(CREATE, PLACES),
    danger=(Danger.CREATES,),
)
async def empty_requirement(lab: Lab) -> None:
    exchange = await lab.settle(lab.create_request(accessibility_requirements=TopologyRequirement()))
    exchange.refused(Code.INVALID_ARGUMENT, why="neither requisite nor preferred is set")


@rule(
    "validation.impossible-range",
    section="CreateVolume",
    title="negative sizes and a limit below what is required make no volume",
    sends="CreateVolume with required_bytes -1, with limit_bytes -1, and with limit_bytes half of required_bytes",
    demands="INVALID_ARGUMENT or OUT_OF_RANGE",
    needs=(CREATE,),
    danger=(Danger.CREATES,),
)
async def impossible_range(lab: Lab) -> None:
    size_bytes = lab.settings.size_bytes
    ranges = (
        ("required_bytes is negative", CapacityRange(required_bytes=-1)),
        ("limit_bytes is negative", CapacityRange(limit_bytes=-1)),
        ("no size is both", CapacityRange(required_bytes=size_bytes, limit_bytes=size_bytes // 2)),
    )
    for why, capacity_range in ranges:
        exchange = await lab.settle(lab.create_request(capacity_range=capacity_range))
        exchange.refused(Code.INVALID_ARGUMENT, Code.OUT_OF_RANGE, why=why)


@rule(
    "validation.control-characters",
    section="CreateVolume",
    title="names with control characters are refused",
    sends="CreateVolume with names that hold U+0000, U+0007, U+001B, U+007F and U+0085",
    demands="INVALID_ARGUMENT: the specification bans them from names",
    severity=Severity.SHOULD,
    needs=(CREATE,),
    danger=(Danger.CREATES,),
)
async def control_characters(lab: Lab) -> None:
    for banned in "\0\a\x1b\x7f\x85":
        exchange = await lab.settle(lab.create_request(name=f"{lab.name()}{banned}x"))
        exchange.refused(Code.INVALID_ARGUMENT, why=f"the name holds U+{ord(banned):04X}")


@rule(
    "validation.negative-page",
    section="ListVolumes",
    title="a negative number of entries is refused",
    sends="ListVolumes, ListSnapshots and ControllerListVolumeHealth, as far as offered, with max_entries -1",
    demands="INVALID_ARGUMENT",
    needs=(
        (
            ControllerCapability.LIST_VOLUMES,
            ControllerCapability.LIST_SNAPSHOTS,
            ControllerCapability.LIST_VOLUME_HEALTH,
        ),
    ),
)
async def negative_page(lab: Lab) -> None:
    lists: Sequence[Struct] = (
        m.ListVolumesRequest(max_entries=-1),
        m.ListSnapshotsRequest(max_entries=-1),
        m.ControllerListVolumeHealthRequest(max_entries=-1),
    )
    for request in lists:
        if gate_open(BY_REQUEST[type(request)], lab.declared):
            (await lab.settle(request)).refused(Code.INVALID_ARGUMENT, why="max_entries is negative")


# --- ids of what does not exist ------------------------------------------------------------------


def _questions(lab: Lab, volume_id: str) -> Sequence[Struct]:
    """The offered RPCs that must say NOT_FOUND when there is no such volume."""
    growth = CapacityRange(required_bytes=lab.settings.expanded_bytes)
    capability = lab.capability()
    requests: list[Struct] = [
        m.ValidateVolumeCapabilitiesRequest(volume_id, (capability,)),
        m.ControllerExpandVolumeRequest(volume_id, growth),
        m.ControllerGetVolumeRequest(volume_id),
        m.ControllerGetVolumeHealthRequest(volume_id),
        m.ControllerPublishVolumeRequest(volume_id, lab.peer.node.node_id, capability),
    ]
    if lab.settings.mutable_parameters:
        requests.append(m.ControllerModifyVolumeRequest(volume_id, lab.settings.mutable_parameters))
    if not lab.peer.node.node_id:
        requests = [request for request in requests if not isinstance(request, m.ControllerPublishVolumeRequest)]
    if lab.read_only:
        requests = [request for request in requests if BY_REQUEST[type(request)].name not in CHANGING]
    return [request for request in requests if gate_open(BY_REQUEST[type(request)], lab.declared)]


@rule(
    "validation.unknown-volume",
    section="ValidateVolumeCapabilities",
    title="what is asked about a volume that does not exist is NOT_FOUND",
    sends="ValidateVolumeCapabilities, and as far as offered ControllerExpandVolume, ControllerModifyVolume, "
    "ControllerGetVolume, ControllerGetVolumeHealth and ControllerPublishVolume, for an id that nothing has",
    demands="NOT_FOUND",
    needs=("Controller",),
)
async def unknown_volume(lab: Lab) -> None:
    for request in _questions(lab, lab.name("unknown")):
        (await lab.settle(request)).refused(Code.NOT_FOUND, why="there is no such volume")


_ODD_IDS: Final = (
    "x",
    "-rf",
    "../verify-nothing",
    "a/b/c#d",
    "f0e1d2c3-b4a5-4697-8879-6a5b4c3d2e1f",
    "übergröße 巻",
    "v" * 128,
)


@rule(
    "validation.id-of-any-form",
    section="DeleteVolume",
    title="an id is never refused for its form",
    sends="the same RPCs and DeleteVolume with ids of unusual forms that nothing has: short, long, with slashes, "
    "a UUID, beyond ASCII",
    demands="NOT_FOUND, and OK from DeleteVolume: an id that the driver cannot have given names nothing",
    severity=Severity.SHOULD,
    needs=("Controller",),
    danger=(Danger.CREATES,),
)
async def id_of_any_form(lab: Lab) -> None:
    for volume_id in _ODD_IDS:
        for request in _questions(lab, volume_id):
            exchange = await lab.settle(request)
            exchange.refused(Code.NOT_FOUND, why=f"there is no volume {volume_id!r}, whatever ids usually look like")
        if lab.has(CREATE):
            (await lab.settle(m.DeleteVolumeRequest(volume_id))).response(m.DeleteVolumeResponse)


# --- ValidateVolumeCapabilities -------------------------------------------------------------------


def _not_confirmed(exchange: Exchange, why: str) -> None:
    """Raises Failed unless the answer is OK without `confirmed`, or INVALID_ARGUMENT."""
    if not exchange.ok:
        exchange.refused(Code.INVALID_ARGUMENT, why=why)
        return
    answer = exchange.response(m.ValidateVolumeCapabilitiesResponse)
    expect(answer.confirmed is None, f"the answer has `confirmed`, although {why}", exchange)


@rule(
    "validation.confirmed",
    section="ValidateVolumeCapabilities",
    title="the capabilities that a volume was made for are confirmed as they were asked",
    sends="ValidateVolumeCapabilities with the volume's own capability and context",
    demands="OK with `confirmed`, which holds the same capability, and of context and parameters nothing but what "
    "was sent",
    needs=(CREATE,),
    danger=(Danger.CREATES,),
)
async def confirmed(lab: Lab) -> None:
    volume = await lab.create()
    request = m.ValidateVolumeCapabilitiesRequest(
        volume.volume_id, (lab.capability(),), volume.volume_context, lab.settings.parameters
    )
    answer = (await lab.settle(request)).response(m.ValidateVolumeCapabilitiesResponse)
    found = answer.confirmed
    if found is None:
        said = f" (message: {answer.message})" if answer.message else ""
        expect(False, f"the capability that the volume was made for is not confirmed{said}", lab.last)
        return
    expect(
        set(found.volume_capabilities) == set(request.volume_capabilities),
        "`confirmed` holds other capabilities than were asked for, so an orchestrator takes the answer for a no",
        lab.last,
    )
    for field in ("volume_context", "parameters"):
        invented = set(getattr(found, field).items()) - set(getattr(request, field).items())
        expect(not invented, f"`confirmed.{field}` holds {sorted(dict(invented))}, which was not sent so", lab.last)


@rule(
    "validation.not-confirmed",
    section="ValidateVolumeCapabilities",
    title="a capability that the driver cannot give is not confirmed",
    sends="ValidateVolumeCapabilities with the volume's own capability and one that CreateVolume refuses",
    demands="OK without `confirmed`; INVALID_ARGUMENT is taken as well",
    needs=(CREATE,),
    danger=(Danger.CREATES,),
)
async def not_confirmed(lab: Lab) -> None:
    refused = await unsupported_capability(lab)
    volume = await lab.create()
    request = m.ValidateVolumeCapabilitiesRequest(volume.volume_id, (lab.capability(), refused))
    _not_confirmed(await lab.settle(request), "the driver makes no volumes with one of the capabilities")
