"""Which keys a call holds."""

from __future__ import annotations

import pytest
from msgspec import Struct

from moorage.spec import messages as m
from moorage.spec.locks import _KEYS, lock_keys
from moorage.spec.rules import BY_REQUEST, RPCS
from moorage.spec.types import SnapshotSource, VolumeSource

Keys = tuple[str, ...]


def keys_of(request: Struct) -> tuple[Keys, Keys]:
    return lock_keys(BY_REQUEST[type(request)], request)


@pytest.mark.parametrize(
    ("request_", "alone", "shared"),
    [
        pytest.param(m.CreateVolumeRequest("n", ()), ("volume name 'n'",), (), id="create"),
        pytest.param(
            m.CreateVolumeRequest("n", (), volume_content_source=SnapshotSource("s")),
            ("volume name 'n'",), ("snapshot 's'",), id="restore",
        ),
        pytest.param(
            m.CreateVolumeRequest("n", (), volume_content_source=VolumeSource("v")),
            ("volume name 'n'",), ("content of volume 'v'",), id="clone",
        ),
        pytest.param(
            m.DeleteVolumeRequest("v"),
            ("volume 'v'", "content of volume 'v'", "volume 'v' on this node"), (), id="delete",
        ),
        pytest.param(m.ControllerPublishVolumeRequest("v", "node", None), ("volume 'v'",), (), id="attach"),
        pytest.param(
            m.ControllerExpandVolumeRequest("v", None), ("volume 'v'", "content of volume 'v'"), (), id="expand",
        ),
        pytest.param(
            m.CreateSnapshotRequest("v", "n"), ("snapshot name 'n'",), ("content of volume 'v'",), id="snapshot",
        ),
        pytest.param(m.DeleteSnapshotRequest("s"), ("snapshot 's'",), (), id="delete-snapshot"),
        pytest.param(
            m.CreateVolumeGroupSnapshotRequest("n", ("w", "v", "v")),
            ("group snapshot name 'n'",), ("content of volume 'v'", "content of volume 'w'"),
            id="group-shares-members",
        ),
        pytest.param(
            m.DeleteVolumeGroupSnapshotRequest("g", ("s", "t")),
            ("group snapshot 'g'", "snapshot 's'", "snapshot 't'"), (), id="delete-group",
        ),
        pytest.param(m.GetMetadataDeltaRequest("s", "t"), (), ("snapshot 's'", "snapshot 't'"), id="delta"),
        pytest.param(m.GetMetadataAllocatedRequest("s"), (), ("snapshot 's'",), id="allocated"),
        pytest.param(m.NodeStageVolumeRequest("v", "/s", None), ("volume 'v' on this node",), (), id="stage"),
        pytest.param(
            m.NodeUnpublishVolumeRequest("v", "/t"),
            ("volume 'v' on this node", "target path '/t'"), (), id="unpublish",
        ),
        pytest.param(m.NodeGetVolumeStatsRequest("v", "/t"), (), (), id="stats-wait-for-nobody"),
        pytest.param(m.ProbeRequest(), (), (), id="probe-waits-for-nobody"),
    ],
)  # fmt: skip
def test_lock_keys(request_: Struct, alone: Keys, shared: Keys) -> None:
    assert keys_of(request_) == (alone, shared)


def test_a_slow_copy_does_not_stop_the_use_of_its_source() -> None:
    _, copying = keys_of(m.CreateVolumeRequest("n", (), volume_content_source=VolumeSource("v")))
    staging, _ = keys_of(m.NodeStageVolumeRequest("v", "/s", None))
    deleting, _ = keys_of(m.DeleteVolumeRequest("v"))
    assert not set(copying) & set(staging)
    assert set(copying) <= set(deleting)


def test_every_rpc_that_changes_something_holds_a_key() -> None:
    looking = ("Get", "List", "Probe", "Validate", "ControllerGet", "ControllerList", "GroupControllerGet", "NodeGet")
    changing = {name for name in RPCS if not name.startswith(looking)}
    assert changing <= set(_KEYS)
    assert set(_KEYS) - changing == {"GetMetadataAllocated", "GetMetadataDelta"}


@pytest.mark.parametrize(
    ("path", "key"),
    [
        ("/a//b/", "target path '/a/b'"),
        ("//a/./b", "target path '/a/b'"),
        ("/a/c/../b", "target path '/a/b'"),
        ("/a/b ", "target path '/a/b '"),
        ("a//b", "target path 'a//b'"),
    ],
)
def test_target_path_has_one_key_however_it_is_written(path: str, key: str) -> None:
    alone, _ = lock_keys(RPCS["NodeUnpublishVolume"], m.NodeUnpublishVolumeRequest("v", path))
    assert alone[1] == key
