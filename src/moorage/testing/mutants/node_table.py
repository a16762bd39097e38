"""Drivers that are wrong about a second NodePublishVolume of one volume."""

from __future__ import annotations

import os
import shutil

import msgspec

from moorage.host import syscalls
from moorage.spec import messages as m
from moorage.spec.access import is_multi_node
from moorage.spec.errors import Code
from moorage.spec.types import AccessMode
from moorage.testing.mutants.behind import is_block, refused
from moorage.testing.mutants.mutant import Call, Reply, mutant

_BOTH = ("NodePublishVolume", "NodeUnpublishVolume")
_PUBLISHED = Reply.of(m.NodePublishVolumeResponse())


def _targets(call: Call) -> set[str]:
    """Where the volume of this call is published."""
    found: set[str] = call.memory.setdefault("targets", {}).setdefault(call.request.volume_id, set())
    return found


async def _kept(call: Call) -> Reply:
    """Forward, and keep `_targets` right."""
    reply = await call.forward()
    if reply.ok and call.rpc.name == "NodePublishVolume":
        _targets(call).add(call.request.target_path)
    elif reply.ok:
        _targets(call).discard(call.request.target_path)
    return reply


@mutant("node.same-target-same-arguments", on=_BOTH)
async def refuses_a_repeated_multi_node_publish(call: Call) -> Reply:
    """With a MULTI_NODE mode, the same call again is ALREADY_EXISTS."""
    if call.rpc.name == "NodePublishVolume":
        multi = is_multi_node(call.request.volume_capability.access_mode)
        if multi and call.request.target_path in _targets(call):
            return refused("the target path is taken", Code.ALREADY_EXISTS)
    return await _kept(call)


@mutant("node.same-target-other-arguments", on=("NodePublishVolume",))
async def published_is_published(call: Call) -> Reply:
    """A target that is mounted already is OK, whatever the readonly flag says now."""
    reply = await call.forward()
    return _PUBLISHED if reply.code is Code.ALREADY_EXISTS else reply


async def _at_many_targets(call: Call, *modes: AccessMode) -> Reply:
    """Publish at any number of targets, though the mode is one of these."""
    reply = await call.forward()
    capability = call.request.volume_capability
    if reply.code is not Code.FAILED_PRECONDITION or capability.access_mode not in modes:
        return reply
    wider = msgspec.structs.replace(capability, access_mode=AccessMode.MULTI_NODE_MULTI_WRITER)
    return await call.forward(msgspec.structs.replace(call.request, volume_capability=wider))


@mutant("node.second-target-single-node", on=("NodePublishVolume",))
async def shares_a_single_node_volume(call: Call) -> Reply:
    """A volume with a single-node mode is published at a second path."""
    return await _at_many_targets(call, AccessMode.SINGLE_NODE_WRITER, AccessMode.SINGLE_NODE_READER_ONLY)


@mutant("node.second-target-single-writer", on=("NodePublishVolume",))
async def shares_a_single_writer_volume(call: Call) -> Reply:
    """A volume for a single writer is published at a second path."""
    return await _at_many_targets(call, AccessMode.SINGLE_NODE_SINGLE_WRITER)


async def _at_one_target(call: Call, *modes: AccessMode) -> Reply:
    """Publish at one target only with these modes."""
    if call.rpc.name == "NodePublishVolume":
        others = _targets(call) - {call.request.target_path}
        if others and call.request.volume_capability.access_mode in modes:
            return refused("the volume is published already", Code.FAILED_PRECONDITION)
    return await _kept(call)


@mutant("node.second-target-multi-writer", on=_BOTH)
async def has_one_writer(call: Call) -> Reply:
    """A volume for several writers of one node is refused at a second path."""
    return await _at_one_target(call, AccessMode.SINGLE_NODE_MULTI_WRITER)


@mutant("node.second-target-multi-node", on=_BOTH)
async def has_one_target_on_a_node(call: Call) -> Reply:
    """A volume with a MULTI_NODE mode is refused at a second path of one node."""
    return await _at_one_target(call, *(mode for mode in AccessMode if is_multi_node(mode)))


@mutant("node.two-targets-coherent", on=_BOTH)
async def shows_a_copy_at_the_second_target(call: Call) -> Reply:
    """The second target of a mounted volume shows a copy of its files."""
    others = _targets(call) - {call.request.target_path}
    reply = await _kept(call)
    if not reply.ok or call.rpc.name != "NodePublishVolume" or not others:
        return reply
    path = call.request.target_path
    if not is_block(call.request) and not call.request.readonly:
        files = [entry.path for entry in os.scandir(path) if entry.is_file()]
        held = {os.path.basename(file): open(file, "rb") for file in files}  # noqa: SIM115 (the mount covers them)
        syscalls.mount("copy", path, fs_type="tmpfs", flags=0, data="size=16m")
        for name, file in held.items():
            with file, open(os.path.join(path, name), "wb") as copy:
                shutil.copyfileobj(file, copy)
    return reply


@mutant("node.unpublish-one-of-two", on=_BOTH)
async def unpublishes_all_targets_at_once(call: Call) -> Reply:
    """NodeUnpublishVolume of a published target takes all targets of the volume away."""
    targets = _targets(call)
    if isinstance(call.request, m.NodeUnpublishVolumeRequest) and call.request.target_path in targets:
        for path in sorted(targets - {call.request.target_path}):
            await call.forward(msgspec.structs.replace(call.request, target_path=path))
        targets.clear()
        return await call.forward()
    return await _kept(call)
