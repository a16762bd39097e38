"""Which capabilities a driver has: read off the methods that its class defines.

Pure: a driver object goes in, a `Declared` comes out, or the sentences that say why the class
contradicts itself. Source: contracts, CSI 1.13 capabilities and their implications.
"""

from __future__ import annotations

import inspect
from typing import Literal

from moorage.framework.driver import Driver
from moorage.framework.states import BackendTags, LocalJournal, Stateless
from moorage.spec.capabilities import Declared, contradictions
from moorage.spec.types import (
    ControllerCapability,
    GroupControllerCapability,
    NodeCapability,
    PluginCapability,
    VolumeExpansion,
)

Mode = Literal["all", "controller", "node"]

OPTIONAL_METHODS = frozenset(
    name for name, member in vars(Driver).items() if getattr(member, "__moorage_optional__", False)
)

_PAIRS = (
    ("create_volume", "delete_volume"),
    ("delete_volume", "create_volume"),
    ("create_snapshot", "delete_snapshot"),
    ("delete_snapshot", "create_snapshot"),
    ("create_snapshot", "restore_snapshot"),
    ("restore_snapshot", "create_snapshot"),
    ("snapshot_ready", "create_snapshot"),
    ("controller_publish", "controller_unpublish"),
    ("controller_unpublish", "controller_publish"),
    ("attach_limit", "controller_publish"),
    ("create_group_snapshot", "create_snapshot"),
    ("allocated_blocks", "create_snapshot"),
    ("changed_blocks", "allocated_blocks"),
    ("node_connect", "node_disconnect"),
    ("node_disconnect", "node_connect"),
    ("node_storage_health", "node_info"),
)
_TAGGED = (
    ("create_volume", "list_tagged_volumes"),
    ("create_snapshot", "list_tagged_snapshots"),
    ("controller_publish", "list_attachments"),
)
_PLAIN = ("check_parameters", "supports", "disabled_methods")
_NEEDS_VOLUMES = (
    "create_snapshot",
    "clone_volume",
    "expand_volume",
    "modify_volume",
    "capacity",
    "create_group_snapshot",
)
_NEEDS_NODE = ("node_connect", "node_disconnect", "node_usage", "node_volume_health")


def methods_of(driver: Driver) -> frozenset[str]:
    """The optional methods that this driver offers."""
    own = type(driver)
    defined = {name for name in OPTIONAL_METHODS if getattr(own, name) is not getattr(Driver, name)}
    return frozenset(defined) - driver.disabled_methods()


def class_problems(driver: Driver) -> list[str]:
    """Sentences that say what contradicts itself in a driver; empty when nothing does."""
    has = methods_of(driver)
    title = type(driver).__name__
    found = [f"{title} has {a} without {b}: define both or neither" for a, b in _PAIRS if (a in has) and (b not in has)]
    if "create_volume" not in has:
        found += [
            f"{title} has {name} without create_volume: define create_volume" for name in _NEEDS_VOLUMES if name in has
        ]
    if "node_source" not in has:
        found += [f"{title} has {name} without node_source: define node_source" for name in _NEEDS_NODE if name in has]
    if "node_source" in has and "node_info" not in has:
        found.append(f"{title} has node_source without node_info: define node_info, which names the node")
    if not driver.block and not driver.mount:
        found.append(f"{title} offers neither block nor mounted volumes: set block or mount to True")
    if driver.mount and driver.formats and not driver.fs_types:
        found.append(f"{title} formats volumes and has no fs_types: name a file system or set formats to False")
    if driver.snapshot_topology and "create_snapshot" not in has:
        found.append(f"{title} has snapshot_topology without create_snapshot: define create_snapshot")
    if driver.topology_aware and "node_info" not in has:
        found.append(f"{title} is topology_aware without node_info: define node_info, which tells the topology")
    found += [
        f"{title}.{name} is async def, and it is called without waiting: make it a plain def"
        for name in _PLAIN
        if inspect.iscoroutinefunction(getattr(driver, name))
    ]
    return found + _state_problems(driver, has)


def _state_problems(driver: Driver, has: frozenset[str]) -> list[str]:
    """What the chosen home of the truth needs."""
    title, state = type(driver).__name__, driver.state
    found = []
    if isinstance(state, BackendTags):
        found += [
            f"{title} keeps its state in tags and has {a} without {b}: define {b}, which gives the tags back"
            for a, b in _TAGGED
            if a in has and b not in has
        ]
    if isinstance(state, Stateless):
        if "create_volume" in has and "find_volume" not in has:
            found.append(f"{title} keeps no state and has create_volume without find_volume: define find_volume")
        if "controller_publish" in has and "list_attachments" not in has:
            found.append(
                f"{title} keeps no state and has controller_publish without list_attachments: define list_attachments, "
                "without which nothing would ever be detached"
            )
        if "create_snapshot" in has:
            found.append(f"{title} keeps no state and cannot have snapshots: set state to LocalJournal()")
    if driver.ephemeral and not isinstance(state, LocalJournal):
        found.append(f"{title} offers ephemeral volumes, which need a record on the node: set state to LocalJournal()")
    if "controller_publish" in has and not has & {"create_volume", "find_volume"}:
        found.append(f"{title} has controller_publish without any volumes: define create_volume or find_volume")
    return found


def declare(driver: Driver, mode: Mode) -> Declared:
    """The capabilities of this driver, served in this mode; plugin capabilities do not depend on the mode."""
    has = methods_of(driver)
    controller = _controller(driver, has)
    node = _node(driver, has)
    group = frozenset({GroupControllerCapability.CREATE_DELETE_GET_VOLUME_GROUP_SNAPSHOT})
    services = {"Identity"}
    if controller and mode in ("all", "controller"):
        services.add("Controller")
        if "create_group_snapshot" in has:
            services.add("GroupController")
        if "allocated_blocks" in has:
            services.add("SnapshotMetadata")
    if "node_info" in has and mode in ("all", "node"):
        services.add("Node")
    return Declared(
        plugin=_plugin(driver, has),
        expansion=_expansion(driver, has),
        controller=controller,
        group=group if "create_group_snapshot" in has else frozenset(),
        node=node,
        services=frozenset(services),
    )


def all_problems(driver: Driver, declared: Declared) -> list[str]:
    """Contradictions in the class and, if there are none, in what it declares."""
    return class_problems(driver) or list(contradictions(declared))


def _plugin(driver: Driver, has: frozenset[str]) -> frozenset[PluginCapability]:
    found = set()
    if "create_volume" in has or "controller_publish" in has:
        found.add(PluginCapability.CONTROLLER_SERVICE)
    if driver.topology_aware:
        found.add(PluginCapability.VOLUME_ACCESSIBILITY_CONSTRAINTS)
    if "create_group_snapshot" in has:
        found.add(PluginCapability.GROUP_CONTROLLER_SERVICE)
    if "allocated_blocks" in has:
        found.add(PluginCapability.SNAPSHOT_METADATA_SERVICE)
    if driver.snapshot_topology:
        found.add(PluginCapability.SNAPSHOT_ACCESSIBILITY_CONSTRAINTS)
    return frozenset(found)


def _expansion(driver: Driver, has: frozenset[str]) -> frozenset[VolumeExpansion]:
    if "expand_volume" not in has:
        return frozenset()
    return frozenset({VolumeExpansion.ONLINE if driver.online_expansion else VolumeExpansion.OFFLINE})


def _controller(driver: Driver, has: frozenset[str]) -> frozenset[ControllerCapability]:
    can = ControllerCapability
    kept = "create_volume" in has
    recorded = kept and not isinstance(driver.state, Stateless)
    rows = (
        ("create_volume" in has, can.CREATE_DELETE_VOLUME),
        (recorded, can.LIST_VOLUMES),
        (kept, can.GET_VOLUME),
        ("controller_publish" in has, can.PUBLISH_UNPUBLISH_VOLUME),
        ("controller_publish" in has, can.PUBLISH_READONLY),
        (kept and "controller_publish" in has, can.LIST_VOLUMES_PUBLISHED_NODES),
        ("capacity" in has, can.GET_CAPACITY),
        ("create_snapshot" in has, can.CREATE_DELETE_SNAPSHOT),
        ("create_snapshot" in has, can.LIST_SNAPSHOTS),
        ("create_snapshot" in has, can.GET_SNAPSHOT),
        ("clone_volume" in has, can.CLONE_VOLUME),
        ("expand_volume" in has, can.EXPAND_VOLUME),
        ("modify_volume" in has, can.MODIFY_VOLUME),
        ("volume_health" in has, can.GET_VOLUME_HEALTH),
        (recorded and "volume_health" in has, can.VOLUME_CONDITION),
        (recorded and "volume_health" in has, can.LIST_VOLUME_HEALTH),
        (
            (kept or "controller_publish" in has) and driver.single_node_multi_writer,
            can.SINGLE_NODE_MULTI_WRITER,
        ),
    )
    return frozenset(capability for offered, capability in rows if offered)


def _node(driver: Driver, has: frozenset[str]) -> frozenset[NodeCapability]:
    can = NodeCapability
    staged = "node_source" in has
    rows = (
        (staged, can.STAGE_UNSTAGE_VOLUME),
        (staged, can.GET_VOLUME_STATS),
        (staged and "expand_volume" in has and driver.node_expansion, can.EXPAND_VOLUME),
        (staged and driver.single_node_multi_writer, can.SINGLE_NODE_MULTI_WRITER),
        (staged and driver.mount and driver.mount_group, can.VOLUME_MOUNT_GROUP),
        ("node_volume_health" in has, can.GET_VOLUME_HEALTH),
        (staged and "node_volume_health" in has, can.VOLUME_CONDITION),
        ("node_storage_health" in has, can.GET_STORAGE_HEALTH),
    )
    return frozenset(capability for offered, capability in rows if offered)
