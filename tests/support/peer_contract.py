"""What must hold between Moorage and a CSI peer of another gRPC implementation, in both directions.

The test modules of the peers derive their classes from these and provide the fixture `binary`.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from pathlib import Path

import pytest
from tests.support.peers import Serving, walk

from moorage.rpc.client import Client
from moorage.spec.errors import (
    Aborted,
    AlreadyExists,
    Code,
    DeadlineExceeded,
    Internal,
    NotFound,
    Unavailable,
    error_for,
)
from moorage.spec.messages import (
    CreateVolumeRequest,
    CreateVolumeResponse,
    DeleteVolumeRequest,
    DeleteVolumeResponse,
    GetMetadataAllocatedRequest,
    GetMetadataAllocatedResponse,
    GetPluginInfoResponse,
    ListVolumesRequest,
    ProbeResponse,
)
from moorage.spec.types import (
    AccessMode,
    BlockMetadata,
    BlockMetadataType,
    CapacityRange,
    ControllerCapability,
    MountAccess,
    PluginCapability,
    VolumeCapability,
)
from moorage.testing.driver import DriverProcess

MIB = 1 << 20
BLOCK_BYTES, BLOCK_COUNT = 4096, 20_000
EXAMPLES = Path(__file__).resolve().parents[2] / "examples"

Serve = Callable[..., contextlib.AbstractAsyncContextManager[Client]]


def wish(name: str, size_bytes: int = 8 * MIB, **parameters: str) -> CreateVolumeRequest:
    """A request for a mounted volume of exactly this size."""
    return CreateVolumeRequest(
        name=name,
        capacity_range=CapacityRange(size_bytes, size_bytes),
        volume_capabilities=(VolumeCapability(AccessMode.SINGLE_NODE_WRITER, MountAccess()),),
        parameters=parameters,
    )


class DriverContract:
    """Our client with the peer's driver."""

    plugin_name: str
    id_prefix: str

    @pytest.fixture
    async def driver(self, binary: Path, folder: Path) -> AsyncIterator[Serving]:
        async with Serving(binary, folder / "csi.sock") as serving:
            yield serving

    @pytest.fixture
    async def client(self, driver: Serving) -> AsyncIterator[Client]:
        async with Client(f"unix://{driver.socket}") as client:
            yield client

    async def test_the_driver_is_known_by_name_and_capabilities(self, client: Client) -> None:
        await client.wait_ready(timeout_s=10)
        declared = await client.declared()
        assert await client.driver_name() == self.plugin_name
        assert declared.plugin == {PluginCapability.CONTROLLER_SERVICE, PluginCapability.SNAPSHOT_METADATA_SERVICE}
        assert declared.controller == {ControllerCapability.CREATE_DELETE_VOLUME, ControllerCapability.LIST_VOLUMES}
        assert "Node" not in declared.services

    async def test_volumes_are_made_listed_in_pages_and_deleted(self, client: Client) -> None:
        for name in ("a", "b", "ü"):
            volume = (await client.create_volume(wish(name, colour="grün"))).volume
            assert (volume.volume_id, volume.capacity_bytes) == (self.id_prefix + name, 8 * MIB)
            assert volume.volume_context == {"colour": "grün"}
        with pytest.raises(AlreadyExists, match="8388608 bytes"):
            await client.create_volume(wish("a", 16 * MIB))
        first = await client.list_volumes(ListVolumesRequest(max_entries=2))
        rest = await client.list_volumes(ListVolumesRequest(max_entries=2, starting_token=first.next_token))
        listed = [entry.volume.volume_id for page in (first, rest) for entry in page.entries]
        assert listed == [self.id_prefix + name for name in ("a", "b", "ü")]
        assert rest.next_token == ""
        for volume_id in listed:
            await client.delete_volume(DeleteVolumeRequest(volume_id=volume_id))
        assert (await client.list_volumes(ListVolumesRequest())).entries == ()

    @pytest.mark.parametrize(
        "code", [code for code in Code if code is not Code.OK], ids=lambda code: code.name.lower().replace("_", "-")
    )
    async def test_a_status_with_details_is_the_error_of_its_code(self, client: Client, code: Code) -> None:
        with pytest.raises(type(error_for(code, ""))) as caught:
            await client.create_volume(wish("a", fail_code=str(int(code))))
        assert caught.value.code is code
        assert caught.value.message.startswith("asked to fail:")

    @pytest.mark.parametrize("message_bytes", [2_000, 7_000, 12_000, 40_000, 200_000])
    async def test_a_long_message_keeps_its_code(self, client: Client, message_bytes: int) -> None:
        """A driver may quote a whole log: beyond 8 KiB, gRPC by itself would answer RESOURCE_EXHAUSTED."""
        request = wish("a", fail_code=str(int(Code.ABORTED)), message_bytes=str(message_bytes))
        with pytest.raises(Aborted, match="asked to fail: xxx"):
            await client.create_volume(request)
        await client.probe()
        assert client.connections_made == 1

    async def test_an_answer_that_gets_lost_is_not_taken_for_the_end(self, client: Client) -> None:
        """Some gRPC implementations reset the stream when a message is too long, others refuse to read it."""
        request = wish("a", fail_code=str(int(Code.ABORTED)), message_bytes="2000000")
        with pytest.raises(Unavailable, match="was lost on the way") as caught:
            await client.create_volume(request)
        assert not caught.value.final
        await client.probe()

    async def test_a_stream_longer_than_a_flow_control_window_arrives_whole(self, client: Client) -> None:
        request = GetMetadataAllocatedRequest(snapshot_id="monday", max_results=64)
        answers = [answer async for answer in client.get_metadata_allocated(request)]
        blocks = [block for answer in answers for block in answer.block_metadata]
        assert {answer.block_metadata_type for answer in answers} == {BlockMetadataType.FIXED_LENGTH}
        assert [block.byte_offset for block in blocks] == [2 * BLOCK_BYTES * index for index in range(BLOCK_COUNT)]

    async def test_a_stream_fails_where_the_driver_says_so(self, client: Client) -> None:
        with pytest.raises(NotFound, match='no snapshot "missing"'):
            await anext(client.get_metadata_allocated(GetMetadataAllocatedRequest(snapshot_id="missing")))
        stream = client.get_metadata_allocated(GetMetadataAllocatedRequest(snapshot_id="breaking"))
        assert [(await anext(stream)).block_metadata[0].byte_offset for _ in range(2)] == [0, 512 * BLOCK_BYTES]
        with pytest.raises(Aborted, match="being deleted"):
            await anext(stream)

    async def test_a_stream_that_is_left_does_not_disturb_the_connection(self, client: Client) -> None:
        request = GetMetadataAllocatedRequest(snapshot_id="monday", max_results=1)
        for _ in range(5):
            stream = client.get_metadata_allocated(request)
            assert isinstance(stream, AsyncGenerator)
            async with contextlib.aclosing(stream):
                await anext(stream)
        await client.probe()
        assert client.connections_made == 1

    async def test_our_deadline_ends_the_call_at_the_driver(self, client: Client, driver: Serving) -> None:
        with pytest.raises(DeadlineExceeded, match=r"did not answer CreateVolume within 0\.5 s"):
            await client.create_volume(wish("a", hang="yes"), timeout_s=0.5)
        assert await driver.said() == "hanging"
        assert (await driver.said()).startswith("given up")
        await client.probe()

    async def test_hundreds_of_calls_at_once_are_all_answered(self, client: Client) -> None:
        names = [f"{index:03}" for index in range(400)]
        made = await asyncio.gather(*(client.create_volume(wish(name)) for name in names))
        assert [answer.volume.volume_id for answer in made] == [self.id_prefix + name for name in names]
        assert len((await client.list_volumes(ListVolumesRequest())).entries) == 400

    async def test_a_driver_that_was_killed_and_started_again_is_found(self, client: Client, driver: Serving) -> None:
        await client.create_volume(wish("a"))
        await driver.kill()
        await driver.start()
        assert (await client.list_volumes(ListVolumesRequest(), timeout_s=5)).entries == ()
        assert client.connections_made == 2


class ClientContract:
    """The peer's client with our server. `late` is the code that it gives to a deadline of its own."""

    late = Code.DEADLINE_EXCEEDED

    async def test_a_client_walks_through_the_toy_driver(self, binary: Path, folder: Path) -> None:
        environment = {"PYTHONPATH": os.pathsep.join([str(EXAMPLES), os.environ.get("PYTHONPATH", "")])}
        async with DriverProcess(
            "toy_driver:ToyDriver", directory=folder, arguments=["--root", f"{folder}/v"], environment=environment
        ) as driver:
            met = await walk(binary, driver.socket)
        assert {step: Code(outcome.code).name for step, outcome in met.items() if outcome.code} == {
            "CreateVolume larger": "ALREADY_EXISTS",
            "CreateVolume nameless": "INVALID_ARGUMENT",
            "GetMetadataAllocated": "UNIMPLEMENTED",
        }
        made = met["CreateVolume"].answer
        assert met["Probe"].answer is True
        assert met["GetPluginInfo"].answer == "toy.example.com"
        assert "CONTROLLER_SERVICE" in met["GetPluginCapabilities"].answer
        assert made["volume_id"]
        assert made["capacity_bytes"] == 8 * MIB
        assert met["CreateVolume again"].answer == made
        assert met["ListVolumes"].answer == [made["volume_id"]]
        assert "name" in met["CreateVolume nameless"].message
        assert list((folder / "v").iterdir()) == []

    async def test_a_client_meets_long_messages_streams_and_deadlines(
        self, binary: Path, folder: Path, serve: Serve
    ) -> None:
        given_up = asyncio.Event()

        async def probe(request: object) -> ProbeResponse:
            return ProbeResponse(ready=True)

        async def info(request: object) -> GetPluginInfoResponse:
            return GetPluginInfoResponse(name="test.moorage.example", vendor_version="1.0.0")

        async def create(request: CreateVolumeRequest) -> CreateVolumeResponse:
            raise Internal("é" * 10_000)

        async def delete(request: DeleteVolumeRequest) -> DeleteVolumeResponse:
            try:
                await asyncio.Event().wait() if request.volume_id == "slow" else None
            finally:
                given_up.set()
            return DeleteVolumeResponse()

        async def allocated(request: GetMetadataAllocatedRequest) -> AsyncIterator[GetMetadataAllocatedResponse]:
            for first in range(0, 10_000, 100):
                blocks = tuple(BlockMetadata(4096 * block, 4096) for block in range(first, first + 100))
                yield GetMetadataAllocatedResponse(BlockMetadataType.FIXED_LENGTH, 4096 * 10_000, blocks)

        handlers = {
            "Probe": probe,
            "GetPluginInfo": info,
            "CreateVolume": create,
            "DeleteVolume": delete,
            "GetMetadataAllocated": allocated,
        }
        async with serve(handlers):
            met = await walk(binary, folder / "csi.sock")
            async with asyncio.timeout(5):
                await given_up.wait()
        assert met["GetPluginInfo"].answer == "test.moorage.example"
        assert met["CreateVolume"].code == Code.INTERNAL
        assert met["CreateVolume"].message.startswith("ééé")
        assert met["CreateVolume"].message.endswith(" …")
        assert met["DeleteVolume slow"].code == self.late
        assert met["GetMetadataAllocated"].answer == {"messages": 100, "blocks": 10_000}
