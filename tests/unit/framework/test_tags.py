"""Facts in tags: everything comes back, nothing is too long, nothing foreign is taken for ours."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moorage.framework.tags import PREFIX, derived_id, read_snapshot_tags, read_volume_tags, snapshot_tags, volume_tags
from moorage.framework.values import VolumeRecord
from moorage.spec.types import AccessMode, BlockAccess, MountAccess, SnapshotSource, Topology, VolumeCapability

TEXT = st.text(st.characters(codec="utf-8"), max_size=60)
RECORDS = st.builds(
    VolumeRecord,
    volume_id=TEXT,
    name=TEXT,
    capacity_bytes=st.integers(0, 1 << 62),
    volume_capabilities=st.lists(
        st.builds(
            VolumeCapability,
            st.sampled_from(AccessMode),
            st.sampled_from([BlockAccess(), MountAccess(), MountAccess("xfs")]),
        ),
        max_size=3,
    ).map(tuple),
    parameters=st.dictionaries(TEXT, TEXT, max_size=20),
    content_source=st.none() | st.builds(SnapshotSource, TEXT),
    accessible_topology=st.lists(st.builds(Topology, st.dictionaries(TEXT, TEXT, max_size=2)), max_size=2).map(tuple),
)


@given(RECORDS)
def test_a_volume_comes_back(record: VolumeRecord) -> None:
    tags = volume_tags(record)
    assert read_volume_tags(tags | {"owner": "somebody"}) == record
    assert read_snapshot_tags(tags) is None
    for key, value in tags.items():
        assert len(key) <= 63
        assert len(value) <= 250
        assert value.isascii()


@given(name=TEXT, source=TEXT, parameters=st.dictionaries(TEXT, TEXT, max_size=5), size=st.integers(0, 9))
def test_a_snapshot_comes_back(name: str, source: str, parameters: dict[str, str], size: int) -> None:
    facts = read_snapshot_tags(snapshot_tags(name, source, parameters, group="g", group_size=size))
    assert facts is not None
    assert (facts.name, facts.source_volume_id, facts.parameters) == (name, source, parameters)
    assert (facts.group_snapshot_id, facts.group_size) == ("g", size)


@pytest.mark.parametrize(
    "tags",
    [
        {},
        {"Name": "volume"},
        {f"{PREFIX}kind": "volume"},
        {f"{PREFIX}kind": "volume", f"{PREFIX}facts.0": "%%%"},
        {f"{PREFIX}kind": "volume", f"{PREFIX}facts.0": "AAAA"},
        {f"{PREFIX}kind": "volume", f"{PREFIX}facts.0": "eJwDAAAAAAE="},
        {f"{PREFIX}kind": "volume", f"{PREFIX}facts.0": "eJyrrgUAAXUA-Q=="},
    ],
    ids=["none", "foreign", "no facts", "no base64", "no zlib", "no JSON", "other JSON"],
)
def test_what_is_not_ours_is_left_alone(tags: dict[str, str]) -> None:
    assert read_volume_tags(tags) is None


def test_ids_are_stable_safe_and_apart() -> None:
    assert derived_id("volume", "pvc-1") == derived_id("volume", "pvc-1")
    names = ("pvc-1", "pvc-2", "../x", "\u2603", "")
    found = {derived_id(kind, name) for kind in ("volume", "snapshot", "group") for name in names}
    assert len(found) == 15
    assert all(text.isascii() and text.replace("-", "").isalnum() and len(text) < 64 for text in found)
