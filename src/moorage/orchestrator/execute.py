"""Performs steps: record the intent, call the driver, record the result; again until nothing is left to do.

The plan is made anew after every step, because an answer can change it (node_expansion_required) and because that
is also what resuming after a crash is. Knows neither gRPC nor where records are kept.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final, Protocol

from msgspec import Struct

from moorage.orchestrator import nomad
from moorage.orchestrator.calling import Caller, CallFailed
from moorage.orchestrator.machine import Machine
from moorage.orchestrator.model import OrchestratorError, VolumeRecord
from moorage.orchestrator.outcome import TEARDOWN, failed, intended, is_gone, succeeded
from moorage.orchestrator.plan import Step, plan, refuse_unsafe
from moorage.orchestrator.requests import NodeFacts, request_for
from moorage.spec.capabilities import Declared
from moorage.spec.errors import NotFound
from moorage.spec.rules import RPCS
from moorage.spec.types import Secrets

MAX_STEPS: Final = 1000
"""More steps than any volume needs; a driver whose answers never settle is stopped here."""


class VolumeStore(Protocol):
    """Where records of volumes are kept; each method is durable when it returns."""

    async def save_volume(self, volume: VolumeRecord) -> None:
        """Write the record."""
        ...

    async def drop_volume(self, name: str) -> None:
        """Forget the record."""
        ...


class ExpansionPostponed(CallFailed):
    """Everything else is as wanted; the node will be asked to grow the volume when it is staged the next time."""


@dataclass(frozen=True, slots=True)
class Executor:
    """Leads volumes of one driver to what is wanted. One executor may serve one volume at a time."""

    caller: Caller
    declared: Declared
    node: NodeFacts
    store: VolumeStore
    machine: Machine
    staging_base: str
    secrets: Callable[[str, str], Secrets] = field(default=lambda _file, _rpc: Secrets())
    nomad_order: bool = False

    async def converge(self, volume: VolumeRecord) -> VolumeRecord:
        """Perform steps until actual is desired; the record is saved on the way and dropped when it is gone.

        Raises Refused before anything unsafe, CallFailed and CallUnfinished as `Caller.call` does, and
        ExpansionPostponed when all is done but the growth of the file system, which the node finally refused. What
        the store holds then is the truth to resume from.
        """
        refused: CallFailed | None = None
        for _ in range(MAX_STEPS):
            steps = plan(volume, self.declared, publish_first=self.nomad_order)
            if not steps:
                if is_gone(volume):
                    await self.store.drop_volume(volume.name)
                if refused is not None:
                    raise ExpansionPostponed(str(refused), rpc=refused.rpc, error=refused.error)
                return volume
            try:
                volume = await self.perform(volume, steps[0])
            except CallFailed as failure:
                if steps[0].rpc != "NodeExpandVolume" or not failure.error.final:
                    raise
                refused, volume = failure, failed(volume, steps[0], failure.error)
        raise OrchestratorError(
            f"volume {volume.name!r} did not settle in {MAX_STEPS} steps; report this to the maintainers of driver "
            f"{volume.driver!r}"
        )

    async def perform(self, volume: VolumeRecord, step: Step) -> VolumeRecord:
        """One step: directories, intent, call, result; raises as `converge` does."""
        refuse_unsafe(volume, step, self.declared)
        volume = intended(
            volume,
            step,
            node_id=self.node.node_id,
            staging_path=self._staging_path(volume),
            boot_id=self.machine.boot_id(),
        )
        self._prepare(volume, step)
        await self.store.save_volume(volume)
        try:
            answer = await self._answer(volume, step)
        except CallFailed as failure:
            if failure.error.final:
                await self.store.save_volume(failed(volume, step, failure.error))
            raise
        volume = succeeded(volume, step, answer)
        await self.store.save_volume(volume)
        self._tidy(volume, step)
        return volume

    async def _answer(self, volume: VolumeRecord, step: Step) -> Struct:
        subject = f"volume {volume.name!r}"
        secrets = self.secrets(volume.secrets_file, step.rpc)
        if self.nomad_order and self._mounted_already(volume, step):
            return RPCS[step.rpc].response()
        answer: Struct | None = None
        for each in nomad.calls_for(step) if self.nomad_order else (step,):
            request = request_for(volume, each, declared=self.declared, node=self.node, secrets=secrets)
            try:
                answer = await self.caller.call(each.rpc, request, subject)
            except CallFailed as failure:
                if not self._is_gone_already(step, failure):
                    raise
                answer = RPCS[step.rpc].response()
        assert answer is not None
        return answer

    def _mounted_already(self, volume: VolumeRecord, step: Step) -> bool:
        """Nomad takes a mount point at the staging or target path for a finished call."""
        place = {"NodeStageVolume": volume.actual.staging_path, "NodePublishVolume": step.path}.get(step.rpc, "")
        return bool(place) and bool(self.machine.mounted({place}))

    def _is_gone_already(self, step: Step, failure: CallFailed) -> bool:
        """Whether undoing failed only because there was nothing to undo, which the mount table must confirm."""
        if step.rpc not in TEARDOWN or not isinstance(failure.error, NotFound):
            return False
        return not (step.path and self.machine.mounted({step.path}))

    def _staging_path(self, volume: VolumeRecord) -> str:
        if self.nomad_order:
            return nomad.staging_path(self.staging_base, volume)
        return f"{self.staging_base}/staging/{volume.name}"

    def _prepare(self, volume: VolumeRecord, step: Step) -> None:
        if step.rpc == "NodeStageVolume":
            self.machine.make_staging(volume.actual.staging_path)
        elif step.rpc == "NodePublishVolume":
            self.machine.make_parent(step.path, block=volume.capability.is_block)

    def _tidy(self, volume: VolumeRecord, step: Step) -> None:
        if step.rpc != "NodeUnstageVolume":
            return
        if reason := self.machine.remove_staging(volume.actual.staging_path):
            self.caller.progress.note(f"staging directory of volume {volume.name!r}: {reason}")
