"""Streams of our server, and the faults that a test can plant in it, over a real socket."""

from __future__ import annotations

import asyncio
import contextlib
import json
import signal
import sys
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from moorage.rpc.client import Client
from moorage.spec.errors import (
    Code,
    CsiError,
    DeadlineExceeded,
    Internal,
    NotFound,
    Unavailable,
    Unimplemented,
)
from moorage.spec.messages import (
    DeleteVolumeRequest,
    DeleteVolumeResponse,
    GetMetadataAllocatedRequest,
    GetMetadataAllocatedResponse,
)
from moorage.spec.types import (
    BlockMetadata,
    BlockMetadataType,
)

Serve = Callable[..., contextlib.AbstractAsyncContextManager[Client]]
Install = Callable[[str], None]
DELETE = DeleteVolumeRequest(volume_id="v1")

ALLOCATED = GetMetadataAllocatedRequest(snapshot_id="s1")


def metadata(offset: int) -> GetMetadataAllocatedResponse:
    return GetMetadataAllocatedResponse(
        BlockMetadataType.FIXED_LENGTH, 1 << 20, (BlockMetadata(byte_offset=offset, size_bytes=4096),)
    )


async def test_a_stream_arrives_in_order(serve: Serve) -> None:
    async def stream(request: object) -> AsyncIterator[GetMetadataAllocatedResponse]:
        for number in range(100):
            yield metadata(number * 4096)

    async with serve({"GetMetadataAllocated": stream}) as client:
        got = [response async for response in client.get_metadata_allocated(ALLOCATED)]
    assert got == [metadata(number * 4096) for number in range(100)]


async def test_a_stream_that_fails_ends_with_its_error_after_what_was_sent(serve: Serve) -> None:
    async def stream(request: object) -> AsyncIterator[GetMetadataAllocatedResponse]:
        yield metadata(0)
        raise NotFound("snapshot 's1' was deleted")

    async with serve({"GetMetadataAllocated": stream}) as client:
        responses = client.get_metadata_allocated(ALLOCATED)
        assert await anext(responses) == metadata(0)
        with pytest.raises(NotFound, match="was deleted"):
            await anext(responses)


async def test_a_caller_that_leaves_a_stream_ends_its_handler(serve: Serve) -> None:
    ended = asyncio.Event()

    async def stream(request: object) -> AsyncIterator[GetMetadataAllocatedResponse]:
        try:
            for number in range(1_000_000):
                yield metadata(number * 4096)
        finally:
            ended.set()

    async with serve({"GetMetadataAllocated": stream}) as client:
        responses = client.get_metadata_allocated(ALLOCATED)
        assert await anext(responses) == metadata(0)
        await responses.aclose()  # type: ignore[attr-defined]  # it is an async generator
        await asyncio.wait_for(ended.wait(), 5)


async def test_a_stream_without_handler_is_unimplemented(serve: Serve) -> None:
    async with serve({}) as client:
        with pytest.raises(Unimplemented):
            await anext(client.get_metadata_allocated(ALLOCATED))


async def test_a_bad_message_in_a_stream_is_internal(serve: Serve, log_lines: object) -> None:
    async def stream(request: object) -> AsyncIterator[Any]:
        yield metadata(0)
        yield None

    async with serve({"GetMetadataAllocated": stream}) as client:
        with pytest.raises(Internal, match="returned NoneType"):
            _ = [response async for response in client.get_metadata_allocated(ALLOCATED)]


# --- faults -----------------------------------------------------------------------------------------


async def test_a_fault_plan_delays_fails_and_drops_replies(serve: Serve, fault_plan: Install) -> None:
    ran = 0

    async def count(request: DeleteVolumeRequest) -> DeleteVolumeResponse:
        nonlocal ran
        ran += 1
        return DeleteVolumeResponse()

    fault_plan(
        json.dumps(
            [
                {"rpc": "DeleteVolume", "action": "status:ABORTED"},
                {"rpc": "DeleteVolume", "action": "drop-reply"},
                {"rpc": "DeleteVolume", "action": "delay:0.2"},
                {"rpc": "DeleteVolume", "action": "hang"},
                {"rpc": "DeleteVolume", "action": "status:NONSENSE"},
            ]
        )
    )
    async with serve({"DeleteVolume": count}) as client:
        with pytest.raises(CsiError) as aborted:
            await client.delete_volume(DELETE)
        assert (aborted.value.code, ran) == (Code.ABORTED, 0)
        with pytest.raises(Unavailable, match="reply to DeleteVolume was dropped"):
            await client.delete_volume(DELETE)
        assert ran == 1, "the handler succeeded, only its reply is lost"
        began_s = time.monotonic()
        await client.delete_volume(DELETE)
        assert time.monotonic() - began_s >= 0.2
        with pytest.raises(DeadlineExceeded):
            await client.delete_volume(DELETE, timeout_s=0.1)
        with pytest.raises(Internal, match="NONSENSE"):
            await client.delete_volume(DELETE)
        await client.delete_volume(DELETE)
    assert ran == 3


async def test_a_fault_plan_kills_the_process_in_a_call(folder: Path, address: str) -> None:
    code = """
import asyncio, sys
from moorage.base import faults
from moorage.rpc.server import Server
from moorage.spec.capabilities import Declared
from moorage.spec.messages import ProbeResponse
async def probe(request): return ProbeResponse()
async def main():
    faults.install(faults.load_plan('[{"rpc": "Probe", "action": "kill", "skip": 1}]'))
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
        await client.probe()
        with pytest.raises(Unavailable):
            await client.probe()
    assert await child.wait() == -signal.SIGKILL
