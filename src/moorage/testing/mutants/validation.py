"""Drivers that take requests without required fields."""

from __future__ import annotations

import msgspec

from moorage.spec import messages as m
from moorage.spec.errors import Code
from moorage.spec.types import CapacityRange
from moorage.testing.mutants.mutant import Call, Reply, mutant


@mutant("validation.create-fields", on=("CreateVolume",))
async def names_the_nameless(call: Call) -> Reply:
    """A volume without a name is given one."""
    if call.request.name:
        return await call.forward()
    return await call.forward(msgspec.structs.replace(call.request, name="unnamed"))


@mutant("validation.volume-fields", on=("ControllerExpandVolume",))
async def looks_for_no_volume(call: Call) -> Reply:
    """A volume without an id is looked for before the request is read, and not found."""
    if call.request.volume_id:
        return await call.forward()
    return Reply.failed(Code.NOT_FOUND, "volume not found")


@mutant("validation.attach-fields", on=("ControllerUnpublishVolume",))
async def detaches_no_volume(call: Call) -> Reply:
    """A detachment without a volume succeeds."""
    if call.request.volume_id:
        return await call.forward()
    return Reply.of(m.ControllerUnpublishVolumeResponse())


@mutant("validation.snapshot-fields", on=("DeleteSnapshot",))
async def deletes_no_snapshot(call: Call) -> Reply:
    """A deletion without an id succeeds, as that of an unknown snapshot does."""
    if call.request.snapshot_id:
        return await call.forward()
    return Reply.of(m.DeleteSnapshotResponse())


@mutant("validation.group-fields", on=("CreateVolumeGroupSnapshot",))
async def breaks_on_an_empty_group(call: Call) -> Reply:
    """A group without members breaks the driver's code."""
    if call.request.source_volume_ids:
        return await call.forward()
    return Reply.failed(Code.INTERNAL, "index out of range [0] with length 0")


@mutant("validation.metadata-fields", on=("GetMetadataAllocated",))
async def streams_nothing_of_no_snapshot(call: Call) -> Reply:
    """A stream about no snapshot ends well and empty."""
    if call.request.snapshot_id:
        return await call.forward()
    return Reply.of()


@mutant("validation.mount-fields", on=("NodeUnpublishVolume",))
async def unpublishes_nowhere(call: Call) -> Reply:
    """Unpublishing without a target path succeeds."""
    if call.request.target_path:
        return await call.forward()
    return Reply.of(m.NodeUnpublishVolumeResponse())


@mutant("validation.node-volume-fields", on=("NodeExpandVolume",))
async def expands_nowhere(call: Call) -> Reply:
    """A growth without a path succeeds."""
    if call.request.volume_path:
        return await call.forward()
    return Reply.of(m.NodeExpandVolumeResponse())


@mutant("validation.fields-of-known-volume", on=("ControllerExpandVolume",))
async def grows_known_volumes_by_nothing(call: Call) -> Reply:
    """A growth without a range succeeds, once the volume is found."""
    if call.request.capacity_range is not None:
        return await call.forward()
    smallest = CapacityRange(required_bytes=1)
    return await call.forward(msgspec.structs.replace(call.request, capacity_range=smallest))


@mutant("validation.fields-before-lookup", on=("NodeStageVolume",))
async def looks_before_it_reads(call: Call) -> Reply:
    """An unknown volume is reported before a missing staging path."""
    if call.request.volume_id and not call.request.staging_target_path:
        return Reply.failed(Code.NOT_FOUND, f"volume {call.request.volume_id} not found")
    return await call.forward()
