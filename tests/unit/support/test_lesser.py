"""Drivers that declare less: sound by themselves, and watched closely enough to know who must meet them."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest
from msgspec import Struct
from msgspec.structs import replace
from tests.support.exchanges import exchange
from tests.support.lesser import LESSER, WHOLE, Lesser, kind_of, without
from tests.support.lesser_answers import allowed, refusal
from tests.support.lesser_trace import Trace, Watcher, concerned

from moorage.spec import messages as m
from moorage.spec.capabilities import contradictions
from moorage.spec.errors import Code
from moorage.spec.rules import BY_REQUEST
from moorage.spec.types import (
    AccessMode,
    ControllerCapability,
    NodeCapability,
    OpenEnum,
    PluginCapability,
    Snapshot,
    Topology,
    UsageUnit,
    Volume,
    VolumeCapability,
    VolumeCondition,
    VolumeUsage,
)
from moorage.verify import Peer, Rule, rule
from moorage.verify.exchange import Exchange
from moorage.verify.lab import Lab

HERE = Topology({"x/zone": "a"})
NOW = datetime(2026, 1, 1, tzinfo=UTC)
STATUS = m.VolumeStatus(published_node_ids=("here",), volume_condition=VolumeCondition(message="fine"))
SHARED = VolumeCapability(AccessMode.SINGLE_NODE_MULTI_WRITER)


@pytest.mark.parametrize("lesser", LESSER.values(), ids=LESSER)
def test_a_lesser_driver_does_not_contradict_itself(lesser: Lesser) -> None:
    assert contradictions(lesser.whole) == []


def test_each_capability_is_dropped_once() -> None:
    dropped = {name for name in LESSER if name.endswith("-dropped")}
    whole = (*WHOLE.plugin, *WHOLE.expansion, *WHOLE.controller, *WHOLE.node)
    assert dropped == {f"{kind_of(capability)}-{capability.name}-dropped" for capability in whole}


@pytest.mark.parametrize(
    ("gone", "left_out"),
    [
        pytest.param(ControllerCapability.GET_CAPACITY, {"GET_CAPACITY"}, id="alone"),
        pytest.param(
            ControllerCapability.PUBLISH_UNPUBLISH_VOLUME,
            {"PUBLISH_UNPUBLISH_VOLUME", "PUBLISH_READONLY", "LIST_VOLUMES_PUBLISHED_NODES"},
            id="with-dependants",
        ),
        pytest.param(
            PluginCapability.SNAPSHOT_METADATA_SERVICE, {"SNAPSHOT_METADATA_SERVICE", "SnapshotMetadata"}, id="service"
        ),
    ],
)
def test_what_depends_on_a_capability_goes_with_it(gone: OpenEnum, left_out: set[str]) -> None:
    less = without(WHOLE, gone)
    fields = ("plugin", "expansion", "controller", "group", "node", "services")
    differing = {getattr(x, "name", x) for field in fields for x in getattr(WHOLE, field) - getattr(less, field)}
    assert differing == left_out


@pytest.mark.parametrize(
    ("gone", "whole", "less"),
    [
        pytest.param(
            PluginCapability.VOLUME_ACCESSIBILITY_CONSTRAINTS,
            m.CreateVolumeResponse(Volume("v", accessible_topology=(HERE,))),
            m.CreateVolumeResponse(Volume("v")),
            id="topology-of-volumes",
        ),
        pytest.param(
            PluginCapability.VOLUME_ACCESSIBILITY_CONSTRAINTS,
            m.NodeGetInfoResponse("here", accessible_topology=HERE),
            m.NodeGetInfoResponse("here"),
            id="topology-of-the-node",
        ),
        pytest.param(
            PluginCapability.SNAPSHOT_ACCESSIBILITY_CONSTRAINTS,
            m.ListSnapshotsResponse((Snapshot("s", "v", NOW, accessible_topology=(HERE,)),), "more"),
            m.ListSnapshotsResponse((Snapshot("s", "v", NOW),), "more"),
            id="topology-of-snapshots",
        ),
        pytest.param(
            ControllerCapability.LIST_VOLUMES_PUBLISHED_NODES,
            m.ListVolumesResponse((m.ListedVolume(Volume("v"), STATUS),)),
            m.ListVolumesResponse((m.ListedVolume(Volume("v"), replace(STATUS, published_node_ids=())),)),
            id="published-nodes",
        ),
        pytest.param(
            ControllerCapability.VOLUME_CONDITION,
            m.ControllerGetVolumeResponse(Volume("v"), STATUS),
            m.ControllerGetVolumeResponse(Volume("v"), m.VolumeStatus(("here",))),
            id="condition-of-a-volume",
        ),
        pytest.param(
            NodeCapability.GET_VOLUME_STATS,
            m.NodeGetVolumeStatsResponse((VolumeUsage(UsageUnit.BYTES, 9),), VolumeCondition(message="fine")),
            m.NodeGetVolumeStatsResponse((), VolumeCondition(message="fine")),
            id="usage",
        ),
        pytest.param(
            NodeCapability.EXPAND_VOLUME,
            m.ControllerExpandVolumeResponse(9, node_expansion_required=True),
            m.ControllerExpandVolumeResponse(9),
            id="node-expansion",
        ),
        pytest.param(
            ControllerCapability.GET_CAPACITY,
            m.ControllerGetCapabilitiesResponse(WHOLE.controller),
            m.ControllerGetCapabilitiesResponse(WHOLE.controller - {ControllerCapability.GET_CAPACITY}),
            id="capabilities",
        ),
    ],
)
def test_what_is_not_declared_is_not_said(gone: OpenEnum, whole: Struct, less: Struct) -> None:
    assert allowed(whole, WHOLE) == whole
    assert allowed(whole, without(WHOLE, gone)) == less


@pytest.mark.parametrize(
    ("gone", "request_", "code"),
    [
        pytest.param(ControllerCapability.GET_CAPACITY, m.GetCapacityRequest(), Code.UNIMPLEMENTED, id="rpc"),
        pytest.param(
            ControllerCapability.PUBLISH_READONLY,
            m.ControllerPublishVolumeRequest("v", "here", SHARED, readonly=True),
            Code.INVALID_ARGUMENT,
            id="field",
        ),
        pytest.param(
            ControllerCapability.SINGLE_NODE_MULTI_WRITER,
            m.CreateVolumeRequest("v", (SHARED,)),
            Code.INVALID_ARGUMENT,
            id="mode-at-the-controller",
        ),
        pytest.param(
            NodeCapability.SINGLE_NODE_MULTI_WRITER,
            m.NodePublishVolumeRequest("v", "/t", SHARED, "/s"),
            Code.FAILED_PRECONDITION,
            id="mode-on-the-node",
        ),
    ],
)
def test_what_is_not_declared_is_refused(gone: OpenEnum, request_: Struct, code: Code) -> None:
    rpc = BY_REQUEST[type(request_)]
    assert refusal(rpc, request_, WHOLE) is None
    refused = refusal(rpc, request_, without(WHOLE, gone))
    assert refused is not None
    assert refused.code is code


# --- who must meet a driver ---------------------------------------------------------------------------


async def _nothing(lab: Lab) -> None:
    """Never run."""


def a_rule(name: str = "create.probe") -> Rule:
    return rule(name, section="s", title="t", sends="x", demands="y")(_nothing)


@pytest.fixture
def watcher(tmp_path: Path) -> Watcher:
    peer = Peer(f"unix://{tmp_path}/none.sock")
    peer.declared = WHOLE
    return Watcher(peer)


@pytest.mark.parametrize(
    ("asks", "notices"),
    [
        pytest.param(lambda peer: peer.declared.has(NodeCapability.EXPAND_VOLUME), True, id="this-capability"),
        pytest.param(lambda peer: peer.declared.has(ControllerCapability.LIST_VOLUMES), False, id="of-equal-number"),
        pytest.param(lambda peer: list(peer.declared.node), True, id="the-whole-set"),
        pytest.param(lambda peer: "Node" in peer.declared.services, False, id="a-service"),
        pytest.param(lambda peer: None, False, id="nothing"),
    ],
)
def test_who_asks_for_a_capability_notices_that_it_is_gone(watcher: Watcher, asks: object, notices: bool) -> None:
    assert callable(asks)
    lesser = Lesser(name="l", declared=without(WHOLE, NodeCapability.EXPAND_VOLUME))
    watcher.observe(a_rule(), None)
    asks(watcher.peer)
    watcher.current.exchanges = ()
    assert bool(concerned([a_rule()], {"create.probe": watcher.current}, WHOLE, lesser)) is notices


def test_a_watched_declaration_answers_as_before(watcher: Watcher) -> None:
    watched = watcher.peer.declared
    assert watched.has(NodeCapability.EXPAND_VOLUME)
    assert not watched.has(NodeCapability(99))
    assert watched.services == WHOLE.services
    assert watched.controller == WHOLE.controller


CREATED = m.CreateVolumeResponse(Volume("v", accessible_topology=(HERE,)))
CREATE = m.CreateVolumeRequest("v", (VolumeCapability(AccessMode.SINGLE_NODE_WRITER),))


@pytest.mark.parametrize(
    ("gone", "call", "notices"),
    [
        pytest.param(ControllerCapability.GET_CAPACITY, exchange(CREATE, CREATED), False, id="another-rpc"),
        pytest.param(ControllerCapability.CREATE_DELETE_VOLUME, exchange(CREATE, CREATED), True, id="its-rpc"),
        pytest.param(
            PluginCapability.VOLUME_ACCESSIBILITY_CONSTRAINTS, exchange(CREATE, CREATED), True, id="an-answer-with-it"
        ),
        pytest.param(
            ControllerCapability.SINGLE_NODE_MULTI_WRITER,
            exchange(replace(CREATE, volume_capabilities=(SHARED,)), code=Code.RESOURCE_EXHAUSTED),
            True,
            id="a-request-refused-otherwise",
        ),
        pytest.param(
            ControllerCapability.SINGLE_NODE_MULTI_WRITER,
            exchange(replace(CREATE, volume_capabilities=(SHARED,)), code=Code.INVALID_ARGUMENT),
            False,
            id="a-request-refused-all-the-same",
        ),
        pytest.param(
            NodeCapability.STAGE_UNSTAGE_VOLUME, exchange(m.NodeUnpublishVolumeRequest("v", "/t")), True, id="a-step"
        ),
    ],
)
def test_who_is_answered_otherwise_notices(gone: OpenEnum, call: Exchange, notices: bool) -> None:
    trace = Trace(exchanges=(call,))
    lesser = Lesser(name="l", declared=without(WHOLE, gone))
    assert bool(concerned([a_rule()], {"create.probe": trace}, WHOLE, lesser)) is notices


def test_rules_about_every_answer_are_never_left_out() -> None:
    rules = [a_rule(), a_rule("wire.probe")]
    traces = {each.id: Trace() for each in rules}
    found = concerned(rules, traces, WHOLE, Lesser(name="l", declared=WHOLE))
    assert [each.id for each in found] == ["wire.probe"]


@pytest.mark.parametrize("robustness", [True, False])
def test_rules_about_robustness_are_run_where_they_are_asked_for(robustness: bool) -> None:
    lesser = Lesser(name="l", declared=WHOLE, robustness=robustness)
    assert bool(concerned([a_rule("robustness.probe")], {}, WHOLE, lesser)) is robustness


def test_a_second_socket_is_noticed_by_who_calls_there() -> None:
    rules = [a_rule(), a_rule("node.probe")]
    traces = {
        "create.probe": Trace(exchanges=(exchange(CREATE, CREATED),)),
        "node.probe": Trace(exchanges=(exchange(m.NodeUnpublishVolumeRequest("v", "/t"), code=Code.NOT_FOUND),)),
    }
    found = concerned(rules, traces, WHOLE, LESSER["two-sockets"])
    assert [each.id for each in found] == ["node.probe"]
