from __future__ import annotations

from google.protobuf.timestamp_pb2 import Timestamp

from moorage.cli.rpc_json import TOKENS_KEY, to_json
from moorage.proto import csi_pb2
from moorage.spec.condition import add_condition
from moorage.spec.types import STRIPPED, VolumeCondition


def test_every_field_without_presence_is_there_and_numbers_are_numbers() -> None:
    response = csi_pb2.ListVolumesResponse()
    assert to_json(response) == {"entries": [], "next_token": ""}
    entry = response.entries.add()
    entry.volume.volume_id = "v"
    entry.volume.capacity_bytes = 1 << 60
    entry.volume.content_source.snapshot.snapshot_id = "s"
    assert to_json(response)["entries"] == [
        {
            "volume": {
                "capacity_bytes": 1 << 60,
                "volume_id": "v",
                "volume_context": {},
                "content_source": {"snapshot": {"snapshot_id": "s"}},
                "accessible_topology": [],
            }
        }
    ]


def test_enums_times_and_wrappers_read_as_people_write_them() -> None:
    capabilities = csi_pb2.ControllerGetCapabilitiesResponse()
    capabilities.capabilities.add().rpc.type = csi_pb2.ControllerServiceCapability.RPC.LIST_VOLUMES
    capabilities.capabilities.add().rpc.ParseFromString(b"\x08\x63")
    assert to_json(capabilities) == {"capabilities": [{"rpc": {"type": "LIST_VOLUMES"}}, {"rpc": {"type": 99}}]}
    snapshot = csi_pb2.CreateSnapshotResponse()
    snapshot.snapshot.creation_time.CopyFrom(Timestamp(seconds=1_700_000_000, nanos=500_000_000))
    assert to_json(snapshot)["snapshot"]["creation_time"] == "2023-11-14T22:13:20.500Z"
    probe = csi_pb2.ProbeResponse()
    assert to_json(probe) == {}
    probe.ready.value = False
    assert to_json(probe) == {"ready": False}


def test_the_condition_of_an_older_peer_is_shown() -> None:
    response = csi_pb2.NodeGetVolumeStatsResponse()
    add_condition(response, VolumeCondition(abnormal=True, message="slow"))
    assert to_json(response)["volume_condition"] == {"abnormal": True, "message": "slow"}


def test_tokens_and_whatever_is_scrubbed_are_not_shown() -> None:
    response = csi_pb2.ControllerPublishVolumeResponse()
    response.publish_context.update({TOKENS_KEY: "jwt", "echo": "password is hunter2"})
    shown = to_json(response, scrub=lambda text: text.replace("hunter2", STRIPPED))
    assert shown == {"publish_context": {TOKENS_KEY: STRIPPED, "echo": f"password is {STRIPPED}"}}
