"""Which RPCs bring a volume from what is to what is wanted, in the only order that the specification allows.

    up    CreateVolume -> ControllerExpandVolume -> ControllerPublishVolume -> NodeStageVolume
          -> NodeExpandVolume -> NodePublishVolume
    down  NodeUnpublishVolume -> NodeUnstageVolume -> ControllerUnpublishVolume -> DeleteVolume

Steps whose RPC the driver does not declare are left out. Everything here is a pure function of the record and
the declared capabilities (CSI specification, "Volume Lifecycle"); performing steps is `execute`'s business.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from moorage.orchestrator.model import Mount, OrchestratorError, Presence, VolumeRecord, is_in_use, may_exist
from moorage.spec.capabilities import Declared
from moorage.spec.types import ControllerCapability, NodeCapability, VolumeExpansion


@dataclass(frozen=True, slots=True)
class Step:
    """One RPC about a volume; `path` and `readonly` belong to (un)publishing, `size_bytes` to expansion."""

    rpc: str
    path: str = ""
    readonly: bool = False
    size_bytes: int = 0


class Refused(OrchestratorError):
    """The wish is unsafe, or the driver does not offer what it needs."""


def plan(volume: VolumeRecord, declared: Declared, *, publish_first: bool = False) -> tuple[Step, ...]:
    """The steps that lead from `volume.actual` to `volume.desired`; empty when there is nothing to do.

    `publish_first` publishes at new places before it leaves old ones, as Nomad does when an allocation moves.
    Raises Refused when the way there is unsafe or not offered by the driver.
    """
    if not volume.desired.exists:
        return tuple(_removal(volume, declared))
    leaving, arriving = tuple(_leave(volume)), tuple(_arrive(volume, declared))
    if not volume.desired.mounts:
        return (*leaving, *_let_go(volume), *arriving)
    if not publish_first:
        return (*leaving, *arriving)
    reused = {step.path for step in arriving if step.path}
    must_leave = tuple(step for step in leaving if step.path in reused)
    return (*must_leave, *arriving, *(step for step in leaving if step.path not in reused))


def attaches(declared: Declared) -> bool:
    """Whether volumes of this driver are attached by ControllerPublishVolume."""
    return ControllerCapability.PUBLISH_UNPUBLISH_VOLUME in declared.controller


def stages(declared: Declared) -> bool:
    """Whether volumes of this driver are staged by NodeStageVolume."""
    return NodeCapability.STAGE_UNSTAGE_VOLUME in declared.node


def creates(declared: Declared) -> bool:
    """Whether this driver makes and deletes volumes."""
    return ControllerCapability.CREATE_DELETE_VOLUME in declared.controller


def refuse_unsafe(volume: VolumeRecord, step: Step, declared: Declared) -> None:
    """Raise Refused when `step` now would break the specification's order, whoever asked for it."""
    actual = volume.actual
    if step.rpc in ("DeleteVolume", "NodeUnstageVolume", "ControllerUnpublishVolume") and actual.mounts:
        raise Refused(
            f"volume {volume.name!r} is published at {actual.mounts[0].path}; unmount it there before "
            f"{step.rpc} is called"
        )
    if step.rpc in ("DeleteVolume", "ControllerUnpublishVolume") and may_exist(actual.staged):
        raise Refused(f"volume {volume.name!r} is staged; unmount it before {step.rpc} is called")
    if step.rpc == "DeleteVolume" and may_exist(actual.attached):
        raise Refused(f"volume {volume.name!r} is attached to this node; unmount it before it is deleted")
    if step.rpc in ("NodeStageVolume", "NodePublishVolume"):
        if attaches(declared) and actual.attached is not Presence.PRESENT:
            raise Refused(f"volume {volume.name!r} must be attached before {step.rpc} is called")
        if step.rpc == "NodePublishVolume" and stages(declared) and actual.staged is not Presence.PRESENT:
            raise Refused(f"volume {volume.name!r} must be staged before it is published")


def _removal(volume: VolumeRecord, declared: Declared) -> Iterator[Step]:
    actual = volume.actual
    places = [mount.path for mount in actual.mounts] + [mount.path for mount in volume.desired.mounts]
    if places:
        raise Refused(
            f"volume {volume.name!r} is mounted at {places[0]}; run `moorage volume unmount {volume.name}` "
            "before you delete it"
        )
    yield from _let_go(volume)
    if not may_exist(actual.created):
        return
    if not creates(declared):
        raise Refused(
            f"driver {volume.driver!r} cannot delete volumes; remove {volume.name!r} in the storage system and "
            f"run `moorage volume forget {volume.name}`"
        )
    if not actual.volume_id:
        yield Step("CreateVolume")  # only its answer tells the id of what may exist
    yield Step("DeleteVolume")


def _leave(volume: VolumeRecord) -> Iterator[Step]:
    wanted = set(volume.desired.mounts)
    for mounted in volume.actual.mounts:
        if Mount(mounted.path, mounted.readonly) not in wanted:
            yield Step("NodeUnpublishVolume", path=mounted.path)


def _let_go(volume: VolumeRecord) -> Iterator[Step]:
    if may_exist(volume.actual.staged):
        yield Step("NodeUnstageVolume")
    if may_exist(volume.actual.attached):
        yield Step("ControllerUnpublishVolume")


def _arrive(volume: VolumeRecord, declared: Declared) -> Iterator[Step]:
    actual = volume.actual
    if actual.created is not Presence.PRESENT:
        yield _creation(volume, declared)
    owed_bytes = actual.node_expansion_bytes
    if volume.desired.size_bytes > actual.capacity_bytes and actual.created is Presence.PRESENT:
        controller_step, owed_bytes = _expansion(volume, declared)
        yield from controller_step
    if not volume.desired.mounts:
        return
    if "Node" not in declared.services:
        raise Refused(
            f"driver {volume.driver!r} serves no Node service at its socket, so {volume.name!r} cannot be mounted; "
            "register the socket of its node plugin"
        )
    if attaches(declared) and actual.attached is not Presence.PRESENT:
        yield Step("ControllerPublishVolume")
    if stages(declared) and actual.staged is not Presence.PRESENT:
        yield Step("NodeStageVolume")
    may_grow = owed_bytes and not actual.node_expansion_postponed and _node_expands(declared)
    grow = [Step("NodeExpandVolume", size_bytes=owed_bytes)] if may_grow else []
    yield from grow if stages(declared) else []
    yield from _publishing(volume)
    yield from [] if stages(declared) else grow


def _publishing(volume: VolumeRecord) -> Iterator[Step]:
    there = {Mount(m.path, m.readonly) for m in volume.actual.mounts if m.presence is Presence.PRESENT}
    for mount in volume.desired.mounts:
        if mount not in there:
            yield Step("NodePublishVolume", path=mount.path, readonly=mount.readonly)


def _creation(volume: VolumeRecord, declared: Declared) -> Step:
    if volume.actual.volume_id:
        raise Refused(
            f"a deletion of volume {volume.name!r} was begun and not finished; run "
            f"`moorage volume delete {volume.name}` again"
        )
    if not creates(declared):
        raise Refused(
            f"driver {volume.driver!r} cannot create volumes; create it in the storage system and run "
            f"`moorage volume import {volume.name} --volume-id ID --driver {volume.driver}`"
        )
    return Step("CreateVolume")


def _node_expands(declared: Declared) -> bool:
    return NodeCapability.EXPAND_VOLUME in declared.node


def _expansion(volume: VolumeRecord, declared: Declared) -> tuple[list[Step], int]:
    """The controller's part of an expansion, and the size in bytes that the node owes without it."""
    size_bytes = volume.desired.size_bytes
    if ControllerCapability.EXPAND_VOLUME in declared.controller:
        offline_only = (
            VolumeExpansion.OFFLINE in declared.expansion and VolumeExpansion.ONLINE not in declared.expansion
        )
        if offline_only and is_in_use(volume.actual):
            raise Refused(
                f"driver {volume.driver!r} expands volumes only while they are unmounted; run "
                f"`moorage volume unmount {volume.name}` first"
            )
        return [Step("ControllerExpandVolume", size_bytes=size_bytes)], volume.actual.node_expansion_bytes
    if not _node_expands(declared):
        raise Refused(f"driver {volume.driver!r} cannot expand volumes; copy the data to a larger volume")
    if not volume.desired.mounts:
        raise Refused(
            f"driver {volume.driver!r} expands volumes on the node only; run `moorage volume mount` for "
            f"{volume.name!r} first"
        )
    return [], size_bytes
