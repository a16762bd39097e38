"""Our client against foreign drivers: a bare grpc.aio peer that knows nothing of Moorage."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest
from google.protobuf.wrappers_pb2 import BoolValue

from moorage.proto import csi_pb2 as pb
from moorage.rpc.client import Client
from moorage.spec.capabilities import Declared
from moorage.spec.convert import from_proto
from moorage.spec.errors import (
    Aborted,
    Code,
    CsiError,
    FailedPrecondition,
    Internal,
    InvalidArgument,
    Unavailable,
    Unimplemented,
    Unknown,
    error_for,
)
from moorage.spec.messages import (
    CreateVolumeRequest,
    DeleteVolumeRequest,
    DeleteVolumeResponse,
    GetMetadataAllocatedRequest,
    GetMetadataAllocatedResponse,
    ProbeRequest,
)
from moorage.spec.rules import RPCS
from moorage.spec.types import ControllerCapability, NodeCapability, PluginCapability, Secrets, VolumeExpansion

BarePeer = Callable[[Mapping[str, Any]], contextlib.AbstractAsyncContextManager[grpc.aio.Server]]
DELETE = DeleteVolumeRequest(volume_id="v1", secrets=Secrets(password="hunter2-hunter2"))
DELETE_PATH = "/csi.v1.Controller/DeleteVolume"
PROBE_PATH = "/csi.v1.Identity/Probe"
INFO_PATH = "/csi.v1.Identity/GetPluginInfo"


def answering(message: Any) -> Any:
    async def method(raw: bytes, context: Any) -> bytes:
        return bytes(message.SerializeToString())

    return method


def aborting(code: grpc.StatusCode, details: str) -> Any:
    async def method(raw: bytes, context: Any) -> bytes:
        await context.abort(code, details)
        return b""

    return method


async def test_every_unary_rpc_reaches_its_path_with_its_message(bare_peer: BarePeer, address: str) -> None:
    got: dict[str, Any] = {}

    def method_of(name: str) -> Any:
        async def method(raw: bytes, context: Any) -> bytes:
            got[name] = RPCS[name].request_proto.FromString(raw)
            return b""

        return method

    unary = [rpc for rpc in RPCS.values() if not rpc.streaming]
    async with bare_peer({rpc.path: method_of(rpc.name) for rpc in unary}), Client(address) as client:
        for rpc in unary:
            request = from_proto(rpc.request_proto())
            assert type(await client.call(rpc.name, request)) is rpc.response
    assert set(got) == {rpc.name for rpc in unary}


@pytest.mark.parametrize("status", [s for s in grpc.StatusCode if s is not grpc.StatusCode.OK], ids=lambda s: s.name)
async def test_every_status_becomes_its_error(status: grpc.StatusCode, bare_peer: BarePeer, address: str) -> None:
    code = Code(status.value[0])
    async with bare_peer({DELETE_PATH: aborting(status, "because")}), Client(address) as client:
        with pytest.raises(CsiError) as caught:
            await client.delete_volume(DELETE)
    assert type(caught.value) is type(error_for(code, ""))
    assert caught.value.message == "because"
    assert caught.value.final is (code not in {Code.CANCELLED, Code.DEADLINE_EXCEEDED, Code.ABORTED, Code.UNAVAILABLE})


async def test_a_peer_without_a_message_is_given_one(bare_peer: BarePeer, address: str) -> None:
    async with bare_peer({DELETE_PATH: aborting(grpc.StatusCode.ABORTED, "")}), Client(address) as client:
        with pytest.raises(Aborted, match="gave no reason"):
            await client.delete_volume(DELETE)


async def test_secrets_that_a_peer_quotes_are_stripped(bare_peer: BarePeer, address: str) -> None:
    text = "cannot log in with hunter2-hunter2"
    async with bare_peer({DELETE_PATH: aborting(grpc.StatusCode.UNKNOWN, text)}), Client(address) as client:
        with pytest.raises(Unknown) as caught:
            await client.delete_volume(DELETE)
    assert caught.value.message == "cannot log in with ***stripped***"


async def test_an_answer_that_cannot_be_read_is_the_peers_fault(bare_peer: BarePeer, address: str) -> None:
    async def garbage(raw: bytes, context: Any) -> bytes:
        return b"\xff\xff"

    async with bare_peer({INFO_PATH: garbage}), Client(address) as client:
        with pytest.raises(Internal, match=r"sent an answer that cannot be read: 2 bytes are not a valid csi\.v1"):
            await client.get_plugin_info()


async def test_a_request_that_protobuf_cannot_hold_is_not_sent(address: str) -> None:
    async with Client(address) as client:
        request = CreateVolumeRequest(name="x\ud800", volume_capabilities=())
        with pytest.raises(InvalidArgument, match="was not sent") as caught:
            await client.create_volume(request)
    assert "ud800" not in caught.value.message
    assert client.connections_made == 0


async def test_wrong_names_and_requests_are_programming_errors(address: str) -> None:
    async with Client(address) as client:
        with pytest.raises(ValueError, match="'CraeteVolume' is no RPC"):
            await client.call("CraeteVolume", DELETE)
        with pytest.raises(ValueError, match="is no RPC with one answer"):
            await client.call("GetMetadataAllocated", GetMetadataAllocatedRequest(snapshot_id="s"))
        stream = client.stream("Probe", ProbeRequest(), GetMetadataAllocatedResponse, timeout_s=1)
        with pytest.raises(ValueError, match="is no streaming RPC"):
            await anext(stream)
        with pytest.raises(TypeError, match="takes a DeleteVolumeRequest"):
            await client.call("DeleteVolume", ProbeRequest())
        plain: Any = {"password": "hunter2-hunter2"}
        with pytest.raises(TypeError, match="must be of class Secrets"):
            await client.delete_volume(DeleteVolumeRequest(volume_id="v1", secrets=plain))


async def test_a_closed_client_says_so(bare_peer: BarePeer, address: str) -> None:
    async with bare_peer({PROBE_PATH: answering(pb.ProbeResponse())}):
        client = Client(address)
        await client.probe()
        await client.close()
        with pytest.raises(RuntimeError, match="is closed; make a new one"):
            await client.probe()


async def test_a_cancelled_caller_is_cancelled_and_frees_its_place(bare_peer: BarePeer, address: str) -> None:
    entered = asyncio.Event()

    async def hang(raw: bytes, context: Any) -> bytes:
        entered.set()
        await asyncio.Event().wait()
        return b""

    methods = {DELETE_PATH: hang, INFO_PATH: answering(pb.GetPluginInfoResponse(name="a.example"))}
    async with bare_peer(methods), Client(address, max_calls=1) as client:
        call = asyncio.ensure_future(client.delete_volume(DELETE))
        await entered.wait()
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        assert await client.driver_name(timeout_s=5) == "a.example"


async def test_calls_are_observed_with_path_and_code(bare_peer: BarePeer, address: str) -> None:
    seen: list[tuple[str, Code]] = []

    def observe(path: str, code: Code, duration_s: float) -> None:
        assert duration_s >= 0
        seen.append((path, code))

    async with Client(address, observe=observe) as client:
        with pytest.raises(Unavailable):
            await client.probe()
        async with bare_peer({PROBE_PATH: answering(pb.ProbeResponse())}):
            await client.probe()
            with pytest.raises(Unimplemented):
                await client.delete_volume(DELETE)
    assert seen == [(PROBE_PATH, Code.UNAVAILABLE), (PROBE_PATH, Code.OK), (DELETE_PATH, Code.UNIMPLEMENTED)]


# --- readiness and declarations ---------------------------------------------------------------------


async def test_wait_ready_outlasts_a_missing_socket_and_a_starting_driver(bare_peer: BarePeer, address: str) -> None:
    probes = 0

    async def probe(raw: bytes, context: Any) -> bytes:
        nonlocal probes
        probes += 1
        if probes == 1:
            await context.abort(grpc.StatusCode.UNAVAILABLE, "not yet")
        ready = pb.ProbeResponse(ready=BoolValue(value=probes > 3)) if probes < 5 else pb.ProbeResponse()
        return bytes(ready.SerializeToString())

    async with Client(address) as client:
        waiting = asyncio.ensure_future(client.wait_ready(timeout_s=20))
        async with bare_peer({PROBE_PATH: probe}):
            await waiting
            assert probes == 4
            await client.wait_ready(timeout_s=20)
            assert probes == 5, "an absent `ready` counts as ready"


async def test_wait_ready_gives_up_with_the_last_reason(bare_peer: BarePeer, address: str) -> None:
    starting = answering(pb.ProbeResponse(ready=BoolValue(value=False)))
    async with Client(address) as client:
        with pytest.raises(Unavailable, match=r"not ready within 0\.1 s: socket .* does not exist"):
            await client.wait_ready(timeout_s=0.1)
        async with bare_peer({PROBE_PATH: starting}):
            with pytest.raises(Unavailable, match=r"not ready within 0\.1 s: it is still starting"):
                await client.wait_ready(timeout_s=0.1)


async def test_wait_ready_raises_final_errors_at_once(bare_peer: BarePeer, address: str) -> None:
    broken = aborting(grpc.StatusCode.FAILED_PRECONDITION, "the iscsid of this node does not run")
    async with bare_peer({PROBE_PATH: broken}), Client(address) as client:
        with pytest.raises(FailedPrecondition, match="iscsid"):
            await client.wait_ready(timeout_s=60)


async def test_an_empty_driver_name_is_an_error(bare_peer: BarePeer, address: str) -> None:
    async with bare_peer({INFO_PATH: answering(pb.GetPluginInfoResponse())}), Client(address) as client:
        with pytest.raises(Internal, match="gives no name"):
            await client.driver_name()


async def test_declared_reads_a_node_instance_and_keeps_numbers_it_does_not_know(
    bare_peer: BarePeer, address: str
) -> None:
    """The controller service is declared, as in every instance, and not served here."""
    plugin = pb.GetPluginCapabilitiesResponse()
    for number in (1, 2, 99):
        plugin.capabilities.add().service.type = number  # type: ignore[assignment] # a number from the future
    plugin.capabilities.add().volume_expansion.type = pb.PluginCapability.VolumeExpansion.ONLINE
    plugin.capabilities.add()
    node = pb.NodeGetCapabilitiesResponse()
    for number in (0, 1, 77):
        node.capabilities.add().rpc.type = number  # type: ignore[assignment] # as above
    methods = {
        "/csi.v1.Identity/GetPluginCapabilities": answering(plugin),
        "/csi.v1.Node/NodeGetCapabilities": answering(node),
    }
    async with bare_peer(methods), Client(address) as client:
        declared = await client.declared()
    assert declared == Declared(
        plugin=frozenset({PluginCapability(1), PluginCapability(2), PluginCapability(99)}),
        expansion=frozenset({VolumeExpansion.ONLINE}),
        node=frozenset({NodeCapability.STAGE_UNSTAGE_VOLUME, NodeCapability(77)}),
        services=frozenset({"Identity", "Node"}),
    )


async def test_declared_of_our_own_server_is_what_it_was_given(serve: Any, everything: Declared) -> None:
    from moorage.spec.messages import (
        ControllerGetCapabilitiesResponse,
        GetPluginCapabilitiesResponse,
        GroupControllerGetCapabilitiesResponse,
        NodeGetCapabilitiesResponse,
    )

    def returning(response: object) -> Any:
        async def handler(request: object) -> Any:
            return response

        return handler

    handlers = {
        "GetPluginCapabilities": returning(GetPluginCapabilitiesResponse(everything.plugin, everything.expansion)),
        "ControllerGetCapabilities": returning(ControllerGetCapabilitiesResponse(everything.controller)),
        "GroupControllerGetCapabilities": returning(GroupControllerGetCapabilitiesResponse(everything.group)),
        "NodeGetCapabilities": returning(NodeGetCapabilitiesResponse(everything.node)),
    }
    async with serve(handlers) as client:
        assert await client.declared() == everything
        assert ControllerCapability.LIST_VOLUMES in (await client.declared()).controller


# --- old and foreign peers --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("methods", "says"),
    [
        pytest.param(
            {"/csi.v0.Identity/GetPluginInfo": b"\x0a\x03old"}, r"speaks CSI 0\.2 or 0\.3 \(package csi\.v0\)", id="v0"
        ),
        pytest.param({"/csi.Identity/GetSupportedVersions": b""}, r"speaks CSI 0\.1 \(package csi\)", id="0.1"),
        pytest.param({"/other.Service/Method": b""}, "it is no CSI driver", id="no-driver"),
    ],
)
@pytest.mark.parametrize("ask", ["driver_name", "wait_ready", "declared"])
async def test_a_peer_that_is_not_csi_1_is_named_in_one_sentence(
    ask: str, methods: dict[str, bytes], says: str, bare_peer: BarePeer, address: str
) -> None:
    def method_of(answer: bytes) -> Any:
        async def method(raw: bytes, context: Any) -> bytes:
            return answer

        return method

    async with (
        bare_peer({path: method_of(answer) for path, answer in methods.items()}),
        Client(address) as client,
    ):
        with pytest.raises(Unimplemented, match=says) as caught:
            await (client.wait_ready(60) if ask == "wait_ready" else getattr(client, ask)())
    assert address in caught.value.message
    assert "\n" not in caught.value.message


async def test_a_driver_of_csi_1_that_lacks_probe_is_not_called_foreign(bare_peer: BarePeer, address: str) -> None:
    info = answering(pb.GetPluginInfoResponse(name="a.example"))
    async with bare_peer({INFO_PATH: info}), Client(address) as client:
        with pytest.raises(Unimplemented, match="Method not found"):
            await client.probe()


async def test_an_old_driver_that_refuses_the_question_is_recognised_too(bare_peer: BarePeer, address: str) -> None:
    methods = {"/csi.v0.Identity/GetPluginInfo": aborting(grpc.StatusCode.INVALID_ARGUMENT, "version?")}
    async with bare_peer(methods), Client(address) as client:
        with pytest.raises(Unimplemented, match=r"csi\.v0"):
            await client.driver_name()


async def test_a_peer_that_speaks_no_grpc_is_unavailable_with_the_reason(folder: Path, address: str) -> None:
    async def web_server(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(10)
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        await writer.drain()
        writer.close()

    server = await asyncio.start_unix_server(web_server, path=f"{folder}/csi.sock")
    async with server, Client(address) as client:
        with pytest.raises(Unavailable, match=r"csi\.sock cannot be reached .*http1"):
            await client.probe(timeout_s=10)


async def test_a_socket_that_may_not_be_reached_is_named(folder: Path) -> None:
    (folder / "file").write_text("")
    async with Client(f"unix://{folder}/file/csi.sock") as client:
        with pytest.raises(Unavailable, match=r"cannot be reached .*Not a directory"):
            await client.probe()


async def test_loopback_tcp_works_for_a_driver_under_test() -> None:
    class Probing(grpc.GenericRpcHandler):
        def service(self, handler_call_details: grpc.HandlerCallDetails) -> Any:
            return grpc.unary_unary_rpc_method_handler(answering(pb.ProbeResponse()))

    server = grpc.aio.server()
    server.add_generic_rpc_handlers((Probing(),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with Client(f"tcp://127.0.0.1:{port}") as client:
        await client.wait_ready(timeout_s=10)
        assert await client.delete_volume(DELETE) == DeleteVolumeResponse()
    await server.stop(0)
