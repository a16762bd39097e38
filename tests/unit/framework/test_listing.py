"""Lists: pages, filters, health, capacity."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from tests.support.controller import BLOCK, MIB, MOUNT, SHARED, Controller, attach, create

import moorage.framework as csi
from moorage.framework.sizing import minimum_bytes
from moorage.spec import messages as m
from moorage.spec.errors import BadToken, VolumeNotFound
from moorage.spec.types import AccessMode, HealthEntry, VolumeCapability, VolumeHealthStatus
from moorage.testing.memory import MemoryDriver, TaggedDriver


@pytest_asyncio.fixture(params=[MemoryDriver, TaggedDriver], ids=["journal", "tags"])
async def either(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Controller]:
    async with Controller(tmp_path / "state", driver=request.param) as running:
        yield running


async def volumes(controller: Controller, count: int) -> dict[str, csi.Volume]:
    made = [(await controller.call(create(f"pvc-{number}"))).volume for number in range(count)]
    return {volume.volume_id: volume for volume in made}


@pytest.mark.parametrize("size", [1, 2, 3, 7, 8, 0])
async def test_pages_give_everything_once(either: Controller, size: int) -> None:
    made = await volumes(either, 7)
    seen: list[csi.Volume] = []
    token = ""
    while True:
        page = await either.call(m.ListVolumesRequest(size, token))
        assert not size or len(page.entries) <= size
        seen += [entry.volume for entry in page.entries]
        token = page.next_token
        if not token:
            break
    assert len(seen) == len(made)
    assert {volume.volume_id: volume for volume in seen} == made


async def test_a_token_outlives_the_entry_that_it_names(either: Controller) -> None:
    made = await volumes(either, 5)
    first = await either.call(m.ListVolumesRequest(2))
    for entry in first.entries:
        await either.call(m.DeleteVolumeRequest(entry.volume.volume_id))
    rest = await either.call(m.ListVolumesRequest(0, first.next_token))
    told = {entry.volume.volume_id for entry in (*first.entries, *rest.entries)}
    assert told == set(made)
    assert len(rest.entries) == 3


async def test_bad_tokens(either: Controller) -> None:
    made = await volumes(either, 2)
    await either.call(m.CreateSnapshotRequest(next(iter(made)), "a"))
    await either.call(m.CreateSnapshotRequest(next(iter(made)), "b"))
    other = (await either.call(m.ListSnapshotsRequest(1))).next_token
    for token in ("garbage", "1", other, "\u2603"):
        with pytest.raises(BadToken):
            await either.call(m.ListVolumesRequest(0, token))
        if token != other:
            with pytest.raises(BadToken):
                await either.call(m.ListSnapshotsRequest(0, token))


async def test_filters_of_snapshots_hold_together(either: Controller) -> None:
    first, second = await volumes(either, 2)
    cuts = {
        (source, name): (await either.call(m.CreateSnapshotRequest(source, name + source))).snapshot.snapshot_id
        for source in (first, second)
        for name in ("a", "b")
    }

    async def found(**filters: Any) -> set[str]:
        response = await either.call(m.ListSnapshotsRequest(**filters))
        return {snapshot.snapshot_id for snapshot in response.entries}

    assert await found() == set(cuts.values())
    assert await found(source_volume_id=first) == {cuts[first, "a"], cuts[first, "b"]}
    assert await found(snapshot_id=cuts[first, "a"]) == {cuts[first, "a"]}
    assert await found(snapshot_id=cuts[first, "a"], source_volume_id=first) == {cuts[first, "a"]}
    assert await found(snapshot_id=cuts[first, "a"], source_volume_id=second) == set()
    assert await found(snapshot_id="none") == set()
    assert await found(source_volume_id="none") == set()


async def test_a_list_tells_where_volumes_are_published(either: Controller) -> None:
    volume = (await either.call(create(volume_capabilities=(SHARED,)))).volume
    for node in ("b", "a"):
        await either.call(attach(volume.volume_id, node, volume_capability=SHARED))
    (entry,) = (await either.call(m.ListVolumesRequest())).entries
    assert entry == m.ListedVolume(volume, m.VolumeStatus(("a", "b")))


class Choosy(MemoryDriver):
    """Offers block volumes for one node."""

    mount = False
    access_modes = csi.Driver.access_modes


async def test_capacity(either: Controller, tmp_path: Path) -> None:
    before = (await either.call(m.GetCapacityRequest())).available_capacity
    await volumes(either, 1)
    assert (await either.call(m.GetCapacityRequest((MOUNT,)))).available_capacity == before - 8 * MIB
    async with Controller(tmp_path / "choosy", driver=Choosy) as choosy:
        for capability, available in ((BLOCK, before), (MOUNT, 0), (SHARED, 0)):
            assert (await choosy.call(m.GetCapacityRequest((capability,)))).available_capacity == available
        odd = VolumeCapability(AccessMode(99), BLOCK.access_type)
        assert (await choosy.call(m.GetCapacityRequest((BLOCK, odd)))).available_capacity == 0


class Overdrawn(MemoryDriver):
    """Promised more than it has; notes the question."""

    asked: csi.CapacityQuery | None = None

    def capacity(self, query: csi.CapacityQuery) -> csi.Capacity:
        self.asked = query
        return csi.Capacity(available_bytes=-5, maximum_volume_bytes=7 * MIB, minimum_volume_bytes=3 * MIB)


async def test_capacity_is_never_negative_and_the_question_is_clean(tmp_path: Path) -> None:
    async with Controller(tmp_path / "state", driver=Overdrawn) as overdrawn:
        zone = csi.Topology({"zone": "a"})
        request = m.GetCapacityRequest((BLOCK,), {"tier": "a", "csi.storage.k8s.io/pvc/name": "x"}, zone)
        assert await overdrawn.call(request) == m.GetCapacityResponse(0, 7 * MIB, 3 * MIB)
        driver = overdrawn.plugin.driver
        assert isinstance(driver, Overdrawn)
        assert driver.asked == csi.CapacityQuery(volume_capabilities=(BLOCK,), parameters={"tier": "a"}, topology=zone)


class Ailing(MemoryDriver):
    """Every second volume has lost a mirror."""

    def volume_health(self, volume: csi.VolumeRecord) -> tuple[HealthEntry, ...]:
        odd = int(volume.name.removeprefix("pvc-")) % 2
        return (HealthEntry(VolumeHealthStatus.DEGRADED, "MirrorLost", "one of two copies is left"),) * odd


async def test_health_lists_only_what_is_wrong(tmp_path: Path) -> None:
    async with Controller(tmp_path / "state", driver=Ailing) as ailing:
        made = list(await volumes(ailing, 5))
        ill = [made[1], made[3]]
        first = await ailing.call(m.ControllerListVolumeHealthRequest(1))
        rest = await ailing.call(m.ControllerListVolumeHealthRequest(0, first.next_token))
        assert {entry.volume_id for entry in (*first.entries, *rest.entries)} == set(ill)
        assert len(first.entries) == len(rest.entries) == 1
        with pytest.raises(BadToken):
            await ailing.call(m.ControllerListVolumeHealthRequest(0, "x"))
        for volume_id in made:
            health = (await ailing.call(m.ControllerGetVolumeHealthRequest(volume_id))).volume_health
            assert (health.volume_id, len(health.health_statuses)) == (volume_id, int(volume_id in ill))
        with pytest.raises(VolumeNotFound):
            await ailing.call(m.ControllerGetVolumeHealthRequest("none"))


class Generous(MemoryDriver):
    """Says that a volume may have one byte."""

    def capacity(self, query: csi.CapacityQuery) -> csi.Capacity:
        return csi.Capacity(available_bytes=MIB, minimum_volume_bytes=1)


async def test_the_least_size_told_is_one_that_a_volume_can_have(tmp_path: Path) -> None:
    async with Controller(tmp_path / "state", driver=Generous) as generous:
        told = (await generous.call(m.GetCapacityRequest((MOUNT,)))).minimum_volume_size
        assert told == minimum_bytes(generous.plugin.driver, (MOUNT,))
