"""What a driver must do itself when it lacks the calls through which an orchestrator would have asked for it.

Each step takes one call to a driver that declares less and makes the calls to the whole driver that it means.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
from tests.support.lesser_volumes import Volumes

from moorage.spec import messages as m
from moorage.spec.capabilities import Declared
from moorage.spec.errors import NOT_FINAL, Code
from moorage.spec.types import ControllerCapability, NodeCapability, VolumeExpansion
from moorage.testing.mutants import Call, Reply

Step = Callable[[Call, Volumes], Awaitable[Reply]]


def steps(declared: Declared) -> dict[str, Step]:
    """The RPCs that mean more for a driver with these declarations, and what they mean."""
    changing = changing_steps(declared)
    if "ControllerExpandVolume" not in changing:
        return changing
    remembering: dict[str, Step] = {
        "ControllerPublishVolume": _remember_attached,
        "ControllerUnpublishVolume": _forget_attached,
        "NodeStageVolume": _remember,
        "NodeUnstageVolume": _forget,
        "NodePublishVolume": _remember,
        "NodeUnpublishVolume": _forget,
    }
    return remembering | changing


def changing_steps(declared: Declared) -> dict[str, Step]:
    """Those of the steps whose answer, or what they do, differs from what the whole driver says and does."""
    found: dict[str, Step] = {}
    by_controller = declared.has(ControllerCapability.EXPAND_VOLUME)
    by_node = declared.has(NodeCapability.EXPAND_VOLUME)
    if declared.has(VolumeExpansion.OFFLINE):
        found["ControllerExpandVolume"] = _expand_unless_published
    elif by_controller and not by_node and "Node" in declared.services:
        found["ControllerExpandVolume"] = _expand_everywhere
    elif by_node and not by_controller:
        found["NodeExpandVolume"] = _expand_by_the_node
    if "Node" in declared.services and not declared.has(NodeCapability.STAGE_UNSTAGE_VOLUME):
        found |= {"NodePublishVolume": _stage_and_publish, "NodeUnpublishVolume": _unpublish_and_unstage}
    return found


async def _remember(call: Call, volumes: Volumes) -> Reply:
    places, path = volumes.places_of(call.request.volume_id), _path(call.request)
    known = path in places
    places.setdefault(path, call.request.volume_capability)
    reply = await call.forward()
    if not known and not reply.ok and reply.code not in NOT_FINAL:
        places.pop(path, None)
    return reply


async def _forget(call: Call, volumes: Volumes) -> Reply:
    reply = await call.forward()
    if reply.ok:
        volumes.places_of(call.request.volume_id).pop(_path(call.request), None)
    return reply


def _path(request: Any) -> str:
    staging = isinstance(request, m.NodeStageVolumeRequest | m.NodeUnstageVolumeRequest)
    path: str = request.staging_target_path if staging else request.target_path
    return path


async def _remember_attached(call: Call, volumes: Volumes) -> Reply:
    reply = await call.forward()
    if reply.ok:
        volumes.attached.add((call.request.volume_id, call.request.node_id))
    return reply


async def _forget_attached(call: Call, volumes: Volumes) -> Reply:
    reply = await call.forward()
    if reply.ok:
        volume_id, node_id = call.request.volume_id, call.request.node_id
        volumes.attached -= {key for key in volumes.attached if key[0] == volume_id and node_id in ("", key[1])}
    return reply


async def _stage_and_publish(call: Call, volumes: Volumes) -> Reply:
    request: m.NodePublishVolumeRequest = call.request
    hidden = volumes.hidden(request.volume_id)
    async with volumes.lock_of(request.volume_id):
        targets = volumes.places_of(request.volume_id)
        if not targets:
            hidden.mkdir(parents=True, exist_ok=True)
            staged = await call.forward(
                m.NodeStageVolumeRequest(
                    volume_id=request.volume_id,
                    staging_target_path=str(hidden),
                    volume_capability=request.volume_capability,
                    publish_context=request.publish_context,
                    secrets=request.secrets,
                    volume_context=request.volume_context,
                )
            )
            if not staged.ok:
                if staged.code not in NOT_FINAL:
                    await _unstage_unused(call, volumes)
                return staged
        known = request.target_path in targets
        targets.setdefault(request.target_path, request.volume_capability)
        reply = await call.forward(msgspec.structs.replace(request, staging_target_path=str(hidden)))
        if not known and not reply.ok and reply.code not in NOT_FINAL:
            del targets[request.target_path]
            await _unstage_unused(call, volumes)
        return reply


async def _unpublish_and_unstage(call: Call, volumes: Volumes) -> Reply:
    async with volumes.lock_of(call.request.volume_id):
        reply = await call.forward()
        if not reply.ok:
            return reply
        volumes.places_of(call.request.volume_id).pop(call.request.target_path, None)
        return await _unstage_unused(call, volumes) or reply


async def _unstage_unused(call: Call, volumes: Volumes) -> Reply | None:
    """Take the hidden staging away with the last target; what went wrong with that, if anything did."""
    volume_id = call.request.volume_id
    hidden = volumes.hidden(volume_id)
    if volumes.places_of(volume_id) or not hidden.exists():
        return None
    reply = await call.forward(m.NodeUnstageVolumeRequest(volume_id, str(hidden)))
    if not reply.ok and reply.code is not Code.NOT_FOUND:
        return reply
    hidden.rmdir()
    return None


async def _expand_unless_published(call: Call, volumes: Volumes) -> Reply:
    volume_id = call.request.volume_id
    attached = any(key[0] == volume_id for key in volumes.attached)
    if attached or volumes.places_of(volume_id):
        return Reply.failed(Code.FAILED_PRECONDITION, f"volume {volume_id!r} is published; unpublish it to expand it")
    return await call.forward()


async def _expand_everywhere(call: Call, volumes: Volumes) -> Reply:
    """The controller grows what nodes see of the volume too, as it is for a shared file system."""
    reply = await call.forward()
    if reply.ok:
        for path, capability in volumes.places_of(call.request.volume_id).items():
            grown = await call.forward(
                m.NodeExpandVolumeRequest(call.request.volume_id, path, volume_capability=capability)
            )
            if not grown.ok:
                return grown
    return reply


async def _expand_by_the_node(call: Call, volumes: Volumes) -> Reply:
    """The node grows the volume itself, once it is sure that the volume is at this path."""
    request: m.NodeExpandVolumeRequest = call.request
    seen = await call.forward(msgspec.structs.replace(request, capacity_range=None))
    if not seen.ok or request.capacity_range is None:
        return seen
    grown = await call.forward(
        m.ControllerExpandVolumeRequest(
            request.volume_id, request.capacity_range, volume_capability=request.volume_capability
        )
    )
    return await call.forward() if grown.ok else grown
