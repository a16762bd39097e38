"""Messages and structs are copied into each other without loss, for every RPC of the specification."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import msgspec
import pytest
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec import Struct

from moorage.proto import csi_pb2
from moorage.proto.required import REQUIRED_FIELDS
from moorage.spec import messages, types
from moorage.spec.convert import (
    all_descriptors,
    decode,
    from_proto,
    message_class_of,
    struct_class_of,
    to_proto,
)
from moorage.spec.rules import RPCS
from moorage.spec.types import (
    AccessMode,
    BlockAccess,
    ControllerCapability,
    MountAccess,
    NodeCapability,
    PluginCapability,
    Secrets,
    Snapshot,
    SnapshotSource,
    VolumeCapability,
    VolumeExpansion,
    VolumeSource,
)

MESSAGES: list[type[Message]] = [kind for rpc in RPCS.values() for kind in (rpc.request_proto, rpc.response_proto)]
WITHOUT_STRUCT = {
    "csi.v1.PluginCapability",
    "csi.v1.PluginCapability.Service",
    "csi.v1.PluginCapability.VolumeExpansion",
    "csi.v1.ControllerServiceCapability",
    "csi.v1.ControllerServiceCapability.RPC",
    "csi.v1.GroupControllerServiceCapability",
    "csi.v1.GroupControllerServiceCapability.RPC",
    "csi.v1.NodeServiceCapability",
    "csi.v1.NodeServiceCapability.RPC",
    "csi.v1.VolumeCapability.AccessMode",
    "csi.v1.VolumeContentSource",
    "csi.v1.ListSnapshotsResponse.Entry",
}


# --- random messages, in the one form in which protobuf and structs can be compared exactly ---


def scalars(field: FieldDescriptor) -> st.SearchStrategy[Any]:
    if field.enum_type is not None:
        return st.sampled_from([*[value.number for value in field.enum_type.values], 77, -3])
    match field.type:
        case FieldDescriptor.TYPE_STRING:
            return st.text(max_size=5)
        case FieldDescriptor.TYPE_BOOL:
            return st.booleans()
        case FieldDescriptor.TYPE_INT32:
            return st.integers(-(2**31), 2**31 - 1)
        case FieldDescriptor.TYPE_INT64:
            return st.integers(-(2**63), 2**63 - 1)
    raise AssertionError(f"no strategy for {field.full_name}")


def always_set(field: FieldDescriptor) -> bool:
    """Message fields that a struct cannot leave out: parts of responses that the specification requires."""
    holder: Any = field.containing_type
    if holder.full_name == "csi.v1.ListSnapshotsResponse.Entry":
        return True
    is_part_of_answer = holder.name.endswith(("Response", "Entry"))
    return is_part_of_answer and field.name in REQUIRED_FIELDS.get(holder.full_name, ())


@st.composite
def random_messages(draw: st.DrawFn, descriptor: Descriptor) -> Any:
    message: Any = GetMessageClass(descriptor)()
    if descriptor.full_name == "google.protobuf.Timestamp":
        message.FromMicroseconds(draw(st.integers(1, 10**15)))
        return message
    if descriptor.full_name == "csi.v1.VolumeCapability.AccessMode":
        message.mode = draw(st.sampled_from([1, 2, 3, 4, 5, 6, 7, 99]))
        return message
    skipped = set()
    for oneof in descriptor.oneofs:
        names = [field.name for field in oneof.fields]
        optional = descriptor.full_name == "csi.v1.VolumeCapability"
        kept = draw(st.sampled_from([*names, *([""] if optional else [])]))
        skipped |= {*names} - {kept}
    for field in descriptor.fields:
        if field.name in skipped:
            continue
        in_oneof = field.containing_oneof is not None
        if in_oneof or always_set(field) or draw(st.booleans()):
            fill(draw, message, field)
    return message


def fill(draw: st.DrawFn, message: Any, field: FieldDescriptor) -> None:
    held = field.message_type
    if held is not None and held.GetOptions().map_entry:
        getattr(message, field.name).update(draw(st.dictionaries(st.text(max_size=3), st.text(max_size=3), max_size=3)))
    elif field.name == "capabilities":
        kinds = {"csi.v1.PluginCapability": ("service", "volume_expansion")}.get(held.full_name, ("rpc",))  # type: ignore[union-attr]  # it holds messages
        for kind in kinds:
            for number in sorted(draw(st.sets(st.sampled_from([0, 1, 2, 3, 4, 5, 11, 99]), max_size=4))):
                part = getattr(message.capabilities.add(), kind)
                part.SetInParent()
                part.type = number
    elif held is None and field.is_repeated:
        getattr(message, field.name).extend(draw(st.lists(st.text(max_size=4), max_size=3)))
    elif held is None:
        setattr(message, field.name, draw(scalars(field)))
    elif field.is_repeated:
        for part in draw(st.lists(random_messages(held), max_size=2)):
            getattr(message, field.name).append(part)
    else:
        getattr(message, field.name).CopyFrom(draw(random_messages(held)))
        getattr(message, field.name).SetInParent()


@pytest.mark.parametrize("kind", [pytest.param(kind, id=kind.DESCRIPTOR.name) for kind in MESSAGES])
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data())
def test_every_message_survives_the_way_to_a_struct_and_back(kind: type[Message], data: st.DataObject) -> None:
    descriptor: Any = kind.DESCRIPTOR
    message = data.draw(random_messages(descriptor))
    struct = from_proto(message)
    again = to_proto(struct)
    assert again == message
    assert again.SerializeToString(deterministic=True) == message.SerializeToString(deterministic=True)
    assert from_proto(again) == struct


@pytest.mark.parametrize("kind", [pytest.param(kind, id=kind.DESCRIPTOR.name) for kind in MESSAGES])
def test_an_empty_message_is_readable(kind: type[Message]) -> None:
    struct = from_proto(kind())
    assert type(struct).__name__ == kind.DESCRIPTOR.name
    assert to_proto(from_proto(to_proto(struct))) == to_proto(struct)


def test_every_struct_has_exactly_the_fields_of_its_message() -> None:
    flattened = {"access_type": {"block", "mount"}, "volume_expansion": set(), "volume_condition": set()}
    seen: set[type[Struct]] = set()
    without: set[str] = set()
    for descriptor in all_descriptors():
        try:
            kind = struct_class_of(descriptor)
        except TypeError:
            without.add(descriptor.full_name)
            continue
        seen.add(kind)
        own: set[str] = set()
        for field in msgspec.structs.fields(kind):
            own |= flattened.get(field.name, {field.name})
        assert own == {field.name for field in descriptor.fields}, descriptor.full_name
    assert without == WITHOUT_STRUCT
    declared = {
        kind
        for module in (messages, types)
        for kind in vars(module).values()
        if isinstance(kind, type) and issubclass(kind, Struct) and kind is not Struct
    }
    assert declared - seen == {types.VolumeCondition}


def test_enums_have_exactly_the_numbers_of_the_proto_and_those_of_csi_1_12() -> None:
    removed = {types.ControllerCapability: {11}, types.NodeCapability: {4}}
    enums: dict[type[types.OpenEnum], Any] = {
        types.PluginCapability: csi_pb2.PluginCapability.Service.Type.DESCRIPTOR,
        types.VolumeExpansion: csi_pb2.PluginCapability.VolumeExpansion.Type.DESCRIPTOR,
        types.ControllerCapability: csi_pb2.ControllerServiceCapability.RPC.Type.DESCRIPTOR,
        types.GroupControllerCapability: csi_pb2.GroupControllerServiceCapability.RPC.Type.DESCRIPTOR,
        types.NodeCapability: csi_pb2.NodeServiceCapability.RPC.Type.DESCRIPTOR,
        types.AccessMode: csi_pb2.VolumeCapability.AccessMode.Mode.DESCRIPTOR,
        types.UsageUnit: csi_pb2.VolumeUsage.Unit.DESCRIPTOR,
        types.VolumeHealthStatus: csi_pb2.VolumeHealthErrorType.DESCRIPTOR,
        types.StorageHealthStatus: csi_pb2.StorageHealthErrorType.DESCRIPTOR,
        types.BlockMetadataType: csi_pb2.BlockMetadataType.DESCRIPTOR,
    }
    assert set(types.OpenEnum.__subclasses__()) == set(enums)
    for kind, descriptor in enums.items():
        numbers = {value.number: value.name for value in descriptor.values}
        assert {int(member) for member in kind} - removed.get(kind, set()) == set(numbers)
        for member in kind:
            if member and int(member) in numbers:
                assert member.name == numbers[int(member)]


def test_unknown_numbers_of_enums_are_kept() -> None:
    message: Any = csi_pb2.NodeGetCapabilitiesResponse()
    message.capabilities.add().rpc.type = 4
    message.capabilities.add().rpc.type = 1234
    struct = decode(messages.NodeGetCapabilitiesResponse, message)
    assert struct.capabilities == {NodeCapability.VOLUME_CONDITION, NodeCapability(1234)}
    assert not NodeCapability(1234).recognized
    assert to_proto(struct) == message


def test_plugin_capabilities_are_two_sets_of_one_list() -> None:
    struct = messages.GetPluginCapabilitiesResponse(
        capabilities=frozenset({PluginCapability.CONTROLLER_SERVICE}),
        volume_expansion=frozenset({VolumeExpansion.OFFLINE}),
    )
    message: Any = to_proto(struct)
    assert [entry.WhichOneof("type") for entry in message.capabilities] == ["service", "volume_expansion"]
    assert from_proto(message) == struct


def test_capability_entries_of_a_later_version_are_skipped() -> None:
    message = csi_pb2.ControllerGetCapabilitiesResponse()
    message.capabilities.add()
    message.capabilities.add().rpc.type = csi_pb2.ControllerServiceCapability.RPC.LIST_VOLUMES
    assert decode(messages.ControllerGetCapabilitiesResponse, message).capabilities == {
        ControllerCapability.LIST_VOLUMES
    }


@pytest.mark.parametrize(
    "access_type",
    [
        pytest.param(None, id="unset"),
        pytest.param(BlockAccess(), id="block"),
        pytest.param(MountAccess(), id="empty-mount"),
        pytest.param(MountAccess("xfs", ("noatime",), "1000"), id="mount"),
    ],
)
def test_the_access_type_is_told_apart(access_type: BlockAccess | MountAccess | None) -> None:
    capability = VolumeCapability(AccessMode.MULTI_NODE_READER_ONLY, access_type)
    assert from_proto(to_proto(capability)) == capability


def test_the_content_source_is_told_apart() -> None:
    for source in (SnapshotSource("s"), VolumeSource("v"), None):
        request = messages.CreateVolumeRequest("n", (), volume_content_source=source)
        assert from_proto(to_proto(request)) == request


def test_a_content_source_that_names_nothing_is_not_taken_for_none() -> None:
    message = csi_pb2.CreateVolumeRequest(volume_content_source=csi_pb2.VolumeContentSource())
    assert decode(messages.CreateVolumeRequest, message).volume_content_source == SnapshotSource("")


def test_secrets_stay_secrets() -> None:
    message = csi_pb2.DeleteVolumeRequest(volume_id="v", secrets={"password": "hunter2"})
    struct = decode(messages.DeleteVolumeRequest, message)
    assert isinstance(struct.secrets, Secrets)
    assert struct.secrets == {"password": "hunter2"}
    assert "hunter2" not in repr(struct)


def test_times_are_aware_and_keep_microseconds() -> None:
    east = timezone(timedelta(hours=5, minutes=30))
    cut = datetime(2026, 2, 3, 4, 5, 6, 789_012, tzinfo=east)
    message: Any = to_proto(Snapshot("s", "v", cut))
    assert message.creation_time.nanos == 789_012_000
    back = decode(Snapshot, message)
    assert back.creation_time == cut
    assert back.creation_time.tzinfo is UTC


def test_times_before_1970_survive() -> None:
    cut = datetime(1969, 12, 31, 23, 59, 59, 500_000, tzinfo=UTC)
    assert decode(Snapshot, to_proto(Snapshot("s", "v", cut))).creation_time == cut


@pytest.mark.parametrize(("seconds", "year"), [(10**13, 9999), (-(10**13), 1)])
def test_times_that_no_calendar_holds_move_to_the_nearest_end(seconds: int, year: int) -> None:
    message = csi_pb2.Snapshot(snapshot_id="s", source_volume_id="v")
    message.creation_time.seconds = seconds
    assert decode(Snapshot, message).creation_time.year == year


def test_a_time_without_zone_is_refused() -> None:
    with pytest.raises(TypeError):
        to_proto(Snapshot("s", "v", datetime(2026, 1, 1)))  # noqa: DTZ001  # the mistake under test


@pytest.mark.parametrize(("ready", "present"), [(None, False), (False, True), (True, True)])
def test_readiness_has_three_values(ready: bool | None, present: bool) -> None:
    message: Any = to_proto(messages.ProbeResponse(ready))
    assert message.HasField("ready") is present
    assert from_proto(message) == messages.ProbeResponse(ready)


def test_decode_refuses_another_kind() -> None:
    with pytest.raises(TypeError, match="ProbeRequest"):
        decode(messages.ProbeResponse, csi_pb2.ProbeRequest())


def test_messages_without_a_struct_are_named() -> None:
    with pytest.raises(TypeError, match=r"csi\.v1\.PluginCapability"):
        from_proto(csi_pb2.PluginCapability())
    with pytest.raises(TypeError, match="VolumeCondition"):
        message_class_of(types.VolumeCondition)
