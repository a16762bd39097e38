"""CreateVolume: where a volume may be. Only the place of the node under test is known, and places that are none."""

from __future__ import annotations

import msgspec

from moorage.spec import messages as m
from moorage.spec.errors import Code
from moorage.spec.topology import describe, matches
from moorage.spec.types import ControllerCapability, PluginCapability, Topology, TopologyRequirement
from moorage.verify.exchange import Exchange
from moorage.verify.lab import Lab
from moorage.verify.rule import Danger, Skipped, expect, rule
from moorage.verify.unsupported import elsewhere

CREATE = ControllerCapability.CREATE_DELETE_VOLUME
PLACES = PluginCapability.VOLUME_ACCESSIBILITY_CONSTRAINTS

_REFUSALS = (Code.RESOURCE_EXHAUSTED, Code.INVALID_ARGUMENT)


def _here(lab: Lab) -> Topology:
    place = lab.peer.node.accessible_topology
    if place is None:
        raise Skipped("the node tells no accessible_topology")
    return place


def _expect_reachable(exchange: Exchange, requirement: TopologyRequirement) -> None:
    """Raises Failed unless the call made a volume that meets the requirement."""
    volume = exchange.response(m.CreateVolumeResponse).volume
    where = ", ".join(describe(place) for place in volume.accessible_topology)
    expect(
        matches(requirement, volume.accessible_topology),
        f"the volume is accessible from {where}, and from none of the requisite topologies",
        exchange,
    )


@rule(
    "create.within-requisite",
    section="CreateVolume",
    title="a volume is accessible from where it is required",
    sends="CreateVolume with the node's topology as requisite and preferred, as preferred alone, and without any",
    demands="OK; with a requisite, an accessible_topology that has one of its topologies (or is empty: everywhere)",
    needs=(CREATE, PLACES, "Node"),
    danger=(Danger.CREATES,),
)
async def within_requisite(lab: Lab) -> None:
    here = _here(lab)
    for requirement in (
        TopologyRequirement((here,), (here,)),
        TopologyRequirement((), (here,)),
        None,
    ):
        exchange = await lab.settle(lab.create_request(accessibility_requirements=requirement))
        _expect_reachable(exchange, requirement or TopologyRequirement())


@rule(
    "create.any-of-requisite",
    section="CreateVolume",
    title="one possible place among the requisite ones is enough",
    sends="CreateVolume with a place that does not exist and the node's own as requisite, the first also preferred",
    demands="OK with a volume at the node's place; a driver that refuses unknown places is not judged",
    needs=(CREATE, PLACES, "Node"),
    danger=(Danger.CREATES,),
)
async def any_of_requisite(lab: Lab) -> None:
    here, nowhere = _here(lab), elsewhere(lab)
    requirement = TopologyRequirement((nowhere, here), (nowhere, here))
    exchange = await lab.settle(lab.create_request(accessibility_requirements=requirement))
    if exchange.code is Code.INVALID_ARGUMENT:
        raise Skipped("the driver refuses requirements that name a place it does not know")
    _expect_reachable(exchange, TopologyRequirement((here,)))


@rule(
    "create.impossible-place",
    section="CreateVolume",
    title="a volume is not put where it may not be",
    sends="CreateVolume with a place that does not exist as the only requisite; then with the same name for the node's "
    "own place",
    demands="RESOURCE_EXHAUSTED (or INVALID_ARGUMENT), then OK; or OK with a volume that is accessible as asked",
    needs=(CREATE, PLACES, "Node"),
    danger=(Danger.CREATES,),
)
async def impossible_place(lab: Lab) -> None:
    requirement = TopologyRequirement((elsewhere(lab),))
    request = lab.create_request(accessibility_requirements=requirement)
    exchange = await lab.settle(request)
    if exchange.ok:
        _expect_reachable(exchange, requirement)
        return
    exchange.refused(*_REFUSALS, why="the requisite place does not exist")
    await lab.create(name=request.name)


@rule(
    "create.same-name-other-place",
    section="CreateVolume",
    title="a name is not answered with a volume that is out of reach",
    sends="CreateVolume, then with the same name and a place that does not exist as the only requisite",
    demands="ALREADY_EXISTS (RESOURCE_EXHAUSTED or INVALID_ARGUMENT are taken as well), or OK with a volume that is "
    "accessible as asked",
    needs=(CREATE, PLACES, "Node"),
    danger=(Danger.CREATES,),
)
async def same_name_other_place(lab: Lab) -> None:
    requirement = TopologyRequirement((elsewhere(lab),))
    request = lab.create_request()
    (await lab.settle(request)).response(m.CreateVolumeResponse)
    exchange = await lab.settle(msgspec.structs.replace(request, accessibility_requirements=requirement))
    if exchange.ok:
        _expect_reachable(exchange, requirement)
    else:
        why = "the name belongs to a volume that is not accessible from the requisite place"
        exchange.refused(Code.ALREADY_EXISTS, *_REFUSALS, why=why)
