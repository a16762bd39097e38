"""A pruned type decodes what was declared, and reading anything else is an error, not an empty value."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from msgspec import Struct

from moorage.kube.fields import UndeclaredField, prune, union
from moorage.kube.objects.basics import Secret
from moorage.kube.objects.claims import PersistentVolumeClaim
from moorage.kube.objects.nodes import CsiNode
from moorage.kube.objects.volumes import PersistentVolume

VOLUME = {
    "metadata": {"name": "pv", "labels": {"a": "b"}, "ownerReferences": [{"uid": "u", "kind": "K"}]},
    "spec": {"csi": {"driver": "d", "volumeHandle": "v"}, "claimRef": {"name": "c", "namespace": "n"}},
}


def read(type_: type[Any], tree: Any) -> Any:
    return msgspec.json.decode(json.dumps(tree), type=type_)


def test_declared_fields_are_decoded_through_all_levels() -> None:
    type_ = prune(PersistentVolume, ["metadata.name", "spec.csi.driver", "spec.claim_ref"])
    volume = read(type_, VOLUME)
    assert volume.metadata.name == "pv"
    assert volume.spec.csi.driver == "d"
    assert volume.spec.claim_ref.namespace == "n"


@pytest.mark.parametrize(
    ("path", "named"),
    [
        pytest.param("status", "PersistentVolume.status", id="top"),
        pytest.param("metadata.labels", "PersistentVolume.metadata.labels", id="inner"),
        pytest.param("spec.csi.volume_handle", "PersistentVolume.spec.csi.volume_handle", id="behind-an-optional"),
    ],
)
def test_undeclared_fields_cannot_be_read(path: str, named: str) -> None:
    volume = read(prune(PersistentVolume, ["metadata.name", "spec.csi.driver"]), VOLUME)
    *inner, last = path.split(".")
    for part in inner:
        volume = getattr(volume, part)
    with pytest.raises(UndeclaredField, match=named):
        getattr(volume, last, "a default must not hide it")


def test_a_misspelt_field_is_an_attribute_error() -> None:
    volume = read(prune(PersistentVolume, ["metadata.name"]), VOLUME)
    with pytest.raises(AttributeError, match="has no field 'nmae'"):
        _ = volume.metadata.nmae


def test_lists_are_passed_through() -> None:
    volume = read(prune(PersistentVolume, ["metadata.owner_references.uid"]), VOLUME)
    assert volume.metadata.owner_references[0].uid == "u"
    with pytest.raises(UndeclaredField, match=r"metadata\.owner_references\.kind"):
        _ = volume.metadata.owner_references[0].kind


def test_renamed_fields_and_null_keep_working() -> None:
    type_ = prune(CsiNode, ["spec.drivers.node_id"])
    assert read(type_, {"spec": {"drivers": [{"nodeID": "i-1", "name": "d"}]}}).spec.drivers[0].node_id == "i-1"
    assert read(type_, {"spec": {"drivers": None}}).spec.drivers is None


def test_absent_objects_have_the_defaults_of_the_whole_type() -> None:
    claim = read(prune(PersistentVolumeClaim, ["spec.resources.requests", "status.phase"]), {})
    assert claim.spec.resources.requests == {}
    assert claim.status.phase == ""
    with pytest.raises(UndeclaredField):
        _ = claim.spec.resources.limits


def test_equal_declarations_share_a_type() -> None:
    one = prune(PersistentVolume, ["spec.csi.driver", "spec.csi", "metadata.name"])
    other = prune(PersistentVolume, ["metadata.name", "spec.csi"])
    assert one is other


@pytest.mark.parametrize(
    ("paths", "said"),
    [
        pytest.param(["spec.nope"], r"PersistentVolume\.spec has no field 'nope'; it has capacity", id="unknown"),
        pytest.param(["metadata.name.x"], "metadata.name has no fields of its own", id="below-a-text"),
        pytest.param(["metadata.labels.x"], "metadata.labels has no fields of its own", id="below-a-mapping"),
        pytest.param([], "no field of PersistentVolume is declared", id="none"),
    ],
)
def test_declarations_that_cannot_be(paths: list[str], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        prune(PersistentVolume, paths)


def test_union_drops_what_a_shorter_path_includes() -> None:
    found = union(["spec.csi.driver", "metadata.name"], ["spec.csi"], ["specs.x"])
    assert found == {"spec.csi", "metadata.name", "specs.x"}


class Ratio(Struct, frozen=True):
    """Has behaviour, which a narrowed type keeps."""

    used: int = 0
    total: int = 1
    note: str = ""

    @property
    def share(self) -> float:
        return self.used / self.total

    def text(self) -> str:
        return f"{self.share:.0%} {self.note}"


def test_methods_come_along_and_are_watched() -> None:
    ratio = read(prune(Ratio, ["used", "total"]), {"used": 1, "total": 4, "note": "x"})
    assert ratio.share == 0.25
    with pytest.raises(UndeclaredField, match=r"Ratio\.note"):
        ratio.text()


def test_a_pruned_secret_shows_no_value_either() -> None:
    secret = read(prune(Secret, ["data"]), {"metadata": {"name": "s"}, "data": {"password": "aHVudGVyMg=="}})
    assert repr(secret) == "Secret(pruned)"


def test_a_pruned_object_is_smaller() -> None:
    fields = ["metadata.name", "spec.csi.driver"]
    assert len(msgspec.structs.fields(prune(PersistentVolume, fields))) == 2
