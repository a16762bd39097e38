"""The traps of grpcio over unix sockets, each held by a test against real sockets.

The numbers are those of the list that the server and the client were written against.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest

from moorage.proto import csi_pb2 as pb
from moorage.rpc.client import Client
from moorage.rpc.endpoint import EndpointError
from moorage.rpc.server import Server
from moorage.spec.capabilities import Declared
from moorage.spec.errors import Aborted, DeadlineExceeded, Internal, Unavailable
from moorage.spec.messages import DeleteVolumeRequest, DeleteVolumeResponse, ProbeRequest, ProbeResponse

Serve = Callable[..., contextlib.AbstractAsyncContextManager[Client]]
BarePeer = Callable[..., contextlib.AbstractAsyncContextManager[grpc.aio.Server]]

PROBE = "/csi.v1.Identity/Probe"
DELETE = DeleteVolumeRequest(volume_id="v1")


async def ready(request: ProbeRequest) -> ProbeResponse:
    return ProbeResponse(ready=True)


def seconds_since(began_s: float) -> float:
    return time.monotonic() - began_s


# --- 1: authority ---------------------------------------------------------------------------------


async def test_trap_1_the_authority_is_localhost_and_not_the_path(folder: Path, address: str) -> None:
    """Read from the wire: a server of the h2 kind sees what Rust servers check."""
    heard: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

    async def peer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"\x00\x00\x00\x04\x00\x00\x00\x00\x00")  # an empty SETTINGS frame
        data = b""
        while b"Probe" not in data and (chunk := await reader.read(4096)):
            data += chunk
        if not heard.done():
            heard.set_result(data)
        writer.close()

    server = await asyncio.start_unix_server(peer, path=f"{folder}/csi.sock")
    async with server, Client(address) as client:
        with pytest.raises((Unavailable, DeadlineExceeded)):
            await client.probe(timeout_s=5)
        data = await heard
    assert b"localhost" in data
    assert b"csi.sock" not in data
    assert b"%2F" not in data


# --- 2: taking over a live socket -----------------------------------------------------------------


async def test_trap_2_a_second_server_is_refused_and_the_first_goes_on(serve: Serve, address: str) -> None:
    async with serve({"Probe": ready}) as client:
        with pytest.raises(EndpointError, match="another process already serves"):
            await Server({}, Declared(), driver_name="second", endpoint=address).start()
        assert (await client.probe()).ready is True


async def test_trap_2_a_live_foreign_driver_is_not_displaced(bare_peer: BarePeer, address: str) -> None:
    async def probe(raw: bytes, context: Any) -> bytes:
        return b""

    async with bare_peer({PROBE: probe}), Client(address) as client:
        with pytest.raises(EndpointError, match="another process already serves"):
            await Server({}, Declared(), driver_name="second", endpoint=address).start()
        assert (await client.probe()).ready is None


async def test_trap_2_a_regular_file_is_refused_in_a_sentence(folder: Path, address: str) -> None:
    (folder / "csi.sock").write_text("precious")
    with pytest.raises(EndpointError, match="is not a socket"):
        await Server({}, Declared(), driver_name="d", endpoint=address).start()
    assert (folder / "csi.sock").read_text() == "precious"


# --- 3: mode and removal --------------------------------------------------------------------------


async def test_trap_3_the_socket_is_private_and_gone_after_stop(serve: Serve, folder: Path) -> None:
    async with serve({"Probe": ready}):
        mode = stat.S_IMODE((folder / "csi.sock").stat().st_mode)
        assert [entry.name for entry in folder.iterdir()] == ["csi.sock"]
    assert mode == 0o600
    assert list(folder.iterdir()) == []


async def test_trap_3_a_directory_that_takes_no_socket_is_told_in_a_sentence() -> None:
    """grpcio raises a RuntimeError without the reason."""
    before = len(os.listdir("/proc/self/fd"))
    with pytest.raises(EndpointError, match="check that its directory can be written to"):
        await Server({}, Declared(), driver_name="d", endpoint="unix:///proc/self/csi.sock").start()
    assert len(os.listdir("/proc/self/fd")) <= before + 1


async def test_trap_3_stop_leaves_the_socket_of_a_successor(folder: Path, address: str) -> None:
    """grpcio itself would unlink whatever lies at the path."""
    first = Server({"Probe": ready}, Declared(), driver_name="first", endpoint=address)
    await first.start()
    (folder / "csi.sock").unlink()
    second = Server({"Probe": ready}, Declared(), driver_name="second", endpoint=address)
    await second.start()
    await first.stop(grace_s=0)
    async with Client(address) as client:
        assert (await client.probe()).ready is True
    await second.stop(grace_s=0)
    assert list(folder.iterdir()) == []


# --- 4: CancelledError from a handler -------------------------------------------------------------


async def test_trap_4_a_cancelled_handler_answers_at_once(serve: Serve) -> None:
    async def delete(request: DeleteVolumeRequest) -> DeleteVolumeResponse:
        raise asyncio.CancelledError

    async with serve({"DeleteVolume": delete}) as client:
        began_s = time.monotonic()
        with pytest.raises(Aborted, match="cancelled inside the driver") as caught:
            await client.delete_volume(DELETE, timeout_s=20)
        assert seconds_since(began_s) < 5
        assert not caught.value.final


async def test_trap_4_an_inner_task_that_is_cancelled_answers_at_once(serve: Serve) -> None:
    async def delete(request: DeleteVolumeRequest) -> DeleteVolumeResponse:
        inner = asyncio.ensure_future(asyncio.Event().wait())
        asyncio.get_running_loop().call_soon(inner.cancel)
        await inner
        return DeleteVolumeResponse()

    async with serve({"DeleteVolume": delete}) as client:
        with pytest.raises(Aborted):
            await client.delete_volume(DELETE, timeout_s=20)


# --- 5: exception texts ---------------------------------------------------------------------------


async def test_trap_5_no_text_of_an_unforeseen_exception_leaves_the_process(
    serve: Serve, bare_client: Any, log_lines: Callable[[], str]
) -> None:
    async def delete(request: DeleteVolumeRequest) -> DeleteVolumeResponse:
        raise RuntimeError("boom secret=abc")

    async with serve({"DeleteVolume": delete}):
        call = bare_client.unary_unary("/csi.v1.Controller/DeleteVolume")
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await call(pb.DeleteVolumeRequest(volume_id="v1").SerializeToString())
    assert caught.value.code() is grpc.StatusCode.INTERNAL
    details = caught.value.details() or ""
    assert "boom" not in details
    assert "abc" not in details
    assert "RuntimeError" not in details
    request_id = details.rpartition(" ")[2]
    defects = [line for line in log_lines().splitlines() if "rpc.defect" in line]
    assert len(defects) == 1
    assert request_id in defects[0]
    assert "RuntimeError at test_grpc_traps.py:" in defects[0]
    assert "boom" not in log_lines()
    assert not caught.value.trailing_metadata(), "a status must carry no details"


# --- 6: deadlines ---------------------------------------------------------------------------------


async def test_trap_6_a_client_deadline_cancels_the_handler_and_is_told_as_not_final(
    serve: Serve, log_lines: Callable[[], str]
) -> None:
    cancelled = asyncio.Event()

    async def delete(request: DeleteVolumeRequest) -> DeleteVolumeResponse:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled.set()
            raise
        raise AssertionError

    async with serve({"DeleteVolume": delete}) as client:
        with pytest.raises(DeadlineExceeded, match=r"did not answer DeleteVolume within 0\.2 s") as caught:
            await client.delete_volume(DELETE, timeout_s=0.2)
        assert not caught.value.final
        await asyncio.wait_for(cancelled.wait(), 5)
    assert '"code":"DEADLINE_EXCEEDED"' in log_lines().replace(" ", "")


# --- 7: one loop ----------------------------------------------------------------------------------


async def test_trap_7_calls_from_many_tasks_share_one_loop_without_noise(
    serve: Serve, capfd: pytest.CaptureFixture[str]
) -> None:
    threads: set[int] = set()

    async def probe(request: ProbeRequest) -> ProbeResponse:
        threads.add(threading.get_ident())
        return ProbeResponse()

    async with serve({"Probe": probe}) as client:
        await asyncio.gather(*(client.probe() for _ in range(200)))
    assert threads == {threading.get_ident()}
    assert "BlockingIOError" not in capfd.readouterr().err


# --- 8: stop --------------------------------------------------------------------------------------


async def test_trap_8_stop_waits_for_running_calls(serve: Serve, address: str) -> None:
    entered, finish = asyncio.Event(), asyncio.Event()

    async def delete(request: DeleteVolumeRequest) -> DeleteVolumeResponse:
        entered.set()
        await finish.wait()
        return DeleteVolumeResponse()

    server = Server({"DeleteVolume": delete, "Probe": ready}, _controller(), driver_name="d.example", endpoint=address)
    await server.start()
    async with Client(address) as client:
        running = asyncio.ensure_future(client.delete_volume(DELETE))
        await entered.wait()
        assert [call.rpc_name for call in server.calls()] == ["DeleteVolume"]
        stopping = asyncio.ensure_future(server.stop(grace_s=20))
        await asyncio.sleep(0)
        with pytest.raises(Unavailable):
            await client.probe(timeout_s=5)
        finish.set()
        assert await running == DeleteVolumeResponse()
        await stopping
        await server.stop(grace_s=20)


async def test_trap_8_calls_that_outlast_the_grace_are_told_to_come_again(folder: Path, address: str) -> None:
    entered = asyncio.Event()

    async def delete(request: DeleteVolumeRequest) -> DeleteVolumeResponse:
        entered.set()
        await asyncio.Event().wait()
        raise AssertionError

    server = Server({"DeleteVolume": delete}, _controller(), driver_name="d.example", endpoint=address)
    await server.start()
    async with Client(address) as client:
        running = asyncio.ensure_future(client.delete_volume(DELETE))
        await entered.wait()
        began_s = time.monotonic()
        await server.stop(grace_s=0.2)
        assert seconds_since(began_s) < 5
        with pytest.raises(Unavailable, match="the driver is stopping before DeleteVolume is done"):
            await running
    assert list(folder.iterdir()) == []


def test_trap_8_a_process_ends_cleanly_after_stop(folder: Path) -> None:
    """asyncio.run with a server and a call in it returns, and nothing is printed."""
    code = """
import asyncio, sys
from moorage.rpc.client import Client
from moorage.rpc.server import Server
from moorage.spec.capabilities import Declared
from moorage.spec.messages import ProbeResponse
async def probe(request): return ProbeResponse()
async def main():
    server = Server({"Probe": probe}, Declared(), driver_name="d.example", endpoint=sys.argv[1])
    await server.start()
    async with Client(sys.argv[1]) as client:
        await client.probe()
    await server.stop(grace_s=1)
asyncio.run(main())
"""
    argv = [sys.executable, "-X", "dev", "-W", "error", "-c", code, f"{folder}/csi.sock"]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=30, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


# --- the 16 KiB limit of metadata -------------------------------------------------------------------


async def test_a_long_message_keeps_its_code(serve: Serve, bare_client: Any) -> None:
    async def delete(request: DeleteVolumeRequest) -> DeleteVolumeResponse:
        raise Internal("é" * 10_000)

    async with serve({"DeleteVolume": delete}):
        call = bare_client.unary_unary("/csi.v1.Controller/DeleteVolume")
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await call(pb.DeleteVolumeRequest(volume_id="v1").SerializeToString())
    assert caught.value.code() is grpc.StatusCode.INTERNAL
    details = caught.value.details() or ""
    assert details.startswith("ééé")
    assert details.endswith(" …")
    assert 1000 < len(details.encode()) <= 1024


def _controller() -> Declared:
    from moorage.spec.types import ControllerCapability, PluginCapability

    return Declared(
        plugin=frozenset({PluginCapability.CONTROLLER_SERVICE}),
        controller=frozenset({ControllerCapability.CREATE_DELETE_VOLUME}),
        services=frozenset({"Identity", "Controller"}),
    )
