"""What mutants of the node do beside answering: calls of their own, and work that they still owe.

A mutant that says OK and does nothing owes the call to the correct driver; it pays when the volume's life goes on,
so that nothing is left on the machine.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import AsyncIterator
from typing import Any

import msgspec
from msgspec import Struct

from moorage.host.stats import filesystem_stats
from moorage.spec import messages as m
from moorage.spec.errors import Code
from moorage.spec.types import AccessMode, BlockAccess, UsageUnit, VolumeCapability, VolumeUsage
from moorage.testing.mutants.mutant import Call, Reply

__all__ = ["as_block_device", "host_usage", "is_block", "owe", "pay", "refused", "volume_is_known", "with_mount"]


def owe(call: Call, request: Struct | None = None) -> None:
    """Note that this call, or another request, was not passed on although OK is answered."""
    call.memory.setdefault("owed", []).append(request or call.request)


async def pay(call: Call) -> None:
    """Make the calls that are owed for the volume that this call is about."""
    owed: list[Any] = call.memory.get("owed", [])
    due = [request for request in owed if request.volume_id == call.request.volume_id]
    call.memory["owed"] = [request for request in owed if request not in due]
    for request in due:
        await call.forward(request)


def refused(message: str, code: Code = Code.INTERNAL) -> Reply:
    """A failure, INTERNAL unless said otherwise."""
    return Reply.failed(code, message)


def is_block(request: Any) -> bool:
    """Whether a request is about a raw block volume."""
    capability = request.volume_capability
    return capability is not None and bool(capability.is_block)


def with_mount(request: Any, **fields: Any) -> Any:
    """The same request with other fields in its mount access; block requests stay as they are."""
    capability = request.volume_capability
    if capability is None or capability.is_block:
        return request
    access = msgspec.structs.replace(capability.mount, **fields)
    return msgspec.structs.replace(request, volume_capability=msgspec.structs.replace(capability, access_type=access))


async def volume_is_known(call: Call) -> bool:
    """Whether the correct driver knows the volume of this call."""
    return (await call.forward(m.ControllerGetVolumeRequest(volume_id=call.request.volume_id))).ok


def host_usage(path: str) -> Reply:
    """An answer to NodeGetVolumeStats with what statvfs says of any path."""
    found = filesystem_stats(path)
    usage = VolumeUsage(UsageUnit.BYTES, found.total_bytes, found.available_bytes, found.used_bytes)
    return Reply.of(m.NodeGetVolumeStatsResponse(usage=(usage,)))


@contextlib.asynccontextmanager
async def as_block_device(call: Call) -> AsyncIterator[str]:
    """The volume of this NodeStageVolume as a block device, for as long as the context lasts."""
    capability = VolumeCapability(AccessMode.SINGLE_NODE_WRITER, BlockAccess())
    volume_id = call.request.volume_id
    with tempfile.TemporaryDirectory(prefix="mutant-") as place:
        staging, target = os.path.join(place, "staging"), os.path.join(place, "device")
        os.mkdir(staging)
        given: dict[str, Any] = {
            "volume_id": volume_id,
            "staging_target_path": staging,
            "volume_capability": capability,
            "publish_context": call.request.publish_context,
        }
        await call.forward(m.NodeStageVolumeRequest(**given))
        await call.forward(m.NodePublishVolumeRequest(**given, target_path=target))
        try:
            yield target
        finally:
            await call.forward(m.NodeUnpublishVolumeRequest(volume_id=volume_id, target_path=target))
            await call.forward(m.NodeUnstageVolumeRequest(volume_id=volume_id, staging_target_path=staging))
