"""Group snapshots: several volumes of one driver cut at one instant.

Each member becomes a snapshot record of its own, named GROUP-VOLUME, so that it can be restored like any other;
it is deleted with its group only.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from msgspec import Struct
from msgspec.structs import replace

from moorage.orchestrator.calling import CallFailed
from moorage.orchestrator.model import (
    GroupRecord,
    OrchestratorError,
    Presence,
    SnapshotRecord,
    VolumeRecord,
    check_name,
    may_exist,
)
from moorage.orchestrator.outcome import REFUSALS
from moorage.orchestrator.plan import Refused
from moorage.orchestrator.snapshots import gone_with_its_source, recorded, request_name
from moorage.orchestrator.workspace import Session, Workspace
from moorage.spec.errors import NotFound
from moorage.spec.messages import (
    CreateVolumeGroupSnapshotRequest,
    CreateVolumeGroupSnapshotResponse,
    DeleteVolumeGroupSnapshotRequest,
    GetVolumeGroupSnapshotRequest,
    GetVolumeGroupSnapshotResponse,
)
from moorage.spec.types import GroupControllerCapability, VolumeGroupSnapshot


@dataclass(frozen=True, slots=True)
class Groups:
    """The group snapshots of a workspace. All methods raise OrchestratorError with one sentence."""

    workspace: Workspace

    async def all(self) -> list[GroupRecord]:
        """Every group, by name."""
        return await self.workspace.book.read(lambda shelves: list(shelves.groups.all()))

    async def find(self, name: str) -> GroupRecord | None:
        """One group or None."""
        return await self.workspace.book.read(lambda shelves: shelves.groups.get(name))

    async def create(
        self, volumes: Sequence[VolumeRecord], name: str, *, parameters: Mapping[str, str], secrets_file: str = ""
    ) -> GroupRecord:
        """Make sure that all volumes are cut at one instant, and wait until the group is ready."""
        check_name("group", name)
        _check_together(volumes)
        async with (
            self.workspace.book.lock("group", name, waiting=self.workspace.progress.note),
            self.workspace.session(volumes[0].driver) as session,
        ):
            _check_offered(session)
            known = await self.find(name)
            group = known or _new_group(volumes, name, parameters, secrets_file)
            _check_same(group, volumes)
            return await self._cut(group, session)

    async def delete(self, name: str) -> None:
        """Make sure that the group and its members do not exist; an unknown one is fine."""
        group = await self.find(name)
        if group is None:
            return
        async with (
            self.workspace.book.lock("group", name, waiting=self.workspace.progress.note),
            self.workspace.session(group.driver) as session,
        ):
            await self._remove(group, session)

    async def _cut(self, group: GroupRecord, session: Session) -> GroupRecord:
        caller = session.caller
        group = replace(group, presence=Presence.UNCERTAIN)
        await self._save(group)
        for delay_s in caller.patience.backoff.delays_s():
            try:
                answer = await self._ask(group, session)
            except CallFailed as failure:
                if failure.error.final and not group.group_snapshot_id:
                    await self.workspace.book.drop_group(group.name)
                raise
            group = _recorded(group, answer)
            await self._save(group, answer)
            if group.ready:
                break
            await caller.wait(f"group {group.name!r}", delay_s)
        return group

    async def _ask(self, group: GroupRecord, session: Session) -> VolumeGroupSnapshot:
        """The group as the driver sees it: made on the first call, looked up on the next."""
        request: Struct
        if group.group_snapshot_id:
            rpc = "GetVolumeGroupSnapshot"
            request = GetVolumeGroupSnapshotRequest(
                group.group_snapshot_id, group.snapshot_ids, session.executor.secrets(group.secrets_file, rpc)
            )
        else:
            rpc = "CreateVolumeGroupSnapshot"
            request = CreateVolumeGroupSnapshotRequest(
                group.request_name,
                group.source_volume_ids,
                session.executor.secrets(group.secrets_file, rpc),
                group.parameters,
            )
        answer = await session.caller.call(rpc, request, f"group {group.name!r}")
        assert isinstance(answer, CreateVolumeGroupSnapshotResponse | GetVolumeGroupSnapshotResponse)
        return answer.group_snapshot

    async def _remove(self, group: GroupRecord, session: Session) -> None:
        if may_exist(group.presence) and not group.group_snapshot_id:
            try:
                group = _recorded(group, await self._ask(group, session))  # only its answer tells the ids
            except CallFailed as failure:
                if not isinstance(failure.error, NotFound):
                    raise
                await self.workspace.book.drop_group(group.name)
                self.workspace.progress.note(gone_with_its_source(f"group {group.name!r}", group.request_name))
                return
        await self._save(replace(group, wanted=False, presence=Presence.UNCERTAIN))
        request = DeleteVolumeGroupSnapshotRequest(
            group.group_snapshot_id,
            group.snapshot_ids,
            session.executor.secrets(group.secrets_file, "DeleteVolumeGroupSnapshot"),
        )
        try:
            await session.caller.call("DeleteVolumeGroupSnapshot", request, f"group {group.name!r}")
        except CallFailed as failure:
            if not isinstance(failure.error, NotFound):
                if failure.error.code in REFUSALS:
                    await self._save(replace(group, wanted=True, presence=Presence.PRESENT))
                raise
        members = await self._members(group.name)
        await self.workspace.book.drop_group(group.name, members=members)

    async def _save(self, group: GroupRecord, answer: VolumeGroupSnapshot | None = None) -> None:
        members = _member_records(group, answer) if answer is not None else []
        await self.workspace.book.save_group(group, members=members)

    async def _members(self, name: str) -> list[str]:
        return await self.workspace.book.read(
            lambda shelves: [snapshot.name for snapshot in shelves.snapshots.all() if snapshot.group == name]
        )


def _recorded(group: GroupRecord, answer: VolumeGroupSnapshot) -> GroupRecord:
    return replace(
        group,
        presence=Presence.PRESENT,
        group_snapshot_id=answer.group_snapshot_id,
        snapshot_ids=tuple(snapshot.snapshot_id for snapshot in answer.snapshots),
        creation_time=answer.creation_time,
        ready=answer.ready_to_use,
    )


def _member_records(group: GroupRecord, answer: VolumeGroupSnapshot) -> list[SnapshotRecord]:
    names = dict(zip(group.source_volume_ids, group.source_volumes, strict=True))
    return [
        recorded(
            SnapshotRecord(
                name=f"{group.name}-{names.get(member.source_volume_id, member.snapshot_id)}",
                driver=group.driver,
                request_name=group.request_name,
                source_volume_id=member.source_volume_id,
                source_volume=names.get(member.source_volume_id, ""),
                secrets_file=group.secrets_file,
                group=group.name,
            ),
            member,
        )
        for member in answer.snapshots
    ]


def _new_group(
    volumes: Sequence[VolumeRecord], name: str, parameters: Mapping[str, str], secrets_file: str
) -> GroupRecord:
    return GroupRecord(
        name=name,
        driver=volumes[0].driver,
        request_name=request_name(name),
        source_volume_ids=tuple(volume.actual.volume_id for volume in volumes),
        source_volumes=tuple(volume.name for volume in volumes),
        parameters=dict(parameters),
        secrets_file=secrets_file or volumes[0].secrets_file,
    )


def _check_offered(session: Session) -> None:
    wanted = GroupControllerCapability.CREATE_DELETE_GET_VOLUME_GROUP_SNAPSHOT
    if wanted not in session.declared.group:
        raise Refused(f"driver {session.driver.name!r} does not offer group snapshots; snapshot each volume")


def _check_together(volumes: Sequence[VolumeRecord]) -> None:
    if not volumes:
        raise OrchestratorError("a group snapshot needs at least one volume; name them")
    for volume in volumes:
        if volume.driver != volumes[0].driver:
            raise OrchestratorError(
                f"volumes {volumes[0].name!r} and {volume.name!r} belong to different drivers, which cannot be cut at "
                "one instant; group volumes of one driver"
            )
        if not volume.actual.volume_id:
            raise OrchestratorError(f"volume {volume.name!r} is not created yet; run `moorage volume reconcile` first")


def _check_same(group: GroupRecord, volumes: Sequence[VolumeRecord]) -> None:
    if not group.wanted:
        raise OrchestratorError(
            f"group {group.name!r} is being deleted; run `moorage volume delete-snapshot {group.name}` to finish that"
        )
    if set(group.source_volume_ids) != {volume.actual.volume_id for volume in volumes}:
        raise OrchestratorError(f"group {group.name!r} exists with other volumes; choose another name")
