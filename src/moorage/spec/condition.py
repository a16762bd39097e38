"""VolumeCondition of CSI 1.3 to 1.12, which CSI 1.13 removed from the messages.

The stubs are those of 1.13, where field 2 of three messages is reserved; what an older peer sends there
arrives as an unknown field, and what is put there travels as one. The message itself is declared in a
descriptor pool of its own, because one pool cannot hold two versions of package `csi.v1`. Nothing else of
1.12 is kept here.
"""

from __future__ import annotations

from functools import cache
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.message import DecodeError, Message
from google.protobuf.unknown_fields import UnknownFieldSet

from moorage.spec.types import VolumeCondition

CARRIERS = frozenset(
    {
        "csi.v1.ControllerGetVolumeResponse.VolumeStatus",
        "csi.v1.ListVolumesResponse.VolumeStatus",
        "csi.v1.NodeGetVolumeStatsResponse",
    }
)
"""The messages that held `VolumeCondition volume_condition = 2` in CSI 1.12."""


@cache
def carrier_class() -> type[Message]:
    """A message with the one field that the carriers have in common in CSI 1.12."""
    kind = descriptor_pb2.FieldDescriptorProto
    file = descriptor_pb2.FileDescriptorProto(name="csi_1_12.proto", package="csi.v1", syntax="proto3")
    condition = file.message_type.add(name="VolumeCondition")
    condition.field.add(name="abnormal", number=1, type=kind.TYPE_BOOL, label=kind.LABEL_OPTIONAL)
    condition.field.add(name="message", number=2, type=kind.TYPE_STRING, label=kind.LABEL_OPTIONAL)
    file.message_type.add(name="Carrier").field.add(
        name="volume_condition",
        number=2,
        type=kind.TYPE_MESSAGE,
        type_name=".csi.v1.VolumeCondition",
        label=kind.LABEL_OPTIONAL,
    )
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("csi.v1.Carrier"))


def condition_of(message: Message) -> VolumeCondition | None:
    """What an older peer said in `message` about the volume's condition; None when it said nothing readable.

    `message` is one of the three that carried a condition (`CARRIERS`); for any other the answer is None.
    """
    if message.DESCRIPTOR.full_name not in CARRIERS or not len(UnknownFieldSet(message)):
        return None
    carrier: Any = carrier_class()()
    try:
        carrier.ParseFromString(message.SerializeToString())
    except DecodeError:
        return None
    if not carrier.HasField("volume_condition"):
        return None
    condition = carrier.volume_condition
    return VolumeCondition(abnormal=condition.abnormal, message=condition.message)


def add_condition(message: Message, condition: VolumeCondition) -> None:
    """Put `condition` into `message` where CSI 1.12 expects it; peers of CSI 1.13 skip it.

    Raises ValueError when CSI 1.12 has no condition in this kind of message.
    """
    name = message.DESCRIPTOR.full_name
    if name not in CARRIERS:
        raise ValueError(f"{name} never carried a volume condition; use one of {', '.join(sorted(CARRIERS))}")
    carrier: Any = carrier_class()()
    carrier.volume_condition.SetInParent()
    carrier.volume_condition.abnormal = condition.abnormal
    carrier.volume_condition.message = condition.message
    message.MergeFromString(carrier.SerializeToString())
