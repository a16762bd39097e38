"""The rules table agrees with the specification."""

from __future__ import annotations

from collections import Counter

import pytest

from moorage.proto import csi_pb2, csi_pb2_grpc
from moorage.proto.required import REQUIRED_FIELDS
from moorage.spec.errors import Code
from moorage.spec.rules import _CODES, _GATES, BY_REQUEST, RPCS, SERVICES, SHARED_CODES
from moorage.spec.types import (
    ControllerCapability,
    GroupControllerCapability,
    NodeCapability,
    OpenEnum,
)


def test_csi_1_13_has_36_rpcs_in_five_services() -> None:
    assert Counter(rpc.service for rpc in RPCS.values()) == {
        "Identity": 3,
        "Controller": 17,
        "GroupController": 4,
        "SnapshotMetadata": 2,
        "Node": 10,
    }
    assert set(SERVICES) == set(csi_pb2.DESCRIPTOR.services_by_name)


def test_22_requests_carry_secrets() -> None:
    with_secrets = [rpc.name for rpc in RPCS.values() if rpc.secret_fields]
    assert len(with_secrets) == 22
    assert {field for rpc in RPCS.values() for field in rpc.secret_fields} == {"secrets"}


@pytest.mark.parametrize(
    "name",
    [
        "NodeUnstageVolume",
        "NodeUnpublishVolume",
        "NodeGetVolumeStats",
        "ListVolumes",
        "GetCapacity",
        "ControllerGetVolume",
    ],
)
def test_these_rpcs_must_work_without_secrets(name: str) -> None:
    assert RPCS[name].secret_fields == ()


def test_alpha_rpcs_are_marked() -> None:
    assert {rpc.name for rpc in RPCS.values() if rpc.alpha} == {
        "ControllerListVolumeHealth",
        "ControllerGetVolumeHealth",
        "ControllerGetVolume",
        "GetSnapshot",
        "GetMetadataAllocated",
        "GetMetadataDelta",
        "NodeGetVolumeHealth",
        "NodeGetStorageHealth",
    }


def test_only_the_metadata_rpcs_stream() -> None:
    assert {rpc.name for rpc in RPCS.values() if rpc.streaming} == {"GetMetadataAllocated", "GetMetadataDelta"}


def test_paths_are_those_of_the_generated_stubs() -> None:
    class Channel:
        def __init__(self) -> None:
            self.paths: set[str] = set()

        def unary_unary(self, path: str, **_: object) -> None:
            self.paths.add(path)

        unary_stream = unary_unary

    channel = Channel()
    for service in SERVICES:
        getattr(csi_pb2_grpc, f"{service}Stub")(channel)
    assert {rpc.path for rpc in RPCS.values()} == channel.paths


@pytest.mark.parametrize(
    ("name", "required"),
    [
        ("GetPluginInfo", ()),
        ("CreateVolume", ("name", "volume_capabilities")),
        ("DeleteVolume", ("volume_id",)),
        ("ControllerPublishVolume", ("volume_id", "node_id", "volume_capability")),
        ("ControllerUnpublishVolume", ("volume_id",)),
        ("ControllerModifyVolume", ("volume_id", "mutable_parameters")),
        ("ControllerExpandVolume", ("volume_id", "capacity_range")),
        ("CreateSnapshot", ("source_volume_id", "name")),
        ("ListSnapshots", ()),
        ("CreateVolumeGroupSnapshot", ("name", "source_volume_ids")),
        ("GetVolumeGroupSnapshot", ("group_snapshot_id", "snapshot_ids")),
        ("GetMetadataAllocated", ("snapshot_id",)),
        ("GetMetadataDelta", ("base_snapshot_id", "target_snapshot_id")),
        ("NodeStageVolume", ("volume_id", "staging_target_path", "volume_capability")),
        ("NodePublishVolume", ("volume_id", "target_path", "volume_capability")),
        ("NodeGetVolumeStats", ("volume_id", "volume_path")),
        ("NodeExpandVolume", ("volume_id", "volume_path")),
        ("NodeGetInfo", ()),
    ],
)
def test_required_fields_are_those_of_the_comments(name: str, required: tuple[str, ...]) -> None:
    assert RPCS[name].required == required


def test_required_fields_exist() -> None:
    by_name = {rpc.request_proto.DESCRIPTOR.full_name for rpc in RPCS.values()}
    assert by_name & set(REQUIRED_FIELDS)
    for message, fields in REQUIRED_FIELDS.items():
        descriptor = csi_pb2.DESCRIPTOR.message_types_by_name[message.split(".")[2]]
        for part in message.split(".")[3:]:
            descriptor = descriptor.nested_types_by_name[part]
        assert set(fields) <= set(descriptor.fields_by_name)


def test_every_capability_with_an_rpc_opens_one() -> None:
    flags = {
        ControllerCapability.UNKNOWN,
        ControllerCapability.CLONE_VOLUME,
        ControllerCapability.PUBLISH_READONLY,
        ControllerCapability.LIST_VOLUMES_PUBLISHED_NODES,
        ControllerCapability.VOLUME_CONDITION,
        ControllerCapability.SINGLE_NODE_MULTI_WRITER,
    }
    node_flags = {
        NodeCapability.UNKNOWN,
        NodeCapability.SINGLE_NODE_MULTI_WRITER,
        NodeCapability.VOLUME_MOUNT_GROUP,
    }
    gates = [capability for rpc in RPCS.values() for capability in rpc.gate]
    opened = {(type(capability), int(capability)) for capability in gates}
    wanted: set[tuple[type[OpenEnum], int]] = {(GroupControllerCapability, 1)}
    wanted |= {(ControllerCapability, int(c)) for c in set(ControllerCapability) - flags}
    wanted |= {(NodeCapability, int(c)) for c in set(NodeCapability) - node_flags}
    assert opened == wanted


def test_hand_written_tables_name_real_rpcs() -> None:
    assert set(_GATES) <= set(RPCS)
    assert set(_CODES) <= set(RPCS)


@pytest.mark.parametrize(
    "name",
    [
        "GetPluginInfo", "GetPluginCapabilities", "Probe", "ValidateVolumeCapabilities", "ControllerGetCapabilities",
        "GroupControllerGetCapabilities", "NodePublishVolume", "NodeUnpublishVolume", "NodeGetCapabilities",
        "NodeGetInfo", "GetMetadataAllocated", "GetMetadataDelta",
    ],
)  # fmt: skip
def test_these_rpcs_have_no_gate_but_their_service(name: str) -> None:
    assert RPCS[name].gate == ()


def test_listed_codes_add_the_shared_ones() -> None:
    delete = RPCS["DeleteVolume"]
    assert delete.codes == {Code.FAILED_PRECONDITION}
    assert delete.listed_codes == {Code.FAILED_PRECONDITION} | SHARED_CODES
    assert Code.RESOURCE_EXHAUSTED in RPCS["ControllerPublishVolume"].listed_codes


def test_a_request_finds_its_rpc() -> None:
    assert len(BY_REQUEST) == len(RPCS)
    for rpc in RPCS.values():
        assert BY_REQUEST[rpc.request] is rpc
        assert rpc.response.__name__ == f"{rpc.name}Response"


def test_fields_are_sorted_by_what_they_hold() -> None:
    publish = RPCS["ControllerPublishVolume"]
    assert (publish.id_fields, publish.node_id_fields) == (("volume_id",), ("node_id",))
    assert RPCS["NodePublishVolume"].path_fields == ("staging_target_path", "target_path")
    assert RPCS["CreateVolumeGroupSnapshot"].name_fields == ("name",)
    assert RPCS["CreateVolumeGroupSnapshot"].id_fields == ("source_volume_ids",)
