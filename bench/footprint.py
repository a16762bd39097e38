"""How soon `moorage serve local` answers and how much memory it holds, beside a bare grpc.aio servicer.

python -m bench.footprint
"""

from __future__ import annotations

import argparse
import asyncio
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import grpc.aio
from bench import measure

from moorage.proto import csi_pb2 as pb
from moorage.proto import csi_pb2_grpc as stubs
from moorage.rpc.client import Client
from moorage.spec import messages as m
from moorage.spec.types import AccessMode, CapacityRange, VolumeCapability

RSS_LIMIT_MIB = 60.0
START_LIMIT_S = 0.5
START_TIMEOUT_S = 30.0
STOP_TIMEOUT_S = 25.0
POLL_S = 0.002


@contextmanager
def process(*argv: str) -> Iterator[subprocess.Popen[bytes]]:
    """A server, ended with the body. Its own session, so that Ctrl-C reaches only the measurement."""
    server = subprocess.Popen(
        [sys.executable, *argv],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        yield server
    finally:
        server.send_signal(signal.SIGTERM)
        try:
            server.communicate(timeout=STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            server.kill()
            server.communicate()


def serve_local(directory: Path) -> tuple[str, ...]:
    """Arguments of Python that serve the local driver at `csi.sock`."""
    return (
        *("-m", "moorage", "serve", "local", "--pool", str(directory / "pool")),
        *("--endpoint", f"unix://{directory / 'csi.sock'}", "--state-dir", str(directory / "state")),
    )


def serve_bare(directory: Path) -> tuple[str, ...]:
    """As `serve_local`, for the bare servicer."""
    return ("-m", "bench.bare", str(directory / "csi.sock"))


async def first_probe(server: subprocess.Popen[bytes], socket: Path) -> None:
    """Return when the server has answered Probe. Raises Unable when that never happens."""
    end_s = time.monotonic() + START_TIMEOUT_S
    while not socket.exists():
        if server.poll() is not None or time.monotonic() > end_s:
            raise measure.Unable(f"the server at {socket} did not come up; start it by hand to see why")
        await asyncio.sleep(POLL_S)
    options = [("grpc.default_authority", "localhost")]
    async with grpc.aio.insecure_channel(f"unix:{socket}", options=options) as channel:
        stub = stubs.IdentityStub(channel)
        await stub.Probe(pb.ProbeRequest(), wait_for_ready=True, timeout=START_TIMEOUT_S)


async def starts(table: measure.Table, directory: Path, *, runs: int) -> None:
    """From exec to the first answer, the two by turns, each on a state directory that exists already."""
    best: dict[str, float] = {}
    for number in range(runs):
        for name, arguments in (("bare", serve_bare), ("local", serve_local)):
            place = directory / f"start-{name}"
            place.mkdir(exist_ok=True)
            (place / "csi.sock").unlink(missing_ok=True)
            began_s = time.perf_counter()
            with process(*arguments(place)) as server:
                await first_probe(server, place / "csi.sock")
                elapsed_s = time.perf_counter() - began_s
            if number or runs == 1:  # the first run warms the page cache and makes the pool
                best[name] = min(best.get(name, elapsed_s), elapsed_s)
    table.row(f"exec to Probe, bare servicer, best of {runs}", f"{best['bare']:.3f} s")
    table.at_most(f"exec to Probe, serve local, best of {runs}", best["local"], START_LIMIT_S, unit="s", digits=3)
    table.ratio("exec to Probe, serve local / bare", best["local"], best["bare"])


async def memory(table: measure.Table, directory: Path, *, calls: int) -> None:
    """Resident memory of the process itself, and with the children it keeps."""
    sizes: dict[str, float] = {}
    place = directory / "bare"
    place.mkdir()
    with process(*serve_bare(place)) as server:
        await first_probe(server, place / "csi.sock")
        sizes["bare"] = resident_mib(server.pid)
    table.row("resident memory, bare servicer, after start", f"{sizes['bare']:.1f} MiB")
    place = directory / "local"
    place.mkdir()
    with process(*serve_local(place)) as server:
        await first_probe(server, place / "csi.sock")
        started = resident_mib(server.pid)
        table.at_most("resident memory, serve local, after start", started, RSS_LIMIT_MIB, unit="MiB", digits=1)
        async with Client(f"unix://{place / 'csi.sock'}") as client:
            await use(client, calls)
        used = resident_mib(server.pid)
        table.at_most(f"resident memory, serve local, after {calls} calls", used, RSS_LIMIT_MIB, unit="MiB", digits=1)
        whole = used + sum(map(resident_mib, children_of(server.pid)))
        table.row(f"resident memory, with its {len(children_of(server.pid))} child processes", f"{whole:.1f} MiB")
    table.ratio("resident memory, serve local / bare, after start", started, sizes["bare"])


async def use(client: Client, calls: int) -> None:
    """A mixture of calls, as an orchestrator's sidecars make them, eight at a time."""
    capability = VolumeCapability(AccessMode.SINGLE_NODE_WRITER)

    async def life(name: str) -> None:
        wish = m.CreateVolumeRequest(name, (capability,), CapacityRange(required_bytes=64 << 20))
        volume = (await client.create_volume(wish)).volume
        await client.validate_volume_capabilities(m.ValidateVolumeCapabilitiesRequest(volume.volume_id, (capability,)))
        await client.probe(m.ProbeRequest())
        await client.list_volumes(m.ListVolumesRequest(max_entries=50))
        await client.delete_volume(m.DeleteVolumeRequest(volume.volume_id))

    for number in range(0, calls // 5, 8):
        async with asyncio.TaskGroup() as group:
            for index in range(number, min(number + 8, calls // 5)):
                group.create_task(life(f"bench-{index}"), name=f"life of bench-{index}")


def resident_mib(pid: int) -> float:
    """VmRSS of a process."""
    with open(f"/proc/{pid}/status", encoding="ascii") as status:
        kib = next(int(line.split()[1]) for line in status if line.startswith("VmRSS:"))
    return kib / 1024


def children_of(pid: int) -> list[int]:
    """The processes that a process has started from any of its threads and that still run."""
    children: list[int] = []
    for task in Path(f"/proc/{pid}/task").iterdir():
        children += map(int, (task / "children").read_text().split())
    return children


async def benchmark(runs: int, calls: int) -> None:
    table = measure.Table("Start and memory of the local driver's process")
    with measure.workspace() as directory:
        await starts(table, directory, runs=runs)
        await memory(table, directory, calls=calls)


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure start-up time and memory of `moorage serve local`.")
    parser.add_argument("--runs", type=int, default=5, help="starts of each server (default 5)")
    parser.add_argument("--calls", type=int, default=1000, help="calls before memory is read again (default 1000)")
    options = parser.parse_args()
    measure.run(lambda: benchmark(options.runs, options.calls))


if __name__ == "__main__":
    main()
