"""The store without a memory, read from what a storage system lists."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

import pytest
from tests.support.controller import MIB, Controller, create

import moorage.framework as csi
from moorage.framework.invoke import Invoker
from moorage.framework.store import Intent
from moorage.framework.tag_store import TagStore
from moorage.framework.tags import derived_id, snapshot_tags, volume_tags
from moorage.spec import messages as m
from moorage.spec.errors import AlreadyExists, Unavailable
from moorage.spec.types import CapacityRange
from moorage.testing.memory import MemoryStorage, StoredSnapshot, StoredVolume, TaggedDriver

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def stored(volume_id: str, tags: Mapping[str, str]) -> StoredVolume:
    return StoredVolume(volume_id=volume_id, size_bytes=8 * MIB, tags=dict(tags))


async def test_only_what_carries_our_tags_is_seen() -> None:
    storage = MemoryStorage()
    record = csi.VolumeRecord(volume_id="wish", name="pvc-1", capacity_bytes=4 * MIB, parameters={"tier": "a"})
    storage.content.volumes = {"z": stored("z", volume_tags(record)), "foreign": stored("foreign", {"Name": "x"})}
    store = TagStore(Invoker(TaggedDriver(storage=storage)))
    (found,) = await store.volumes()
    assert (found.volume_id, found.name, found.capacity_bytes) == ("z", "pvc-1", 8 * MIB)
    assert found.parameters == {"tier": "a"}
    assert await store.volume("z") == await store.volume_named("pvc-1") == found
    assert await store.volume("foreign") is None
    assert await store.volume_named("x") is None


async def test_nothing_is_kept() -> None:
    store = TagStore(Invoker(TaggedDriver()))
    intent = Intent(kind="volume", name="pvc-1", object_id="x", fingerprint="", token="", started_at=NOW)
    await store.begin(intent)
    await store.settle(put=(csi.VolumeRecord(volume_id="v", name="pvc-1", capacity_bytes=1),))
    assert await store.intent("volume", "pvc-1") is None
    assert [*await store.intents(), *await store.volumes(), *await store.snapshots()] == []
    assert store.new_id("volume", "pvc-1") == store.new_id("volume", "pvc-1") == derived_id("volume", "pvc-1")


@pytest.mark.parametrize("members", [0, 1, 2])
async def test_a_group_is_what_its_members_say(members: int) -> None:
    storage = MemoryStorage()
    group_id = derived_id("group", "g")
    for volume in ("v1", "v2")[:members]:
        tags = snapshot_tags(f"g\x00{volume}", volume, {"a": "b"}, group=group_id, group_size=2)
        snapshot = csi.Snapshot(f"s-{volume}", volume, NOW, group_snapshot_id=group_id)
        storage.content.snapshots[snapshot.snapshot_id] = StoredSnapshot(snapshot=snapshot, tags=tags)
    group = await TagStore(Invoker(TaggedDriver(storage=storage))).group_named("g")
    if not members:
        assert group is None
    else:
        assert group == csi.GroupRecord(
            group_snapshot_id=group_id,
            name="g",
            source_volume_ids=("v1", "v2")[:members],
            snapshot_ids=("s-v1", "s-v2")[:members],
            creation_time=NOW,
            parameters={"a": "b"},
            deleting=members < 2,
        )


class Generous(TaggedDriver):
    """Rounds sizes as it likes."""

    given = 12 * MIB

    def create_volume(self, volume: csi.NewVolume) -> csi.Volume:
        super().create_volume(volume)
        stored = self.storage.content.volumes[volume.volume_id]
        stored.size_bytes = self.given
        return csi.Volume(stored.volume_id, stored.size_bytes)


@pytest.mark.parametrize(
    ("wanted", "fits"),
    [
        pytest.param(CapacityRange(8 * MIB), True, id="at-least-less"),
        pytest.param(CapacityRange(8 * MIB, 12 * MIB), True, id="up-to-this"),
        pytest.param(CapacityRange(0, 16 * MIB), True, id="at-most-more"),
        pytest.param(CapacityRange(12 * MIB, 12 * MIB), True, id="exactly-this"),
        pytest.param(None, True, id="any"),
        pytest.param(CapacityRange(8 * MIB, 8 * MIB), False, id="at-most-less"),
        pytest.param(CapacityRange(16 * MIB), False, id="at-least-more"),
    ],
)
async def test_after_a_lost_reply_the_size_that_was_given_is_what_counts(
    tmp_path: Path, wanted: CapacityRange | None, *, fits: bool
) -> None:
    """Neither the size that was wished for, which nobody remembers, nor the chosen one: see the specification,
    CreateVolume, "incompatible with the specified capacity_range". What is refused can still be found and deleted."""
    async with Controller(tmp_path / "state", driver=Generous) as controller:
        controller.storage.fail("create_volume", Unavailable("the reply is lost"), after=True)
        with pytest.raises(Unavailable):
            await controller.call(create(size=8 * MIB))
        (stored_now,) = controller.storage.content.volumes.values()
        stored_now.size_bytes = Generous.given
        await controller.restart()
        again = create(capacity_range=wanted)
        if fits:
            assert (await controller.call(again)).volume.capacity_bytes == Generous.given
        else:
            with pytest.raises(AlreadyExists, match=str(Generous.given)):
                await controller.call(again)
        (listed,) = (await controller.call(m.ListVolumesRequest())).entries
        await controller.call(m.DeleteVolumeRequest(listed.volume.volume_id))
        assert not controller.storage.content.volumes
