"""Drivers that only work when they are called in the way that their authors had in mind."""

from __future__ import annotations

import os
import stat

from moorage.spec import messages as m
from moorage.spec.errors import Code
from moorage.testing.mutants.mutant import Call, Reply, mutant
from moorage.testing.mutants.place import from_before_restart


@mutant("robustness.kubernetes-order", on=("NodeStageVolume", "NodePublishVolume"))
async def wants_its_own_context_back(call: Call) -> Reply:
    """volume_context with keys that the driver did not put there is refused."""
    if any(key.startswith("csi.storage.k8s.io/") for key in call.request.volume_context):
        return Reply.failed(Code.INVALID_ARGUMENT, "volume_context has unknown keys")
    return await call.forward()


@mutant("robustness.nomad-order", on=("NodeStageVolume",))
async def cannot_enter_a_private_directory(call: Call) -> Reply:
    """The mounts are made by a process of another user, who cannot enter a directory with mode 0700."""
    path = call.request.staging_target_path
    if os.path.isdir(path) and not os.path.ismount(path) and stat.S_IMODE(os.stat(path).st_mode) == 0o700:
        return Reply.failed(Code.INTERNAL, f"{path}: Permission denied")
    return await call.forward()


@mutant("robustness.restart-between-steps", on=("NodeStageVolume", "NodePublishVolume"))
async def publishes_only_what_it_staged_itself(call: Call) -> Reply:
    """A volume that was staged before a restart counts as not staged after it, whoever stages it again."""
    again = from_before_restart(call, call.request.volume_id)
    if again and isinstance(call.request, m.NodePublishVolumeRequest):
        return Reply.failed(Code.FAILED_PRECONDITION, "the volume is not staged")
    return await call.forward()


@mutant("robustness.refused-staging", on=("NodeStageVolume", "NodeUnstageVolume", "DeleteVolume"))
async def holds_on_to_what_it_refused(call: Call) -> Reply:
    """A volume whose staging was refused counts as in use until it is unstaged."""
    held = call.memory.setdefault("held", set())
    volume_id = call.request.volume_id
    if isinstance(call.request, m.DeleteVolumeRequest) and volume_id in held:
        return Reply.failed(Code.FAILED_PRECONDITION, "the volume is in use on this node")
    reply = await call.forward()
    if isinstance(call.request, m.NodeStageVolumeRequest) and not reply.ok:
        held.add(volume_id)
    elif isinstance(call.request, m.NodeUnstageVolumeRequest):
        held.discard(volume_id)
    return reply
