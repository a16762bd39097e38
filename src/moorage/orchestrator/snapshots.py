"""Snapshots of volumes, one by one or as a group cut at one instant.

A snapshot that is cut but not ready is asked about until it is: by repeating CreateSnapshot, as the specification
wants it, and by GetVolumeGroupSnapshot for groups. The same rules for intents hold as for volumes.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import dataclass

from msgspec.structs import replace

from moorage.orchestrator.calling import CallFailed
from moorage.orchestrator.model import (
    OrchestratorError,
    Presence,
    SnapshotRecord,
    VolumeRecord,
    check_name,
    may_exist,
)
from moorage.orchestrator.outcome import REFUSALS
from moorage.orchestrator.plan import Refused
from moorage.orchestrator.workspace import Session, Workspace
from moorage.spec.errors import NotFound
from moorage.spec.messages import (
    CreateSnapshotRequest,
    CreateSnapshotResponse,
    DeleteSnapshotRequest,
)
from moorage.spec.types import ControllerCapability, Snapshot


@dataclass(frozen=True, slots=True)
class Snapshots:
    """The snapshots of a workspace. All methods raise OrchestratorError with one sentence."""

    workspace: Workspace

    async def all(self) -> list[SnapshotRecord]:
        """Every snapshot, by name."""
        return await self.workspace.book.read(lambda shelves: list(shelves.snapshots.all()))

    async def find(self, name: str) -> SnapshotRecord | None:
        """One snapshot or None."""
        return await self.workspace.book.read(lambda shelves: shelves.snapshots.get(name))

    async def get(self, name: str) -> SnapshotRecord:
        """One snapshot."""
        snapshot = await self.find(name)
        if snapshot is None:
            raise OrchestratorError(f"there is no snapshot {name!r}; `moorage volume snapshots` shows those that are")
        return snapshot

    async def create(
        self, volume: VolumeRecord, name: str, *, parameters: Mapping[str, str], secrets_file: str = ""
    ) -> SnapshotRecord:
        """Make sure that the snapshot is cut, and wait until it is ready to use."""
        check_name("snapshot", name)
        async with (
            self.workspace.book.lock("snapshot", name, waiting=self.workspace.progress.note),
            self.workspace.session(volume.driver) as session,
        ):
            _check_offered(session)
            known = await self.find(name)
            snapshot = known or _new_snapshot(volume, name, parameters, secrets_file)
            _check_same(snapshot, volume)
            return await self._cut(snapshot, session)

    async def ready(self, name: str) -> SnapshotRecord:
        """The snapshot, once it is ready to use."""
        snapshot = await self.get(name)
        if snapshot.ready or snapshot.group:
            return snapshot
        async with (
            self.workspace.book.lock("snapshot", name, waiting=self.workspace.progress.note),
            self.workspace.session(snapshot.driver) as session,
        ):
            return await self._cut(await self.get(name), session)

    async def delete(self, name: str) -> None:
        """Make sure that the snapshot does not exist; an unknown one is fine."""
        snapshot = await self.find(name)
        if snapshot is None:
            return
        if snapshot.group:
            raise OrchestratorError(
                f"snapshot {name!r} belongs to group {snapshot.group!r} and goes with it; run `moorage volume "
                f"delete-snapshot {snapshot.group}`"
            )
        async with (
            self.workspace.book.lock("snapshot", name, waiting=self.workspace.progress.note),
            self.workspace.session(snapshot.driver) as session,
        ):
            await self._remove(await self.get(name), session)

    async def _cut(self, snapshot: SnapshotRecord, session: Session) -> SnapshotRecord:
        book, caller = self.workspace.book, session.caller
        snapshot = replace(snapshot, presence=Presence.UNCERTAIN)
        await book.save_snapshot(snapshot)
        for delay_s in caller.patience.backoff.delays_s():
            try:
                answer = await self._ask(snapshot, session)
            except CallFailed as failure:
                if failure.error.final and not snapshot.snapshot_id:
                    await book.drop_snapshot(snapshot.name)
                raise
            snapshot = recorded(snapshot, answer)
            await book.save_snapshot(snapshot)
            if snapshot.ready:
                break
            await caller.wait(f"snapshot {snapshot.name!r}", delay_s)
        return snapshot

    async def _ask(self, snapshot: SnapshotRecord, session: Session) -> Snapshot:
        request = CreateSnapshotRequest(
            source_volume_id=snapshot.source_volume_id,
            name=snapshot.request_name,
            parameters=snapshot.parameters,
            secrets=session.executor.secrets(snapshot.secrets_file, "CreateSnapshot"),
        )
        answer = await session.caller.call("CreateSnapshot", request, f"snapshot {snapshot.name!r}")
        assert isinstance(answer, CreateSnapshotResponse)
        return answer.snapshot

    async def _remove(self, snapshot: SnapshotRecord, session: Session) -> None:
        if may_exist(snapshot.presence) and not snapshot.snapshot_id:
            try:
                snapshot = recorded(snapshot, await self._ask(snapshot, session))  # only its answer tells the id
            except CallFailed as failure:
                if not isinstance(failure.error, NotFound):
                    raise
                await self.workspace.book.drop_snapshot(snapshot.name)
                self.workspace.progress.note(gone_with_its_source(f"snapshot {snapshot.name!r}", snapshot.request_name))
                return
        await self.workspace.book.save_snapshot(replace(snapshot, wanted=False, presence=Presence.UNCERTAIN))
        request = DeleteSnapshotRequest(
            snapshot_id=snapshot.snapshot_id,
            secrets=session.executor.secrets(snapshot.secrets_file, "DeleteSnapshot"),
        )
        try:
            await session.caller.call("DeleteSnapshot", request, f"snapshot {snapshot.name!r}")
        except CallFailed as failure:
            if not isinstance(failure.error, NotFound):
                if failure.error.code in REFUSALS:
                    kept = replace(snapshot, wanted=True, presence=Presence.PRESENT)
                    await self.workspace.book.save_snapshot(kept)
                raise
        await self.workspace.book.drop_snapshot(snapshot.name)


def recorded(snapshot: SnapshotRecord, answer: Snapshot) -> SnapshotRecord:
    """The record after the driver told of the snapshot."""
    return replace(
        snapshot,
        presence=Presence.PRESENT,
        snapshot_id=answer.snapshot_id,
        size_bytes=answer.size_bytes,
        creation_time=answer.creation_time,
        ready=answer.ready_to_use,
    )


def gone_with_its_source(subject: str, asked_for: str) -> str:
    """A remark on a cut that was begun, and of which the driver tells nothing because its volume is gone."""
    return (
        f"{subject} was never answered for and its volume is gone; should the storage system hold a snapshot called "
        f"{asked_for!r}, delete it there"
    )


def request_name(name: str) -> str:
    """A name for the driver that no other snapshot has."""
    return f"{name}-{secrets.token_hex(4)}"


def _new_snapshot(volume: VolumeRecord, name: str, parameters: Mapping[str, str], secrets_file: str) -> SnapshotRecord:
    return SnapshotRecord(
        name=name,
        driver=volume.driver,
        request_name=request_name(name),
        source_volume_id=volume.actual.volume_id,
        source_volume=volume.name,
        parameters=dict(parameters),
        secrets_file=secrets_file or volume.secrets_file,
    )


def _check_offered(session: Session) -> None:
    if ControllerCapability.CREATE_DELETE_SNAPSHOT not in session.declared.controller:
        raise Refused(f"driver {session.driver.name!r} does not offer snapshots; copy the files instead")


def _check_same(snapshot: SnapshotRecord, volume: VolumeRecord) -> None:
    if not volume.actual.volume_id:
        raise OrchestratorError(f"volume {volume.name!r} is not created yet; run `moorage volume reconcile` first")
    if not snapshot.wanted:
        raise OrchestratorError(
            f"snapshot {snapshot.name!r} is being deleted; run `moorage volume delete-snapshot {snapshot.name}` "
            "to finish that"
        )
    if snapshot.source_volume_id != volume.actual.volume_id or snapshot.driver != volume.driver:
        raise OrchestratorError(
            f"snapshot {snapshot.name!r} exists and is of volume {snapshot.source_volume!r}; choose another name"
        )
