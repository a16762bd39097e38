"""Drivers that are wrong about themselves: names, capabilities, health, the socket."""

from __future__ import annotations

import asyncio
import os
import tempfile
from pathlib import Path

import msgspec

from moorage.spec import messages as m
from moorage.spec.errors import Code
from moorage.spec.types import ControllerCapability
from moorage.testing.mutants.mutant import Call, Reply, mutant
from moorage.testing.mutants.place import backend_pid, listening_path


@mutant("wire.plugin-info", on=("GetPluginInfo",))
async def is_named_like_a_file(call: Call) -> Reply:
    """The plugin's name has an underscore."""
    info = call.read(await call.forward(), m.GetPluginInfoResponse)
    return Reply.of(msgspec.structs.replace(info, name="local_csi.moorage.dev"))


@mutant("wire.plugin-name-letters", on=("GetPluginInfo",))
async def is_named_with_a_digit(call: Call) -> Reply:
    """The plugin's name ends with a digit, which is legal."""
    info = call.read(await call.forward(), m.GetPluginInfoResponse)
    return Reply.of(msgspec.structs.replace(info, name=f"{info.name}2"))


@mutant("wire.capabilities-known", on=("NodeGetCapabilities",))
async def declares_the_unknown(call: Call) -> Reply:
    """The list of node capabilities ends with an entry that says nothing."""
    reply = await call.forward()
    return Reply(bodies=(reply.bodies[0] + b"\x0a\x02\x0a\x00",))


@mutant("wire.capabilities-agree", on=("ControllerGetCapabilities",))
async def attaches_readonly_without_attaching(call: Call) -> Reply:
    """PUBLISH_READONLY is declared without PUBLISH_UNPUBLISH_VOLUME."""
    found = call.read(await call.forward(), m.ControllerGetCapabilitiesResponse).capabilities
    left = found - {ControllerCapability.PUBLISH_UNPUBLISH_VOLUME}
    return Reply.of(m.ControllerGetCapabilitiesResponse(left | {ControllerCapability.PUBLISH_READONLY}))


@mutant("wire.answers-stable", on=("ControllerGetCapabilities",))
async def changes_its_mind(call: Call) -> Reply:
    """From the second time on, GET_CAPACITY is not declared any more."""
    asked = call.memory["asked"] = call.memory.get("asked", 0) + 1
    found = call.read(await call.forward(), m.ControllerGetCapabilitiesResponse).capabilities
    dropped = {ControllerCapability.GET_CAPACITY} if asked > 2 else set()
    return Reply.of(m.ControllerGetCapabilitiesResponse(found - dropped))


@mutant("wire.same-after-restart", on=("GetPluginInfo",))
async def is_another_after_a_restart(call: Call) -> Reply:
    """The version has the number of the process in it."""
    info = call.read(await call.forward(), m.GetPluginInfoResponse)
    return Reply.of(msgspec.structs.replace(info, vendor_version=f"{info.vendor_version}+{backend_pid(call)}"))


@mutant("wire.identity-at-node", on=("Probe",))
async def denies_every_second_probe(call: Call) -> Reply:
    """Of two processes behind the socket, one does not serve Identity: every second Probe is not implemented."""
    asked = call.memory["asked"] = call.memory.get("asked", 0) + 1
    if asked % 2 or asked < 4:
        return await call.forward()
    return Reply.failed(Code.UNIMPLEMENTED, "unknown service csi.v1.Identity")


@mutant("wire.undeclared-unimplemented", on=("ControllerGetCapabilities",))
async def hides_what_it_can_do(call: Call) -> Reply:
    """GET_CAPACITY is not declared, and GetCapacity answers nevertheless."""
    found = call.read(await call.forward(), m.ControllerGetCapabilitiesResponse).capabilities
    return Reply.of(m.ControllerGetCapabilitiesResponse(found - {ControllerCapability.GET_CAPACITY}))


@mutant("wire.probe", on=("Probe",))
async def is_ready_now_and_then(call: Call) -> Reply:
    """Probes that come at the same time are told that the driver is not ready."""
    running = call.memory["running"] = call.memory.get("running", 0) + 1
    try:
        reply = await call.forward()
        return reply if running == 1 else Reply.of(m.ProbeResponse(ready=False))
    finally:
        call.memory["running"] -= 1


@mutant("wire.probe-while-busy", on=("CreateVolume", "Probe"))
async def does_one_thing_at_a_time(call: Call) -> Reply:
    """When several volumes are made at once, which takes its time, nothing else is answered."""
    lock: asyncio.Lock = call.memory.setdefault("lock", asyncio.Lock())
    if not isinstance(call.request, m.CreateVolumeRequest):
        async with lock:
            return await call.forward()
    running = call.memory["running"] = call.memory.get("running", 0) + 1
    try:
        if running == 4:
            async with lock:
                await asyncio.sleep(3.5)
        return await call.forward()
    finally:
        call.memory["running"] -= 1


@mutant("wire.socket-access", on=("GetPluginInfo",))
async def opens_its_socket_to_everybody(call: Call) -> Reply:
    """The socket has mode 0777, in temporary directories that everybody can enter."""
    path = listening_path(call)
    path.chmod(0o777)
    for above in path.parents:
        if Path(tempfile.gettempdir()) in above.parents:
            above.chmod(above.stat().st_mode | 0o011)
    return await call.forward()


@mutant("wire.socket-alone", on=("CreateVolume", "DeleteVolume"))
async def keeps_locks_beside_its_socket(call: Call) -> Reply:
    """Every volume has a lock file in the directory of the socket."""
    reply = await call.forward()
    if isinstance(call.request, m.CreateVolumeRequest):
        if reply.ok:
            _lock_file(call, call.read(reply, m.CreateVolumeResponse).volume.volume_id).touch()
    else:
        _lock_file(call, call.request.volume_id).unlink(missing_ok=True)
    return reply


def _lock_file(call: Call, volume_id: str) -> Path:
    return listening_path(call).with_name(f"{os.path.basename(volume_id)[:100] or 'none'}.lock")
