"""What volumes and snapshots say of themselves."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from moorage.drivers.local.importing import groups_of
from moorage.drivers.local.records import SnapshotFile, VolumeFile, decode_snapshot, decode_volume, encode
from moorage.framework.source import RootOwnership
from moorage.framework.values import SnapshotRecord, VolumeRecord
from moorage.spec.types import AccessMode, BlockAccess, MountAccess, SnapshotSource, Topology, VolumeCapability

VOLUME = VolumeFile(
    record=VolumeRecord(
        volume_id="v1",
        name="ein Name/mit ..\u2603",
        capacity_bytes=1 << 30,
        volume_capabilities=(
            VolumeCapability(AccessMode.SINGLE_NODE_WRITER, MountAccess("xfs", ("noatime",), "1000")),
            VolumeCapability(AccessMode.MULTI_NODE_READER_ONLY, BlockAccess()),
        ),
        parameters={"pool": "fast"},
        mutable_parameters={"readAheadKiB": "256"},
        content_source=SnapshotSource("s1"),
        accessible_topology=(Topology({"k": "v"}),),
    ),
    backend="image",
    allocation="reserved",
    read_ahead_kib=256,
    root=RootOwnership(1, 2, 0o750),
)
SNAPSHOT = SnapshotFile(
    record=SnapshotRecord(
        snapshot_id="s1",
        name="n",
        source_volume_id="v1",
        creation_time=datetime(2026, 1, 2, 3, 4, 5, 678901, UTC),
        size_bytes=77,
        group_snapshot_id="g",
    ),
    backend="subvolume",
    block=True,
)


def test_volume_is_read_back_without_its_mount_flags() -> None:
    text = encode(VOLUME)
    assert b"noatime" not in text
    found = decode_volume(text)
    assert found.record.volume_capabilities[0].mount == MountAccess("xfs", (), "1000")
    assert encode(found) == text
    assert (found.record.name, found.record.content_source) == (VOLUME.record.name, VOLUME.record.content_source)
    assert (found.backend, found.allocation, found.read_ahead_kib, found.root) == (
        "image",
        "reserved",
        256,
        RootOwnership(1, 2, 0o750),
    )


def test_snapshot_is_read_back_with_the_moment_of_its_cut() -> None:
    found = decode_snapshot(encode(SNAPSHOT))
    assert found.record == SNAPSHOT.record
    assert (found.backend, found.block) == ("subvolume", True)


@pytest.mark.parametrize(
    "damage",
    [
        pytest.param(lambda text: b"", id="empty"),
        pytest.param(lambda text: text[: len(text) // 2], id="half"),
        pytest.param(lambda text: b"\0" * len(text), id="zeros"),
        pytest.param(lambda text: text.replace(b'"format": 1', b'"format": 2'), id="newer-format"),
        pytest.param(lambda text: text.replace(b'"image"', b'"zfs"'), id="unknown-backend"),
    ],
)
def test_damaged_description_is_an_error(damage: object) -> None:
    with pytest.raises(ValueError, match=r".+"):
        decode_volume(damage(encode(VOLUME)))  # type: ignore[operator]  # a lambda of the table


@pytest.mark.parametrize(
    ("modes", "is_block"),
    [
        pytest.param((BlockAccess(),), True, id="block"),
        pytest.param((MountAccess(),), False, id="mount"),
        pytest.param((BlockAccess(), MountAccess()), False, id="both"),
        pytest.param((), False, id="unknown"),
    ],
)
def test_only_pure_block_volumes_are_never_looked_into(
    modes: tuple[BlockAccess | MountAccess, ...], is_block: bool
) -> None:
    capabilities = tuple(VolumeCapability(AccessMode.SINGLE_NODE_WRITER, mode) for mode in modes)
    record = VolumeRecord(volume_id="v", name="v", capacity_bytes=1, volume_capabilities=capabilities)
    assert VolumeFile(record=record, backend="image").is_block is is_block


def test_groups_are_put_together_from_their_members() -> None:
    def member(volume_id: str, minute: int, group: str) -> SnapshotRecord:
        return SnapshotRecord(
            snapshot_id=f"s-{volume_id}",
            name=f"{group}-name\x00{volume_id}" if group else "alone",
            source_volume_id=volume_id,
            creation_time=datetime(2026, 1, 1, 0, minute, tzinfo=UTC),
            group_snapshot_id=group,
        )

    found = groups_of([member("a", 2, "g"), member("b", 1, ""), member("c", 1, "g")])
    assert [(g.group_snapshot_id, g.name, g.source_volume_ids, g.snapshot_ids) for g in found] == [
        ("g", "g-name", ("a", "c"), ("s-a", "s-c"))
    ]
    assert found[0].creation_time == datetime(2026, 1, 1, 0, 1, tzinfo=UTC)
