"""What the API server writes comes out as typed values, and what is confidential does not show."""

from __future__ import annotations

import gc
import importlib
import json
import pkgutil
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest

from moorage.kube import objects
from moorage.kube.objects.basics import Event, Secret
from moorage.kube.objects.claims import PersistentVolumeClaim
from moorage.kube.objects.classes import CsiDriver, StorageClass
from moorage.kube.objects.grants import ReferenceGrant
from moorage.kube.objects.meta import ApiStruct
from moorage.kube.objects.nodes import CsiNode, Node, Pod
from moorage.kube.objects.snapshots import VolumeSnapshotContent
from moorage.kube.objects.volumes import PersistentVolume, VolumeAttachment

STRUCTS = [
    pytest.param(found, id=f"{module.name}.{name}")
    for module in pkgutil.iter_modules(objects.__path__)
    for name in importlib.import_module(f"moorage.kube.objects.{module.name}").__all__
    if isinstance(found := getattr(importlib.import_module(f"moorage.kube.objects.{module.name}"), name), type)
]


def read(type_: type[Any], **tree: Any) -> Any:
    return msgspec.json.decode(json.dumps(tree), type=type_)


@pytest.mark.parametrize("struct", STRUCTS)
def test_every_field_may_be_absent(struct: type[ApiStruct]) -> None:
    assert read(struct) == struct()


@pytest.mark.parametrize("struct", STRUCTS)
def test_unknown_fields_are_skipped(struct: type[ApiStruct]) -> None:
    assert read(struct, managedFields=[{"manager": "kubectl"}], newInVersion99={"a": [1]}) == struct()


def test_claim() -> None:
    claim = read(
        PersistentVolumeClaim,
        metadata={
            "name": "data",
            "namespace": "shop",
            "uid": "u-1",
            "resourceVersion": "17",
            "creationTimestamp": "2026-01-02T03:04:05Z",
            "annotations": {"volume.kubernetes.io/selected-node": "n1"},
            "finalizers": ["kubernetes.io/pvc-protection"],
            "managedFields": [{"manager": "x", "fieldsV1": {"f:spec": {}}}],
        },
        spec={
            "accessModes": ["ReadWriteOnce"],
            "resources": {"requests": {"storage": "1Gi"}},
            "storageClassName": "",
            "dataSourceRef": {"apiGroup": "snapshot.storage.k8s.io", "kind": "VolumeSnapshot", "name": "s"},
        },
        status={
            "phase": "Pending",
            "conditions": [{"type": "Resizing", "status": "True", "lastProbeTime": None, "lastTransitionTime": None}],
        },
    )
    assert claim.metadata.creation_timestamp == datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
    assert claim.metadata.deletion_timestamp is None
    assert claim.metadata.finalizers == ("kubernetes.io/pvc-protection",)
    assert claim.metadata.labels == {}
    assert claim.spec.resources.requests == {"storage": "1Gi"}
    assert claim.spec.storage_class_name == ""
    assert claim.spec.data_source is None
    assert claim.spec.data_source_ref.api_group == "snapshot.storage.k8s.io"
    assert claim.status.conditions[0].type == "Resizing"


def test_volume() -> None:
    volume = read(
        PersistentVolume,
        metadata={"name": "pvc-1"},
        spec={
            "csi": {
                "driver": "d.example",
                "volumeHandle": "v1",
                "fsType": "ext4",
                "volumeAttributes": {"a": "b"},
                "controllerExpandSecretRef": {"name": "s", "namespace": "n"},
            },
            "claimRef": {"namespace": "shop", "name": "data", "uid": "u-1"},
            "nodeAffinity": {
                "required": {
                    "nodeSelectorTerms": [{"matchExpressions": [{"key": "k", "operator": "In", "values": ["a"]}]}]
                }
            },
            "persistentVolumeReclaimPolicy": "Delete",
        },
    )
    assert (volume.spec.csi.driver, volume.spec.csi.volume_handle) == ("d.example", "v1")
    assert volume.spec.csi.controller_expand_secret_ref.namespace == "n"
    assert volume.spec.node_affinity.required.node_selector_terms[0].match_expressions[0].values == ("a",)
    assert volume.spec.gce_persistent_disk is None


def test_an_in_tree_volume_is_recognised() -> None:
    volume = read(PersistentVolume, spec={"awsElasticBlockStore": {"volumeID": "aws://z/vol-1"}})
    assert volume.spec.aws_elastic_block_store is not None


@pytest.mark.parametrize(
    ("type_", "tree", "found"),
    [
        pytest.param(CsiNode, {"spec": {"drivers": None}}, lambda it: it.spec.drivers is None, id="no-drivers-is-null"),
        pytest.param(
            CsiNode,
            {"spec": {"drivers": [{"name": "d", "nodeID": "i-1", "topologyKeys": None, "allocatable": {"count": 9}}]}},
            lambda it: (it.spec.drivers[0].node_id, it.spec.drivers[0].allocatable.count) == ("i-1", 9),
            id="csinode",
        ),
        pytest.param(
            Node, {"spec": {"providerID": "aws:///x"}}, lambda it: it.spec.provider_id == "aws:///x", id="provider-id"
        ),
        pytest.param(
            Pod,
            {"spec": {"volumes": [{"name": "v", "persistentVolumeClaim": {"claimName": "data"}}, {"name": "e"}]}},
            lambda it: it.spec.volumes[0].persistent_volume_claim.claim_name == "data",
            id="pod-volumes",
        ),
        pytest.param(
            VolumeAttachment,
            {"status": {"attached": False, "attachError": {"message": "m", "errorCode": 8, "time": None}}},
            lambda it: it.status.attach_error.error_code == 8,
            id="attach-error",
        ),
        pytest.param(
            StorageClass,
            {"allowedTopologies": [{"matchLabelExpressions": [{"key": "zone", "values": ["a", "b"]}]}]},
            lambda it: it.allowed_topologies[0].match_label_expressions[0].values == ("a", "b"),
            id="allowed-topologies",
        ),
        pytest.param(
            CsiDriver, {"spec": {"seLinuxMount": True}}, lambda it: it.spec.se_linux_mount is True, id="selinux"
        ),
        pytest.param(
            VolumeSnapshotContent,
            {"status": {"creationTime": 1767323045000000006, "readyToUse": True}},
            lambda it: it.status.creation_time == 1767323045000000006,
            id="nanoseconds",
        ),
        pytest.param(
            ReferenceGrant,
            {"spec": {"from": [{"group": "", "kind": "PersistentVolumeClaim", "namespace": "a"}], "to": []}},
            lambda it: it.spec.from_[0].namespace == "a",
            id="from",
        ),
        pytest.param(
            Event,
            {"eventTime": None, "firstTimestamp": None, "reportingComponent": "c", "involvedObject": {"kind": "Pod"}},
            lambda it: (it.event_time, it.involved_object.kind) == (None, "Pod"),
            id="event",
        ),
    ],
)
def test_names_that_differ_and_values_that_are_null(type_: type[Any], tree: dict[str, Any], found: Any) -> None:
    assert found(read(type_, **tree))


def test_the_text_of_a_secret_shows_no_value() -> None:
    secret = read(Secret, metadata={"name": "s", "namespace": "n"}, data={"password": "aHVudGVyMg=="})
    assert secret.data["password"] == "aHVudGVyMg=="
    assert repr(secret) == "Secret(n/s, keys: password)"
    assert "aHVudGVyMg" not in f"{secret} {[secret]}"


def test_objects_do_not_burden_the_garbage_collector() -> None:
    claim = read(PersistentVolumeClaim, metadata={"name": "a"}, spec={"accessModes": ["ReadWriteOnce"]})
    assert not gc.is_tracked(claim)
    assert not gc.is_tracked(claim.metadata)


def test_objects_cannot_be_changed() -> None:
    claim = read(PersistentVolumeClaim, metadata={"name": "a"})
    with pytest.raises(AttributeError):
        claim.metadata.name = "b"
    with pytest.raises(TypeError):
        claim.metadata.labels["a"] = "b"
