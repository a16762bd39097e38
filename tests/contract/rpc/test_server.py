"""What a caller of our server sees, over a real socket."""

from __future__ import annotations

import asyncio
import contextlib
import io
import json
import sys
from collections.abc import AsyncIterator, Callable
from typing import Any

import grpc
import grpc.aio
import pytest

from moorage.base.log import configure
from moorage.base.metrics import PLUGIN_OPERATIONS, Metrics
from moorage.proto import csi_pb2 as pb
from moorage.rpc.client import Client
from moorage.rpc.context import Call, current_call
from moorage.rpc.observation import observe_in
from moorage.rpc.server import Server
from moorage.spec.capabilities import Declared
from moorage.spec.errors import (
    AlreadyExists,
    CsiError,
    Internal,
    InvalidArgument,
    NotFound,
    OutOfRange,
    Unavailable,
    Unimplemented,
    VolumeNotFound,
)
from moorage.spec.messages import (
    ControllerGetCapabilitiesResponse,
    CreateVolumeRequest,
    CreateVolumeResponse,
    DeleteVolumeRequest,
    DeleteVolumeResponse,
    GetPluginInfoResponse,
    NodeGetInfoResponse,
    NodeUnpublishVolumeRequest,
    NodeUnpublishVolumeResponse,
    ProbeResponse,
)
from moorage.spec.types import (
    AccessMode,
    ControllerCapability,
    Topology,
    Volume,
    VolumeCapability,
)

Serve = Callable[..., contextlib.AbstractAsyncContextManager[Client]]
Install = Callable[[str], None]
DELETE = DeleteVolumeRequest(volume_id="v1")
CREATE = CreateVolumeRequest(
    name="pvc-1", volume_capabilities=(VolumeCapability(access_mode=AccessMode.SINGLE_NODE_WRITER),)
)


async def delete(request: DeleteVolumeRequest) -> DeleteVolumeResponse:
    return DeleteVolumeResponse()


def raising(error: BaseException) -> Any:
    async def handler(request: object) -> Any:
        raise error

    return handler


def returning(response: object) -> Any:
    async def handler(request: object) -> Any:
        return response

    return handler


async def test_a_request_arrives_and_its_response_returns_as_structs(serve: Serve) -> None:
    seen: list[CreateVolumeRequest] = []

    async def create(request: CreateVolumeRequest) -> CreateVolumeResponse:
        seen.append(request)
        return CreateVolumeResponse(volume=Volume("v1", 1 << 30, {"pool": "a"}))

    async with serve({"CreateVolume": create}) as client:
        response = await client.create_volume(CREATE)
    assert seen == [CREATE]
    assert response == CreateVolumeResponse(volume=Volume("v1", 1 << 30, {"pool": "a"}))


@pytest.mark.parametrize(
    ("error", "kind", "message"),
    [
        pytest.param(VolumeNotFound("v9"), NotFound, "volume 'v9' does not exist", id="domain-error"),
        pytest.param(AlreadyExists("taken"), AlreadyExists, "taken", id="code-of-the-class"),
        pytest.param(CsiError(""), Internal, "the driver answered INTERNAL and gave no reason", id="never-empty"),
        pytest.param(ExceptionGroup("tasks", [OutOfRange("too big")]), OutOfRange, "too big", id="group-of-one"),
        pytest.param(ValueError("x"), Internal, "in a way that it did not foresee", id="defect"),
        pytest.param(TimeoutError(), Internal, "in a way that it did not foresee", id="inner-timeout-is-a-defect"),
        pytest.param(
            ExceptionGroup("tasks", [OutOfRange("a"), OutOfRange("b")]), Internal, "did not foresee", id="group"
        ),
    ],
)
async def test_errors_keep_code_and_message(
    error: Exception, kind: type[CsiError], message: str, serve: Serve, log_lines: object
) -> None:
    async with serve({"DeleteVolume": raising(error)}) as client:
        with pytest.raises(kind) as caught:
            await client.delete_volume(DELETE)
    assert type(caught.value) is kind
    assert message in caught.value.message


async def test_an_rpc_without_handler_or_gate_is_unimplemented(serve: Serve) -> None:
    async with serve({}) as client:
        with pytest.raises(Unimplemented, match="does not offer DeleteVolume"):
            await client.delete_volume(DELETE)
    async with serve({"DeleteVolume": delete}, declared=Declared()) as client:
        with pytest.raises(Unimplemented, match="DeleteVolume is not offered"):
            await client.delete_volume(DELETE)


async def test_a_handler_for_no_rpc_is_refused_when_the_server_is_made(address: str) -> None:
    with pytest.raises(ValueError, match="CraeteVolume"):
        Server({"CraeteVolume": delete}, Declared(), driver_name="d.example", endpoint=address)


@pytest.mark.parametrize(
    ("path", "says"),
    [
        pytest.param("/csi.v0.Identity/GetPluginInfo", r"CSI 0\.2 or 0\.3 \(package csi\.v0\)", id="csi.v0"),
        pytest.param("/csi.Identity/GetSupportedVersions", r"CSI 0\.1 \(package csi\)", id="csi-0.1"),
        pytest.param("/csi.v1.Controller/Teleport", "not an RPC of CSI 1.13", id="newer-rpc"),
        pytest.param("/other.Service/Method", "the socket of a CSI driver", id="foreign"),
    ],
)
async def test_unknown_methods_are_answered_in_words(path: str, says: str, serve: Serve, bare_client: Any) -> None:
    async with serve({}):
        with pytest.raises(grpc.aio.AioRpcError, match=says) as caught:
            await bare_client.unary_unary(path)(b"\x0a\x01x")
    assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED


async def test_garbage_and_missing_fields_are_invalid_before_the_handler_runs(serve: Serve, bare_client: Any) -> None:
    async with serve({"DeleteVolume": raising(AssertionError())}) as client:
        with pytest.raises(InvalidArgument, match="volume_id"):
            await client.delete_volume(DeleteVolumeRequest(volume_id=""))
        for garbage in (b"\xff\xff\xff", b"\x0a\x02\xff\xfe"):
            with pytest.raises(grpc.aio.AioRpcError, match="cannot be read") as caught:
                await bare_client.unary_unary("/csi.v1.Controller/DeleteVolume")(garbage)
            assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT


@pytest.mark.parametrize(
    ("name", "response", "problem"),
    [
        pytest.param("DeleteVolume", None, "returned NoneType and not DeleteVolumeResponse", id="nothing"),
        pytest.param("DeleteVolume", ProbeResponse(), "returned ProbeResponse", id="wrong-class"),
        pytest.param("CreateVolume", CreateVolumeResponse(volume=Volume("")), "volume_id", id="empty-id"),
        pytest.param("CreateVolume", CreateVolumeResponse(volume=Volume("x" * 129)), "128", id="long-id"),
        pytest.param(
            "CreateVolume", CreateVolumeResponse(volume=Volume("v", 1 << 70)), "protobuf cannot carry", id="huge"
        ),
    ],
)
async def test_a_response_that_breaks_the_specification_is_internal_and_logged(
    name: str, response: object, problem: str, serve: Serve, log_lines: Callable[[], str]
) -> None:
    async with serve({name: returning(response)}) as client:
        with pytest.raises(Internal, match=problem):
            await client.call(name, CREATE if name == "CreateVolume" else DELETE)
    bad = [json.loads(line) for line in log_lines().splitlines() if "rpc.bad_response" in line]
    assert len(bad) == 1
    assert problem in json.dumps(bad)


# --- load -----------------------------------------------------------------------------------------


async def test_overload_is_unavailable_per_service_and_never_hits_probe(serve: Serve) -> None:
    gate, entered = asyncio.Event(), asyncio.Semaphore(0)

    async def slow(request: DeleteVolumeRequest) -> DeleteVolumeResponse:
        entered.release()
        await gate.wait()
        return DeleteVolumeResponse()

    handlers = {
        "DeleteVolume": slow,
        "NodeUnpublishVolume": returning(NodeUnpublishVolumeResponse()),
        "Probe": returning(ProbeResponse(ready=True)),
    }
    async with serve(handlers, max_calls=2) as client:
        running = [asyncio.ensure_future(client.delete_volume(DELETE)) for _ in range(2)]
        for _ in running:
            await entered.acquire()
        with pytest.raises(Unavailable, match="already runs 2 calls of the Controller service"):
            await client.delete_volume(DELETE)
        await client.node_unpublish_volume(NodeUnpublishVolumeRequest(volume_id="v", target_path="/t"))
        assert (await client.probe()).ready
        gate.set()
        await asyncio.gather(*running)
        await client.delete_volume(DELETE)


async def test_a_caller_without_deadline_is_bounded_by_ours(serve: Serve, bare_client: Any, log_lines: object) -> None:
    async def hang(request: object) -> Any:
        await asyncio.Event().wait()

    async with serve({"DeleteVolume": hang}, call_limit_s=0.1):
        call = bare_client.unary_unary("/csi.v1.Controller/DeleteVolume")
        with pytest.raises(grpc.aio.AioRpcError, match=r"took longer than 0\.1 s") as caught:
            await call(pb.DeleteVolumeRequest(volume_id="v").SerializeToString())
    assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED


# --- context, logs, metrics -------------------------------------------------------------------------


async def test_a_handler_knows_its_call_and_the_callers_request_id(serve: Serve, bare_client: Any) -> None:
    calls: list[Call | None] = []

    async def note(request: object) -> DeleteVolumeResponse:
        calls.append(current_call())
        return DeleteVolumeResponse()

    body = pb.DeleteVolumeRequest(volume_id="v").SerializeToString()
    async with serve({"DeleteVolume": note}) as client:
        method = bare_client.unary_unary("/csi.v1.Controller/DeleteVolume")
        await method(body, timeout=5, metadata=[("csi.requestid", "abc-1")])
        await method(body, timeout=5, metadata=[("csi.requestid", "forged id x=y")])
        await client.delete_volume(DELETE)
    assert current_call() is None
    first, second, third = calls
    assert first is not None
    assert second is not None
    assert third is not None
    assert first.request_id == "abc-1"
    assert first.rpc_name == "DeleteVolume"
    assert 0 < first.remaining_s <= 5.5
    assert len({first.request_id, second.request_id, third.request_id}) == 3
    assert "forged" not in second.request_id


async def test_a_client_used_inside_a_call_passes_the_request_id_on(
    serve: Serve, bare_client: Any, address: str
) -> None:
    ids: list[str] = []

    async def inner(request: object) -> ProbeResponse:
        call = current_call()
        assert call is not None
        ids.append(call.request_id)
        return ProbeResponse()

    async def outer(request: object) -> DeleteVolumeResponse:
        async with Client(address) as client:
            await client.probe()
        return DeleteVolumeResponse()

    async with serve({"DeleteVolume": outer, "Probe": inner}):
        method = bare_client.unary_unary("/csi.v1.Controller/DeleteVolume")
        body = pb.DeleteVolumeRequest(volume_id="v").SerializeToString()
        await method(body, timeout=5, metadata=[("csi.requestid", "outer-7")])
    assert ids == ["outer-7"]


async def test_each_call_is_logged_once_with_its_request_id(serve: Serve, log_lines: Callable[[], str]) -> None:
    async with serve({"DeleteVolume": raising(VolumeNotFound("v1"))}) as client:
        with pytest.raises(NotFound):
            await client.delete_volume(DELETE)
    events = [json.loads(line) for line in log_lines().splitlines()]
    done = [event for event in events if event["event"] == "rpc.done"]
    assert len(done) == 1
    assert done[0]["level"] == "info"
    assert done[0]["method"] == "/csi.v1.Controller/DeleteVolume"
    assert done[0]["code"] == "NOT_FOUND"
    assert done[0]["message"] == "volume 'v1' does not exist"
    assert done[0]["ms"] >= 0
    requests = [e for e in events if e["event"] == "rpc.request" and e.get("request_id")]
    assert requests[0]["request"] == {"volume_id": "v1"}
    assert requests[0]["request_id"] == done[0]["request_id"]


async def test_calls_that_change_nothing_are_quiet_at_info(serve: Serve, scrubber: Any) -> None:
    stream = io.StringIO()
    configure("json", "info", stream=stream, scrubber=scrubber)
    try:
        async with serve({"Probe": returning(ProbeResponse()), "DeleteVolume": delete}) as client:
            await client.probe()
            await client.delete_volume(DELETE)
    finally:
        configure("console", "warning")
    events = [json.loads(line) for line in stream.getvalue().splitlines()]
    calls = [event for event in events if event["event"].startswith("rpc.") and "method" in event]
    assert [(event["event"], event["method"]) for event in calls] == [("rpc.done", "/csi.v1.Controller/DeleteVolume")]
    assert "request" not in calls[0]


async def test_finished_calls_fill_the_histogram_with_codes_as_go_spells_them(serve: Serve) -> None:
    metrics = Metrics(PLUGIN_OPERATIONS)
    observe = observe_in(metrics, driver_name="test.moorage.example")
    handlers = {"DeleteVolume": raising(VolumeNotFound("v1")), "Probe": returning(ProbeResponse())}
    async with serve(handlers, observe=observe) as client:
        await client.probe()
        with pytest.raises(NotFound):
            await client.delete_volume(DELETE)
    text = metrics.render().decode()
    labels = 'driver_name="test.moorage.example",grpc_status_code="{}",method_name="{}"'
    assert f"csi_plugin_operations_seconds_count{{{labels.format('OK', '/csi.v1.Identity/Probe')}}} 1.0" in text
    assert (
        f"csi_plugin_operations_seconds_count{{{labels.format('NotFound', '/csi.v1.Controller/DeleteVolume')}}} 1.0"
        in text
    )


async def test_constant_replies_follow_the_handler(serve: Serve) -> None:
    """The bytes of a reply may be kept only for the very same object."""
    answers = [ProbeResponse(ready=False), ProbeResponse(ready=True)]
    state = {"now": answers[0]}

    async def probe(request: object) -> ProbeResponse:
        return state["now"]

    async with serve({"Probe": probe}) as client:
        for answer in (answers[0], answers[0], answers[1], answers[1], answers[0]):
            state["now"] = answer
            assert await client.probe() == answer


async def test_a_mutable_part_of_a_response_is_read_every_time(serve: Serve) -> None:
    manifest = {"commit": "a"}
    info = GetPluginInfoResponse(name="test.moorage.example", vendor_version="1", manifest=manifest)
    async with serve({"GetPluginInfo": returning(info)}) as client:
        assert (await client.get_plugin_info()).manifest == {"commit": "a"}
        manifest["commit"] = "b"
        assert (await client.get_plugin_info()).manifest == {"commit": "b"}


# --- the standard services ------------------------------------------------------------------------


async def test_health_and_reflection_are_served_when_asked_for(serve: Serve, bare_client: Any) -> None:
    async with serve({"Probe": returning(ProbeResponse())}, health=True, reflection=True) as client:
        check = bare_client.unary_unary("/grpc.health.v1.Health/Check")
        assert await check(b"") == b"\x08\x01"  # status: SERVING
        assert await check(b"\x0a\x0fcsi.v1.Identity") == b"\x08\x01"
        listing = bare_client.stream_stream("/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo")

        async def ask() -> AsyncIterator[bytes]:
            yield b"\x3a\x00"  # list_services

        answers = [answer async for answer in listing(ask())]
        assert b"csi.v1.Controller" in answers[0]
        await client.probe()


async def test_without_health_the_service_is_not_there(serve: Serve, bare_client: Any) -> None:
    async with serve({}):
        with pytest.raises(grpc.aio.AioRpcError, match="UNIMPLEMENTED"):
            await bare_client.unary_unary("/grpc.health.v1.Health/Check")(b"")


@pytest.mark.parametrize(
    ("option", "module", "package"),
    [
        ("health", "grpc_health.v1.health", "grpcio-health-checking"),
        ("reflection", "grpc_reflection.v1alpha.reflection", "grpcio-reflection"),
    ],
)
def test_a_missing_package_is_named(
    option: str, module: str, package: str, address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    wanted: Any = {option: True}
    with pytest.raises(ImportError, match=rf"needs the package {package}; install moorage\[health\]"):
        Server({}, Declared(), driver_name="d.example", endpoint=address, **wanted)


async def test_a_server_starts_once(serve: Serve, address: str) -> None:
    async with Server({}, Declared(), driver_name="d.example", endpoint=address) as server:
        with pytest.raises(RuntimeError, match="make a new one"):
            await server.start()


async def test_capabilities_and_node_info_pass_unchanged(serve: Serve) -> None:
    offered = ControllerGetCapabilitiesResponse(frozenset({ControllerCapability.LIST_VOLUMES}))
    place = Topology({"example.org/zone": "a"})
    info = NodeGetInfoResponse(node_id="node-1", max_volumes_per_node=7, accessible_topology=place)
    handlers = {"ControllerGetCapabilities": returning(offered), "NodeGetInfo": returning(info)}
    async with serve(handlers) as client:
        assert await client.controller_get_capabilities() == offered
        assert await client.node_get_info() == info
