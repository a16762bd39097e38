"""ControllerPublishVolume and ControllerUnpublishVolume: who has a volume, and who may have it as well."""

from __future__ import annotations

from moorage.spec import messages as m
from moorage.spec.errors import Code
from moorage.spec.types import AccessMode, Volume, VolumeCapability
from moorage.verify.exchange import Exchange
from moorage.verify.lab import Lab
from moorage.verify.needs import ATTACHES, PUBLISH, READONLY, USE
from moorage.verify.rule import Danger, Facility, Severity, Skipped, expect, rule
from moorage.verify.targets import write_refused

_NO_VOLUME = "moorage-verify-no-such-volume"
_NO_NODE = "moorage-verify-no-such-node"
_MOST_VOLUMES = 16
_MULTI_NODE = (AccessMode.MULTI_NODE_MULTI_WRITER, AccessMode.MULTI_NODE_READER_ONLY)


def _request(
    lab: Lab,
    volume: Volume,
    capability: VolumeCapability | None = None,
    *,
    node_id: str = "",
    readonly: bool = False,
) -> m.ControllerPublishVolumeRequest:
    return m.ControllerPublishVolumeRequest(
        volume_id=volume.volume_id,
        node_id=node_id or lab.peer.node.node_id,
        volume_capability=capability or lab.capability(),
        readonly=readonly,
        volume_context=volume.volume_context,
    )


def _detach(volume: Volume, node_id: str) -> m.ControllerUnpublishVolumeRequest:
    return m.ControllerUnpublishVolumeRequest(volume_id=volume.volume_id, node_id=node_id)


def _must_detach(exchange: Exchange) -> None:
    exchange.response(m.ControllerUnpublishVolumeResponse)


def _must_attach(exchange: Exchange) -> m.ControllerPublishVolumeResponse:
    return exchange.response(m.ControllerPublishVolumeResponse)


@rule(
    "publish.replay-same-context",
    section="ControllerPublishVolume",
    title="publishing to a node again changes nothing",
    sends="ControllerPublishVolume three times with equal fields",
    demands="all answers are OK and carry the same publish_context",
    needs=ATTACHES,
    danger=(Danger.CREATES,),
)
async def replay_same_context(lab: Lab) -> None:
    request = _request(lab, await lab.create())
    first = _must_attach(await lab.settle(request))
    for _ in range(2):
        again = _must_attach(await lab.settle(request))
        expect(again == first, "publish_context differs when the same call is repeated; it must not change", lab.last)


@rule(
    "publish.again-after-unpublish",
    section="ControllerUnpublishVolume",
    title="a volume can be published and unpublished over and over",
    sends="ControllerPublishVolume and ControllerUnpublishVolume in turn, three times; then DeleteVolume",
    demands="all answers are OK",
    needs=ATTACHES,
    danger=(Danger.CREATES,),
)
async def again_after_unpublish(lab: Lab) -> None:
    volume = await lab.create()
    for _ in range(3):
        _must_attach(await lab.settle(_request(lab, volume)))
        _must_detach(await lab.settle(_detach(volume, lab.peer.node.node_id)))
    await lab.delete(volume.volume_id)


@rule(
    "publish.unknown-volume",
    section="ControllerPublishVolume",
    title="a volume that does not exist is not published",
    sends=f"ControllerPublishVolume with the volume_id {_NO_VOLUME!r}",
    demands="NOT_FOUND",
    needs=("Node", PUBLISH),
)
async def unknown_volume(lab: Lab) -> None:
    exchange = await lab.settle(_request(lab, Volume(_NO_VOLUME)))
    exchange.refused(Code.NOT_FOUND, why="no volume has this id")


@rule(
    "publish.unknown-node",
    section="ControllerPublishVolume",
    title="a volume is not published to a node that does not exist",
    sends=f"ControllerPublishVolume with the node_id {_NO_NODE!r}",
    demands="NOT_FOUND",
    needs=ATTACHES,
    danger=(Danger.CREATES,),
)
async def unknown_node(lab: Lab) -> None:
    exchange = await lab.settle(_request(lab, await lab.create(), node_id=_NO_NODE))
    exchange.refused(Code.NOT_FOUND, why="no node has this id")


@rule(
    "publish.other-readonly",
    section="ControllerPublishVolume",
    title="a published volume is not published to the same node with another readonly flag",
    sends="ControllerPublishVolume with readonly=false, then with readonly=true",
    demands="the second answer is ALREADY_EXISTS",
    needs=(*ATTACHES, READONLY),
    danger=(Danger.CREATES,),
)
async def other_readonly(lab: Lab) -> None:
    volume = await lab.create()
    _must_attach(await lab.settle(_request(lab, volume)))
    exchange = await lab.settle(_request(lab, volume, readonly=True))
    exchange.refused(Code.ALREADY_EXISTS, why="the volume is published to this node for writing")


@rule(
    "publish.other-capability",
    section="ControllerPublishVolume",
    title="a published volume is not published to the same node for another kind of access",
    sends="ControllerPublishVolume of a volume made for mount and block access, first as one, then as the other",
    demands="ALREADY_EXISTS; a driver for which the two are one and the same may answer OK",
    severity=Severity.ADVICE,
    needs=(*ATTACHES, Facility.MOUNT, Facility.BLOCK),
    danger=(Danger.CREATES,),
)
async def other_capability(lab: Lab) -> None:
    mount, block = lab.capability(block=False), lab.capability(block=True)
    volume = await lab.create_or_skip("both mount and block access", volume_capabilities=(mount, block))
    _must_attach(await lab.settle(_request(lab, volume, mount)))
    exchange = await lab.settle(_request(lab, volume, block))
    exchange.refused(Code.ALREADY_EXISTS, why="the volume is published to this node as a mounted file system")


@rule(
    "publish.second-node",
    section="ControllerPublishVolume",
    title="a volume for one node is not published to a second one",
    sends="ControllerPublishVolume with SINGLE_NODE_WRITER to the node under test, then to the other node",
    demands="the second answer is FAILED_PRECONDITION; after unpublishing from the first node it is OK",
    needs=(*ATTACHES, Facility.OTHER_NODE),
    danger=(Danger.CREATES,),
)
async def second_node(lab: Lab) -> None:
    volume = await lab.create()
    _must_attach(await lab.settle(_request(lab, volume)))
    request = _request(lab, volume, node_id=lab.settings.other_node)
    exchange = await lab.settle(request)
    exchange.refused(Code.FAILED_PRECONDITION, why="another node has the volume, and its mode allows one")
    _must_detach(await lab.settle(_detach(volume, lab.peer.node.node_id)))
    _must_attach(await lab.settle(request))


@rule(
    "publish.second-node-named",
    section="ControllerPublishVolume",
    title="the refusal names the node that has the volume",
    sends="ControllerPublishVolume with SINGLE_NODE_WRITER to the node under test, then to the other node",
    demands="the message of the second answer holds the node_id of the first",
    severity=Severity.SHOULD,
    needs=(*ATTACHES, Facility.OTHER_NODE),
    danger=(Danger.CREATES,),
)
async def second_node_named(lab: Lab) -> None:
    volume = await lab.create()
    _must_attach(await lab.settle(_request(lab, volume)))
    exchange = await lab.settle(_request(lab, volume, node_id=lab.settings.other_node))
    if exchange.ok:
        raise Skipped("the volume was published to a second node; see publish.second-node")
    here = lab.peer.node.node_id
    expect(here in exchange.message, f"the message does not name {here!r}, where the volume is published", exchange)


@rule(
    "publish.second-node-multi",
    section="ControllerPublishVolume",
    title="a volume for several nodes is published to a second one",
    sends="ControllerPublishVolume with a MULTI_NODE mode to the node under test and to the other node",
    demands="both answers are OK, and stay so when repeated",
    needs=(*ATTACHES, Facility.OTHER_NODE),
    danger=(Danger.CREATES,),
)
async def second_node_multi(lab: Lab) -> None:
    capability = await _multi_node(lab)
    volume = await lab.create(volume_capabilities=(capability,))
    for node_id in (lab.peer.node.node_id, lab.settings.other_node, lab.peer.node.node_id):
        _must_attach(await lab.settle(_request(lab, volume, capability, node_id=node_id)))


@rule(
    "publish.unpublish-one-node",
    section="ControllerUnpublishVolume",
    title="unpublishing from one node leaves the others alone",
    sends="ControllerPublishVolume to two nodes, ControllerUnpublishVolume from one of them",
    demands="the other node still has the volume: publishing there with another readonly flag is ALREADY_EXISTS",
    needs=(*ATTACHES, READONLY, Facility.OTHER_NODE),
    danger=(Danger.CREATES,),
)
async def unpublish_one_node(lab: Lab) -> None:
    capability = await _multi_node(lab)
    volume, here = await lab.create(volume_capabilities=(capability,)), lab.peer.node.node_id
    for node_id in (here, lab.settings.other_node):
        _must_attach(await lab.settle(_request(lab, volume, capability, node_id=node_id)))
    _must_detach(await lab.settle(_detach(volume, lab.settings.other_node)))
    exchange = await lab.settle(_request(lab, volume, capability, readonly=True))
    exchange.refused(
        Code.ALREADY_EXISTS, why="only the other node was unpublished from, and this one has it for writing"
    )


async def _multi_node(lab: Lab) -> VolumeCapability:
    for block in (lab.settings.access == "block", True):
        for mode in _MULTI_NODE:
            capability = lab.capability(mode, block=block)
            if await lab.supports(capability):
                return capability
    raise Skipped("the driver makes no volumes for several nodes")


@rule(
    "publish.unpublish-twice",
    section="ControllerUnpublishVolume",
    title="unpublishing what is not published is fine",
    sends="ControllerUnpublishVolume before the volume was ever published, and twice after it was",
    demands="all answers are OK",
    needs=ATTACHES,
    danger=(Danger.CREATES,),
)
async def unpublish_twice(lab: Lab) -> None:
    volume = await lab.create()
    request = _detach(volume, lab.peer.node.node_id)
    _must_detach(await lab.settle(request))
    _must_attach(await lab.settle(_request(lab, volume)))
    for _ in range(2):
        _must_detach(await lab.settle(request))


@rule(
    "publish.unpublish-all-nodes",
    section="ControllerUnpublishVolume",
    title="unpublishing without a node unpublishes from all nodes",
    sends="ControllerPublishVolume, ControllerUnpublishVolume without node_id; then what a detached volume allows",
    demands="the volume can be published with another readonly flag, to another node, and be deleted",
    needs=ATTACHES,
    danger=(Danger.CREATES,),
)
async def unpublish_all_nodes(lab: Lab) -> None:
    volume = await lab.create()
    _must_attach(await lab.settle(_request(lab, volume)))
    everywhere = _detach(volume, "")
    _must_detach(await lab.settle(everywhere))
    if lab.has(READONLY):
        _must_attach(await lab.settle(_request(lab, volume, readonly=True)))
        _must_detach(await lab.settle(everywhere))
    if lab.settings.other_node:
        _must_attach(await lab.settle(_request(lab, volume, node_id=lab.settings.other_node)))
        _must_detach(await lab.settle(everywhere))
    await lab.delete(volume.volume_id)


@rule(
    "publish.unpublish-unknown-node",
    section="ControllerUnpublishVolume",
    title="unpublishing from a node that is gone is fine",
    sends=f"ControllerUnpublishVolume of a volume that is published nowhere, from {_NO_NODE!r}",
    demands="OK, as the volume is certainly not published there",
    severity=Severity.SHOULD,
    needs=ATTACHES,
    danger=(Danger.CREATES,),
)
async def unpublish_unknown_node(lab: Lab) -> None:
    _must_detach(await lab.settle(_detach(await lab.create(), _NO_NODE)))


@rule(
    "publish.unpublish-deleted-volume",
    section="ControllerUnpublishVolume",
    title="unpublishing a volume that is gone is fine",
    sends="publish, unpublish and delete a volume; ControllerUnpublishVolume once more",
    demands="OK, as the volume is certainly not published any more",
    severity=Severity.SHOULD,
    needs=ATTACHES,
    danger=(Danger.CREATES,),
)
async def unpublish_deleted_volume(lab: Lab) -> None:
    volume = await lab.create()
    _must_attach(await lab.settle(_request(lab, volume)))
    request = _detach(volume, lab.peer.node.node_id)
    _must_detach(await lab.settle(request))
    await lab.delete(volume.volume_id)
    _must_detach(await lab.settle(request))


async def _fill_node(lab: Lab) -> tuple[list[Volume], Volume, Exchange]:
    """Publish volumes until one is refused or there is one more than the node says; those, the last, its answer.

    Raises Skipped for a node without a limit, or with one that is too high to be tried.
    """
    limit = lab.peer.node.max_volumes_per_node
    if not 0 < limit <= _MOST_VOLUMES:
        told = f"a limit of {limit} volumes" if limit else "no limit"
        raise Skipped(f"the node tells {told}; this is tried with limits up to {_MOST_VOLUMES}")
    published: list[Volume] = []
    while True:
        volume = await lab.create()
        exchange = await lab.settle(_request(lab, volume))
        if not exchange.ok or len(published) == limit:
            return published, volume, exchange
        published.append(volume)


@rule(
    "publish.attach-limit",
    section="ControllerPublishVolume",
    title="no more volumes are published to a node than it can have",
    sends="ControllerPublishVolume of max_volumes_per_node volumes and of one more",
    demands="RESOURCE_EXHAUSTED for the first that is refused, which is the last one at the latest",
    severity=Severity.SHOULD,
    needs=ATTACHES,
    danger=(Danger.CREATES,),
)
async def attach_limit(lab: Lab) -> None:
    _, _, exchange = await _fill_node(lab)
    limit = lab.peer.node.max_volumes_per_node
    exchange.refused(Code.RESOURCE_EXHAUSTED, why=f"the node can have {limit} volumes")


@rule(
    "publish.detach-frees-slot",
    section="ControllerPublishVolume",
    title="unpublishing a volume makes room for another one",
    sends="fill a node with volumes until one is refused, unpublish one of them, publish the refused one",
    demands="OK",
    needs=ATTACHES,
    danger=(Danger.CREATES,),
)
async def detach_frees_slot(lab: Lab) -> None:
    published, waiting, exchange = await _fill_node(lab)
    if exchange.ok:
        raise Skipped("the node took more volumes than it says it can have; see publish.attach-limit")
    if not published:
        raise Skipped("the node had no slot left for a first volume")
    _must_detach(await lab.settle(_detach(published[0], lab.peer.node.node_id)))
    _must_attach(await lab.settle(_request(lab, waiting)))


@rule(
    "publish.readonly-enforced",
    section="ControllerPublishVolume",
    title="a volume published read-only by the controller cannot be written to on the node",
    sends="a used volume again, attached with readonly=true; stage; NodePublishVolume with readonly=false; a write",
    demands="one of the calls is refused, or the write is",
    needs=(*USE, *ATTACHES, READONLY),
    danger=(Danger.CREATES,),
)
async def readonly_enforced(lab: Lab) -> None:
    volume = await lab.create()
    await (await lab.use(volume)).end()  # a blank device could not get its file system read-only
    use = await lab.ready(volume, readonly=True)
    if use.staging and not (await lab.settle(use.stage_request())).ok:
        return
    target = lab.path()
    exchange = await lab.settle(use.publish_request(target))
    if exchange.ok:
        expect(
            await lab.io(write_refused, target),
            "the volume was attached with readonly=true and could be written to at its target path",
            exchange,
        )
