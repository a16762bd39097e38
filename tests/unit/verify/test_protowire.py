from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moorage.proto import csi_pb2
from moorage.rpc.wire import encode
from moorage.spec import messages as m
from moorage.spec.rules import RPCS, Rpc
from moorage.verify.protowire import UNKNOWN_FIELD, WireFormatError, field_numbers


def test_the_fields_of_a_message_are_found_whatever_their_kind() -> None:
    body = csi_pb2.ListVolumesRequest(max_entries=300, starting_token="x").SerializeToString()
    fixed = bytes([3 << 3 | 1]) + bytes(8) + bytes([4 << 3 | 5]) + bytes(4)
    assert field_numbers(body + fixed) == {1, 2, 3, 4}


def test_an_empty_message_has_no_fields() -> None:
    assert field_numbers(b"") == frozenset()


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        pytest.param(b"\x0a\x7fabc", "ends inside a field", id="cut-off-string"),
        pytest.param(b"\x08\x80", "ends inside a number", id="cut-off-number"),
        pytest.param(b"\x08" + b"\xff" * 11, "more than 10 bytes", id="endless-number"),
        pytest.param(b"\x00\x01", "number 0", id="field-zero"),
        pytest.param(b"\x0b", "wire type 3", id="group"),
    ],
)
def test_what_is_no_message_is_refused(body: bytes, problem: str) -> None:
    with pytest.raises(WireFormatError, match=problem):
        field_numbers(body)


@given(st.binary(max_size=64))
def test_any_bytes_have_fields_or_are_refused(body: bytes) -> None:
    with contextlib.suppress(WireFormatError):
        assert all(number > 0 for number in field_numbers(body))


@pytest.mark.parametrize("rpc", RPCS.values(), ids=RPCS)
def test_the_unknown_field_is_unknown_to_every_request(rpc: Rpc) -> None:
    (number,) = field_numbers(UNKNOWN_FIELD)
    assert number not in {field.number for field in rpc.request_proto.DESCRIPTOR.fields}


def test_protobuf_reads_a_request_with_the_unknown_field() -> None:
    body = encode(m.DeleteVolumeRequest(volume_id="v")) + UNKNOWN_FIELD
    assert csi_pb2.DeleteVolumeRequest.FromString(body).volume_id == "v"
