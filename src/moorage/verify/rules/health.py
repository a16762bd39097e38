"""Health of volumes and storage (CSI 1.13, alpha), and the VolumeCondition of CSI 1.3 to 1.12.

A suite cannot break a volume, so these rules judge the form of what is told, who it is told of, and whether two
answers about one volume agree.
"""

from __future__ import annotations

from typing import Final

from msgspec import Struct

from moorage.spec import messages as m
from moorage.spec.errors import Code
from moorage.spec.responses import response_problems
from moorage.spec.types import ControllerCapability, NodeCapability, VolumeCondition, VolumeHealth
from moorage.verify.exchange import Exchange
from moorage.verify.lab import Lab
from moorage.verify.listings import VOLUME_HEALTH, VOLUMES, eventually, wait_listed, walk
from moorage.verify.rule import Danger, Facility, Need, Severity, expect, rule
from moorage.verify.use import Use

CREATE = ControllerCapability.CREATE_DELETE_VOLUME
GET = ControllerCapability.GET_VOLUME_HEALTH
LIST = ControllerCapability.LIST_VOLUME_HEALTH
NODE = NodeCapability.GET_VOLUME_HEALTH
STORAGE = NodeCapability.GET_STORAGE_HEALTH
CONDITION = ControllerCapability.VOLUME_CONDITION
NODE_CONDITION = NodeCapability.VOLUME_CONDITION
USED: Final[tuple[Need | tuple[Need, ...], ...]] = ("Node", (Facility.MOUNT, Facility.BLOCK), Facility.LOCAL)


def _expect_sound(response: Struct, exchange: Exchange) -> None:
    """Raises Failed for the first thing in a response that breaks the form that the specification gives it."""
    problems = response_problems(exchange.rpc, response)
    expect(not problems, "; ".join(problems[:1]), exchange)


# --- the controller's view ------------------------------------------------------------------------


async def _controller_health(lab: Lab, volume_id: str) -> VolumeHealth:
    exchange = await lab.settle(m.ControllerGetVolumeHealthRequest(volume_id=volume_id))
    response = exchange.response(m.ControllerGetVolumeHealthResponse)
    _expect_sound(response, exchange)
    return response.volume_health


@rule(
    "health.controller-get",
    section="ControllerGetVolumeHealth",
    title="the health of a volume can be asked for",
    sends="CreateVolume, ControllerGetVolumeHealth",
    demands="OK with the id of that volume; each entry has a status and one CamelCase word as reason, none twice",
    needs=(CREATE, GET),
    danger=(Danger.CREATES,),
)
async def controller_get(lab: Lab) -> None:
    volume = await lab.create()
    told = (await _controller_health(lab, volume.volume_id)).volume_id
    expect(told == volume.volume_id, f"the answer is about volume {told!r}", lab.last)


@rule(
    "health.controller-get-unknown",
    section="ControllerGetVolumeHealth",
    title="a volume that does not exist has no health",
    sends="ControllerGetVolumeHealth with an id that no volume has, and with that of a deleted volume",
    demands="NOT_FOUND",
    needs=(CREATE, GET),
    danger=(Danger.CREATES,),
)
async def controller_get_unknown(lab: Lab) -> None:
    volume = await lab.create()
    await lab.delete(volume.volume_id)
    for volume_id in (lab.name("no-such-volume"), volume.volume_id):
        exchange = await lab.settle(m.ControllerGetVolumeHealthRequest(volume_id=volume_id))
        exchange.refused(Code.NOT_FOUND, why="the volume does not exist")


@rule(
    "health.list",
    section="ControllerListVolumeHealth",
    title="the list of volumes that are not healthy has sound entries",
    sends="ControllerListVolumeHealth through all pages",
    demands="OK; each entry has a volume's id, no volume twice, and at least one status with a reason",
    needs=(LIST,),
)
async def list_health(lab: Lab) -> None:
    read = await walk(lab, VOLUME_HEALTH)
    for page in read.pages:
        _expect_sound(m.ControllerListVolumeHealthResponse(page), read.exchange)
    healthy = [entry.volume_id for page in read.pages for entry in page if not entry.health_statuses]
    expect(not healthy, f"volume {''.join(healthy[:1])!r} is listed, and nothing is told to be wrong", read.exchange)


@rule(
    "health.list-agrees-with-get",
    section="ControllerListVolumeHealth",
    title="a volume is listed as not healthy when it says so itself, and only then",
    sends="CreateVolume; ControllerGetVolumeHealth and ControllerListVolumeHealth through all pages",
    demands="within 5 s, the volume is listed with the statuses and reasons of its own answer, or neither tells any",
    needs=(CREATE, GET, LIST),
    danger=(Danger.CREATES,),
)
async def list_agrees_with_get(lab: Lab) -> None:
    volume = await lab.create()
    told: list[list[tuple[int, str]]] = []

    async def agree() -> bool:
        own = await _controller_health(lab, volume.volume_id)
        read = await walk(lab, VOLUME_HEALTH)
        listed = [
            e for page in read.pages for each in page if each.volume_id == own.volume_id for e in each.health_statuses
        ]
        told[:] = [sorted((e.status, e.reason) for e in entries) for entries in (own.health_statuses, listed)]
        return told[0] == told[1]

    agreed = await eventually(agree)
    expect(agreed, f"the volume's own answer tells {told[0]}, and its entry in the list {told[1]}", lab.last)


@rule(
    "health.list-page-size",
    section="ControllerListVolumeHealth",
    title="no page of the list is longer than max_entries",
    sends="ControllerListVolumeHealth with max_entries 1, through all pages",
    demands="at most one entry a page, and an end",
    needs=(LIST,),
)
async def list_page_size(lab: Lab) -> None:
    read = await walk(lab, VOLUME_HEALTH, max_entries=1)
    longest = max(len(page) for page in read.pages)
    expect(longest <= 1, f"{longest} entries came for max_entries 1", read.exchange)


@rule(
    "health.list-invalid-token",
    section="ControllerListVolumeHealth",
    title="a token that was never given out is refused",
    sends='ControllerListVolumeHealth with starting_token "invalid-token"',
    demands="ABORTED",
    needs=(LIST,),
)
async def list_invalid_token(lab: Lab) -> None:
    exchange = await lab.call(m.ControllerListVolumeHealthRequest(starting_token="invalid-token"))
    exchange.refused(Code.ABORTED, why="starting_token is not valid, and the caller has to start again")


# --- the node's view ------------------------------------------------------------------------------


async def _expect_node_health(lab: Lab, volume_id: str, *, target: str = "", staging: str = "") -> None:
    exchange = await lab.settle(m.NodeGetVolumeHealthRequest(volume_id, target, staging))
    response = exchange.response(m.NodeGetVolumeHealthResponse)
    _expect_sound(response, exchange)
    told = response.volume_health.volume_id
    expect(told == volume_id, f"the answer is about volume {told!r}", exchange)


@rule(
    "health.node-get",
    section="NodeGetVolumeHealth",
    title="the health of a published volume can be asked for on its node",
    sends="a volume's way to a target path; NodeGetVolumeHealth with its paths, and without any",
    demands="OK with the id of that volume; each entry has a status and one CamelCase word as reason, none twice",
    needs=(CREATE, NODE, *USED),
    danger=(Danger.CREATES,),
)
async def node_get(lab: Lab) -> None:
    use = await lab.use(await lab.create())
    await _expect_node_health(lab, use.volume.volume_id, target=use.target, staging=use.staging)
    await _expect_node_health(lab, use.volume.volume_id)
    await use.end()


@rule(
    "health.node-get-never-staged",
    section="NodeGetVolumeHealth",
    title="the node tells the health of a volume that was never staged there",
    sends="CreateVolume, NodeGetVolumeHealth with paths at which staging could have been attempted",
    demands="OK with the id of that volume",
    severity=Severity.SHOULD,
    needs=(CREATE, NODE, "Node"),
    danger=(Danger.CREATES,),
)
async def node_get_never_staged(lab: Lab) -> None:
    volume = await lab.create()
    staging = lab.path("staging") if lab.has(NodeCapability.STAGE_UNSTAGE_VOLUME) else ""
    await _expect_node_health(lab, volume.volume_id, target=lab.path(), staging=staging)


@rule(
    "health.node-get-unknown",
    section="NodeGetVolumeHealth",
    title="a volume that does not exist has no health on the node either",
    sends="NodeGetVolumeHealth with an id that no volume has",
    demands="NOT_FOUND",
    severity=Severity.SHOULD,
    needs=(NODE, "Node"),
)
async def node_get_unknown(lab: Lab) -> None:
    exchange = await lab.settle(m.NodeGetVolumeHealthRequest(lab.name("no-such-volume"), lab.path()))
    exchange.refused(Code.NOT_FOUND, why="no volume has this id")


@rule(
    "health.node-storage",
    section="NodeGetStorageHealth",
    title="the health of the storage behind a node can be asked for",
    sends="NodeGetStorageHealth",
    demands="OK; each entry has a status and one CamelCase word as reason, none twice for one capability",
    needs=(STORAGE, "Node"),
)
async def node_storage(lab: Lab) -> None:
    exchange = await lab.settle(m.NodeGetStorageHealthRequest())
    _expect_sound(exchange.response(m.NodeGetStorageHealthResponse), exchange)


# --- VolumeCondition of CSI 1.3 to 1.12 -----------------------------------------------------------


def _expect_condition(condition: VolumeCondition | None, where: str, lab: Lab) -> None:
    expect(condition is not None, f"{where} has no volume_condition, which VOLUME_CONDITION promises", lab.last)
    expect(condition is None or bool(condition.message), f"the volume_condition of {where} has no message", lab.last)


@rule(
    "health.condition-in-list",
    section="ListVolumes (CSI 1.3 to 1.12)",
    title="a driver with VOLUME_CONDITION tells the condition of listed volumes",
    sends="CreateVolume, then ListVolumes through all pages",
    demands="the entry has a volume_condition with a message",
    needs=(CREATE, CONDITION, ControllerCapability.LIST_VOLUMES),
    danger=(Danger.CREATES,),
)
async def condition_in_list(lab: Lab) -> None:
    entry = await wait_listed(lab, VOLUMES, (await lab.create()).volume_id)
    _expect_condition(None if entry.status is None else entry.status.volume_condition, "the entry", lab)


@rule(
    "health.condition-in-get",
    section="ControllerGetVolume (CSI 1.3 to 1.12)",
    title="a driver with VOLUME_CONDITION tells the condition of a volume that is asked for",
    sends="CreateVolume, ControllerGetVolume",
    demands="the status has a volume_condition with a message",
    needs=(CREATE, CONDITION, ControllerCapability.GET_VOLUME),
    danger=(Danger.CREATES,),
)
async def condition_in_get(lab: Lab) -> None:
    exchange = await lab.settle(m.ControllerGetVolumeRequest(volume_id=(await lab.create()).volume_id))
    status = exchange.response(m.ControllerGetVolumeResponse).status
    _expect_condition(status.volume_condition, "the status", lab)


@rule(
    "health.condition-in-stats",
    section="NodeGetVolumeStats (CSI 1.3 to 1.12)",
    title="a driver with VOLUME_CONDITION on the node tells the condition of a published volume",
    sends="a volume's way to a target path; NodeGetVolumeStats",
    demands="OK with a volume_condition with a message",
    needs=(CREATE, NODE_CONDITION, *USED),
    danger=(Danger.CREATES,),
)
async def condition_in_stats(lab: Lab) -> None:
    use: Use = await lab.use(await lab.create())
    request = m.NodeGetVolumeStatsRequest(use.volume.volume_id, use.target, use.staging)
    told = (await lab.settle(request)).response(m.NodeGetVolumeStatsResponse).volume_condition
    _expect_condition(told, "the answer", lab)
    await use.end()
