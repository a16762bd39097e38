"""Drivers that lack something optional, as declarations: what is left when one capability goes.

`WHOLE` is what `serve local --attach --snapshot-topology` declares, and each `Lesser` is a part of it that a
correct driver could declare. Pure: how such a driver behaves is for `tests.support.lesser_driver`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from moorage.spec.capabilities import Declared, contradictions
from moorage.spec.rules import Service
from moorage.spec.types import (
    ControllerCapability,
    GroupControllerCapability,
    NodeCapability,
    OpenEnum,
    PluginCapability,
    VolumeExpansion,
)

WHOLE: Final = Declared(
    plugin=frozenset(PluginCapability) - {PluginCapability.UNKNOWN},
    expansion=frozenset({VolumeExpansion.ONLINE}),
    controller=frozenset(ControllerCapability) - {ControllerCapability.UNKNOWN},
    group=frozenset(GroupControllerCapability) - {GroupControllerCapability.UNKNOWN},
    node=frozenset(NodeCapability) - {NodeCapability.UNKNOWN},
    services=frozenset({"Identity", "Controller", "GroupController", "SnapshotMetadata", "Node"}),
)

FIELDS: Final[dict[str, type[OpenEnum]]] = {
    "plugin": PluginCapability,
    "expansion": VolumeExpansion,
    "controller": ControllerCapability,
    "group": GroupControllerCapability,
    "node": NodeCapability,
}
"""The fields of `Declared` that hold capabilities, and the kind of each."""

_SERVICE_OF: Final[dict[PluginCapability, Service]] = {
    PluginCapability.CONTROLLER_SERVICE: "Controller",
    PluginCapability.GROUP_CONTROLLER_SERVICE: "GroupController",
    PluginCapability.SNAPSHOT_METADATA_SERVICE: "SnapshotMetadata",
}
"""Capabilities without which the whole service is of no use."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Lesser:
    """A driver that declares less. `node_socket` is what it declares at a second socket, if it has one.

    Both know all capabilities of the plugin and serve some of the services. `robustness` says that the rules of
    that area are run against it as well, and `crashes` that those are among them that kill the driver. Volumes
    are made with `fs_type` if it is set.
    """

    name: str
    declared: Declared
    node_socket: Declared | None = None
    fs_type: str = ""
    robustness: bool = False
    crashes: bool = False

    @property
    def whole(self) -> Declared:
        """What the driver declares at all its sockets together."""
        if self.node_socket is None:
            return self.declared
        return msgspec.structs.replace(self.declared, services=self.declared.services | self.node_socket.services)

    @property
    def attaches(self) -> bool:
        """Whether volumes are attached at all; if not, the driver behind must not ask for it."""
        return self.declared.has(ControllerCapability.PUBLISH_UNPUBLISH_VOLUME)


def kind_of(capability: OpenEnum) -> str:
    """The field of `Declared` for capabilities of this kind."""
    return next(name for name, kind in FIELDS.items() if kind is type(capability))


def without(declared: Declared, *gone: OpenEnum) -> Declared:
    """What is left without these capabilities, and without those that contradict themselves then."""
    for capability in gone:
        service = _SERVICE_OF.get(capability) if isinstance(capability, PluginCapability) else None
        declared = _unserved(declared, service) if service else _minus(declared, capability)
    while problems := contradictions(declared):
        smaller = (_minus(declared, capability) for capability in _all(declared))
        declared = next(found for found in smaller if len(contradictions(found)) < len(problems))
    return declared


def _unserved(declared: Declared, *services: Service) -> Declared:
    """Without these services; groups and changed blocks are of no use without the controller that snapshots."""
    gone = {*services, *(("GroupController", "SnapshotMetadata") if "Controller" in services else ())}
    fields: dict[Service, str] = {"Controller": "controller", "GroupController": "group", "Node": "node"}
    return msgspec.structs.replace(
        declared,
        services=declared.services - gone,
        plugin=declared.plugin - {capability for capability, service in _SERVICE_OF.items() if service in gone},
        **{field: frozenset() for service, field in fields.items() if service in gone},
    )


def _minus(declared: Declared, capability: OpenEnum) -> Declared:
    field = kind_of(capability)
    changed: dict[str, Any] = {field: getattr(declared, field) - {capability}}
    return msgspec.structs.replace(declared, **changed)


def _all(declared: Declared) -> Iterator[OpenEnum]:
    for kind in FIELDS.values():
        yield from sorted(declared.all_of(kind))


def _each() -> Iterator[Lesser]:
    """One driver for each capability; a group controller without its one capability is none at all."""
    for capability in _all(WHOLE):
        if not isinstance(capability, GroupControllerCapability):
            # Its controller grows what is mounted: ext4 needs CAP_SYS_RESOURCE for that, which containers lack.
            fs_type = "xfs" if capability is NodeCapability.EXPAND_VOLUME else ""
            name = f"{kind_of(capability)}-{capability.name}-dropped"
            yield Lesser(name=name, declared=without(WHOLE, capability), fs_type=fs_type)


def _of_other_kinds() -> Iterator[Lesser]:
    """Drivers that are met in practice and differ in more than one capability."""
    offline = msgspec.structs.replace(WHOLE, expansion=frozenset({VolumeExpansion.OFFLINE}))
    yield Lesser(name="expansion-offline", declared=offline)
    yield Lesser(
        name="no-expansion",
        declared=without(WHOLE, ControllerCapability.EXPAND_VOLUME, NodeCapability.EXPAND_VOLUME),
    )
    yield Lesser(
        name="no-snapshots",
        declared=without(
            WHOLE,
            *(ControllerCapability.CREATE_DELETE_SNAPSHOT, ControllerCapability.LIST_SNAPSHOTS),
            *(ControllerCapability.GET_SNAPSHOT, PluginCapability.GROUP_CONTROLLER_SERVICE),
            *(PluginCapability.SNAPSHOT_METADATA_SERVICE, PluginCapability.SNAPSHOT_ACCESSIBILITY_CONSTRAINTS),
        ),
    )
    yield Lesser(name="controller-only", declared=_unserved(WHOLE, "Node"), robustness=True)
    poor = Declared(
        plugin=frozenset({PluginCapability.CONTROLLER_SERVICE}),
        services=frozenset({"Identity", "Controller", "Node"}),
    )
    attach = frozenset({ControllerCapability.PUBLISH_UNPUBLISH_VOLUME})
    yield Lesser(name="attach-only", declared=msgspec.structs.replace(poor, controller=attach))
    create = frozenset({ControllerCapability.CREATE_DELETE_VOLUME})
    yield Lesser(
        name="create-only", declared=msgspec.structs.replace(poor, controller=create), robustness=True, crashes=True
    )
    yield Lesser(
        name="two-sockets",
        declared=msgspec.structs.replace(WHOLE, services=WHOLE.services - {"Node"}),
        node_socket=msgspec.structs.replace(WHOLE, services=frozenset({"Identity", "Node"})),
    )


LESSER: Final[dict[str, Lesser]] = {lesser.name: lesser for lesser in (*_each(), *_of_other_kinds())}
"""All of them by name."""
