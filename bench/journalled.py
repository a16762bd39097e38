"""What the framework costs around a driver, over a bare grpc.aio servicer that does the same work.

Creations and deletions are journalled: an intent before the work and a result after it, each one durable commit. So
they may take as long as the bare servicer plus two commits, which are measured on the same disk in the same run, plus
a millisecond. Calls that change nothing may take twice as long as the bare servicer's.

    python -m bench.journalled [--calls 300]
"""

from __future__ import annotations

import argparse
import os
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, closing, contextmanager
from pathlib import Path
from typing import Any

import grpc.aio
from bench import measure
from bench.bare import child
from bench.rpc_overhead import CAPABILITY, VALIDATE

from moorage.proto import csi_pb2 as pb
from moorage.proto import csi_pb2_grpc as stubs
from moorage.testing.driver import DriverProcess

VOLUME_BYTES = 64 << 20
TURN = 25
MARGIN_S = 0.001
READ_LIMIT = 2.0
REPOSITORY = Path(__file__).resolve().parent.parent
Samples = dict[str, list[float]]


class Peer:
    """A servicer to be called, and how long its calls took, by RPC."""

    def __init__(self, socket: Path, channel: grpc.aio.Channel) -> None:
        self.socket = socket
        self.samples: Samples = {}
        self._identity: Any = stubs.IdentityStub(channel)
        self._controller: Any = stubs.ControllerStub(channel)
        self._made = 0

    async def call(self, rpc: str, request: Any) -> Any:
        stub = self._identity if rpc == "Probe" else self._controller
        began_s = time.perf_counter()
        response = await getattr(stub, rpc)(request)
        self.samples.setdefault(rpc, []).append(time.perf_counter() - began_s)
        return response

    async def create(self) -> str:
        self._made += 1
        request = pb.CreateVolumeRequest(
            name=f"bench-{self._made}",
            capacity_range=pb.CapacityRange(required_bytes=VOLUME_BYTES),
            volume_capabilities=[CAPABILITY],
        )
        return str((await self.call("CreateVolume", request)).volume.volume_id)

    async def delete(self, volume_id: str) -> None:
        await self.call("DeleteVolume", pb.DeleteVolumeRequest(volume_id=volume_id))

    def p50(self, rpc: str) -> float:
        return measure.p50(self.samples[rpc])


@asynccontextmanager
async def peer(socket: Path) -> Any:
    options = [("grpc.default_authority", "localhost")]
    async with grpc.aio.insecure_channel(f"unix:{socket}", options=options) as channel:
        yield Peer(socket, channel)


@contextmanager
def commits(path: Path) -> Iterator[Callable[[], float]]:
    """Makes one commit as the journal does, a row of its usual size, and says how long that took."""
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        for pragma in ("locking_mode = EXCLUSIVE", "journal_mode = WAL", "synchronous = FULL"):
            connection.execute(f"PRAGMA {pragma}").fetchall()
        connection.execute("CREATE TABLE record (id INTEGER PRIMARY KEY, body BLOB NOT NULL)")

        def commit() -> float:
            body = os.urandom(700)
            began_s = time.perf_counter()
            connection.execute("BEGIN IMMEDIATE")
            connection.execute("INSERT INTO record (body) VALUES (?)", (body,))
            connection.execute("COMMIT")
            return time.perf_counter() - began_s

        yield commit


async def journalled(table: measure.Table, title: str, bare: Peer, ours: Peer, *, calls: int, path: Path) -> None:
    """Creations and deletions in short turns, so that what else the machine does falls on all alike.

    A commit is measured between the calls of the bare servicer: one that has to write out what a volume's creation
    changed on the disk takes longer than one on a disk at rest.
    """
    commit_s: list[float] = []
    with commits(path) as commit:
        for turn in range(calls // TURN + 1):
            for _ in range(TURN):
                volume_id = await bare.create()
                commit_s.append(commit())
                await bare.delete(volume_id)
                commit_s.append(commit())
            for _ in range(TURN):
                await ours.delete(await ours.create())
            if turn == 0:  # the first turn warms up
                bare.samples, ours.samples, commit_s = {}, {}, []
    one_s = measure.p50(commit_s)
    table.time(f"{title}: one commit (SQLite, WAL, FULL), p50", one_s)
    for rpc in ("CreateVolume", "DeleteVolume"):
        limit_s = bare.p50(rpc) + 2 * one_s + MARGIN_S
        table.time(f"{title}: {rpc}, bare p50", bare.p50(rpc))
        table.at_most(f"{title}: {rpc}, p50", ours.p50(rpc) * 1e3, limit_s * 1e3, unit="ms", digits=3)
        excess_ms = (ours.p50(rpc) - limit_s + MARGIN_S) * 1e3
        table.at_most("  more than bare and two commits", excess_ms, MARGIN_S * 1e3, unit="ms", digits=3)


async def reads(table: measure.Table, bare: Peer, ours: Peer, *, calls: int) -> None:
    """Calls that change nothing; the bare servicer answers them with constants."""
    validate = pb.ValidateVolumeCapabilitiesRequest()
    validate.CopyFrom(VALIDATE)
    validate.ClearField("volume_context")  # the framework compares these with the volume's own
    validate.ClearField("parameters")
    validate.volume_id = await ours.create()
    cases = {
        "Probe": pb.ProbeRequest(),
        "ControllerGetCapabilities": pb.ControllerGetCapabilitiesRequest(),
        "ValidateVolumeCapabilities": validate,
    }
    for rpc, request in cases.items():
        for turn in range(calls // TURN + 1):
            for one in (bare, ours):
                for _ in range(TURN):
                    await one.call(rpc, request)
            if turn == 0:
                bare.samples, ours.samples = {}, {}
        table.time(f"{rpc}, bare p50", bare.p50(rpc))
        table.time(f"{rpc}, local driver p50", ours.p50(rpc))
        table.ratio(f"{rpc}, local driver / bare", ours.p50(rpc), bare.p50(rpc), limit=READ_LIMIT)
    await ours.delete(validate.volume_id)


async def served(stack: AsyncExitStack, name: str, directory: Path, *arguments: str) -> Peer:
    """`moorage serve` of a driver, until the stack is left."""
    directory.mkdir()
    path = os.pathsep.join(filter(None, (str(REPOSITORY), os.environ.get("PYTHONPATH"))))
    driver = DriverProcess(name, directory=directory, arguments=arguments, environment={"PYTHONPATH": path})
    stack.push_async_callback(driver.stop)
    await driver.start()
    return await stack.enter_async_context(peer(driver.socket))


async def benchmark(calls: int) -> None:
    table = measure.Table("Calls of a framework's driver against a bare grpc.aio servicer, one at a time")
    with measure.workspace() as directory:
        async with AsyncExitStack() as stack:
            idle = await served(stack, "bench.idle_driver:IdleDriver", directory / "idle")
            stack.enter_context(child("bench.bare", str(directory / "bare.sock")))
            bare = await stack.enter_async_context(peer(directory / "bare.sock"))
            await journalled(table, "idle driver", bare, idle, calls=calls, path=directory / "idle.sqlite")
        async with AsyncExitStack() as stack:
            own, compared = directory / "pool", directory / "pool-of-bare"
            local = await served(stack, "local", directory / "local", "--pool", str(own))
            stack.enter_context(child("bench.bare", str(directory / "work.sock"), "--pool", str(compared)))
            bare = await stack.enter_async_context(peer(directory / "work.sock"))
            await journalled(table, "local driver", bare, local, calls=calls, path=directory / "local.sqlite")
            await reads(table, bare, local, calls=calls)


def main() -> None:
    parser = argparse.ArgumentParser(description="Compare journalled calls with a bare servicer.")
    parser.add_argument("--calls", type=int, default=300, help="calls of each RPC (default 300)")
    options = parser.parse_args()
    measure.run(lambda: benchmark(options.calls))


if __name__ == "__main__":
    main()
