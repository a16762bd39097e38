"""Group snapshots asked for, waited for and taken apart: shared by the rules about them."""

from __future__ import annotations

from typing import Final

from moorage.spec import messages as m
from moorage.spec.errors import Code
from moorage.spec.types import ControllerCapability, GroupControllerCapability, Volume, VolumeGroupSnapshot
from moorage.verify.exchange import Exchange
from moorage.verify.lab import Lab
from moorage.verify.listings import eventually
from moorage.verify.rule import Failed, Need, Skipped
from moorage.verify.together import together

__all__ = [
    "GROUP_NEEDS",
    "cut_group",
    "delete_request",
    "get_request",
    "group_request",
    "made_group",
    "member_ids",
    "new_volumes",
    "ready_group",
]

GROUP_NEEDS: Final[tuple[Need | tuple[Need, ...], ...]] = (
    ControllerCapability.CREATE_DELETE_VOLUME,
    "GroupController",
    GroupControllerCapability.CREATE_DELETE_GET_VOLUME_GROUP_SNAPSHOT,
)
_READY_S: Final = 60.0


async def new_volumes(lab: Lab, count: int = 2) -> list[Volume]:
    """So many new volumes. Raises Failed."""
    return await together(lab.create() for _ in range(count))


def group_request(lab: Lab, volumes: list[Volume]) -> m.CreateVolumeGroupSnapshotRequest:
    """The request for a group snapshot of these volumes, with a name that nothing else has."""
    return m.CreateVolumeGroupSnapshotRequest(
        name=lab.name("group"),
        source_volume_ids=tuple(volume.volume_id for volume in volumes),
        parameters=lab.settings.snapshot_parameters,
    )


def made_group(exchange: Exchange) -> VolumeGroupSnapshot:
    """The group in a good answer. Raises Skipped when the driver cannot group these volumes."""
    if exchange.code is Code.FAILED_PRECONDITION:
        raise Skipped(f"the driver does not group these volumes: {exchange.message}")
    return exchange.response(m.CreateVolumeGroupSnapshotResponse).group_snapshot


async def cut_group(lab: Lab, request: m.CreateVolumeGroupSnapshotRequest) -> VolumeGroupSnapshot:
    """The group, ready or not. Raises Failed, and Skipped when the driver cannot group these volumes."""
    return made_group(await lab.settle(request))


async def ready_group(lab: Lab, request: m.CreateVolumeGroupSnapshotRequest) -> VolumeGroupSnapshot:
    """The group when it is ready to use. Raises Failed when it is not within a minute."""
    group = await cut_group(lab, request)

    async def ready() -> bool:
        nonlocal group
        group = await cut_group(lab, request)
        return group.ready_to_use

    if not group.ready_to_use and not await eventually(ready, patience_s=_READY_S):
        raise Failed(f"the group snapshot was not ready to use after {_READY_S:g} s", lab.last)
    return group


def get_request(group: VolumeGroupSnapshot) -> m.GetVolumeGroupSnapshotRequest:
    """The request that asks for this group."""
    return m.GetVolumeGroupSnapshotRequest(group.group_snapshot_id, member_ids(group))


def delete_request(group: VolumeGroupSnapshot) -> m.DeleteVolumeGroupSnapshotRequest:
    """The request that deletes this group."""
    return m.DeleteVolumeGroupSnapshotRequest(group.group_snapshot_id, member_ids(group))


def member_ids(group: VolumeGroupSnapshot) -> tuple[str, ...]:
    """The ids of its snapshots."""
    return tuple(member.snapshot_id for member in group.snapshots)
