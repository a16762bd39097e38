"""What every group of RPC handlers shares: the driver, its store, its locks, and the checks between them."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from msgspec import Struct

from moorage.base.clock import Clock
from moorage.base.faults import Step
from moorage.base.log import get_logger
from moorage.framework.calls import Calls
from moorage.framework.driver import Driver
from moorage.framework.invoke import Invoker
from moorage.framework.node_journal import NodeJournal
from moorage.framework.store import Intent, Record, Store
from moorage.framework.values import SnapshotRecord, VolumeRecord
from moorage.spec.capabilities import Declared
from moorage.spec.compatibility import without_orchestrator_keys
from moorage.spec.errors import Internal, InvalidArgument, SnapshotNotFound, Unavailable, VolumeNotFound
from moorage.spec.responses import response_problems
from moorage.spec.rules import RPCS
from moorage.spec.types import VolumeCapability

log = get_logger(__name__)

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Core:
    """The parts a handler works with. `node` is None where the node service is not served."""

    driver: Driver
    declared: Declared
    invoke: Invoker
    calls: Calls
    store: Store
    clock: Clock
    node: NodeJournal | None = None

    async def controller(self, method: str, /, *arguments: object) -> Any:
        """Call a controller-side method of the driver."""
        return await self.invoke.call("controller", method, *arguments)

    async def stint(self, method: str, work: Callable[..., Coroutine[Any, Any, T]], /, *arguments: object) -> T:
        """Commits around a controller-side method of the driver, at the cost of one hand-over: `Invoker.stint`."""
        return await self.invoke.stint("controller", method, work, *arguments)

    async def on_node(self, method: str, /, *arguments: object) -> Any:
        """Call a node-side method of the driver."""
        return await self.invoke.call("node", method, *arguments)

    async def settle(
        self, step: Step, intent: Intent | None = None, *, put: Sequence[Record] = (), drop: Sequence[Record] = ()
    ) -> None:
        """`Store.settle` as a durable step. A failure is never final: what was to be recorded exists."""
        try:
            with step:
                await self.store.settle(intent, put=put, drop=drop)
        except OSError as error:
            raise Unavailable("the driver cannot write its state; mend that and repeat the call") from error

    async def begin(self, step: Step, intent: Intent) -> None:
        """`Store.begin` as a durable step. A failure is never final: the intent may be there."""
        try:
            with step:
                await self.store.begin(intent)
        except OSError as error:
            raise Unavailable("the driver cannot write its state; mend that and repeat the call") from error

    def check_response(self, rpc: str, response: Struct) -> None:
        """Raise `Internal` for what must not be answered, while it can still be undone."""
        if problems := response_problems(RPCS[rpc], response, self.declared):
            raise Internal(f"the driver returned what the specification forbids: {problems[0]}")

    async def known_volume(self, volume_id: str) -> VolumeRecord:
        """The record of a volume that is not being deleted, or a static one; raises `VolumeNotFound`."""
        record = await self.find_volume(volume_id)
        if record is None or record.deleting:
            raise VolumeNotFound(volume_id)
        return record

    async def find_volume(self, volume_id: str) -> VolumeRecord | None:
        """The record of a volume, or what the driver says of one that has none."""
        record = await self.store.volume(volume_id)
        if record is None and self.invoke.offers("find_volume"):
            found: VolumeRecord | None = await self.controller("find_volume", volume_id)
            return found
        return record

    async def known_snapshot(self, snapshot_id: str) -> SnapshotRecord:
        """The record of a snapshot that is not being deleted; raises `SnapshotNotFound`."""
        record = await self.store.snapshot(snapshot_id)
        if record is None or record.deleting:
            raise SnapshotNotFound(snapshot_id)
        return record

    def check_capabilities(self, capabilities: tuple[VolumeCapability, ...]) -> None:
        """Raise `InvalidArgument` for the first capability that volumes of this driver cannot have."""
        for capability in capabilities:
            if reason := self.driver.supports(capability):
                raise InvalidArgument(f"{self.driver.name} cannot provide the volume: {reason}")

    def effective_parameters(
        self, parameters: Mapping[str, str], mutable: Mapping[str, str]
    ) -> tuple[dict[str, str], dict[str, str]]:
        """Parameters overlaid with the mutable ones, and the mutable ones, both without the orchestrator's keys.

        Raises `InvalidArgument` for what the driver does not know.
        """
        own_mutable = dict(without_orchestrator_keys(mutable))
        merged = {**without_orchestrator_keys(parameters), **own_mutable}
        if self.invoke.offers("check_parameters"):
            self.driver.check_parameters(merged, own_mutable)
        return merged, own_mutable

    def here(self, volume_id: str) -> list[str]:
        """Paths on this node where the volume is staged or published, as far as this process knows."""
        return self.node.paths_of(volume_id) if self.node is not None else []
