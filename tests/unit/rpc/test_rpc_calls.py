"""The list of typed methods against the specification."""

from __future__ import annotations

import inspect
import re
import typing
from collections.abc import AsyncIterator
from typing import Any

import pytest
from msgspec import Struct

from moorage.rpc import calls
from moorage.rpc.calls import Calls
from moorage.rpc.timeouts import default_timeout_s
from moorage.rpc.wire import WireError, decode, encode
from moorage.spec.convert import from_proto
from moorage.spec.messages import CreateVolumeRequest, DeleteVolumeResponse, ProbeRequest
from moorage.spec.rules import RPCS, Rpc


class Recorded(Calls):
    """Notes what a method asks for."""

    def __init__(self) -> None:
        self.asked: tuple[Any, ...] = ()

    async def unary(self, rpc_name: str, request: Struct, response_type: Any, *, timeout_s: float | None) -> Any:
        self.asked = (rpc_name, type(request), response_type, timeout_s)
        return None

    async def stream(
        self, rpc_name: str, request: Struct, response_type: Any, *, timeout_s: float | None
    ) -> AsyncIterator[Any]:
        self.asked = (rpc_name, type(request), response_type, timeout_s)
        nothing: tuple[Any, ...] = ()
        for item in nothing:
            yield item


def method_name(rpc_name: str) -> str:
    return re.sub(r"(?<=[a-z])(?=[A-Z])", "_", rpc_name).lower()


@pytest.mark.parametrize("rpc", RPCS.values(), ids=lambda rpc: rpc.name)
async def test_each_rpc_has_a_method_with_its_types(rpc: Rpc) -> None:
    recorded = Recorded()
    method = getattr(recorded, method_name(rpc.name))
    answer = method(from_proto(rpc.request_proto()), timeout_s=7.5)
    if rpc.streaming:
        assert [item async for item in answer] == []
    else:
        await answer
    assert recorded.asked == (rpc.name, rpc.request, rpc.response, 7.5)
    hints = typing.get_type_hints(method, vars(calls))
    assert rpc.request in (hints["request"], *typing.get_args(hints["request"]))
    assert rpc.response in (hints["return"], *typing.get_args(hints["return"]))


@pytest.mark.parametrize(
    "rpc", [rpc for rpc in RPCS.values() if not rpc.request.__struct_fields__], ids=lambda rpc: rpc.name
)
async def test_a_request_without_fields_may_be_left_out(rpc: Rpc) -> None:
    recorded = Recorded()
    await getattr(recorded, method_name(rpc.name))()
    assert recorded.asked == (rpc.name, rpc.request, rpc.response, None)


def test_there_is_no_method_for_anything_else() -> None:
    public = {name for name, _ in inspect.getmembers(Calls, inspect.isfunction) if not name.startswith("_")}
    assert public - {"unary", "stream"} == {method_name(name) for name in RPCS}
    assert len(RPCS) == 36


@pytest.mark.parametrize(
    ("name", "timeout_s"),
    [
        ("Probe", 10),
        ("GetPluginInfo", 10),
        ("NodeGetCapabilities", 10),
        ("NodeGetInfo", 10),
        ("CreateVolume", 120),
        ("NodeGetVolumeStats", 120),
        ("GetMetadataDelta", 600),
    ],
)
def test_default_deadlines(name: str, timeout_s: float) -> None:
    assert default_timeout_s(RPCS[name]) == timeout_s


# --- wire -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("rpc", RPCS.values(), ids=lambda rpc: rpc.name)
def test_empty_bytes_and_unknown_fields_are_read(rpc: Rpc) -> None:
    unknown = b"\xf8\xff\x03\x01"  # field 8191, varint 1: from a newer peer
    for kind, struct in ((rpc.request_proto, rpc.request), (rpc.response_proto, rpc.response)):
        assert type(decode(kind, b"")) is struct
        assert decode(kind, unknown) == decode(kind, b"")


def test_bytes_that_are_no_message_are_refused_without_quoting_them() -> None:
    with pytest.raises(WireError, match=r"6 bytes are not a valid csi\.v1\.CreateVolumeRequest") as caught:
        decode(RPCS["CreateVolume"].request_proto, b"\x0a\x7fpass")
    assert "pass" not in str(caught.value)


def test_a_message_without_fields_takes_no_bytes() -> None:
    assert encode(ProbeRequest()) == b""
    assert encode(DeleteVolumeResponse()) == b""


def test_a_value_that_does_not_fit_is_not_quoted() -> None:
    with pytest.raises(WireError, match="CreateVolumeRequest holds a value") as caught:
        encode(CreateVolumeRequest(name="secret\ud800", volume_capabilities=()))
    assert "secret" not in str(caught.value)
