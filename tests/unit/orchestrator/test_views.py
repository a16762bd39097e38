"""Words for access modes and states, and secrets files."""

from __future__ import annotations

import json
from pathlib import Path

import msgspec
import pytest
from msgspec.structs import replace
from tests.unit.orchestrator.setting import MIB, a_volume, declared

from moorage.orchestrator.access import access_mode
from moorage.orchestrator.model import Mount, Mounted, OrchestratorError, Presence, VolumeRecord
from moorage.orchestrator.secretfile import secrets_for
from moorage.orchestrator.view import status_of, volume_details
from moorage.spec.types import AccessMode, MountAccess, NodeCapability, VolumeCapability

PLAIN = declared("create")
FINER = replace(PLAIN, node=frozenset({NodeCapability.SINGLE_NODE_MULTI_WRITER}))
PRESENT, UNCERTAIN = Presence.PRESENT, Presence.UNCERTAIN


@pytest.mark.parametrize(
    ("text", "plain", "finer"),
    [
        ("rwo", AccessMode.SINGLE_NODE_WRITER, AccessMode.SINGLE_NODE_MULTI_WRITER),
        ("RWOP", AccessMode.SINGLE_NODE_WRITER, AccessMode.SINGLE_NODE_SINGLE_WRITER),
        ("rox", AccessMode.MULTI_NODE_READER_ONLY, AccessMode.MULTI_NODE_READER_ONLY),
        ("rwx", AccessMode.MULTI_NODE_MULTI_WRITER, AccessMode.MULTI_NODE_MULTI_WRITER),
        ("single-node-writer", AccessMode.SINGLE_NODE_WRITER, AccessMode.SINGLE_NODE_WRITER),
        ("SINGLE_NODE_READER_ONLY", AccessMode.SINGLE_NODE_READER_ONLY, AccessMode.SINGLE_NODE_READER_ONLY),
    ],
)
def test_access_modes_have_the_names_people_use(text: str, plain: AccessMode, finer: AccessMode) -> None:
    assert access_mode(text, PLAIN) is plain
    assert access_mode(text, FINER) is finer


@pytest.mark.parametrize("text", ["", "unknown", "rw", "7"])
def test_other_words_are_refused_with_the_list(text: str) -> None:
    with pytest.raises(OrchestratorError, match="use one of rwo, rwop, rox, rwx, single-node-writer"):
        access_mode(text, PLAIN)


@pytest.mark.parametrize(
    ("volume", "status"),
    [
        pytest.param(a_volume(), "creating", id="creating"),
        pytest.param(a_volume(created=PRESENT), "available", id="available"),
        pytest.param(a_volume(created=PRESENT, exists=False), "deleting", id="deleting"),
        pytest.param(
            a_volume(created=PRESENT, mounts=(Mounted("/a"),), wanted=(Mount("/a"),)), "mounted", id="mounted"
        ),
        pytest.param(
            a_volume(created=PRESENT, mounts=(Mounted("/a", presence=UNCERTAIN),), wanted=(Mount("/a"),)),
            "mount pending",
            id="mount-lost",
        ),
        pytest.param(a_volume(created=PRESENT, mounts=(Mounted("/a"),)), "unmount pending", id="unmount-begun"),
        pytest.param(a_volume(created=PRESENT, staged=UNCERTAIN), "unmount pending", id="unstage-begun"),
        pytest.param(a_volume(created=PRESENT, size_bytes=128 * MIB), "expansion pending", id="expansion-begun"),
        pytest.param(
            a_volume(created=PRESENT, mounts=(Mounted("/a"),), wanted=(Mount("/a"),), node_expansion_bytes=128 * MIB),
            "expansion pending",
            id="node-owes",
        ),
    ],
)
def test_the_status_says_what_a_volume_is_doing(volume: VolumeRecord, status: str) -> None:
    assert status_of(volume) == status


def test_details_are_plain_data_without_mount_flags() -> None:
    capability = VolumeCapability(AccessMode.SINGLE_NODE_WRITER, MountAccess("ext4", ("password=canary",)))
    text = msgspec.json.encode(volume_details(a_volume(created=PRESENT, capability=capability)))
    assert b"canary" not in text


def test_one_map_of_secrets_serves_every_rpc_that_takes_secrets(tmp_path: Path) -> None:
    file = tmp_path / "secrets.json"
    file.write_text(json.dumps({"token": "t"}))
    assert secrets_for(str(file), "CreateVolume") == {"token": "t"}
    assert secrets_for(str(file), "NodeUnstageVolume") == {}
    assert secrets_for("", "CreateVolume") == {}


def test_a_map_by_rpc_names_serves_each_its_own(tmp_path: Path) -> None:
    file = tmp_path / "secrets.yaml"
    file.write_text("CreateVolume:\n  token: t\nNodeStageVolume:\n  key: k\n")
    assert secrets_for(str(file), "CreateVolume") == {"token": "t"}
    assert secrets_for(str(file), "NodeStageVolume") == {"key": "k"}
    assert secrets_for(str(file), "DeleteVolume") == {}


@pytest.mark.parametrize(
    "content", ["[1]", '{"token": 5}', '{"CreateVolume": "x"}', "canary: [", '{"CreateVolume": {"a": {}}}']
)
def test_a_broken_secrets_file_is_named_and_never_quoted(tmp_path: Path, content: str) -> None:
    file = tmp_path / "secrets.json"
    file.write_text(content)
    with pytest.raises(OrchestratorError, match="secrets file") as caught:
        secrets_for(str(file), "CreateVolume")
    assert "canary" not in str(caught.value)
