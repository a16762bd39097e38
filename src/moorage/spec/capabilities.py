"""What a plugin declares, which RPCs that opens, and which declarations contradict each other.

Capability numbers of different enums are equal as integers (`LIST_VOLUMES` of a controller is the number of
`EXPAND_VOLUME` of a node), so a capability is always looked up in the set of its own kind. This module
knows nothing of requests.
"""

from __future__ import annotations

from msgspec import Struct

from moorage.spec.rules import Rpc, Service
from moorage.spec.types import (
    ControllerCapability,
    GroupControllerCapability,
    NodeCapability,
    OpenEnum,
    PluginCapability,
    VolumeExpansion,
)


class Declared(Struct, frozen=True, repr_omit_defaults=True):
    """Everything one process declares: four capability sets, the kinds of expansion, the services it serves.

    `plugin` and `expansion` are the same in every process of a plugin; `services` are those of this one.
    """

    plugin: frozenset[PluginCapability] = frozenset()
    expansion: frozenset[VolumeExpansion] = frozenset()
    controller: frozenset[ControllerCapability] = frozenset()
    group: frozenset[GroupControllerCapability] = frozenset()
    node: frozenset[NodeCapability] = frozenset()
    services: frozenset[str] = frozenset({"Identity"})

    def has(self, capability: OpenEnum) -> bool:
        """Whether this capability is declared, in the set of its own kind."""
        return capability in self.all_of(type(capability))

    def all_of(self, kind: type[OpenEnum]) -> frozenset[OpenEnum]:
        """The declared capabilities of one kind. Raises KeyError for any other enum."""
        sets: dict[type[OpenEnum], frozenset[OpenEnum]] = {
            PluginCapability: frozenset(self.plugin),
            VolumeExpansion: frozenset(self.expansion),
            ControllerCapability: frozenset(self.controller),
            GroupControllerCapability: frozenset(self.group),
            NodeCapability: frozenset(self.node),
        }
        return sets[kind]


def gate_open(rpc: Rpc, declared: Declared) -> bool:
    """Whether the RPC is on offer: its service is served and one of the capabilities of its gate declared."""
    if rpc.service not in declared.services:
        return False
    return not rpc.gate or any(declared.has(capability) for capability in rpc.gate)


_KINDS: dict[str, type[OpenEnum]] = {
    "plugin": PluginCapability,
    "volume expansion": VolumeExpansion,
    "controller": ControllerCapability,
    "group controller": GroupControllerCapability,
    "node": NodeCapability,
}

_SERVICE_CAPABILITY: dict[Service, PluginCapability] = {
    "Controller": PluginCapability.CONTROLLER_SERVICE,
    "GroupController": PluginCapability.GROUP_CONTROLLER_SERVICE,
    "SnapshotMetadata": PluginCapability.SNAPSHOT_METADATA_SERVICE,
}

_NEEDS: tuple[tuple[ControllerCapability, tuple[ControllerCapability, ...], str], ...] = (
    (
        ControllerCapability.LIST_VOLUMES_PUBLISHED_NODES,
        (ControllerCapability.PUBLISH_UNPUBLISH_VOLUME,),
        "only a published volume has nodes to list",
    ),
    (
        ControllerCapability.LIST_VOLUMES_PUBLISHED_NODES,
        (ControllerCapability.LIST_VOLUMES, ControllerCapability.GET_VOLUME),
        "the nodes are told in the answers of those RPCs",
    ),
    (
        ControllerCapability.PUBLISH_READONLY,
        (ControllerCapability.PUBLISH_UNPUBLISH_VOLUME,),
        "readonly is a field of ControllerPublishVolume",
    ),
    (
        ControllerCapability.LIST_VOLUME_HEALTH,
        (ControllerCapability.GET_VOLUME_HEALTH,),
        "the specification demands both",
    ),
    (
        ControllerCapability.CREATE_DELETE_SNAPSHOT,
        (ControllerCapability.CREATE_DELETE_VOLUME,),
        "a snapshot must be restorable as a new volume",
    ),
    (
        ControllerCapability.CLONE_VOLUME,
        (ControllerCapability.CREATE_DELETE_VOLUME,),
        "a clone is made by CreateVolume",
    ),
)


def contradictions(declared: Declared) -> list[str]:
    """One sentence for each rule of the specification that these declarations break."""
    found = [
        f"the {label} capabilities hold UNKNOWN (0), which no plugin may declare; leave it out"
        for label, kind in _KINDS.items()
        if declared.has(kind(0))
    ]
    found += _service_contradictions(declared)
    for capability, needed, reason in _NEEDS:
        if declared.has(capability) and not any(declared.has(other) for other in needed):
            names = " or ".join(other.name for other in needed)
            found.append(f"controller capability {capability.name} needs {names} as well: {reason}")
    return found + _expansion_contradictions(declared)


def _service_contradictions(declared: Declared) -> list[str]:
    found = []
    if "Identity" not in declared.services:
        found.append("the Identity service is not served, and every CSI endpoint must serve it")
    for service, capability in _SERVICE_CAPABILITY.items():
        if service in declared.services and not declared.has(capability):
            found.append(
                f"the {service} service is served without plugin capability {capability.name}, "
                "so no orchestrator will call it; declare it"
            )
    if declared.controller and not declared.has(PluginCapability.CONTROLLER_SERVICE):
        found.append("controller capabilities are declared without plugin capability CONTROLLER_SERVICE")
    if declared.group and not declared.has(PluginCapability.GROUP_CONTROLLER_SERVICE):
        found.append("group controller capabilities are declared without plugin capability GROUP_CONTROLLER_SERVICE")
    if "GroupController" in declared.services and not declared.group:
        found.append("the GroupController service declares no capability; declare at least one or drop it")
    return found


def _expansion_contradictions(declared: Declared) -> list[str]:
    """Judged only where this process serves the service whose capabilities decide."""
    offers_controller = declared.has(PluginCapability.CONTROLLER_SERVICE)
    controller_known = "Controller" in declared.services or not offers_controller
    node_known = "Node" in declared.services
    by_controller = declared.has(ControllerCapability.EXPAND_VOLUME)
    by_node = declared.has(NodeCapability.EXPAND_VOLUME)
    online, offline = declared.has(VolumeExpansion.ONLINE), declared.has(VolumeExpansion.OFFLINE)
    found = []
    if online and controller_known and node_known and not (by_controller or by_node):
        found.append("ONLINE volume expansion needs EXPAND_VOLUME of the controller, of the node, or of both")
    if offline and controller_known and not by_controller:
        found.append("OFFLINE volume expansion needs controller capability EXPAND_VOLUME")
    if online and offline and by_controller:
        found.append(
            "ONLINE and OFFLINE volume expansion exclude each other when the controller expands: a published "
            "volume either must or must not be expandable"
        )
    return found
