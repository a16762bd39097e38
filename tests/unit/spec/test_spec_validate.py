"""What the specification lets a plugin refuse unseen, and in which order."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec import Struct, structs

from moorage.spec import messages as m
from moorage.spec import validate
from moorage.spec.capabilities import Declared
from moorage.spec.errors import Code, CsiError, InvalidArgument, OutOfRange
from moorage.spec.messages import Confirmed
from moorage.spec.responses import response_problems
from moorage.spec.rules import BY_REQUEST, RPCS, Rpc
from moorage.spec.types import (
    AccessMode,
    BlockAccess,
    CapacityRange,
    ControllerCapability,
    GroupControllerCapability,
    MountAccess,
    NodeCapability,
    PluginCapability,
    Secrets,
    SnapshotSource,
    Topology,
    TopologyRequirement,
    VolumeCapability,
    VolumeSource,
)
from moorage.spec.validate import CHECKED_BY_HANDLER, check_request

OK, IA, OOR = Code.OK, Code.INVALID_ARGUMENT, Code.OUT_OF_RANGE

FULL = Declared(
    plugin=frozenset(PluginCapability),
    controller=frozenset(ControllerCapability),
    group=frozenset(GroupControllerCapability),
    node=frozenset(NodeCapability),
    services=frozenset({"Identity", "Controller", "GroupController", "SnapshotMetadata", "Node"}),
)
CAPABILITY = VolumeCapability(AccessMode.SINGLE_NODE_WRITER)
PLACE = Topology({"zone": "Z1"})
RANGE = CapacityRange(5)

VALID: list[Struct] = [
    m.GetPluginInfoRequest(),
    m.GetPluginCapabilitiesRequest(),
    m.ProbeRequest(),
    m.CreateVolumeRequest("n", (CAPABILITY,)),
    m.DeleteVolumeRequest("v"),
    m.ControllerPublishVolumeRequest("v", "n", CAPABILITY),
    m.ControllerUnpublishVolumeRequest("v"),
    m.ValidateVolumeCapabilitiesRequest("v", (CAPABILITY,)),
    m.ListVolumesRequest(),
    m.ControllerListVolumeHealthRequest(),
    m.ControllerGetVolumeHealthRequest("v"),
    m.ControllerGetVolumeRequest("v"),
    m.ControllerModifyVolumeRequest("v", {"tier": "gold"}),
    m.GetCapacityRequest(),
    m.ControllerGetCapabilitiesRequest(),
    m.CreateSnapshotRequest("v", "n"),
    m.DeleteSnapshotRequest("s"),
    m.ListSnapshotsRequest(),
    m.GetSnapshotRequest("s"),
    m.ControllerExpandVolumeRequest("v", RANGE),
    m.GroupControllerGetCapabilitiesRequest(),
    m.CreateVolumeGroupSnapshotRequest("n", ("v",)),
    m.DeleteVolumeGroupSnapshotRequest("g", ("s",)),
    m.GetVolumeGroupSnapshotRequest("g", ("s",)),
    m.GetMetadataAllocatedRequest("s"),
    m.GetMetadataDeltaRequest("s", "t"),
    m.NodeStageVolumeRequest("v", "/s", CAPABILITY),
    m.NodeUnstageVolumeRequest("v", "/s"),
    m.NodePublishVolumeRequest("v", "/t", CAPABILITY, "/s"),
    m.NodeUnpublishVolumeRequest("v", "/t"),
    m.NodeGetVolumeStatsRequest("v", "/t"),
    m.NodeGetVolumeHealthRequest("v"),
    m.NodeGetStorageHealthRequest(),
    m.NodeExpandVolumeRequest("v", "/t"),
    m.NodeGetCapabilitiesRequest(),
    m.NodeGetInfoRequest(),
]
BY_NAME: dict[str, Any] = {BY_REQUEST[type(request)].name: request for request in VALID}


def code_of(request: Struct, declared: Declared = FULL) -> Code:
    """The status that validation gives: OK or the error's code; every error has a sentence."""
    try:
        check_request(BY_REQUEST[type(request)], request, declared)
    except CsiError as refused:
        error = refused
    else:
        return OK
    assert len(error.message) > 20
    return error.code


def changed(rpc_name: str, **fields: object) -> Struct:
    request: Struct = structs.replace(BY_NAME[rpc_name], **fields)
    return request


def test_the_examples_cover_every_rpc() -> None:
    assert set(BY_NAME) == set(RPCS)


@pytest.mark.parametrize("name", list(RPCS))
def test_the_smallest_valid_request_passes(name: str) -> None:
    assert code_of(BY_NAME[name]) is OK


@pytest.mark.parametrize(
    ("name", "field"),
    [(name, field) for name, rpc in RPCS.items() for field in rpc.required if (name, field) not in CHECKED_BY_HANDLER],
)
def test_each_missing_required_field_is_named(name: str, field: str) -> None:
    value = getattr(BY_NAME[name], field)
    empty = None if isinstance(value, Struct) else type(value)()
    with pytest.raises(InvalidArgument, match=field):
        check_request(RPCS[name], changed(name, **{field: empty}), FULL)


@pytest.mark.parametrize("name", [name for name, rpc in RPCS.items() if rpc.service != "Identity"])
def test_a_closed_gate_comes_before_everything_else(name: str) -> None:
    empty = {field: type(getattr(BY_NAME[name], field))() for field in ("volume_id",) if name in ("DeleteVolume",)}
    assert code_of(changed(name, **empty), Declared()) is Code.UNIMPLEMENTED


def test_missing_fields_come_before_bad_values() -> None:
    request = m.CreateVolumeRequest("", (VolumeCapability(AccessMode.UNKNOWN),))
    with pytest.raises(InvalidArgument, match="needs the field name"):
        check_request(RPCS["CreateVolume"], request, FULL)


def test_bad_values_come_before_disallowed_fields() -> None:
    request = changed("CreateVolume", name="a\0b", mutable_parameters={"a": "b"})
    declared = structs.replace(FULL, controller=frozenset({ControllerCapability.CREATE_DELETE_VOLUME}))
    with pytest.raises(InvalidArgument, match="control characters"):
        check_request(RPCS["CreateVolume"], request, declared)


@pytest.mark.parametrize("name", ["DeleteVolumeGroupSnapshot", "GetVolumeGroupSnapshot"])
def test_groups_without_members_reach_the_handler(name: str) -> None:
    assert code_of(changed(name, snapshot_ids=())) is OK


NO_MODE = VolumeCapability(AccessMode.UNKNOWN)
NO_TYPE = VolumeCapability(AccessMode.SINGLE_NODE_WRITER, None)
NEWER = VolumeCapability(AccessMode(42))


@pytest.mark.parametrize(
    "name",
    [name for name, request in BY_NAME.items() if "volume_capability" in request.__struct_fields__],
)
@pytest.mark.parametrize("bad", [NO_MODE, NO_TYPE, NEWER], ids=["no-mode", "no-type", "newer-mode"])
def test_bad_capabilities_are_refused_wherever_they_stand(name: str, bad: VolumeCapability) -> None:
    assert code_of(changed(name, volume_capability=bad)) is IA


@pytest.mark.parametrize(
    "name", [name for name, request in BY_NAME.items() if "volume_capabilities" in request.__struct_fields__]
)
@pytest.mark.parametrize("bad", [NO_MODE, NO_TYPE, NEWER], ids=["no-mode", "no-type", "newer-mode"])
def test_one_bad_capability_spoils_the_list(name: str, bad: VolumeCapability) -> None:
    request = changed(name, volume_capabilities=(CAPABILITY, bad))
    with pytest.raises(InvalidArgument, match=r"volume_capabilities\[1\]"):
        check_request(RPCS[name], request, FULL)


@pytest.mark.parametrize(
    ("name", "fields", "code"),
    [
        pytest.param("CreateVolume", {"name": "tab\tand\nnewline\r"}, OK, id="white-space-in-name"),
        pytest.param("CreateVolume", {"name": "../é\u3042/-rf"}, OK, id="odd-but-legal-name"),
        pytest.param("CreateVolume", {"name": "n" * 128}, OK, id="name-of-128"),
        pytest.param("CreateVolume", {"name": "\u3042" * 128}, OK, id="name-of-128-wide-characters"),
        pytest.param("CreateVolume", {"name": "n" * 1025}, IA, id="absurd-name"),
        pytest.param("CreateVolume", {"name": "a\x0bb"}, IA, id="control-in-volume-name"),
        pytest.param("CreateSnapshot", {"name": "a\x7f"}, IA, id="control-in-snapshot-name"),
        pytest.param("CreateVolumeGroupSnapshot", {"name": "\x9f"}, IA, id="control-in-group-name"),
        pytest.param("DeleteVolume", {"volume_id": "x" * 5000}, OK, id="long-ids-are-for-the-handler"),
        pytest.param("DeleteVolume", {"volume_id": "a\0b"}, OK, id="ids-are-never-refused-for-their-form"),
        pytest.param("DeleteVolume", {"secrets": Secrets(k="s" * 9000)}, OK, id="large-secrets"),
        pytest.param("CreateVolume", {"parameters": {"k": "v" * 9000}}, OK, id="large-parameters"),
        pytest.param("ListVolumes", {"starting_token": "x" * 900}, OK, id="tokens-are-for-the-handler"),
        pytest.param("CreateVolume", {"capacity_range": CapacityRange(-1)}, IA, id="negative-floor"),
        pytest.param("CreateVolume", {"capacity_range": CapacityRange(0, -1)}, IA, id="negative-limit"),
        pytest.param("CreateVolume", {"capacity_range": CapacityRange(6, 5)}, IA, id="contradiction"),
        pytest.param("CreateVolume", {"capacity_range": CapacityRange(5, 5)}, OK, id="exact-range"),
        pytest.param("CreateVolume", {"capacity_range": CapacityRange(0, 5)}, OK, id="ceiling-only"),
        pytest.param("CreateVolume", {"capacity_range": CapacityRange()}, OK, id="empty-range-is-no-range"),
        pytest.param("NodeExpandVolume", {"capacity_range": CapacityRange()}, OK, id="node-grows-as-far-as-it-goes"),
        pytest.param("ControllerExpandVolume", {"capacity_range": CapacityRange()}, IA, id="grow-to-what"),
        pytest.param("ControllerExpandVolume", {"capacity_range": CapacityRange(6, 5)}, IA, id="grow-to-none"),
        pytest.param("NodeExpandVolume", {"capacity_range": CapacityRange(6, 5)}, IA, id="node-grow-to-none"),
        pytest.param("CreateVolume", {"volume_content_source": SnapshotSource("")}, IA, id="empty-source"),
        pytest.param("CreateVolume", {"volume_content_source": VolumeSource("")}, IA, id="empty-clone"),
        pytest.param(
            "CreateVolume", {"accessibility_requirements": TopologyRequirement()}, IA, id="empty-topology"
        ),
        pytest.param(
            "CreateSnapshot", {"accessibility_requirements": TopologyRequirement()}, IA,
            id="empty-snapshot-topology",
        ),
        pytest.param(
            "CreateVolume", {"accessibility_requirements": TopologyRequirement((PLACE,), (Topology({"zone": "Z2"}),))},
            IA, id="preferred-outside-requisite",
        ),
        pytest.param("CreateVolumeGroupSnapshot", {"source_volume_ids": ("v", "")}, IA, id="empty-id"),
        pytest.param("ListVolumes", {"max_entries": -1}, IA, id="negative-entries"),
        pytest.param("ListSnapshots", {"max_entries": -1}, IA, id="negative-snapshot-entries"),
        pytest.param("ControllerListVolumeHealth", {"max_entries": -1}, IA, id="negative-health-entries"),
        pytest.param("GetMetadataAllocated", {"max_results": -1}, IA, id="negative-results"),
        pytest.param("GetMetadataAllocated", {"starting_offset": -1}, OOR, id="negative-offset"),
        pytest.param("GetMetadataDelta", {"starting_offset": -1}, OOR, id="negative-delta-offset"),
        pytest.param("GetMetadataDelta", {"starting_offset": 10**15}, OK, id="far-offsets-are-for-the-handler"),
        pytest.param("NodeStageVolume", {"staging_target_path": "s"}, IA, id="relative-staging"),
        pytest.param("NodePublishVolume", {"target_path": "t"}, IA, id="relative-target"),
        pytest.param("NodePublishVolume", {"staging_target_path": "s"}, IA, id="relative-staged"),
        pytest.param("NodeUnpublishVolume", {"target_path": "t"}, IA, id="relative-unpublish"),
        pytest.param("NodeUnstageVolume", {"staging_target_path": "t"}, IA, id="relative-unstage"),
        pytest.param("NodeGetVolumeStats", {"volume_path": "some/path"}, OK, id="relative-stats-as-csi-sanity-asks"),
        pytest.param("NodeExpandVolume", {"volume_path": "some/path"}, OK, id="relative-expand-as-csi-sanity-asks"),
        pytest.param("NodeGetVolumeHealth", {"volume_publish_path": "p"}, OK, id="relative-health"),
        pytest.param("NodeGetVolumeStats", {"volume_path": "/a\0b"}, IA, id="nul-in-path"),
        pytest.param("NodePublishVolume", {"target_path": "/" + "p" * 4000}, OK, id="long-path"),
        pytest.param("NodePublishVolume", {"target_path": "/with, space/\u3042"}, OK, id="odd-path"),
    ],
)  # fmt: skip
def test_values(name: str, fields: dict[str, object], code: Code) -> None:
    assert code_of(changed(name, **fields)) is code


def without(*capabilities: object) -> Declared:
    def kept(group: frozenset[Any]) -> frozenset[Any]:
        return frozenset(c for c in group if not any(c is gone for gone in capabilities))

    return structs.replace(
        FULL, plugin=kept(FULL.plugin), controller=kept(FULL.controller), group=kept(FULL.group), node=kept(FULL.node)
    )


SOURCES = (
    ControllerCapability.CREATE_DELETE_SNAPSHOT,
    ControllerCapability.LIST_SNAPSHOTS,
    ControllerCapability.GET_SNAPSHOT,
    GroupControllerCapability.CREATE_DELETE_GET_VOLUME_GROUP_SNAPSHOT,
)
IN_GROUP = VolumeCapability(AccessMode.SINGLE_NODE_WRITER, MountAccess(volume_mount_group="1000"))


@pytest.mark.parametrize(
    ("name", "fields", "missing"),
    [
        pytest.param(
            "CreateVolume", {"mutable_parameters": {"a": "b"}}, (ControllerCapability.MODIFY_VOLUME,), id="mutable"
        ),
        pytest.param(
            "ValidateVolumeCapabilities", {"mutable_parameters": {"a": "b"}}, (ControllerCapability.MODIFY_VOLUME,),
            id="mutable-to-validate",
        ),
        pytest.param(
            "CreateVolume", {"accessibility_requirements": TopologyRequirement((PLACE,))},
            (PluginCapability.VOLUME_ACCESSIBILITY_CONSTRAINTS,), id="topology",
        ),
        pytest.param(
            "GetCapacity", {"accessible_topology": PLACE}, (PluginCapability.VOLUME_ACCESSIBILITY_CONSTRAINTS,),
            id="capacity-topology",
        ),
        pytest.param(
            "CreateSnapshot", {"accessibility_requirements": TopologyRequirement((PLACE,))},
            (PluginCapability.SNAPSHOT_ACCESSIBILITY_CONSTRAINTS,), id="snapshot-topology",
        ),
        pytest.param(
            "CreateVolume", {"volume_content_source": VolumeSource("v")}, (ControllerCapability.CLONE_VOLUME,),
            id="clone",
        ),
        pytest.param("CreateVolume", {"volume_content_source": SnapshotSource("s")}, SOURCES, id="restore"),
        pytest.param(
            "ControllerPublishVolume", {"readonly": True}, (ControllerCapability.PUBLISH_READONLY,), id="readonly"
        ),
        pytest.param(
            "NodeStageVolume", {"volume_capability": IN_GROUP}, (NodeCapability.VOLUME_MOUNT_GROUP,), id="stage-group"
        ),
        pytest.param(
            "NodePublishVolume", {"volume_capability": IN_GROUP}, (NodeCapability.VOLUME_MOUNT_GROUP,),
            id="publish-group",
        ),
    ],
)  # fmt: skip
def test_fields_that_need_a_capability(name: str, fields: dict[str, object], missing: tuple[object, ...]) -> None:
    request = changed(name, **fields)
    assert code_of(request, without(*missing)) is IA
    assert code_of(request, FULL) is OK
    assert code_of(BY_NAME[name], without(*missing)) is OK


def test_readonly_on_a_node_needs_no_capability() -> None:
    assert code_of(changed("NodePublishVolume", readonly=True), without(ControllerCapability.PUBLISH_READONLY)) is OK


def test_a_snapshot_of_a_group_can_be_a_source() -> None:
    request = changed("CreateVolume", volume_content_source=SnapshotSource("s"))
    assert code_of(request, without(*SOURCES[:3])) is OK


STAGING = NodeCapability.STAGE_UNSTAGE_VOLUME
EPHEMERAL = {"csi.storage.k8s.io/ephemeral": "true"}


@pytest.mark.parametrize(
    ("declared", "fields", "code"),
    [
        pytest.param(FULL, {"staging_target_path": ""}, Code.FAILED_PRECONDITION, id="staging-path-missing"),
        pytest.param(without(STAGING), {"staging_target_path": ""}, OK, id="no-staging-declared"),
        pytest.param(FULL, {"staging_target_path": "", "volume_context": EPHEMERAL}, OK, id="ephemeral"),
        pytest.param(
            FULL,
            {"staging_target_path": "", "volume_context": {"csi.storage.k8s.io/ephemeral": "false"}},
            Code.FAILED_PRECONDITION,
            id="not-ephemeral",
        ),
        pytest.param(FULL, {"staging_target_path": "", "volume_id": ""}, IA, id="both-wrong"),
    ],
)
def test_publish_without_staging(declared: Declared, fields: dict[str, object], code: Code) -> None:
    assert code_of(changed("NodePublishVolume", **fields), declared) is code


def test_offsets_raise_their_own_error() -> None:
    with pytest.raises(OutOfRange, match="starting_offset is -4"):
        check_request(RPCS["GetMetadataAllocated"], m.GetMetadataAllocatedRequest("s", -4), FULL)


def test_block_volumes_pass() -> None:
    block = VolumeCapability(AccessMode.MULTI_NODE_MULTI_WRITER, BlockAccess())
    assert code_of(changed("NodePublishVolume", volume_capability=block)) is OK


# --- what is to be confirmed ---

TO_CONFIRM = {
    "volume_context": {"k": "v"},
    "parameters": {"k": "v"},
    "mutable_parameters": {"k": "v"},
}


@pytest.mark.parametrize("field", TO_CONFIRM)
def test_what_cannot_be_echoed_is_refused_by_its_name(field: str) -> None:
    fields: dict[str, object] = {**TO_CONFIRM, field: {"k": "v" * 5000}}
    with pytest.raises(InvalidArgument, match=f"{field} .*5001 bytes.*4096"):
        check_request(RPCS["ValidateVolumeCapabilities"], changed("ValidateVolumeCapabilities", **fields), FULL)


def test_an_echo_is_judged_once(monkeypatch: pytest.MonkeyPatch) -> None:
    judged: list[object] = []

    def judge(rpc: Rpc, response: Any, declared: Declared | None = None) -> list[str]:
        judged.append(response.confirmed)
        return response_problems(rpc, response, declared)

    monkeypatch.setattr(validate, "response_problems", judge)
    request = changed("ValidateVolumeCapabilities", **TO_CONFIRM)
    check_request(RPCS["ValidateVolumeCapabilities"], request, FULL)
    (confirmed,) = judged
    assert confirmed == Confirmed(**{name: getattr(request, name) for name in Confirmed.__struct_fields__})
