"""Peers of CSI 1.12 and older tell and are told a volume's condition."""

from __future__ import annotations

import pytest
from google.protobuf.message import Message

from moorage.proto import csi_pb2
from moorage.spec import messages
from moorage.spec.condition import add_condition, condition_of
from moorage.spec.convert import decode, from_proto, to_proto
from moorage.spec.types import UsageUnit, Volume, VolumeCondition, VolumeUsage

ABNORMAL = VolumeCondition(abnormal=True, message="disk is failing")
ON_THE_WIRE = b"\x12\x13\x08\x01\x12\x0fdisk is failing"
"""What a 1.12 peer sends: field 2, 19 bytes: abnormal (1) true, message (2)."""


def test_a_1_12_peer_is_understood() -> None:
    usage = csi_pb2.NodeGetVolumeStatsResponse(usage=[csi_pb2.VolumeUsage(total=5, unit=csi_pb2.VolumeUsage.BYTES)])
    message = csi_pb2.NodeGetVolumeStatsResponse.FromString(usage.SerializeToString() + ON_THE_WIRE)
    struct = decode(messages.NodeGetVolumeStatsResponse, message)
    assert struct.volume_condition == ABNORMAL
    assert struct.usage == (VolumeUsage(UsageUnit.BYTES, 5),)


def test_a_1_12_peer_is_told() -> None:
    message = to_proto(messages.NodeGetVolumeStatsResponse(volume_condition=ABNORMAL))
    assert message.SerializeToString() == ON_THE_WIRE


def test_conditions_travel_in_lists_and_in_single_volumes() -> None:
    status = messages.VolumeStatus(("n1",), ABNORMAL)
    listed = messages.ListVolumesResponse((messages.ListedVolume(Volume("v"), status),))
    got = messages.ControllerGetVolumeResponse(Volume("v"), status)
    for struct in (listed, got):
        message = to_proto(struct)
        assert ON_THE_WIRE in message.SerializeToString()
        assert from_proto(type(message).FromString(message.SerializeToString())) == struct


def test_a_healthy_condition_differs_from_none() -> None:
    healthy = messages.NodeGetVolumeStatsResponse(volume_condition=VolumeCondition())
    assert to_proto(healthy).SerializeToString() == b"\x12\x00"
    assert from_proto(to_proto(healthy)) == healthy
    assert condition_of(csi_pb2.NodeGetVolumeStatsResponse()) is None


@pytest.mark.parametrize(
    "raw",
    [
        pytest.param(b"\x10\x05", id="a-number-in-its-place"),
        pytest.param(b"\x1a\x02\x08\x01", id="another-unknown-field"),
        pytest.param(b"\x12\x01\x12", id="a-broken-message"),
        pytest.param(b"\x12\x03\x12\x01\xff", id="text-that-is-not-utf8"),
    ],
)
def test_what_is_no_condition_reads_as_none(raw: bytes) -> None:
    message = csi_pb2.NodeGetVolumeStatsResponse.FromString(raw)
    assert condition_of(message) is None


def test_messages_that_never_had_a_condition() -> None:
    message: Message = csi_pb2.NodeGetInfoResponse.FromString(b"")
    assert condition_of(message) is None
    with pytest.raises(ValueError, match="NodeGetInfoResponse"):
        add_condition(message, ABNORMAL)
