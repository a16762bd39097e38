"""A repeated create call finds what exists, or is told why it is not the same."""

from __future__ import annotations

import pytest
from msgspec import structs

from moorage.spec.compatibility import (
    GroupFacts,
    SnapshotFacts,
    VolumeFacts,
    group_conflict,
    snapshot_conflict,
    volume_conflict,
    without_orchestrator_keys,
)
from moorage.spec.messages import (
    CreateSnapshotRequest,
    CreateVolumeGroupSnapshotRequest,
    CreateVolumeRequest,
)
from moorage.spec.types import (
    AccessMode,
    BlockAccess,
    CapacityRange,
    MountAccess,
    Secrets,
    SnapshotSource,
    Topology,
    TopologyRequirement,
    VolumeCapability,
    VolumeSource,
)

RWO = VolumeCapability(AccessMode.SINGLE_NODE_WRITER, MountAccess("ext4"))
ROX = VolumeCapability(AccessMode.MULTI_NODE_READER_ONLY, MountAccess("ext4"))
Z1, Z2, Z3 = (Topology({"zone": name}) for name in ("Z1", "Z2", "Z3"))

EXISTING = VolumeFacts(
    capacity_bytes=10,
    volume_capabilities=(RWO,),
    parameters={"tier": "gold", "csi.storage.k8s.io/pvc/name": "data-0"},
    mutable_parameters={"iops": "100"},
    content_source=SnapshotSource("s"),
    accessible_topology=(Z1, Z2),
)
SAME = CreateVolumeRequest(
    name="n",
    volume_capabilities=(RWO,),
    capacity_range=CapacityRange(10, 10),
    parameters={"tier": "gold", "csi.storage.k8s.io/pvc/name": "data-0"},
    mutable_parameters={"iops": "100"},
    volume_content_source=SnapshotSource("s"),
    accessibility_requirements=TopologyRequirement((Z1, Z2)),
)


@pytest.mark.parametrize(
    "change",
    [
        pytest.param({}, id="replay"),
        pytest.param({"capacity_range": CapacityRange(5)}, id="lower-floor"),
        pytest.param({"capacity_range": CapacityRange(5, 20)}, id="wider-range"),
        pytest.param({"capacity_range": None}, id="no-range"),
        pytest.param({"accessibility_requirements": TopologyRequirement((Z3, Z2, Z1))}, id="a-node-joined"),
        pytest.param({"accessibility_requirements": TopologyRequirement((Z2,))}, id="a-node-left"),
        pytest.param({"accessibility_requirements": None}, id="no-topology"),
        pytest.param({"parameters": {"tier": "gold"}}, id="orchestrator-key-left-out"),
        pytest.param(
            {"parameters": {"tier": "gold", "csi.storage.k8s.io/pvc/name": "other"}}, id="orchestrator-key-changed"
        ),
        pytest.param({"secrets": Secrets(key="renewed")}, id="secrets"),
        pytest.param(
            {"volume_capabilities": (VolumeCapability(AccessMode.SINGLE_NODE_READER_ONLY, MountAccess()),)},
            id="weaker-capability",
        ),
        pytest.param(
            {"volume_capabilities": (VolumeCapability(AccessMode.SINGLE_NODE_WRITER, MountAccess("ext4", ("ro",))),)},
            id="mount-flags-belong-to-a-mount",
        ),
    ],
)
def test_compatible_requests(change: dict[str, object]) -> None:
    assert volume_conflict(EXISTING, structs.replace(SAME, **change)) is None


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        pytest.param({"capacity_range": CapacityRange(11)}, "it has 10 bytes, and at least 11 bytes", id="too-small"),
        pytest.param({"capacity_range": CapacityRange(0, 9)}, "and at most 9 bytes are asked for", id="too-large"),
        pytest.param({"volume_content_source": None}, "from snapshot 's', and one made empty", id="source-left-out"),
        pytest.param({"volume_content_source": SnapshotSource("t")}, "one made from snapshot 't'", id="other-snapshot"),
        pytest.param({"volume_content_source": VolumeSource("s")}, "one made from volume 's'", id="volume-source"),
        pytest.param({"volume_capabilities": (RWO, ROX)}, "in mode MULTI_NODE_READER_ONLY", id="stronger-mode"),
        pytest.param(
            {"volume_capabilities": (VolumeCapability(AccessMode.SINGLE_NODE_WRITER, BlockAccess()),)},
            "as a block device",
            id="block",
        ),
        pytest.param(
            {"volume_capabilities": (VolumeCapability(AccessMode.SINGLE_NODE_WRITER, MountAccess("xfs")),)},
            "with file system xfs",
            id="file-system",
        ),
        pytest.param({"parameters": {"tier": "tin"}}, "another value of parameters key 'tier'", id="parameter"),
        pytest.param({"parameters": {}}, "parameters key 'tier', which the request leaves out", id="parameter-less"),
        pytest.param({"parameters": {"tier": "gold", "x": "y"}}, "without parameters key 'x'", id="parameter-more"),
        pytest.param({"mutable_parameters": {"iops": "9"}}, "mutable_parameters key 'iops'", id="mutable"),
        pytest.param(
            {"accessibility_requirements": TopologyRequirement((Z3,))}, "{zone: Z1} and {zone: Z2} only", id="topology"
        ),
    ],
)
def test_incompatible_requests(change: dict[str, object], sentence: str) -> None:
    conflict = volume_conflict(EXISTING, structs.replace(SAME, **change))
    assert conflict is not None
    assert sentence in conflict


def test_values_of_parameters_are_not_told() -> None:
    conflict = volume_conflict(EXISTING, structs.replace(SAME, parameters={"tier": "hunter2"}))
    assert "hunter2" not in (conflict or "")
    assert "gold" not in (conflict or "")


def test_volumes_of_unknown_size_fit_every_range() -> None:
    unknown = structs.replace(EXISTING, capacity_bytes=0)
    assert volume_conflict(unknown, structs.replace(SAME, capacity_range=CapacityRange(99))) is None


def test_volumes_without_topology_are_everywhere() -> None:
    anywhere = structs.replace(EXISTING, accessible_topology=())
    asked = structs.replace(SAME, accessibility_requirements=TopologyRequirement((Z3,)))
    assert volume_conflict(anywhere, asked) is None


def test_snapshots_differ_by_their_source_only() -> None:
    facts = SnapshotFacts(source_volume_id="v")
    assert snapshot_conflict(facts, CreateSnapshotRequest("v", "n", parameters={"a": "b"})) is None
    assert "'v', not of 'w'" in (snapshot_conflict(facts, CreateSnapshotRequest("w", "n")) or "")


def test_snapshots_must_be_usable_where_it_is_asked() -> None:
    facts = SnapshotFacts(source_volume_id="v", accessible_topology=(Z1,))
    asked = CreateSnapshotRequest("v", "n", accessibility_requirements=TopologyRequirement((Z2,)))
    assert "snapshot is accessible from {zone: Z1} only" in (snapshot_conflict(facts, asked) or "")


@pytest.mark.parametrize(
    ("volumes", "parameters", "sentence"),
    [
        pytest.param(("v", "w"), {}, None, id="replay"),
        pytest.param(("w", "v"), {}, None, id="order-does-not-count"),
        pytest.param(("v",), {}, "of volume 'w' too", id="one-less"),
        pytest.param(("v", "w", "x"), {}, "no snapshot of volume 'x'", id="one-more"),
        pytest.param(("v", "w"), {"a": "b"}, "without parameters key 'a'", id="parameters"),
        pytest.param(("v", "w"), {"csi.storage.k8s.io/x": "b"}, None, id="orchestrator-parameters"),
    ],
)
def test_groups(volumes: tuple[str, ...], parameters: dict[str, str], sentence: str | None) -> None:
    facts = GroupFacts(source_volume_ids=("v", "w"))
    conflict = group_conflict(facts, CreateVolumeGroupSnapshotRequest("n", volumes, parameters=parameters))
    assert conflict == sentence or (sentence is not None and sentence in (conflict or ""))


def test_orchestrator_keys_are_left_out() -> None:
    assert without_orchestrator_keys({"a": "1", "csi.storage.k8s.io/pv/name": "2"}) == {"a": "1"}
