"""Everything that one command needs: the records, the registered drivers, this machine, the clock, the patience.

A `Session` is a connection to one driver with what it declared; volumes, snapshots and queries work through it.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Protocol

from moorage.base.clock import Clock, SystemClock
from moorage.orchestrator.book import Book
from moorage.orchestrator.calling import Caller, Patience, Progress, Silent, Unary
from moorage.orchestrator.execute import Executor
from moorage.orchestrator.machine import LocalMachine, Machine
from moorage.orchestrator.model import DriverRecord, OrchestratorError
from moorage.orchestrator.requests import NodeFacts
from moorage.orchestrator.secretfile import secrets_for
from moorage.rpc.client import Client
from moorage.spec.capabilities import Declared
from moorage.spec.errors import CsiError, Unimplemented
from moorage.spec.messages import NodeGetInfoRequest, NodeGetInfoResponse


class DriverClient(Unary, Protocol):
    """What the orchestrator uses of `rpc.Client`."""

    async def declared(self, *, timeout_s: float | None = None) -> Declared:
        """What the driver declares."""
        ...

    async def wait_ready(self, timeout_s: float) -> None:
        """Wait until the driver answers Probe with ready."""
        ...

    async def close(self) -> None:
        """Close the connection."""
        ...


Connect = Callable[[str], DriverClient]


@dataclass(frozen=True, slots=True)
class Session:
    """A driver that answers: its record, what it declared, which node it is on, and how to call it."""

    driver: DriverRecord
    declared: Declared
    node: NodeFacts
    caller: Caller
    executor: Executor


@dataclass(frozen=True, slots=True, kw_only=True)
class Workspace:
    """`directory` holds records, locks and staging directories; all else can be replaced in tests."""

    directory: str
    book: Book
    machine: Machine
    clock: Clock
    progress: Progress
    patience: Patience
    connect: Connect = Client
    nomad_order: bool = False

    @contextlib.asynccontextmanager
    async def session(self, name: str) -> AsyncIterator[Session]:
        """Connect to the registered driver of this name. Raises OrchestratorError when it does not answer."""
        driver = await self.book.read(lambda shelves: shelves.drivers.get(name))
        if driver is None:
            raise OrchestratorError(
                f"no driver {name!r} is registered; run `moorage volume drivers add SOCKET --name {name}`"
            )
        deadline_s = self.clock.monotonic() + self.patience.limit_s
        async with self.connected(driver.endpoint) as (client, declared):
            node = await node_facts(client, declared)
            caller = Caller(client, self.patience, deadline_s, self.clock, self.progress)
            executor = Executor(
                caller=caller,
                declared=declared,
                node=node,
                store=self.book,
                machine=self.machine,
                staging_base=self.directory,
                secrets=secrets_for,
                nomad_order=self.nomad_order,
            )
            yield Session(driver, declared, node, caller, executor)

    @contextlib.asynccontextmanager
    async def connected(self, endpoint: str) -> AsyncIterator[tuple[DriverClient, Declared]]:
        """A client of a driver that is ready, and what it declares."""
        client = self.connect(endpoint)
        try:
            try:
                await client.wait_ready(min(self.patience.ready_s, self.patience.limit_s))
                declared = await client.declared()
            except CsiError as error:
                raise OrchestratorError(error.message) from error
            yield client, declared
        finally:
            await client.close()


async def node_facts(client: Unary, declared: Declared) -> NodeFacts:
    """The node's id and place by NodeGetInfo; empty facts where the driver serves none."""
    if "Node" not in declared.services:
        return NodeFacts()
    try:
        info = await client.unary("NodeGetInfo", NodeGetInfoRequest(), NodeGetInfoResponse, timeout_s=None)
    except Unimplemented:
        return NodeFacts()
    except CsiError as error:
        raise OrchestratorError(
            f"the driver cannot tell which node this is (NodeGetInfo: {error.code.name}: {error.message}); look "
            "at its log"
        ) from error
    return NodeFacts(info.node_id, info.accessible_topology)


def open_workspace(
    state_dir: str,
    *,
    patience: Patience | None = None,
    progress: Progress | None = None,
    connect: Connect = Client,
    machine: Machine | None = None,
    clock: Clock | None = None,
    nomad_order: bool = False,
) -> Workspace:
    """The orchestrator below `state_dir`, with the real machine unless told otherwise."""
    directory = os.path.join(os.path.abspath(state_dir), "orchestrator")
    patience = patience or Patience()
    clock = clock or SystemClock()
    return Workspace(
        directory=directory,
        book=Book(directory, patience_s=patience.limit_s, clock=clock),
        machine=machine or LocalMachine(directory),
        clock=clock,
        progress=progress or Silent(),
        patience=patience,
        connect=connect,
        nomad_order=nomad_order,
    )
