"""Drivers that are wrong about ControllerPublishVolume and ControllerUnpublishVolume."""

from __future__ import annotations

import msgspec

from moorage.spec import messages as m
from moorage.spec.errors import Code
from moorage.testing.mutants.behind import refused, volume_is_known
from moorage.testing.mutants.mutant import Call, Reply, mutant

_OK = Reply.of(m.ControllerPublishVolumeResponse())
_DETACHED = Reply.of(m.ControllerUnpublishVolumeResponse())


@mutant("publish.replay-same-context", on=("ControllerPublishVolume",))
async def numbers_its_publish_contexts(call: Call) -> Reply:
    """Each answer carries another publish_context, also to a repeated call."""
    reply = await call.forward()
    if not reply.ok:
        return reply
    number = call.memory["number"] = call.memory.get("number", 0) + 1
    return Reply.of(m.ControllerPublishVolumeResponse(publish_context={"session": str(number)}))


@mutant("publish.again-after-unpublish", on=("ControllerPublishVolume", "ControllerUnpublishVolume"))
async def attaches_a_volume_once(call: Call) -> Reply:
    """A volume that was detached from a node cannot be attached to it again."""
    left = call.memory.setdefault("left", set())
    key = (call.request.volume_id, call.request.node_id)
    if call.rpc.name == "ControllerUnpublishVolume":
        reply = await call.forward()
        if key in call.memory.get("attached", ()):
            left.add(key)
        return reply
    if key in left:
        return refused("the volume is still being detached", Code.FAILED_PRECONDITION)
    call.memory.setdefault("attached", set()).add(key)
    return await call.forward()


@mutant("publish.unknown-volume", on=("ControllerPublishVolume",))
async def fails_on_an_unknown_volume(call: Call) -> Reply:
    """A volume that does not exist is answered with INTERNAL."""
    reply = await call.forward()
    if reply.code is Code.NOT_FOUND and not await volume_is_known(call):
        return refused("the storage answered 404")
    return reply


@mutant("publish.unknown-node", on=("ControllerPublishVolume",))
async def attaches_to_any_node(call: Call) -> Reply:
    """A node that does not exist is taken for one that does."""
    reply = await call.forward()
    return _OK if reply.code is Code.NOT_FOUND and await volume_is_known(call) else reply


@mutant("publish.other-readonly", on=("ControllerPublishVolume",))
async def attached_is_attached(call: Call) -> Reply:
    """A volume that is attached to the node already is OK, whatever the readonly flag says now."""
    first = call.memory.setdefault("first", {})
    key = (call.request.volume_id, call.request.node_id)
    reply = await call.forward()
    if reply.ok:
        first[key] = call.request
    known = first.get(key)
    if reply.code is Code.ALREADY_EXISTS and known and known.readonly is not call.request.readonly:
        return _OK
    return reply


@mutant("publish.other-capability", on=("ControllerPublishVolume",))
async def attaches_without_looking_at_the_capability(call: Call) -> Reply:
    """A volume that is attached as a mount can be attached as a block device, too."""
    first = call.memory.setdefault("first", {})
    key = (call.request.volume_id, call.request.node_id)
    capability = first.setdefault(key, call.request.volume_capability)
    return await call.forward(msgspec.structs.replace(call.request, volume_capability=capability))


@mutant("publish.second-node", on=("ControllerPublishVolume",))
async def attaches_to_two_nodes(call: Call) -> Reply:
    """A volume for one node is attached to a second one as well."""
    reply = await call.forward()
    return _OK if reply.code is Code.FAILED_PRECONDITION else reply


@mutant("publish.second-node-named", on=("ControllerPublishVolume",))
async def does_not_say_where_the_volume_is(call: Call) -> Reply:
    """The refusal of a second node does not name the first one."""
    reply = await call.forward()
    return reply.with_message("the volume is in use") if reply.code is Code.FAILED_PRECONDITION else reply


@mutant("publish.second-node-multi", on=("ControllerPublishVolume", "ControllerUnpublishVolume"))
async def has_one_node_for_every_mode(call: Call) -> Reply:
    """A volume for several nodes is refused to the second one."""
    holders = call.memory.setdefault("holders", {})
    request = call.request
    if call.rpc.name == "ControllerUnpublishVolume":
        if request.node_id in ("", holders.get(request.volume_id)):
            holders.pop(request.volume_id, None)
        return await call.forward()
    holder = holders.get(request.volume_id, request.node_id)
    if holder != request.node_id:
        return refused(f"the volume is published to node {holder!r}", Code.FAILED_PRECONDITION)
    reply = await call.forward()
    if reply.ok:
        holders[request.volume_id] = request.node_id
    return reply


@mutant("publish.unpublish-one-node", on=("ControllerUnpublishVolume",))
async def detaches_from_every_node(call: Call) -> Reply:
    """Unpublishing from one node unpublishes from all."""
    return await call.forward(msgspec.structs.replace(call.request, node_id=""))


@mutant("publish.unpublish-twice", on=("ControllerPublishVolume", "ControllerUnpublishVolume"))
async def fails_to_detach_what_is_detached(call: Call) -> Reply:
    """Unpublishing a volume that is not published is answered with INTERNAL."""
    attached = call.memory.setdefault("attached", set())
    if call.rpc.name == "ControllerPublishVolume":
        reply = await call.forward()
        if reply.ok:
            attached.add(call.request.volume_id)
        return reply
    if call.request.volume_id not in attached:
        return refused("the volume is not attached")
    attached.discard(call.request.volume_id)
    return await call.forward()


@mutant("publish.unpublish-all-nodes", on=("ControllerUnpublishVolume", "DeleteVolume"))
async def takes_no_node_for_nothing_to_do(call: Call) -> Reply:
    """Unpublishing without node_id does nothing."""
    if call.rpc.name == "DeleteVolume":
        await call.forward(m.ControllerUnpublishVolumeRequest(volume_id=call.request.volume_id))
        return await call.forward()
    return await call.forward() if call.request.node_id else _DETACHED


@mutant("publish.unpublish-unknown-node", on=("ControllerUnpublishVolume",))
async def asks_for_the_node_before_it_detaches(call: Call) -> Reply:
    """Unpublishing from a node that is gone is answered with NOT_FOUND."""

    info = call.read_of("NodeGetInfo", await call.forward(m.NodeGetInfoRequest()), m.NodeGetInfoResponse)
    if call.request.node_id in ("", "other", info.node_id):
        return await call.forward()
    return refused("the node does not exist", Code.NOT_FOUND)


@mutant("publish.unpublish-deleted-volume", on=("ControllerUnpublishVolume",))
async def asks_for_the_volume_before_it_detaches(call: Call) -> Reply:
    """Unpublishing a volume that is gone is answered with NOT_FOUND."""
    if not await volume_is_known(call):
        return refused("the volume does not exist", Code.NOT_FOUND)
    return await call.forward()


@mutant("publish.attach-limit", on=("ControllerPublishVolume",))
async def does_not_count_its_volumes(call: Call) -> Reply:
    """A node can have more volumes than it says."""
    reply = await call.forward()
    return _OK if reply.code is Code.RESOURCE_EXHAUSTED else reply


@mutant("publish.detach-frees-slot", on=("ControllerPublishVolume",))
async def remembers_who_found_no_slot(call: Call) -> Reply:
    """A volume for which there was no slot once is refused for ever."""
    waiting = call.memory.setdefault("waiting", {})
    if call.request.volume_id in waiting:
        found: Reply = waiting[call.request.volume_id]
        return found
    reply = await call.forward()
    if reply.code is Code.RESOURCE_EXHAUSTED:
        waiting[call.request.volume_id] = reply
    return reply


@mutant("publish.readonly-enforced", on=("ControllerPublishVolume",))
async def attaches_for_writing(call: Call) -> Reply:
    """The readonly flag of ControllerPublishVolume is ignored."""
    return await call.forward(msgspec.structs.replace(call.request, readonly=False))
