"""Drivers that modify volumes wrongly."""

from __future__ import annotations

import os

import msgspec

from moorage.spec import messages as m
from moorage.spec.errors import Code
from moorage.testing.mutants.mutant import Call, Reply, mutant


@mutant("modify.changes", on=("ControllerModifyVolume",))
async def refuses_no_change(call: Call) -> Reply:
    """A change to what the parameters are already is refused."""
    known = call.memory.setdefault("known", {})
    if known.get(call.request.volume_id) == call.request.mutable_parameters:
        return Reply.failed(Code.FAILED_PRECONDITION, "the volume has been modified less than 6 hours ago")
    reply = await call.forward()
    if reply.ok:
        known[call.request.volume_id] = dict(call.request.mutable_parameters)
    return reply


@mutant("modify.one-by-one", on=("ControllerModifyVolume", "CreateVolume"))
async def wants_every_parameter(call: Call) -> Reply:
    """A volume that was made with mutable parameters refuses a change that names only one of them."""
    if isinstance(call.request, m.CreateVolumeRequest):
        reply = await call.forward()
        if reply.ok and call.request.mutable_parameters:
            made = call.memory.setdefault("made", set())
            made.add(call.read(reply, m.CreateVolumeResponse).volume.volume_id)
        return reply
    if call.request.volume_id in call.memory.get("made", ()) and len(call.request.mutable_parameters) == 1:
        return Reply.failed(Code.INVALID_ARGUMENT, "iops and throughput must be given together")
    return await call.forward()


@mutant("modify.unknown-parameter", on=("ControllerModifyVolume",))
async def ignores_what_it_does_not_know(call: Call) -> Reply:
    """A change of parameters of which none is known succeeds."""
    reply = await call.forward()
    if reply.code is Code.INVALID_ARGUMENT and len(call.request.mutable_parameters) == 1:
        return Reply.of(m.ControllerModifyVolumeResponse())
    return reply


@mutant("modify.all-or-nothing", on=("ControllerModifyVolume",))
async def applies_what_it_knows(call: Call) -> Reply:
    """Of several parameters those that are known are applied, and the others dropped."""
    reply = await call.forward()
    if reply.code is not Code.INVALID_ARGUMENT or len(call.request.mutable_parameters) < 2:
        return reply
    known = {key: value for key, value in call.request.mutable_parameters.items() if "/" not in key}
    return await call.forward(msgspec.structs.replace(call.request, mutable_parameters=known))


@mutant("modify.unknown-volume", on=("ControllerModifyVolume",))
async def modifies_nothing_at_all(call: Call) -> Reply:
    """A volume that does not exist is modified with success."""
    reply = await call.forward()
    return Reply.of(m.ControllerModifyVolumeResponse()) if reply.code is Code.NOT_FOUND else reply


@mutant("modify.in-use", on=("ControllerModifyVolume", "NodePublishVolume", "NodeUnpublishVolume"))
async def makes_the_volume_anew(call: Call) -> Reply:
    """A volume is made anew with the new parameters, without its files."""
    targets = call.memory.setdefault("targets", {})
    reply = await call.forward()
    if isinstance(call.request, m.NodePublishVolumeRequest) and reply.ok:
        targets[call.request.volume_id] = call.request.target_path
    elif isinstance(call.request, m.NodeUnpublishVolumeRequest):
        targets.pop(call.request.volume_id, None)
    elif reply.ok and call.request.volume_id in targets:
        target = targets[call.request.volume_id]
        for name in os.listdir(target):
            if os.path.isfile(os.path.join(target, name)):
                os.unlink(os.path.join(target, name))
    return reply


@mutant("modify.name-stays", on=("ControllerModifyVolume", "CreateVolume"))
async def forgets_what_was_asked_first(call: Call) -> Reply:
    """A volume that was modified is not what its name was first asked for, and the name refused."""
    modified = call.memory.setdefault("modified", set())
    reply = await call.forward()
    if isinstance(call.request, m.ControllerModifyVolumeRequest):
        if reply.ok:
            modified.add(call.request.volume_id)
    elif reply.ok and call.read(reply, m.CreateVolumeResponse).volume.volume_id in modified:
        return Reply.failed(Code.ALREADY_EXISTS, f"volume {call.request.name} exists with other parameters")
    return reply
