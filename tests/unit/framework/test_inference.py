"""Capabilities are read off the class, and classes that contradict themselves are refused with a sentence."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import moorage.framework as csi
from moorage.framework.inference import Mode, all_problems, declare
from moorage.framework.plugin import Plugin, PluginError
from moorage.spec.types import (
    ControllerCapability,
    GroupControllerCapability,
    NodeCapability,
    PluginCapability,
    VolumeExpansion,
)
from moorage.testing.memory import MemoryConfig, MemoryDriver, TaggedDriver

Can = ControllerCapability


def driver(*methods: str, base: type[csi.Driver] = csi.Driver, **attributes: Any) -> csi.Driver:
    """A driver of a class that defines just these methods."""

    def method(self: csi.Driver, *arguments: object) -> None:
        del self, arguments

    body: dict[str, Any] = {"name": "made.example.org", **dict.fromkeys(methods, method), **attributes}
    made: csi.Driver = type("Made", (base,), body)(MemoryConfig())
    return made


VOLUMES = ("create_volume", "delete_volume")
SNAPSHOTS = (*VOLUMES, "create_snapshot", "delete_snapshot", "restore_snapshot")
NODE = ("node_info", "node_source")


@pytest.mark.parametrize(
    ("methods", "controller"),
    [
        (VOLUMES, {Can.CREATE_DELETE_VOLUME, Can.LIST_VOLUMES, Can.GET_VOLUME, Can.SINGLE_NODE_MULTI_WRITER}),
        ((*VOLUMES, "clone_volume"), {Can.CLONE_VOLUME}),
        (SNAPSHOTS, {Can.CREATE_DELETE_SNAPSHOT, Can.LIST_SNAPSHOTS, Can.GET_SNAPSHOT}),
        ((*VOLUMES, "expand_volume"), {Can.EXPAND_VOLUME}),
        ((*VOLUMES, "modify_volume"), {Can.MODIFY_VOLUME}),
        ((*VOLUMES, "capacity"), {Can.GET_CAPACITY}),
        ((*VOLUMES, "volume_health"), {Can.GET_VOLUME_HEALTH, Can.LIST_VOLUME_HEALTH, Can.VOLUME_CONDITION}),
        (
            (*VOLUMES, "controller_publish", "controller_unpublish"),
            {Can.PUBLISH_UNPUBLISH_VOLUME, Can.PUBLISH_READONLY, Can.LIST_VOLUMES_PUBLISHED_NODES},
        ),
    ],
    ids=lambda value: value[-1] if isinstance(value, tuple) else "",
)
def test_a_method_is_a_capability(methods: tuple[str, ...], controller: set[ControllerCapability]) -> None:
    base = declare(driver(*VOLUMES), "all").controller
    declared = declare(driver(*methods), "all")
    assert declared.controller == base | controller
    assert all_problems(driver(*methods), declared) == []


def test_a_driver_that_can_do_everything() -> None:
    declared = declare(MemoryDriver(), "all")
    assert declared.group == {GroupControllerCapability.CREATE_DELETE_GET_VOLUME_GROUP_SNAPSHOT}
    assert declared.expansion == {VolumeExpansion.ONLINE}
    assert declared.services == {"Identity", "Controller", "GroupController"}


def test_the_node_side() -> None:
    declared = declare(driver(*VOLUMES, *NODE, "expand_volume"), "all")
    assert declared.node == {
        NodeCapability.STAGE_UNSTAGE_VOLUME,
        NodeCapability.GET_VOLUME_STATS,
        NodeCapability.EXPAND_VOLUME,
        NodeCapability.SINGLE_NODE_MULTI_WRITER,
        NodeCapability.VOLUME_MOUNT_GROUP,
    }
    opted_out = declare(driver(*VOLUMES, *NODE, single_node_multi_writer=False, mount_group=False), "all")
    assert opted_out.node == {NodeCapability.STAGE_UNSTAGE_VOLUME, NodeCapability.GET_VOLUME_STATS}
    assert Can.SINGLE_NODE_MULTI_WRITER not in opted_out.controller


@pytest.mark.parametrize(
    ("mode", "services"),
    [
        ("all", {"Identity", "Controller", "Node"}),
        ("controller", {"Identity", "Controller"}),
        ("node", {"Identity", "Node"}),
    ],
)
def test_plugin_capabilities_do_not_depend_on_the_mode(mode: Mode, services: set[str]) -> None:
    made = driver(*VOLUMES, *NODE, "expand_volume", online_expansion=False, topology_aware=True)
    declared = declare(made, mode)
    assert declared.services == services
    assert declared.plugin == {
        PluginCapability.CONTROLLER_SERVICE,
        PluginCapability.VOLUME_ACCESSIBILITY_CONSTRAINTS,
    }
    assert declared.expansion == {VolumeExpansion.OFFLINE}


def test_an_instance_may_leave_methods_out() -> None:
    class Optional(MemoryDriver):
        def disabled_methods(self) -> frozenset[str]:
            return frozenset({"controller_publish", "controller_unpublish"})

    assert Can.PUBLISH_UNPUBLISH_VOLUME not in declare(Optional(), "all").controller


async def asynchronous(self: csi.Driver, *arguments: object) -> None:
    del self, arguments


CONTRADICTIONS: list[tuple[Callable[[], csi.Driver], str]] = [
    (lambda: driver("create_volume"), "create_volume without delete_volume"),
    (lambda: driver("delete_volume"), "delete_volume without create_volume"),
    (lambda: driver(*VOLUMES, "create_snapshot", "delete_snapshot"), "create_snapshot without restore_snapshot"),
    (lambda: driver(*VOLUMES, "create_snapshot", "restore_snapshot"), "create_snapshot without delete_snapshot"),
    (lambda: driver(*VOLUMES, "restore_snapshot"), "restore_snapshot without create_snapshot"),
    (lambda: driver(*VOLUMES, "snapshot_ready"), "snapshot_ready without create_snapshot"),
    (lambda: driver(*VOLUMES, "controller_publish"), "controller_publish without controller_unpublish"),
    (lambda: driver(*VOLUMES, "controller_unpublish"), "controller_unpublish without controller_publish"),
    (lambda: driver(*VOLUMES, "attach_limit"), "attach_limit without controller_publish"),
    (lambda: driver("controller_publish", "controller_unpublish"), "without any volumes"),
    (lambda: driver("clone_volume", *NODE), "clone_volume without create_volume"),
    (lambda: driver("expand_volume", *NODE), "expand_volume without create_volume"),
    (lambda: driver(*SNAPSHOTS, "changed_blocks"), "changed_blocks without allocated_blocks"),
    (lambda: driver(*VOLUMES, "allocated_blocks"), "allocated_blocks without create_snapshot"),
    (lambda: driver(*VOLUMES, "create_group_snapshot"), "create_group_snapshot without create_snapshot"),
    (lambda: driver(*VOLUMES, "node_source"), "node_source without node_info"),
    (lambda: driver(*VOLUMES, "node_info", "node_usage"), "node_usage without node_source"),
    (lambda: driver(*VOLUMES, *NODE, "node_connect"), "node_connect without node_disconnect"),
    (lambda: driver(*VOLUMES, *NODE, "node_disconnect"), "node_disconnect without node_connect"),
    (lambda: driver(*VOLUMES, "node_info", "node_connect", "node_disconnect"), "node_connect without node_source"),
    (lambda: driver(*VOLUMES, "node_storage_health"), "node_storage_health without node_info"),
    (lambda: driver(*VOLUMES, block=False, mount=False), "neither block nor mounted"),
    (lambda: driver(*VOLUMES, fs_types=()), "no fs_types"),
    (lambda: driver(*VOLUMES, topology_aware=True), "topology_aware without node_info"),
    (lambda: driver(*VOLUMES, snapshot_topology=True), "snapshot_topology without create_snapshot"),
    (lambda: driver(*VOLUMES, check_parameters=asynchronous), "check_parameters is async def"),
    (lambda: driver(*VOLUMES, state=csi.BackendTags()), "without list_tagged_volumes"),
    (
        lambda: driver(base=TaggedDriver, list_tagged_snapshots=csi.Driver.list_tagged_snapshots),
        "list_tagged_snapshots",
    ),
    (lambda: driver(base=TaggedDriver, list_attachments=csi.Driver.list_attachments), "without list_attachments"),
    (lambda: driver(*VOLUMES, state=csi.Stateless()), "without find_volume"),
    (lambda: driver(*SNAPSHOTS, "find_volume", state=csi.Stateless()), "cannot have snapshots"),
    (
        lambda: driver(*VOLUMES, "find_volume", "controller_publish", "controller_unpublish", state=csi.Stateless()),
        "nothing would ever be detached",
    ),
    (lambda: driver(base=TaggedDriver, ephemeral=True), "ephemeral"),
    (lambda: driver(*VOLUMES, name="_"), "name"),
    (driver, "nothing to serve"),
]


@pytest.mark.parametrize(("made", "words"), CONTRADICTIONS, ids=[words for _, words in CONTRADICTIONS])
def test_contradictions_are_refused_with_a_sentence(made: Callable[[], csi.Driver], words: str, tmp_path: Path) -> None:
    with pytest.raises(PluginError) as refusal:
        Plugin(made(), state_dir=tmp_path)
    assert words in str(refusal.value)
    assert "\n" not in str(refusal.value)


def test_a_class_without_a_name(tmp_path: Path) -> None:
    class Nameless(csi.Driver):
        pass

    with pytest.raises(PluginError, match=r"Nameless has no name; give it one, such as storage\.example\.org"):
        Plugin(Nameless(None), state_dir=tmp_path)


@pytest.mark.parametrize("mode", ["controller", "node"])
def test_a_mode_with_nothing_to_serve(mode: Mode, tmp_path: Path) -> None:
    made = driver("node_info", "node_source") if mode == "controller" else MemoryDriver()
    with pytest.raises(PluginError, match=f"nothing to serve in mode {mode}"):
        Plugin(made, state_dir=tmp_path, mode=mode)
