"""What is written down about requests holds no secret."""

from __future__ import annotations

import json
from typing import Any

import pytest

from moorage.proto import csi_pb2
from moorage.spec import messages as m
from moorage.spec.codecs import EPOCH
from moorage.spec.convert import from_proto, to_proto
from moorage.spec.redact import TOKENS_KEY, describe, redact, secret_values
from moorage.spec.rules import RPCS
from moorage.spec.types import (
    STRIPPED,
    AccessMode,
    MountAccess,
    Secrets,
    Snapshot,
    UsageUnit,
    VolumeCapability,
    VolumeCondition,
    VolumeUsage,
)

CANARY = "canary-7f3a"
TOKENS = json.dumps({"vault": {"token": "jwt-of-vault", "expirationTimestamp": "2026-01-01T00:00:00Z"}})
PUBLISH = m.NodePublishVolumeRequest(
    volume_id="v",
    target_path="/t",
    volume_capability=VolumeCapability(
        AccessMode.SINGLE_NODE_WRITER, MountAccess("cifs", ("noatime", "username=u,password=hunter2"))
    ),
    secrets=Secrets(key="s3cret-value", empty=""),
    volume_context={"share": "//host/x", TOKENS_KEY: TOKENS},
)


@pytest.mark.parametrize("name", [name for name, rpc in RPCS.items() if rpc.secret_fields])
def test_secrets_of_every_request_are_stripped_and_found(name: str) -> None:
    message: Any = RPCS[name].request_proto()
    message.secrets["password"] = CANARY
    struct = from_proto(message)
    for form in (message, struct):
        assert CANARY not in describe(form)
        assert redact(form)["secrets"] == STRIPPED
        assert secret_values(form) == {CANARY}


@pytest.mark.parametrize("form", ["struct", "message"])
def test_a_publish_request_shows_all_but_its_secrets(form: str) -> None:
    shown = redact(PUBLISH if form == "struct" else to_proto(PUBLISH))
    assert shown == {
        "volume_id": "v",
        "target_path": "/t",
        "volume_capability": {
            "mount": {"fs_type": "cifs", "mount_flags": STRIPPED},
            "access_mode": {"mode": "SINGLE_NODE_WRITER"},
        },
        "secrets": STRIPPED,
        "volume_context": {TOKENS_KEY: STRIPPED, "share": "//host/x"},
    }


def test_the_description_is_one_line_of_json() -> None:
    text = describe(m.DeleteVolumeRequest("line\nbreak \u3042"))
    assert text == '{"volume_id":"line\\nbreak \u3042"}'


def test_every_secret_text_is_known_to_the_scrubber() -> None:
    found = secret_values(PUBLISH)
    assert found == {
        "s3cret-value",
        "username=u,password=hunter2",
        "username=u",
        "u",
        "password=hunter2",
        "hunter2",
        TOKENS,
        "jwt-of-vault",
    }
    assert secret_values(to_proto(PUBLISH)) == found


def test_figures_in_mount_flags_are_not_taken_for_secrets() -> None:
    capability = VolumeCapability(AccessMode.SINGLE_NODE_WRITER, MountAccess("nfs", ("rsize=1048576", "vers=4.1")))
    request = m.NodeStageVolumeRequest("v", "/s", capability)
    assert secret_values(request) == {"rsize=1048576", "vers=4.1"}


def test_tokens_that_are_no_json_are_hidden_as_they_are() -> None:
    request = m.NodeStageVolumeRequest("v", "/s", None, volume_context={TOKENS_KEY: "not json"})
    assert secret_values(request) == {"not json"}
    assert "not json" not in describe(request)


def test_capabilities_in_lists_are_searched() -> None:
    flagged = VolumeCapability(AccessMode.SINGLE_NODE_WRITER, MountAccess("", ("secret=abc",)))
    request = m.CreateVolumeRequest("n", (flagged,))
    assert secret_values(request) == {"secret=abc", "abc"}
    assert "abc" not in describe(request)


def test_responses_read_well() -> None:
    message = csi_pb2.CreateSnapshotResponse()
    message.snapshot.snapshot_id = "s"
    message.snapshot.creation_time.seconds = 0
    message.snapshot.creation_time.nanos = 0
    assert redact(message) == {"snapshot": {"snapshot_id": "s", "creation_time": "1970-01-01T00:00:00+00:00"}}
    assert redact(m.ProbeResponse(ready=False)) == {"ready": False}
    assert redact(m.GetCapacityResponse(5, 7)) == {"available_capacity": 5, "maximum_volume_size": 7}
    stats = m.NodeGetVolumeStatsResponse((VolumeUsage(UsageUnit(9), 1),), VolumeCondition(True, "bad"))
    assert redact(stats) == {
        "usage": [{"total": 1, "unit": 9}],
        "volume_condition": {"abnormal": True, "message": "bad"},
    }


def test_times_beyond_the_calendar_do_not_stop_a_log_line() -> None:
    message = csi_pb2.Snapshot(snapshot_id="s")
    message.creation_time.seconds = 10**15
    assert redact(message)["creation_time"] == f"{10**15} s"


def test_what_protobuf_cannot_hold_is_named_without_its_values() -> None:
    lone_surrogate = m.DeleteVolumeRequest("v\ud800" + CANARY)
    assert redact(lone_surrogate) == {"unprintable": "DeleteVolumeRequest"}
    assert redact(m.ControllerExpandVolumeResponse(2**70)) == {"unprintable": "ControllerExpandVolumeResponse"}


def test_snapshots_as_structs_are_shown() -> None:
    assert redact(Snapshot("s", "v", EPOCH, ready_to_use=False)) == {"snapshot_id": "s", "source_volume_id": "v"}
