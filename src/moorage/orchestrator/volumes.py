"""What a user can ask for a volume: create, mount, unmount, expand, delete, import, forget, reconcile.

Every request is written down as a wish before anything is done, so a second run of the same command goes on
where a killed one stopped. A wish that the driver finally refuses is taken back, and what was half done for it
is undone.
"""

from __future__ import annotations

import contextlib
import secrets
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass

from msgspec import Struct
from msgspec.structs import replace

from moorage.base.units import format_bytes
from moorage.orchestrator.calling import CallFailed, CallUnfinished
from moorage.orchestrator.execute import ExpansionPostponed
from moorage.orchestrator.machine import target_path
from moorage.orchestrator.model import (
    Actual,
    Desired,
    Mount,
    OrchestratorError,
    Presence,
    VolumeRecord,
    check_name,
    is_in_use,
    may_exist,
)
from moorage.orchestrator.observe import observed
from moorage.orchestrator.outcome import is_gone
from moorage.orchestrator.plan import plan
from moorage.orchestrator.requests import READER_ONLY
from moorage.orchestrator.workspace import Session, Workspace
from moorage.spec.messages import ValidateVolumeCapabilitiesRequest, ValidateVolumeCapabilitiesResponse
from moorage.spec.types import CapacityRange, ContentSource, VolumeCapability


class NewVolume(Struct, frozen=True, kw_only=True):
    """What `create` is given; `driver` is a registered name, `size_bytes` 0 leaves the size to the driver."""

    name: str
    driver: str
    capability: VolumeCapability
    size_bytes: int = 0
    limit_bytes: int = 0
    parameters: Mapping[str, str] = {}
    source: ContentSource | None = None
    secrets_file: str = ""

    def record(self) -> VolumeRecord:
        """A record of which nothing exists yet, with a request name that no other volume has."""
        sized = self.size_bytes or self.limit_bytes
        return VolumeRecord(
            name=check_name("volume", self.name),
            driver=self.driver,
            request_name=f"{self.name}-{secrets.token_hex(4)}",
            capability=self.capability,
            capacity_range=CapacityRange(self.size_bytes, self.limit_bytes) if sized else None,
            parameters=dict(self.parameters),
            source=self.source,
            secrets_file=self.secrets_file,
        )


@dataclass(frozen=True, slots=True)
class Reconciled:
    """What reconcile did to one volume; `problem` is empty when it is as wanted."""

    name: str
    problem: str = ""


@dataclass(frozen=True, slots=True)
class Volumes:
    """The volumes of a workspace. All methods raise OrchestratorError with one sentence."""

    workspace: Workspace

    async def all(self) -> list[VolumeRecord]:
        """Every volume, by name, as far as the mount table proves it."""
        volumes = await self.workspace.book.read(lambda shelves: list(shelves.volumes.all()))
        return [self._observed(volume) for volume in volumes]

    async def get(self, name: str) -> VolumeRecord:
        """One volume, as far as the mount table proves it."""
        volume = await self.find(name)
        if volume is None:
            raise OrchestratorError(f"there is no volume {name!r}; `moorage volume list` shows those that are")
        return volume

    async def find(self, name: str) -> VolumeRecord | None:
        """One volume or None."""
        volume = await self.workspace.book.read(lambda shelves: shelves.volumes.get(name))
        return None if volume is None else self._observed(volume)

    async def create(self, new: NewVolume) -> VolumeRecord:
        """Make sure that the volume exists; going on with a creation that was interrupted."""
        wish = new.record()
        async with self._locked(new.name), self.workspace.session(new.driver) as session:
            known = await self.find(new.name)
            if known is not None:
                wish = _same_wish(known, wish)
            plan(wish, session.declared)
            await self.workspace.book.save_volume(wish)
            try:
                return await session.executor.converge(wish)
            except OrchestratorError:
                await self._drop_if_absent(new.name)
                raise

    async def mount(self, name: str, path: str, *, readonly: bool = False) -> VolumeRecord:
        """Make sure that the volume is visible at `path`; a final failure leaves things as they were."""
        async with self._at_work(name) as (volume, session):
            only_reads = volume.capability.access_mode in READER_ONLY
            wanted = Mount(target_path(path), readonly or only_reads)
            await self._check_free(volume, wanted.path)
            others = tuple(mount for mount in volume.desired.mounts if mount.path != wanted.path)
            return await self._wish(volume, session, replace(volume.desired, mounts=(*others, wanted)))

    async def unmount(self, name_or_path: str) -> VolumeRecord:
        """Make sure that the volume is gone from one path, or, given its name, from all."""
        name, path = await self._whose(name_or_path)
        async with self._at_work(name, needs_wanted=False) as (volume, session):
            stay = tuple(mount for mount in volume.desired.mounts if path and mount.path != path)
            return await self._persist(volume, session, replace(volume.desired, mounts=stay))

    async def expand(self, name: str, size_bytes: int) -> VolumeRecord:
        """Make sure that the volume is at least that large; mounted ones grow where they are."""
        async with self._at_work(name) as (volume, session):
            if size_bytes < volume.actual.capacity_bytes:
                raise OrchestratorError(
                    f"volume {name!r} is {format_bytes(volume.actual.capacity_bytes)} large and cannot shrink to "
                    f"{format_bytes(size_bytes)}; give a larger size"
                )
            again = replace(volume, actual=replace(volume.actual, node_expansion_postponed=False))
            desired = replace(volume.desired, size_bytes=size_bytes)
            return await self._wish(again, session, desired, growth_asked=True)

    async def delete(self, name: str) -> None:
        """Make sure that the volume does not exist; an unknown one is fine."""
        if await self.find(name) is None:
            return
        async with self._at_work(name, needs_wanted=False) as (volume, session):
            wish = replace(volume, desired=replace(volume.desired, exists=False, size_bytes=0))
            plan(wish, session.declared)
            await self.workspace.book.save_volume(wish)
            try:
                await session.executor.converge(wish)
            except CallFailed:  # of the call that asks for the id: there is no such volume, and none will come
                await self._drop_if_absent(name)
                if await self.find(name) is not None:
                    raise

    async def import_volume(self, new: NewVolume, *, volume_id: str, volume_context: Mapping[str, str]) -> VolumeRecord:
        """Take over a volume that exists in the storage system, after the driver confirmed its capability."""
        async with self._locked(new.name), self.workspace.session(new.driver) as session:
            known = await self.find(new.name)
            if known is not None and known.actual.volume_id == volume_id and known.driver == new.driver:
                return known
            if known is not None:
                raise OrchestratorError(f"there is a volume {new.name!r} already; import under another name")
            record = new.record()
            await self._confirm(record, session, volume_id=volume_id, volume_context=volume_context)
            actual = Actual(
                created=Presence.PRESENT,
                volume_id=volume_id,
                capacity_bytes=new.size_bytes,
                volume_context=dict(volume_context),
            )
            record = replace(record, imported=True, actual=actual)
            await self.workspace.book.save_volume(record)
            return record

    async def forget(self, name: str, *, force: bool = False) -> None:
        """Drop the record and leave the volume alone; refused while it is in use here, unless `force`."""
        async with self._locked(name):
            volume = await self.find(name)
            if volume is None:
                return
            if is_in_use(volume.actual) and not force:
                raise OrchestratorError(
                    f"volume {name!r} is in use on this machine; run `moorage volume unmount {name}` first"
                )
            if volume.actual.created is Presence.UNCERTAIN and not force:
                raise OrchestratorError(
                    f"volume {name!r} is half made or half deleted; run `moorage volume delete {name}` first"
                )
            await self.workspace.book.drop_volume(name)

    async def reconcile(self) -> list[Reconciled]:
        """Bring every volume to what is wanted, after a reboot for example; one failure does not stop the rest."""
        return [await self._reconcile(volume.name) for volume in await self.all()]

    async def _reconcile(self, name: str) -> Reconciled:
        try:
            async with self._at_work(name, needs_wanted=False) as (volume, session):
                await self._converge(volume, session)
        except OrchestratorError as error:
            return Reconciled(name, str(error))
        return Reconciled(name)

    async def _wish(
        self, volume: VolumeRecord, session: Session, desired: Desired, *, growth_asked: bool = False
    ) -> VolumeRecord:
        """`_persist` for a wish that is taken back when it finally fails."""
        try:
            return await self._persist(volume, session, desired, growth_asked=growth_asked)
        except CallUnfinished:
            raise
        except OrchestratorError:
            await self._take_back(volume, session)
            raise

    async def _persist(
        self, volume: VolumeRecord, session: Session, desired: Desired, *, growth_asked: bool = False
    ) -> VolumeRecord:
        """Write the wish down and work on it; nothing is written when the planner refuses it."""
        wish = replace(volume, desired=desired)
        plan(wish, session.declared)
        await self.workspace.book.save_volume(wish)
        return await self._converge(wish, session, growth_asked=growth_asked)

    async def _converge(self, wish: VolumeRecord, session: Session, *, growth_asked: bool = False) -> VolumeRecord:
        """Work on a wish; a growth that the node refuses is an error only for who asked for it now."""
        try:
            return await session.executor.converge(wish)
        except ExpansionPostponed as failure:
            if growth_asked:
                raise
            self.workspace.progress.note(f"volume {wish.name!r} is not yet as large as wanted: {failure}")
            return await self.get(wish.name)

    async def _take_back(self, before: VolumeRecord, session: Session) -> None:
        now = await self.find(before.name)
        if now is None or now.desired == before.desired:
            return
        now = replace(now, desired=before.desired)
        await self.workspace.book.save_volume(now)
        try:
            await session.executor.converge(now)
        except OrchestratorError as error:
            self.workspace.progress.note(f"undoing was not complete: {error}")

    async def _drop_if_absent(self, name: str) -> None:
        volume = await self.find(name)
        if volume is not None and not may_exist(volume.actual.created):
            await self.workspace.book.drop_volume(name)

    async def _confirm(
        self, record: VolumeRecord, session: Session, *, volume_id: str, volume_context: Mapping[str, str]
    ) -> None:
        if "Controller" not in session.declared.services:
            return
        request = ValidateVolumeCapabilitiesRequest(
            volume_id=volume_id,
            volume_capabilities=(record.capability,),
            volume_context=volume_context,
            parameters=record.parameters,
            secrets=session.executor.secrets(record.secrets_file, "ValidateVolumeCapabilities"),
        )
        answer = await session.caller.call("ValidateVolumeCapabilities", request, f"volume {volume_id!r}")
        assert isinstance(answer, ValidateVolumeCapabilitiesResponse)
        if answer.confirmed is None:
            reason = answer.message or "it gives no reason"
            raise OrchestratorError(
                f"driver {record.driver!r} does not offer volume {volume_id!r} that way ({reason}); import it with "
                "another --access-mode, --fs-type or --block"
            )

    async def _check_free(self, volume: VolumeRecord, path: str) -> None:
        for other in await self.all():
            taken = {m.path for m in other.desired.mounts} | {m.path for m in other.actual.mounts}
            if other.name != volume.name and path in taken:
                raise OrchestratorError(f"volume {other.name!r} is mounted at {path}; choose another mount path")

    async def _whose(self, name_or_path: str) -> tuple[str, str]:
        """The volume's name and, when a path was given, the path."""
        volumes = await self.all()
        if any(volume.name == name_or_path for volume in volumes):
            return name_or_path, ""
        path = target_path(name_or_path)
        for volume in volumes:
            if path in {m.path for m in volume.desired.mounts} | {m.path for m in volume.actual.mounts}:
                return volume.name, path
        if "/" in name_or_path:
            raise OrchestratorError(f"no volume is mounted at {path}; `moorage volume list` shows what is where")
        raise OrchestratorError(f"there is no volume {name_or_path!r}; `moorage volume list` shows those that are")

    @contextlib.asynccontextmanager
    async def _at_work(self, name: str, *, needs_wanted: bool = True) -> AsyncIterator[tuple[VolumeRecord, Session]]:
        async with self._locked(name):
            volume = await self.get(name)
            if needs_wanted and not volume.desired.exists:
                raise OrchestratorError(
                    f"volume {name!r} is being deleted; run `moorage volume delete {name}` to finish that"
                )
            async with self.workspace.session(volume.driver) as session:
                yield volume, session

    def _locked(self, name: str) -> contextlib.AbstractAsyncContextManager[None]:
        check_name("volume", name)
        return self.workspace.book.lock("volume", name, waiting=self.workspace.progress.note)

    def _observed(self, volume: VolumeRecord) -> VolumeRecord:
        paths = {mounted.path for mounted in volume.actual.mounts}
        machine = self.workspace.machine
        return observed(volume, mount_points=machine.mounted(paths), boot_id=machine.boot_id())


def _same_wish(known: VolumeRecord, wish: VolumeRecord) -> VolumeRecord:
    """The known record when `wish` asks for the same volume; raises OrchestratorError when it does not."""
    if not known.desired.exists and not is_gone(known):
        raise OrchestratorError(
            f"volume {known.name!r} is being deleted; run `moorage volume delete {known.name}` to finish that"
        )
    for field in ("driver", "capability", "capacity_range", "parameters", "source"):
        if getattr(known, field) != getattr(wish, field):
            raise OrchestratorError(
                f"there is a volume {known.name!r} with another {field.replace('_', ' ')}; choose another name"
            )
    return known
