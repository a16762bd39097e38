"""Gates, and declarations that contradict each other."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec import structs

from moorage.spec.capabilities import Declared, contradictions, gate_open
from moorage.spec.rules import RPCS
from moorage.spec.types import (
    ControllerCapability as Controller,
)
from moorage.spec.types import (
    GroupControllerCapability as Group,
)
from moorage.spec.types import (
    NodeCapability as Node,
)
from moorage.spec.types import (
    OpenEnum,
    VolumeExpansion,
)
from moorage.spec.types import (
    PluginCapability as Plugin,
)

ALL_SERVICES = frozenset({"Identity", "Controller", "GroupController", "SnapshotMetadata", "Node"})
CONTROLLER = frozenset({Plugin.CONTROLLER_SERVICE})
SOUND = Declared(
    plugin=frozenset({Plugin.CONTROLLER_SERVICE, Plugin.GROUP_CONTROLLER_SERVICE, Plugin.SNAPSHOT_METADATA_SERVICE}),
    expansion=frozenset({VolumeExpansion.ONLINE}),
    controller=frozenset(Controller) - {Controller.UNKNOWN},
    group=frozenset({Group.CREATE_DELETE_GET_VOLUME_GROUP_SNAPSHOT}),
    node=frozenset(Node) - {Node.UNKNOWN},
    services=ALL_SERVICES,
)


def test_a_full_plugin_is_free_of_contradictions_and_offers_everything() -> None:
    assert contradictions(SOUND) == []
    assert all(gate_open(rpc, SOUND) for rpc in RPCS.values())


def test_the_smallest_plugin_offers_its_identity_only() -> None:
    smallest = Declared()
    assert contradictions(smallest) == []
    offered = {rpc.name for rpc in RPCS.values() if gate_open(rpc, smallest)}
    assert offered == {"GetPluginInfo", "GetPluginCapabilities", "Probe"}


def test_a_service_that_is_not_served_is_closed_whatever_is_declared() -> None:
    node_only = structs.replace(SOUND, services=frozenset({"Identity", "Node"}))
    assert not gate_open(RPCS["CreateVolume"], node_only)
    assert not gate_open(RPCS["GetMetadataDelta"], node_only)
    assert gate_open(RPCS["NodeStageVolume"], node_only)


@pytest.mark.parametrize("rpc", [pytest.param(rpc, id=name) for name, rpc in RPCS.items() if rpc.gate])
def test_without_its_capability_an_rpc_is_closed(rpc: Any) -> None:
    gate = frozenset(rpc.gate)
    closed = Declared(
        controller=frozenset(c for c in SOUND.controller if c not in gate or type(c) is not type(rpc.gate[0])),
        group=frozenset(c for c in SOUND.group if c not in gate or type(c) is not type(rpc.gate[0])),
        node=frozenset(c for c in SOUND.node if c not in gate or type(c) is not type(rpc.gate[0])),
        services=ALL_SERVICES,
    )
    assert not gate_open(rpc, closed)
    assert gate_open(rpc, SOUND)


def test_capabilities_of_other_kinds_with_the_same_number_open_nothing() -> None:
    node = Declared(node=frozenset({Node.STAGE_UNSTAGE_VOLUME}), services=ALL_SERVICES)
    assert not gate_open(RPCS["CreateVolume"], node)
    assert not gate_open(RPCS["CreateVolumeGroupSnapshot"], node)
    assert gate_open(RPCS["NodeStageVolume"], node)


def test_stats_are_open_for_peers_that_know_only_volume_condition() -> None:
    old = Declared(node=frozenset({Node.VOLUME_CONDITION}), services=ALL_SERVICES)
    assert gate_open(RPCS["NodeGetVolumeStats"], old)


def declared(
    *capabilities: OpenEnum,
    services: frozenset[str] = frozenset({"Identity", "Controller", "Node"}),
) -> Declared:
    def of(kind: type[OpenEnum]) -> Any:
        return frozenset(c for c in capabilities if type(c) is kind)

    return Declared(of(Plugin), of(VolumeExpansion), of(Controller), of(Group), of(Node), services)


SERVED = Plugin.CONTROLLER_SERVICE


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        pytest.param(
            declared(SERVED, Controller.LIST_VOLUMES, Controller.LIST_VOLUMES_PUBLISHED_NODES),
            "LIST_VOLUMES_PUBLISHED_NODES needs PUBLISH_UNPUBLISH_VOLUME",
            id="published-nodes-without-publish",
        ),
        pytest.param(
            declared(SERVED, Controller.PUBLISH_UNPUBLISH_VOLUME, Controller.LIST_VOLUMES_PUBLISHED_NODES),
            "LIST_VOLUMES_PUBLISHED_NODES needs LIST_VOLUMES or GET_VOLUME",
            id="published-nodes-without-list",
        ),
        pytest.param(
            declared(SERVED, Controller.PUBLISH_READONLY),
            "PUBLISH_READONLY needs PUBLISH",
            id="readonly-without-publish",
        ),
        pytest.param(
            declared(SERVED, Controller.LIST_VOLUME_HEALTH),
            "LIST_VOLUME_HEALTH needs GET",
            id="health-list-without-get",
        ),
        pytest.param(
            declared(SERVED, Controller.CREATE_DELETE_SNAPSHOT),
            "CREATE_DELETE_SNAPSHOT needs CREATE_DELETE_VOLUME",
            id="snapshots-that-nobody-can-restore",
        ),
        pytest.param(
            declared(SERVED, Controller.CLONE_VOLUME),
            "CLONE_VOLUME needs CREATE_DELETE_VOLUME",
            id="clone-without-create",
        ),
        pytest.param(declared(SERVED, VolumeExpansion.ONLINE), "ONLINE volume expansion needs", id="online-by-nobody"),
        pytest.param(
            declared(SERVED, VolumeExpansion.OFFLINE, Node.EXPAND_VOLUME),
            "OFFLINE volume expansion needs controller",
            id="offline-by-the-node-alone",
        ),
        pytest.param(
            declared(SERVED, VolumeExpansion.OFFLINE, VolumeExpansion.ONLINE, Controller.EXPAND_VOLUME),
            "exclude each other",
            id="online-and-offline",
        ),
        pytest.param(declared(SERVED, Controller.UNKNOWN), "controller capabilities hold UNKNOWN", id="unknown"),
        pytest.param(declared(SERVED, Node.UNKNOWN), "node capabilities hold UNKNOWN", id="unknown-node"),
        pytest.param(declared(Plugin.UNKNOWN, SERVED), "plugin capabilities hold UNKNOWN", id="unknown-plugin"),
        pytest.param(declared(), "Controller service is served without", id="controller-undeclared"),
        pytest.param(
            declared(Controller.LIST_VOLUMES, services=frozenset({"Identity"})),
            "controller capabilities are declared without",
            id="controller-capabilities-without-service",
        ),
        pytest.param(
            declared(Plugin.GROUP_CONTROLLER_SERVICE, services=frozenset({"Identity", "GroupController"})),
            "GroupController service declares no capability",
            id="empty-group-controller",
        ),
        pytest.param(
            declared(Group.CREATE_DELETE_GET_VOLUME_GROUP_SNAPSHOT, services=frozenset({"Identity"})),
            "group controller capabilities are declared without",
            id="group-capabilities-without-service",
        ),
        pytest.param(
            declared(services=frozenset({"Identity", "SnapshotMetadata"})),
            "SNAPSHOT_METADATA_SERVICE",
            id="metadata-undeclared",
        ),
        pytest.param(declared(services=frozenset({"Node"})), "Identity service is not served", id="no-identity"),
    ],
)
def test_each_contradiction_is_told_once(given: Declared, sentence: str) -> None:
    found = contradictions(given)
    assert len(found) == 1
    assert sentence in found[0]


def test_a_node_process_is_not_blamed_for_what_the_controller_declares() -> None:
    node = declared(SERVED, VolumeExpansion.ONLINE, services=frozenset({"Identity", "Node"}))
    offline = declared(SERVED, VolumeExpansion.OFFLINE, services=frozenset({"Identity", "Node"}))
    assert contradictions(node) == contradictions(offline) == []


def test_numbers_of_later_versions_are_no_contradiction() -> None:
    assert contradictions(declared(SERVED, Controller(4711), Node(4711), Plugin(4711))) == []
