"""Publishing on a node: what is at the target path, what is left of it, and what is refused."""

from __future__ import annotations

import os

import msgspec
from msgspec import Struct

from moorage.host.mountinfo import find_mount
from moorage.spec import messages as m
from moorage.spec.errors import Code
from moorage.spec.rules import NODE_ID_LIMIT_BYTES
from moorage.spec.types import PluginCapability, Volume, VolumeCapability
from moorage.verify.content import Pattern
from moorage.verify.lab import Lab
from moorage.verify.needs import MOUNT, STAGE, USE
from moorage.verify.rule import Danger, Severity, Skipped, expect, rule
from moorage.verify.use import Use

_NO_VOLUME = "moorage-verify-no-such-volume"
_NO_FILE_SYSTEM = "no-such-fs"


@rule(
    "node.info",
    section="NodeGetInfo",
    title="a node says who it is, and always the same",
    sends="NodeGetInfo twice",
    demands=f"one node_id of 1 to {NODE_ID_LIMIT_BYTES} bytes, no negative limit, topology only where it is declared",
    needs=("Node",),
)
async def info(lab: Lab) -> None:
    first = (await lab.settle(m.NodeGetInfoRequest())).response(m.NodeGetInfoResponse)
    size = len(first.node_id.encode())
    expect(bool(first.node_id), "node_id is empty", lab.last)
    expect(size <= NODE_ID_LIMIT_BYTES, f"node_id has {size} bytes; {NODE_ID_LIMIT_BYTES} are the limit", lab.last)
    expect(first.max_volumes_per_node >= 0, f"max_volumes_per_node is {first.max_volumes_per_node}", lab.last)
    told = first.accessible_topology is not None
    declared = lab.has(PluginCapability.VOLUME_ACCESSIBILITY_CONSTRAINTS)
    expect(declared or not told, "topology is told and VOLUME_ACCESSIBILITY_CONSTRAINTS is not declared", lab.last)
    again = (await lab.settle(m.NodeGetInfoRequest())).response(m.NodeGetInfoResponse)
    expect(again.node_id == first.node_id, f"node_id was {first.node_id!r} and is now {again.node_id!r}", lab.last)


@rule(
    "node.info-topology",
    section="NodeGetInfo",
    title="a driver with topology tells where the node is",
    sends="NodeGetInfo",
    demands="accessible_topology with at least one segment; without it a CO takes every volume to be in reach",
    severity=Severity.ADVICE,
    needs=("Node", PluginCapability.VOLUME_ACCESSIBILITY_CONSTRAINTS),
)
async def info_topology(lab: Lab) -> None:
    answer = (await lab.settle(m.NodeGetInfoRequest())).response(m.NodeGetInfoResponse)
    place = answer.accessible_topology
    expect(place is not None and bool(place.segments), "the node tells no topology", lab.last)


@rule(
    "node.target-is-a-mount",
    section="NodePublishVolume",
    title="the target path is a mount point of the volume",
    sends="a volume's way to a target path that does not exist yet",
    demands="the target path is made, and mountinfo has a mount there",
    needs=MOUNT,
    danger=(Danger.CREATES,),
)
async def target_is_a_mount(lab: Lab) -> None:
    capability = lab.capability(block=False)
    use = await lab.use(await lab.create(volume_capabilities=(capability,)), capability)
    expect(bool(await use.mounts()), f"nothing is mounted at {use.target}: data written there is not the volume's")
    await use.end()


@rule(
    "node.unpublish-removes-target",
    section="NodeUnpublishVolume",
    title="nothing is left of the target path",
    sends="NodePublishVolume and NodeUnpublishVolume",
    demands="afterwards there is neither a mount nor a file nor a directory at the target path",
    needs=USE,
    danger=(Danger.CREATES,),
)
async def unpublish_removes_target(lab: Lab) -> None:
    use = await lab.use(await lab.create())
    await use.unpublish()
    await _expect_gone(use, "after NodeUnpublishVolume")


async def _expect_gone(use: Use, when: str) -> None:
    io = use.lab.io
    expect(await io(find_mount, use.target) is None, f"{use.target} is still mounted {when}", use.lab.last)
    expect(not await io(os.path.lexists, use.target), f"{use.target} is still there {when}", use.lab.last)


@rule(
    "node.publish-twice",
    section="NodePublishVolume",
    title="publishing at a target path again changes nothing",
    sends="NodePublishVolume three times with equal fields, data written after the first; NodeUnpublishVolume once",
    demands="all answers are OK, the data stays, and one NodeUnpublishVolume takes everything away",
    needs=USE,
    danger=(Danger.CREATES,),
)
async def publish_twice(lab: Lab) -> None:
    use = await lab.use(await lab.create())
    pattern = Pattern(seed=lab.random.getrandbits(32), size_bytes=4096)
    await use.write(pattern)
    for _ in range(2):
        await use.publish(target=use.target)
    await use.expect_pattern(pattern, "after NodePublishVolume was repeated")
    await use.unpublish()
    await _expect_gone(use, "after three equal NodePublishVolume and one NodeUnpublishVolume")


@rule(
    "node.unpublish-twice",
    section="NodeUnpublishVolume",
    title="unpublishing again is fine",
    sends="NodeUnpublishVolume three times",
    demands="all answers are OK",
    needs=USE,
    danger=(Danger.CREATES,),
)
async def unpublish_twice(lab: Lab) -> None:
    use = await lab.use(await lab.create())
    for _ in range(3):
        await use.unpublish()


@rule(
    "node.unpublish-other-target",
    section="NodeUnpublishVolume",
    title="unpublishing touches no target but the one that is named",
    sends="a published volume; NodeUnpublishVolume with a path where it never was",
    demands="OK or NOT_FOUND, and the volume stays published where it is",
    needs=USE,
    danger=(Danger.CREATES,),
)
async def unpublish_other_target(lab: Lab) -> None:
    use = await lab.use(await lab.create())
    pattern = Pattern(seed=lab.random.getrandbits(32), size_bytes=4096)
    await use.write(pattern)
    exchange = await lab.settle(use.unpublish_request(lab.path()))
    if not exchange.ok:
        exchange.refused(Code.NOT_FOUND, why="nothing is published at this path, so nothing stays to be done")
    await use.expect_pattern(pattern, "after another target path was unpublished")


@rule(
    "node.unpublish-unknown-volume",
    section="NodeUnpublishVolume",
    title="unpublishing and unstaging a volume that does not exist ends",
    sends="NodeUnpublishVolume, and NodeUnstageVolume of drivers that stage, with a volume_id that nothing has",
    demands="OK or NOT_FOUND",
    needs=("Node",),
)
async def unpublish_unknown_volume(lab: Lab) -> None:
    requests: list[Struct] = [m.NodeUnpublishVolumeRequest(volume_id=_NO_VOLUME, target_path=lab.path())]
    if lab.has(STAGE):
        requests.append(m.NodeUnstageVolumeRequest(volume_id=_NO_VOLUME, staging_target_path=lab.path("staging")))
    for request in requests:
        exchange = await lab.settle(request)
        if not exchange.ok:
            exchange.refused(Code.NOT_FOUND, why="there is nothing to undo; any other code is repeated for ever")


@rule(
    "node.unknown-volume",
    section="NodeStageVolume",
    title="a volume that does not exist is neither staged nor published",
    sends="NodeStageVolume and NodePublishVolume with a volume_id that nothing has, and without any context",
    demands="NOT_FOUND; also INVALID_ARGUMENT or FAILED_PRECONDITION, for what else is missing in the call",
    severity=Severity.SHOULD,
    needs=USE,
    danger=(Danger.CREATES,),
)
async def unknown_volume(lab: Lab) -> None:
    use = await lab.placed(Volume(_NO_VOLUME))
    requests: list[Struct] = [use.stage_request()] if use.staging else []
    for request in (*requests, use.publish_request(lab.path())):
        exchange = await lab.settle(request)
        exchange.refused(Code.NOT_FOUND, Code.INVALID_ARGUMENT, Code.FAILED_PRECONDITION, why="no volume has this id")


@rule(
    "node.publish-without-staging-path",
    section="NodePublishVolume",
    title="a driver that stages does not publish without a staging path",
    sends="NodePublishVolume of a staged volume without staging_target_path",
    demands="FAILED_PRECONDITION",
    needs=(*USE, STAGE),
    danger=(Danger.CREATES,),
)
async def publish_without_staging_path(lab: Lab) -> None:
    use = await lab.ready(await lab.create())
    await use.stage()
    request = msgspec.structs.replace(use.publish_request(lab.path()), staging_target_path="")
    exchange = await lab.settle(request)
    exchange.refused(
        Code.FAILED_PRECONDITION, why="STAGE_UNSTAGE_VOLUME is declared and staging_target_path is not set"
    )


@rule(
    "node.unsupported-capability",
    section="NodePublishVolume",
    title="what CreateVolume refuses is not published either",
    sends="attach, stage and publish of a plain volume, with an access type or file system that CreateVolume refuses",
    demands="one of the calls is refused",
    needs=USE,
    danger=(Danger.CREATES,),
)
async def unsupported_capability(lab: Lab) -> None:
    refused = await _refused_capability(lab)
    use = await lab.placed(await lab.create(), refused)
    exchange = await use.attempt()
    what = "block access" if refused.is_block else f"the file system {refused.mount.fs_type!r}"
    expect(not exchange.ok, f"CreateVolume refuses {what}, and a volume was published with it", exchange)


async def _refused_capability(lab: Lab) -> VolumeCapability:
    for capability in (lab.capability(block=True), lab.capability(block=False, fs_type=_NO_FILE_SYSTEM)):
        exchange = await lab.settle(lab.create_request(volume_capabilities=(capability,)))
        if exchange.code is Code.INVALID_ARGUMENT:
            return capability
    raise Skipped("CreateVolume takes every access type and even a file system that does not exist")
