"""Drivers that ignore what they do not declare, and that are wrong about secrets."""

from __future__ import annotations

import msgspec

from moorage.spec import messages as m
from moorage.spec.errors import Code
from moorage.spec.types import ControllerCapability, PluginCapability, VolumeSource
from moorage.testing.mutants.mutant import Call, Reply, mutant


async def _without_capability(call: Call, capability: ControllerCapability) -> Reply:
    """The controller's capabilities but one."""
    reply = await call.forward()
    if not reply.ok:
        return reply
    declared = call.read(reply, m.ControllerGetCapabilitiesResponse).capabilities
    return Reply.of(m.ControllerGetCapabilitiesResponse(declared - {capability}))


@mutant("validation.undeclared-source", on=("ControllerGetCapabilities", "CreateVolume"))
async def makes_an_empty_clone(call: Call) -> Reply:
    """Clones are not declared, and a volume as source is left out of account."""
    if isinstance(call.request, m.ControllerGetCapabilitiesRequest):
        return await _without_capability(call, ControllerCapability.CLONE_VOLUME)
    if not isinstance(call.request.volume_content_source, VolumeSource):
        return await call.forward()
    return await call.forward(msgspec.structs.replace(call.request, volume_content_source=None))


@mutant("validation.undeclared-readonly", on=("ControllerGetCapabilities", "ControllerPublishVolume"))
async def attaches_writable_instead(call: Call) -> Reply:
    """Attaching read-only is not declared, and readonly is left out of account."""
    if isinstance(call.request, m.ControllerGetCapabilitiesRequest):
        return await _without_capability(call, ControllerCapability.PUBLISH_READONLY)
    return await call.forward(msgspec.structs.replace(call.request, readonly=False))


@mutant("validation.undeclared-topology", on=("GetPluginCapabilities", "CreateVolume"))
async def puts_volumes_anywhere(call: Call) -> Reply:
    """Topology is not declared, and requirements are left out of account."""
    if isinstance(call.request, m.CreateVolumeRequest):
        return await call.forward(msgspec.structs.replace(call.request, accessibility_requirements=None))
    reply = await call.forward()
    found = call.read(reply, m.GetPluginCapabilitiesResponse)
    fewer = found.capabilities - {PluginCapability.VOLUME_ACCESSIBILITY_CONSTRAINTS}
    return Reply.of(msgspec.structs.replace(found, capabilities=fewer))


@mutant("validation.undeclared-mutable-parameters", on=("ControllerGetCapabilities", "CreateVolume"))
async def drops_mutable_parameters(call: Call) -> Reply:
    """Modifying volumes is not declared, and mutable parameters are left out of account."""
    if isinstance(call.request, m.ControllerGetCapabilitiesRequest):
        return await _without_capability(call, ControllerCapability.MODIFY_VOLUME)
    return await call.forward(msgspec.structs.replace(call.request, mutable_parameters={}))


@mutant("validation.unknown-secrets", on=("CreateVolume",))
async def counts_its_secrets(call: Call) -> Reply:
    """A secret that the driver does not know is refused."""
    known = call.memory.setdefault("known", set(call.request.secrets))
    unknown = set(call.request.secrets) - known
    if unknown:
        return Reply.failed(Code.INVALID_ARGUMENT, f"unknown secret {', '.join(sorted(unknown))}")
    return await call.forward()


@mutant("validation.wrong-secrets", on=("CreateVolume",))
async def breaks_on_wrong_secrets(call: Call) -> Reply:
    """A secret that the storage system refuses is an internal error."""
    right = call.memory.setdefault("right", dict(call.request.secrets))
    if any(call.request.secrets.get(key) != value for key, value in right.items()):
        return Reply.failed(Code.INTERNAL, "storage system answered 401")
    return await call.forward()
