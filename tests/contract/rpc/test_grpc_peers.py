"""Trap 9: peers that restart, die or fall silent, and drivers that too many calls would choke."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest

from moorage.rpc.client import Client
from moorage.rpc.server import Server
from moorage.spec.capabilities import Declared
from moorage.spec.errors import DeadlineExceeded, Unavailable
from moorage.spec.messages import DeleteVolumeRequest, DeleteVolumeResponse, ProbeRequest, ProbeResponse

Serve = Callable[..., contextlib.AbstractAsyncContextManager[Client]]
BarePeer = Callable[..., contextlib.AbstractAsyncContextManager[grpc.aio.Server]]

PROBE = "/csi.v1.Identity/Probe"
DELETE = DeleteVolumeRequest(volume_id="v1")


async def ready(request: ProbeRequest) -> ProbeResponse:
    return ProbeResponse(ready=True)


async def test_trap_9_no_more_calls_than_the_bound_are_in_flight(bare_peer: BarePeer, address: str) -> None:
    running = most = 0
    full, go = asyncio.Event(), asyncio.Event()

    async def delete(raw: bytes, context: Any) -> bytes:
        nonlocal running, most
        running += 1
        most = max(most, running)
        if running == 4:
            full.set()
        await go.wait()
        running -= 1
        return b""

    async def probe(raw: bytes, context: Any) -> bytes:
        return b""

    async with (
        bare_peer({"/csi.v1.Controller/DeleteVolume": delete, PROBE: probe}),
        Client(address, max_calls=4) as client,
    ):
        calls = [asyncio.ensure_future(client.delete_volume(DELETE)) for _ in range(20)]
        await full.wait()
        await client.probe()  # comes on top, so a liveness check never waits behind hung calls
        with pytest.raises(DeadlineExceeded, match=r"waited 0\.05 s behind 4 other calls"):
            await client.delete_volume(DELETE, timeout_s=0.05)
        go.set()
        await asyncio.gather(*calls)
    assert most == 4


async def test_trap_9_every_call_has_a_deadline(bare_peer: BarePeer, address: str) -> None:
    left: dict[str, float | None] = {}

    async def note(raw: bytes, context: Any) -> bytes:
        left["s"] = context.time_remaining()
        return b""

    async with bare_peer({PROBE: note, "/csi.v1.Controller/DeleteVolume": note}), Client(address) as client:
        await client.probe()
        assert 5 < (left["s"] or 0) <= 15
        await client.delete_volume(DELETE)
        assert 100 < (left["s"] or 0) <= 125


async def test_trap_9_a_silent_peer_is_dialled_anew(folder: Path, address: str) -> None:
    """The peer accepts and never says a word; after the deadline the next call uses a new connection."""
    accepted = 0
    keep: list[asyncio.StreamWriter] = []

    async def peer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal accepted
        accepted += 1
        keep.append(writer)
        writer.write(b"\x00\x00\x00\x04\x00\x00\x00\x00\x00")

    server = await asyncio.start_unix_server(peer, path=f"{folder}/csi.sock")
    async with server, Client(address) as client:
        for _ in range(2):
            with pytest.raises(DeadlineExceeded):
                await client.probe(timeout_s=0.3)
        assert accepted == 2
        assert client.connections_made == 2
    for writer in keep:
        writer.close()


async def test_trap_9_a_slow_call_does_not_break_a_lively_connection(bare_peer: BarePeer, address: str) -> None:
    async def hang(raw: bytes, context: Any) -> bytes:
        await asyncio.Event().wait()
        return b""

    async def probe(raw: bytes, context: Any) -> bytes:
        return b""

    async with (
        bare_peer({"/csi.v1.Controller/DeleteVolume": hang, PROBE: probe}),
        Client(address) as client,
    ):
        slow = asyncio.ensure_future(client.delete_volume(DELETE, timeout_s=0.5))
        while not slow.done():
            await client.probe()
        with pytest.raises(DeadlineExceeded):
            await slow
        await client.probe()
        assert client.connections_made == 1


async def test_trap_9_a_restarted_driver_is_found_by_the_next_call(bare_peer: BarePeer, address: str) -> None:
    async def probe(raw: bytes, context: Any) -> bytes:
        return b""

    async with Client(address) as client:
        for round_number in range(1, 4):
            async with bare_peer({PROBE: probe}):
                assert await client.probe(timeout_s=5) == ProbeResponse()
                assert client.connections_made == round_number
        with pytest.raises(Unavailable, match="does not exist; start the driver"):
            await client.probe(timeout_s=5)


async def test_trap_9_a_call_goes_on_at_the_old_driver_while_new_calls_reach_its_successor(
    folder: Path, address: str
) -> None:
    entered, finish = asyncio.Event(), asyncio.Event()

    async def slow(request: DeleteVolumeRequest) -> DeleteVolumeResponse:
        entered.set()
        await finish.wait()
        return DeleteVolumeResponse()

    old = Server({"DeleteVolume": slow}, _controller(), driver_name="old.example", endpoint=address)
    await old.start()
    async with Client(address) as client:
        running = asyncio.ensure_future(client.delete_volume(DELETE))
        await entered.wait()
        (folder / "csi.sock").unlink()
        async with Server({"Probe": ready}, Declared(), driver_name="new.example", endpoint=address):
            assert (await client.probe()).ready is True
            assert client.connections_made == 2
            finish.set()
            assert await running == DeleteVolumeResponse()
            await old.stop(grace_s=1)
            assert (await client.probe()).ready is True


async def test_trap_9_a_driver_killed_in_a_call_is_unavailable_at_once(folder: Path, address: str) -> None:
    """The child keeps no reference to its server: it must serve all the same."""
    code = """
import asyncio, sys
from moorage.rpc.server import Server
from moorage.spec.capabilities import Declared
from moorage.spec.messages import ProbeResponse
async def probe(request):
    print("in", flush=True)
    await asyncio.Event().wait()
async def main():
    await Server({"Probe": probe}, Declared(), driver_name="d.example", endpoint=sys.argv[1]).start()
    print("up", flush=True)
    await asyncio.Event().wait()
asyncio.run(main())
"""
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-c", code, f"{folder}/csi.sock", stdout=asyncio.subprocess.PIPE
    )
    assert child.stdout is not None
    assert await child.stdout.readline() == b"up\n"
    async with Client(address) as client:
        call = asyncio.ensure_future(client.probe(timeout_s=30))
        assert await child.stdout.readline() == b"in\n"
        os.kill(child.pid, signal.SIGKILL)
        await child.wait()
        with pytest.raises(Unavailable, match=r"the driver at unix://.*/csi\.sock cannot be reached"):
            await call
        with pytest.raises(Unavailable, match="cannot be reached"):  # refused, or a pipe that broke first
            await client.probe(timeout_s=5)
        # The stale socket is no obstacle to the next server, nor the old connection to the client.
        async with Server({"Probe": ready}, Declared(), driver_name="d.example", endpoint=address):
            assert (await client.probe(timeout_s=5)).ready is True


def _controller() -> Declared:
    from moorage.spec.types import ControllerCapability, PluginCapability

    return Declared(
        plugin=frozenset({PluginCapability.CONTROLLER_SERVICE}),
        controller=frozenset({ControllerCapability.CREATE_DELETE_VOLUME}),
        services=frozenset({"Identity", "Controller"}),
    )
