"""Drivers that are wrong about the blocks of snapshots.

Where the correct driver knows no changes, all that is allocated in the target is told as changed, which is
correct as well; so these mutants work on every pool.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from moorage.rpc.wire import decode
from moorage.spec import messages as m
from moorage.spec.errors import Code
from moorage.spec.rules import RPCS
from moorage.spec.types import BlockMetadata
from moorage.testing.mutants.mutant import Call, Reply, mutant

Message = m.GetMetadataAllocatedResponse | m.GetMetadataDeltaResponse


def _messages(rpc_name: str, reply: Reply) -> list[Message]:
    found = []
    for body in reply.bodies:
        message = decode(RPCS[rpc_name].response_proto, body)
        assert isinstance(message, Message)
        found.append(message)
    return found


def _with_blocks(message: Message, blocks: Sequence[BlockMetadata]) -> Message:
    return msgspec.structs.replace(message, block_metadata=tuple(blocks))


async def _all_as_changed(call: Call) -> Reply:
    """Everything that is allocated in the target of a delta, told as changed."""
    request = call.request
    reply = await call.forward(
        m.GetMetadataAllocatedRequest(request.target_snapshot_id, request.starting_offset, request.max_results)
    )
    if not reply.ok:
        return reply
    changed = [
        m.GetMetadataDeltaResponse(each.block_metadata_type, each.volume_capacity_bytes, each.block_metadata)
        for each in _messages("GetMetadataAllocated", reply)
    ]
    return Reply.of(*changed)


async def _answer(call: Call) -> Reply:
    """A correct answer, also where the backend keeps no changes."""
    reply = await call.forward()
    if reply.code is not Code.FAILED_PRECONDITION or not isinstance(call.request, m.GetMetadataDeltaRequest):
        return reply
    sources = [await _source(call, each) for each in (call.request.base_snapshot_id, call.request.target_snapshot_id)]
    return await _all_as_changed(call) if sources[0] == sources[1] else reply


async def _source(call: Call, snapshot_id: str) -> str:
    """The volume that a snapshot is of."""
    reply = await call.forward(m.ListSnapshotsRequest(snapshot_id=snapshot_id))
    (found,) = call.read_of("ListSnapshots", reply, m.ListSnapshotsResponse).entries
    return found.source_volume_id


async def _without_one(call: Call) -> Reply:
    """An answer that lacks one range: the second, or the only one."""
    reply = await _answer(call)
    if not reply.ok:
        return reply
    told: list[Message] = []
    seen = 0
    messages = _messages(call.rpc.name, reply)
    left_out = min(1, sum(len(message.block_metadata) for message in messages) - 1)
    for message in messages:
        kept = [block for index, block in enumerate(message.block_metadata, seen) if index != left_out]
        seen += len(message.block_metadata)
        told.append(_with_blocks(message, kept))
    return Reply.of(*told)


@mutant("metadata.allocated-covers-writes", on=("GetMetadataAllocated",))
async def leaves_out_allocated_blocks(call: Call) -> Reply:
    """An allocated range is not told."""
    return await _without_one(call)


@mutant("metadata.delta-covers-changes", on=("GetMetadataDelta",))
async def leaves_out_changed_blocks(call: Call) -> Reply:
    """A changed range is not told."""
    return await _without_one(call)


@mutant("metadata.delta-covers-changes", on=("CreateSnapshot", "GetMetadataDelta"))
async def compares_with_the_snapshot_before(call: Call) -> Reply:
    """A delta is taken from the snapshot before the target, whatever base is asked for."""
    chains: dict[str, list[str]] = call.memory.setdefault("chains", {})
    if isinstance(call.request, m.CreateSnapshotRequest):
        reply = await call.forward()
        if reply.ok:
            snapshot_id = call.read(reply, m.CreateSnapshotResponse).snapshot.snapshot_id
            chain = chains.setdefault(call.request.source_volume_id, [])
            chain.extend([snapshot_id] if snapshot_id not in chain else [])
        return reply
    base, target = call.request.base_snapshot_id, call.request.target_snapshot_id
    chain = next((each for each in chains.values() if base in each and target in each), [])
    if target not in chain or chain.index(target) == 0:
        return await _answer(call)
    before = chain[chain.index(target) - 1]
    reply = await call.forward(msgspec.structs.replace(call.request, base_snapshot_id=before))
    return await _without_one(call) if reply.code is Code.FAILED_PRECONDITION else reply


@mutant("metadata.delta-covers-zeros", on=("GetMetadataDelta",))
async def leaves_out_zeros(call: Call) -> Reply:
    """A range that was overwritten with zeros is not told as changed."""
    return await _without_one(call)


@mutant("metadata.delta-leaves-out-the-rest", on=("GetMetadataDelta",))
async def tells_everything_as_changed(call: Call) -> Reply:
    """Everything that is allocated is told as changed."""
    reply = await _answer(call)
    return await _all_as_changed(call) if reply.ok else reply


@mutant("metadata.capacity", on=("GetMetadataAllocated",))
async def tells_blocks_for_bytes(call: Call) -> Reply:
    """The capacity is told in blocks of 512 bytes."""
    reply = await call.forward()
    if not reply.ok:
        return reply
    told = [
        msgspec.structs.replace(message, volume_capacity_bytes=message.volume_capacity_bytes // 512)
        for message in _messages(call.rpc.name, reply)
    ]
    return Reply.of(*told)


@mutant("metadata.stream-in-order", on=("GetMetadataAllocated",))
async def repeats_ranges_between_messages(call: Call) -> Reply:
    """Each message but the first begins with the last range of the message before."""
    reply = await call.forward()
    if not reply.ok:
        return reply
    told: list[Message] = []
    last: tuple[BlockMetadata, ...] = ()
    for message in _messages(call.rpc.name, reply):
        blocks = (*last, *message.block_metadata)
        told.append(_with_blocks(message, blocks[: call.request.max_results or None]))
        last = message.block_metadata[-1:]
    return Reply.of(*told)


@mutant("metadata.max-results", on=("GetMetadataAllocated",))
async def ignores_max_results(call: Call) -> Reply:
    """All ranges come in one message, whatever max_results is."""
    return await call.forward(msgspec.structs.replace(call.request, max_results=0))


@mutant("metadata.starting-offset", on=("GetMetadataAllocated",))
async def starts_at_zero(call: Call) -> Reply:
    """The stream always begins at the start of the snapshot."""
    reply = await call.forward()
    return await call.forward(msgspec.structs.replace(call.request, starting_offset=0)) if reply.ok else reply


@mutant("metadata.starting-offset", on=("GetMetadataAllocated",))
async def skips_the_range_around_the_offset(call: Call) -> Reply:
    """The range in which starting_offset lies is left out."""
    reply = await call.forward()
    offset = call.request.starting_offset
    if not reply.ok or not offset:
        return reply
    whole = await call.forward(msgspec.structs.replace(call.request, starting_offset=0))
    told = [
        _with_blocks(message, [block for block in message.block_metadata if block.byte_offset >= offset])
        for message in _messages(call.rpc.name, whole)
    ]
    return Reply.of(*told)


@mutant("metadata.offset-out-of-range", on=("GetMetadataAllocated",))
async def ends_quietly_beyond_the_end(call: Call) -> Reply:
    """An offset beyond the end of the volume gives an empty stream."""
    reply = await call.forward()
    return Reply() if reply.code is Code.OUT_OF_RANGE else reply


@mutant("metadata.unknown-snapshot", on=("GetMetadataDelta",))
async def takes_an_unknown_base_for_none(call: Call) -> Reply:
    """With a base that does not exist, everything that is allocated is told as changed."""
    reply = await call.forward()
    return await _all_as_changed(call) if reply.code is Code.NOT_FOUND else reply


@mutant("metadata.delta-of-two-volumes", on=("GetMetadataDelta",))
async def compares_two_volumes(call: Call) -> Reply:
    """Snapshots of different volumes are compared."""
    reply = await call.forward()
    return await _all_as_changed(call) if reply.code is Code.FAILED_PRECONDITION else reply
