"""Drivers that get things mixed up when calls come at the same time."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Iterator

import msgspec

from moorage.spec import messages as m
from moorage.spec.errors import Code
from moorage.testing.mutants.mutant import Call, Reply, mutant
from moorage.testing.mutants.place import bind_mount, unmount


@contextlib.contextmanager
def _running(call: Call, key: str) -> Iterator[int]:
    """How many calls for `key` run already, counting this one while it is entered."""
    running = call.memory.setdefault("running", {})
    others = running.get(key, 0)
    running[key] = others + 1
    try:
        yield others
    finally:
        running[key] -= 1


@mutant("robustness.parallel-distinct-creates", on=("CreateVolume",))
async def gives_one_volume_to_all(call: Call) -> Reply:
    """Requests that come while a volume is made are answered with that volume."""
    with _running(call, "create") as others:
        if others:
            first: asyncio.Future[Reply] = call.memory["first"]
            return await asyncio.shield(first)
        call.memory["first"] = asyncio.ensure_future(call.forward())
        return await asyncio.shield(call.memory["first"])


@mutant("robustness.parallel-deletes", on=("DeleteVolume",))
async def deletes_under_its_own_feet(call: Call) -> Reply:
    """A DeleteVolume that finds another one at work fails on what that one has removed."""
    with _running(call, call.request.volume_id) as others:
        reply = await call.forward()
        return Reply.failed(Code.INTERNAL, "unlink: No such file or directory") if others else reply


@mutant("robustness.parallel-same-snapshot", on=("CreateSnapshot",))
async def cuts_a_snapshot_for_each_call(call: Call) -> Reply:
    """Calls for one snapshot that come together cut one each."""
    with _running(call, call.request.name) as others:
        if not others:
            return await call.forward()
        return await call.forward(msgspec.structs.replace(call.request, name=f"{others}-{call.request.name}"[:128]))


@mutant("robustness.parallel-same-publish", on=("NodePublishVolume", "NodeUnpublishVolume"))
async def mounts_for_each_call(call: Call) -> Reply:
    """Calls for one target that come together mount once each."""
    stacked = call.memory.setdefault("stacked", {})
    target = call.request.target_path
    if isinstance(call.request, m.NodeUnpublishVolumeRequest):
        for _ in range(stacked.pop(target, 0)):
            unmount(target)
        return await call.forward()
    with _running(call, target) as others:
        reply = await call.forward()
        if others and reply.ok:
            bind_mount(target, target)
            stacked[target] = stacked.get(target, 0) + 1
        return reply


@mutant("robustness.parallel-lives", on=("NodePublishVolume", "NodeUnpublishVolume"))
async def cleans_the_wrong_target(call: Call) -> Reply:
    """NodeUnpublishVolume empties the targets of other volumes that are published at that moment."""
    targets = call.memory.setdefault("targets", {})
    request = call.request
    if isinstance(request, m.NodeUnpublishVolumeRequest):
        targets.pop(request.target_path, None)
        for target, volume_id in targets.items():
            if volume_id != request.volume_id:
                _empty(target)
        return await call.forward()
    reply = await call.forward()
    if reply.ok:
        targets[request.target_path] = request.volume_id
    return reply


_NODE_CALLS = ("NodeStageVolume", "NodePublishVolume", "NodeUnpublishVolume", "NodeUnstageVolume")


@mutant("robustness.storm-data", on=_NODE_CALLS)
async def formats_in_the_heat_of_the_moment(call: Call) -> Reply:
    """A NodePublishVolume that meets other calls for the volume takes it for a blank one."""
    with _running(call, call.request.volume_id) as others:
        reply = await call.forward()
        if others and reply.ok and isinstance(call.request, m.NodePublishVolumeRequest):
            _empty(call.request.target_path)
        return reply


@mutant("robustness.storm-codes", on=_NODE_CALLS)
async def breaks_when_calls_meet(call: Call) -> Reply:
    """A call to the node that finds another one for the volume at work is an internal error."""
    with _running(call, call.request.volume_id) as others:
        return Reply.failed(Code.INTERNAL, "Device or resource busy") if others else await call.forward()


def _empty(target: str) -> None:
    """Remove the suite's files from a published file system."""
    if os.path.ismount(target) and os.path.isdir(target):
        for name in os.listdir(target):
            if name.startswith("pattern-"):
                os.unlink(os.path.join(target, name))
