"""What a plugin sends is judged strictly, in bytes."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from msgspec import Struct, structs

from moorage.proto import csi_pb2
from moorage.spec import messages as m
from moorage.spec import types as t
from moorage.spec.capabilities import Declared
from moorage.spec.convert import from_proto, to_proto
from moorage.spec.rules import RPCS
from moorage.spec.validate import response_problems

CUT = datetime(2026, 1, 2, tzinfo=UTC)
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
FLAGGED = t.MountAccess("x", ("f" * 2049, "g" * 2049))
VOLUME = t.Volume("v", 10)
SNAPSHOT = t.Snapshot("s", "v", CUT, 10)
MEMBER = t.Snapshot("s", "v", CUT, group_snapshot_id="g")
GROUP = t.VolumeGroupSnapshot("g", (MEMBER,), CUT)
CAPABILITY = t.VolumeCapability(t.AccessMode.SINGLE_NODE_WRITER)
ENTRY = t.HealthEntry(t.VolumeHealthStatus.DEGRADED, "DiskFailing", "one of two mirrors is gone")
HEALTH = t.VolumeHealth("v", (ENTRY,))
BLOCKS = (t.BlockMetadata(0, 4), t.BlockMetadata(8, 4))

SOUND: dict[str, Struct] = {
    "GetPluginInfo": m.GetPluginInfoResponse("local.moorage.dev", "1.0"),
    "GetPluginCapabilities": m.GetPluginCapabilitiesResponse(),
    "Probe": m.ProbeResponse(),
    "CreateVolume": m.CreateVolumeResponse(VOLUME),
    "DeleteVolume": m.DeleteVolumeResponse(),
    "ControllerPublishVolume": m.ControllerPublishVolumeResponse(),
    "ControllerUnpublishVolume": m.ControllerUnpublishVolumeResponse(),
    "ValidateVolumeCapabilities": m.ValidateVolumeCapabilitiesResponse(m.Confirmed(volume_capabilities=(CAPABILITY,))),
    "ListVolumes": m.ListVolumesResponse((m.ListedVolume(VOLUME, m.VolumeStatus(("n",))),)),
    "ControllerListVolumeHealth": m.ControllerListVolumeHealthResponse((HEALTH,)),
    "ControllerGetVolumeHealth": m.ControllerGetVolumeHealthResponse(HEALTH),
    "ControllerGetVolume": m.ControllerGetVolumeResponse(VOLUME, m.VolumeStatus()),
    "ControllerModifyVolume": m.ControllerModifyVolumeResponse(),
    "GetCapacity": m.GetCapacityResponse(0),
    "ControllerGetCapabilities": m.ControllerGetCapabilitiesResponse(),
    "CreateSnapshot": m.CreateSnapshotResponse(SNAPSHOT),
    "DeleteSnapshot": m.DeleteSnapshotResponse(),
    "ListSnapshots": m.ListSnapshotsResponse((SNAPSHOT,)),
    "GetSnapshot": m.GetSnapshotResponse(SNAPSHOT),
    "ControllerExpandVolume": m.ControllerExpandVolumeResponse(10),
    "GroupControllerGetCapabilities": m.GroupControllerGetCapabilitiesResponse(
        frozenset({t.GroupControllerCapability.CREATE_DELETE_GET_VOLUME_GROUP_SNAPSHOT})
    ),
    "CreateVolumeGroupSnapshot": m.CreateVolumeGroupSnapshotResponse(GROUP),
    "DeleteVolumeGroupSnapshot": m.DeleteVolumeGroupSnapshotResponse(),
    "GetVolumeGroupSnapshot": m.GetVolumeGroupSnapshotResponse(GROUP),
    "GetMetadataAllocated": m.GetMetadataAllocatedResponse(t.BlockMetadataType.FIXED_LENGTH, 12, BLOCKS),
    "GetMetadataDelta": m.GetMetadataDeltaResponse(t.BlockMetadataType.VARIABLE_LENGTH, 12, BLOCKS),
    "NodeStageVolume": m.NodeStageVolumeResponse(),
    "NodeUnstageVolume": m.NodeUnstageVolumeResponse(),
    "NodePublishVolume": m.NodePublishVolumeResponse(),
    "NodeUnpublishVolume": m.NodeUnpublishVolumeResponse(),
    "NodeGetVolumeStats": m.NodeGetVolumeStatsResponse((t.VolumeUsage(t.UsageUnit.BYTES, 10, 4, 6),)),
    "NodeGetVolumeHealth": m.NodeGetVolumeHealthResponse(t.VolumeHealth("v")),
    "NodeGetStorageHealth": m.NodeGetStorageHealthResponse(),
    "NodeExpandVolume": m.NodeExpandVolumeResponse(),
    "NodeGetCapabilities": m.NodeGetCapabilitiesResponse(),
    "NodeGetInfo": m.NodeGetInfoResponse("node-1"),
}


def test_the_examples_cover_every_rpc() -> None:
    assert set(SOUND) == set(RPCS)


@pytest.mark.parametrize("name", list(RPCS))
def test_sound_responses_have_no_problems(name: str) -> None:
    assert response_problems(RPCS[name], SOUND[name]) == []
    assert response_problems(RPCS[name], to_proto(SOUND[name])) == []


@pytest.mark.parametrize(
    ("name", "count"),
    [
        ("GetPluginInfo", 2), ("CreateVolume", 1), ("ControllerGetVolume", 1), ("CreateSnapshot", 3),
        ("ControllerExpandVolume", 1), ("CreateVolumeGroupSnapshot", 3), ("NodeGetInfo", 1),
        ("GetMetadataAllocated", 1), ("ControllerGetVolumeHealth", 1), ("GroupControllerGetCapabilities", 1),
        ("GetCapacity", 0), ("Probe", 0), ("ListVolumes", 0),
    ],
)  # fmt: skip
def test_empty_messages_lack_what_is_required(name: str, count: int) -> None:
    rpc = RPCS[name]
    assert len(response_problems(rpc, from_proto(rpc.response_proto()))) == count


LONG = "\u00e9" * 65  # 130 bytes, 65 characters


@pytest.mark.parametrize(
    ("name", "response", "problem"),
    [
        pytest.param("GetPluginInfo", m.GetPluginInfoResponse("-a", "1"), "no domain name", id="name"),
        pytest.param("GetPluginInfo", m.GetPluginInfoResponse("a" * 64, "1"), "63 are allowed", id="long-name"),
        pytest.param("GetPluginInfo", m.GetPluginInfoResponse("a.b", ""), "vendor_version is required", id="version"),
        pytest.param(
            "GetPluginInfo", m.GetPluginInfoResponse("a.b", LONG), "vendor_version has 130 bytes",
            id="long-version",
        ),
        pytest.param(
            "GetPluginInfo", m.GetPluginInfoResponse("a.b", "1", {"k": "v" * 4096}), "manifest has 4097",
            id="map",
        ),
        pytest.param(
            "CreateVolume", m.CreateVolumeResponse(t.Volume(LONG)), "volume.volume_id has 130",
            id="bytes-not-characters",
        ),
        pytest.param(
            "CreateVolume", m.CreateVolumeResponse(t.Volume("v", -1)), "capacity_bytes is negative",
            id="negative",
        ),
        pytest.param(
            "CreateVolume", m.CreateVolumeResponse(t.Volume("v", volume_context={"a": "b" * 5000})),
            "volume.volume_context has 5001", id="context",
        ),
        pytest.param(
            "CreateVolume", m.CreateVolumeResponse(t.Volume("v", content_source=t.SnapshotSource(""))),
            "content_source.snapshot_id is required", id="source",
        ),
        pytest.param(
            "CreateVolume", m.CreateVolumeResponse(t.Volume("v", accessible_topology=(t.Topology({"zone": "/"}),))),
            "accessible_topology[0] is not a legal topology", id="topology",
        ),
        pytest.param(
            "CreateVolume", m.CreateVolumeResponse(t.Volume("v", accessible_topology=(t.Topology(),))),
            "has no segments", id="empty-topology",
        ),
        pytest.param(
            "ControllerPublishVolume", m.ControllerPublishVolumeResponse({"k": "v" * 4096}),
            "publish_context has 4097", id="publish-context",
        ),
        pytest.param("ListVolumes", m.ListVolumesResponse((), "t" * 129), "next_token has 129", id="token"),
        pytest.param(
            "ListVolumes", m.ListVolumesResponse((m.ListedVolume(VOLUME), m.ListedVolume(VOLUME))),
            "lists volume id 'v' 2 times", id="volume-twice",
        ),
        pytest.param(
            "ListVolumes", m.ListVolumesResponse((m.ListedVolume(VOLUME, m.VolumeStatus(("n" * 257,))),)),
            "entries[0].status.published_node_ids has 257", id="node-ids",
        ),
        pytest.param(
            "ListVolumes",
            m.ListVolumesResponse((m.ListedVolume(VOLUME, m.VolumeStatus((), t.VolumeCondition(True, LONG))),)),
            "volume_condition.message has 130", id="condition",
        ),
        pytest.param(
            "ListSnapshots", m.ListSnapshotsResponse((SNAPSHOT, SNAPSHOT)), "'s' 2 times",
            id="snapshot-twice",
        ),
        pytest.param(
            "ListSnapshots", m.ListSnapshotsResponse((structs.replace(SNAPSHOT, size_bytes=-2),)),
            "entries[0].size_bytes is negative", id="snapshot-size",
        ),
        pytest.param(
            "CreateSnapshot", m.CreateSnapshotResponse(structs.replace(SNAPSHOT, creation_time=EPOCH)),
            "creation_time is required", id="no-time",
        ),
        pytest.param("GetCapacity", m.GetCapacityResponse(-1), "available_capacity is negative", id="capacity"),
        pytest.param("GetCapacity", m.GetCapacityResponse(1, -1), "maximum_volume_size is negative", id="maximum"),
        pytest.param("NodeGetInfo", m.NodeGetInfoResponse("n" * 257), "node_id has 257 bytes, and 256", id="node-id"),
        pytest.param(
            "NodeGetInfo", m.NodeGetInfoResponse("n", -1), "max_volumes_per_node is negative",
            id="max-volumes",
        ),
        pytest.param(
            "NodeGetVolumeStats", m.NodeGetVolumeStatsResponse((t.VolumeUsage(t.UsageUnit.UNKNOWN, 1),)),
            "usage[0].unit is required", id="unit",
        ),
        pytest.param(
            "NodeGetVolumeStats", m.NodeGetVolumeStatsResponse((t.VolumeUsage(t.UsageUnit.BYTES, 1, -5),)),
            "usage[0].available is negative", id="usage",
        ),
        pytest.param(
            "ValidateVolumeCapabilities", m.ValidateVolumeCapabilitiesResponse(m.Confirmed()),
            "confirmed.volume_capabilities is required", id="nothing-confirmed",
        ),
        pytest.param(
            "ValidateVolumeCapabilities",
            m.ValidateVolumeCapabilitiesResponse(
                m.Confirmed(volume_capabilities=(t.VolumeCapability(t.AccessMode.SINGLE_NODE_WRITER, None),))
            ),
            "neither block nor mount", id="access-type",
        ),
        pytest.param(
            "ValidateVolumeCapabilities",
            m.ValidateVolumeCapabilitiesResponse(
                m.Confirmed(
                    volume_capabilities=(
                        t.VolumeCapability(t.AccessMode.SINGLE_NODE_WRITER, FLAGGED),
                    )
                )
            ),
            "mount_flags has 4098", id="mount-flags",
        ),
        pytest.param(
            "ControllerGetCapabilities",
            m.ControllerGetCapabilitiesResponse(frozenset({t.ControllerCapability.UNKNOWN})), "UNKNOWN", id="unknown",
        ),
        pytest.param(
            "CreateVolumeGroupSnapshot",
            m.CreateVolumeGroupSnapshotResponse(structs.replace(GROUP, snapshots=(SNAPSHOT,))),
            "names group '' instead of 'g'", id="member-of-no-group",
        ),
        pytest.param(
            "CreateVolumeGroupSnapshot",
            m.CreateVolumeGroupSnapshotResponse(
                structs.replace(GROUP, snapshots=(structs.replace(MEMBER, ready_to_use=False),))
            ),
            "ready to use although", id="group-ready-too-early",
        ),
        pytest.param(
            "ControllerGetVolumeHealth", m.ControllerGetVolumeHealthResponse(t.VolumeHealth("v", (ENTRY, ENTRY))),
            "lists status and reason 'DEGRADED/DiskFailing' 2 times", id="health-twice",
        ),
        pytest.param(
            "ControllerGetVolumeHealth",
            m.ControllerGetVolumeHealthResponse(
                t.VolumeHealth("v", (t.HealthEntry(t.VolumeHealthStatus.DEGRADED, "disk is slow"),))
            ),
            "not one CamelCase word", id="health-reason",
        ),
        pytest.param(
            "NodeGetStorageHealth",
            m.NodeGetStorageHealthResponse(
                (t.StorageBackendHealth(t.StorageHealthStatus.STORAGE_DEGRADED, "Slow", "a", CAPABILITY),) * 2
            ),
            "twice for one capability", id="storage-health-twice",
        ),
        pytest.param(
            "GetMetadataAllocated",
            m.GetMetadataAllocatedResponse(t.BlockMetadataType.VARIABLE_LENGTH, 99, (BLOCKS[1], BLOCKS[0])),
            "block_metadata[1] at 0, inside", id="descending",
        ),
        pytest.param(
            "GetMetadataDelta",
            m.GetMetadataDeltaResponse(
                t.BlockMetadataType.VARIABLE_LENGTH, 99, (t.BlockMetadata(0, 5), t.BlockMetadata(4, 5))
            ),
            "block_metadata[1] at 4", id="overlap",
        ),
        pytest.param(
            "GetMetadataAllocated",
            m.GetMetadataAllocatedResponse(
                t.BlockMetadataType.FIXED_LENGTH, 99, (t.BlockMetadata(0, 4), t.BlockMetadata(4, 5))
            ),
            "2 sizes", id="fixed-length",
        ),
        pytest.param(
            "GetMetadataAllocated", m.GetMetadataAllocatedResponse(t.BlockMetadataType.FIXED_LENGTH, 11, BLOCKS),
            "up to byte 12 of a volume with 11", id="past-the-end",
        ),
        pytest.param(
            "GetMetadataAllocated",
            m.GetMetadataAllocatedResponse(t.BlockMetadataType.FIXED_LENGTH, 11, (t.BlockMetadata(0, 0),)),
            "block_metadata[0].size_bytes is required", id="empty-block",
        ),
        pytest.param("Probe", m.DeleteVolumeResponse(), "is a DeleteVolumeResponse", id="another-response"),
    ],
)  # fmt: skip
def test_problems(name: str, response: Struct, problem: str) -> None:
    (found,) = response_problems(RPCS[name], response)
    assert problem in found
    assert found.startswith(f"{name}: ")


TOPOLOGY = t.Topology({"zone": "Z1"})
CONSTRAINED = Declared(plugin=frozenset({t.PluginCapability.VOLUME_ACCESSIBILITY_CONSTRAINTS}))
PUBLISHED = Declared(controller=frozenset({t.ControllerCapability.LIST_VOLUMES_PUBLISHED_NODES}))


@pytest.mark.parametrize(
    ("name", "response", "wrong", "right"),
    [
        pytest.param(
            "CreateVolume", m.CreateVolumeResponse(t.Volume("v", accessible_topology=(TOPOLOGY,))),
            Declared(), CONSTRAINED, id="volume-topology",
        ),
        pytest.param(
            "CreateSnapshot", m.CreateSnapshotResponse(structs.replace(SNAPSHOT, accessible_topology=(TOPOLOGY,))),
            CONSTRAINED, Declared(plugin=frozenset({t.PluginCapability.SNAPSHOT_ACCESSIBILITY_CONSTRAINTS})),
            id="snapshot-topology",
        ),
        pytest.param(
            "NodeGetInfo", m.NodeGetInfoResponse("n", 0, TOPOLOGY), Declared(), CONSTRAINED,
            id="node-topology-undeclared",
        ),
        pytest.param(
            "ListVolumes", m.ListVolumesResponse((m.ListedVolume(VOLUME),)), PUBLISHED, Declared(), id="no-status"
        ),
    ],
)  # fmt: skip
def test_what_is_declared_binds(name: str, response: Struct, wrong: Declared, right: Declared) -> None:
    assert len(response_problems(RPCS[name], response, wrong)) == 1
    assert response_problems(RPCS[name], response, right) == []
    assert response_problems(RPCS[name], response) == []


def test_the_topology_of_a_node_is_optional() -> None:
    """The specification says so, although csi-sanity and schedulers want it."""
    assert response_problems(RPCS["NodeGetInfo"], m.NodeGetInfoResponse("n"), CONSTRAINED) == []


def test_repeated_capabilities_show_in_the_message_only() -> None:
    message: Any = csi_pb2.NodeGetCapabilitiesResponse()
    for _ in range(2):
        message.capabilities.add().rpc.type = 1
    (problem,) = response_problems(RPCS["NodeGetCapabilities"], message)
    assert "one capability 2 times" in problem


def test_capabilities_of_later_versions_are_no_problem() -> None:
    response = m.NodeGetCapabilitiesResponse(frozenset({t.NodeCapability(99), t.NodeCapability.VOLUME_CONDITION}))
    assert response_problems(RPCS["NodeGetCapabilities"], response) == []
