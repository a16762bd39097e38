"""A crash before or after any durable step of the controller: the replay makes one object, and nothing is left."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec
import pytest
from msgspec import structs
from tests.support.controller import MIB, Controller, Crash, CrashAt, attach, clone, create, restore

import moorage.framework as csi
from moorage.base import faults
from moorage.framework.tags import read_snapshot_tags, read_volume_tags
from moorage.spec import messages as m
from moorage.spec.errors import CsiError, FailedPrecondition
from moorage.spec.types import CapacityRange
from moorage.testing.memory import MemoryDriver, TaggedDriver

STEPS = [name for name, _ in faults.declared_steps() if name.startswith("framework.")]
POINTS = [f"{when}:{name}" for name in STEPS for when in ("before", "after")]


class Slow(MemoryDriver):
    """Snapshots are ready at the second glance."""

    def create_snapshot(self, snapshot: csi.NewSnapshot, source: csi.VolumeRecord) -> csi.Snapshot | None:
        made = super().create_snapshot(snapshot, source)
        return structs.replace(made, ready_to_use=snapshot.name != "slow") if made is not None else None

    def snapshot_ready(self, snapshot: csi.SnapshotRecord) -> bool:
        with self.storage.acting("snapshot_ready"):
            return True


class TaggedSlow(Slow, TaggedDriver):
    """The same without a journal."""


Scenario = Callable[[Controller], Awaitable[msgspec.Struct]]


async def volume(controller: Controller, name: str = "pvc-1") -> str:
    found: str = (await controller.call(create(name))).volume.volume_id
    return found


async def a_volume(controller: Controller) -> msgspec.Struct:
    return create()


async def a_volume_without_room(controller: Controller) -> msgspec.Struct:
    controller.storage.fail("create_volume", csi.ResourceExhausted("full"), after=True)
    return create()


async def a_clone(controller: Controller) -> msgspec.Struct:
    source = await volume(controller, "source")
    controller.storage.content.volumes[source].data = "precious"
    return clone("pvc-1", source)


async def a_restore(controller: Controller) -> msgspec.Struct:
    source = await volume(controller, "source")
    controller.storage.content.volumes[source].data = "precious"
    cut = await controller.call(m.CreateSnapshotRequest(source, "snap"))
    controller.storage.content.volumes[source].data = "newer"
    return restore("pvc-1", cut.snapshot.snapshot_id)


async def a_deletion(controller: Controller) -> msgspec.Struct:
    return m.DeleteVolumeRequest(await volume(controller))


async def a_refused_deletion(controller: Controller) -> msgspec.Struct:
    controller.storage.fail("delete_volume", FailedPrecondition("in use"))
    return m.DeleteVolumeRequest(await volume(controller))


async def a_name_again(controller: Controller) -> msgspec.Struct:
    controller.storage.fail("delete_volume", csi.Internal("confused"))
    with pytest.raises(csi.Internal):
        await controller.call(m.DeleteVolumeRequest(await volume(controller)))
    return create(size=16 * MIB)


async def a_snapshot(controller: Controller) -> msgspec.Struct:
    return m.CreateSnapshotRequest(await volume(controller), "snap")


async def a_snapshot_without_room(controller: Controller) -> msgspec.Struct:
    controller.storage.fail("create_snapshot", csi.ResourceExhausted("full"), after=True)
    return m.CreateSnapshotRequest(await volume(controller), "snap")


async def a_slow_snapshot(controller: Controller) -> msgspec.Struct:
    request = m.CreateSnapshotRequest(await volume(controller), "slow")
    await controller.call(request)
    return request


async def a_snapshot_deletion(controller: Controller) -> msgspec.Struct:
    cut = await controller.call(m.CreateSnapshotRequest(await volume(controller), "snap"))
    return m.DeleteSnapshotRequest(cut.snapshot.snapshot_id)


async def a_refused_snapshot_deletion(controller: Controller) -> msgspec.Struct:
    controller.storage.fail("delete_snapshot", FailedPrecondition("in use"))
    return await a_snapshot_deletion(controller)


async def a_group(controller: Controller) -> msgspec.Struct:
    return m.CreateVolumeGroupSnapshotRequest("group", (await volume(controller, "a"), await volume(controller, "b")))


async def a_group_without_room(controller: Controller) -> msgspec.Struct:
    controller.storage.fail("create_group_snapshot", csi.ResourceExhausted("full"), after=True)
    return await a_group(controller)


async def a_group_deletion(controller: Controller) -> msgspec.Struct:
    group = (await controller.call(await a_group(controller))).group_snapshot
    members = tuple(snapshot.snapshot_id for snapshot in group.snapshots)
    return m.DeleteVolumeGroupSnapshotRequest(group.group_snapshot_id, members)


async def a_publish(controller: Controller) -> msgspec.Struct:
    return attach(await volume(controller))


async def a_failed_publish(controller: Controller) -> msgspec.Struct:
    controller.storage.fail("controller_publish", csi.Internal("confused"), after=True)
    return attach(await volume(controller))


async def an_unpublish(controller: Controller) -> msgspec.Struct:
    volume_id = await volume(controller)
    await controller.call(attach(volume_id))
    return m.ControllerUnpublishVolumeRequest(volume_id)


async def an_expansion(controller: Controller) -> msgspec.Struct:
    return m.ControllerExpandVolumeRequest(await volume(controller), CapacityRange(16 * MIB))


async def a_modification(controller: Controller) -> msgspec.Struct:
    return m.ControllerModifyVolumeRequest(await volume(controller), {"iops": "9"})


SCENARIOS: Mapping[str, Scenario] = {
    scenario.__name__: scenario
    for scenario in (
        a_volume,
        a_volume_without_room,
        a_clone,
        a_restore,
        a_deletion,
        a_refused_deletion,
        a_name_again,
        a_snapshot,
        a_snapshot_without_room,
        a_slow_snapshot,
        a_snapshot_deletion,
        a_refused_snapshot_deletion,
        a_group,
        a_group_without_room,
        a_group_deletion,
        a_publish,
        a_failed_publish,
        an_unpublish,
        an_expansion,
        a_modification,
    )
}


@pytest.fixture(autouse=True)
def no_faults_left() -> Iterator[None]:
    yield
    faults.install(None)


async def attempt(controller: Controller, request: msgspec.Struct, plan: CrashAt) -> bool:
    """Make one call under the plan; says whether it crashed. Errors of the scenario are its own."""
    faults.install(plan)
    try:
        await controller.call(request)
    except Crash:
        return True
    except CsiError:
        return False
    finally:
        faults.install(None)
    return False


async def settle(controller: Controller, request: msgspec.Struct) -> Any:
    """Repeat a call until it succeeds, as an orchestrator does."""
    for _ in range(3):
        try:
            return await controller.call(request)
        except CsiError:
            continue
    return await controller.call(request)


def check_storage(controller: Controller) -> None:
    """One object for each name, and copies with the content of their source."""
    content = controller.storage.content
    volumes = [read_volume_tags(stored.tags) for stored in content.volumes.values()]
    assert max(Counter(record.name for record in volumes if record is not None).values(), default=1) == 1
    snapshots = [read_snapshot_tags(stored.tags) for stored in content.snapshots.values()]
    assert max(Counter(facts.name for facts in snapshots if facts is not None).values(), default=1) == 1
    for record, stored in zip(volumes, content.volumes.values(), strict=True):
        if record is not None and record.content_source is not None:
            assert stored.data == "precious"


async def check_journal(controller: Controller) -> None:
    """The journal knows exactly what exists."""
    await controller.plugin.stop()
    rows = await controller.rows()
    if isinstance(controller.plugin.driver, TaggedDriver):
        return
    content = controller.storage.content
    assert "intent" not in rows
    found = {kind: [msgspec.json.decode(body) for body in bodies] for kind, bodies in rows.items()}
    assert {row["volume_id"] for row in found.get("volume", [])} == set(content.volumes)
    assert {row["snapshot_id"] for row in found.get("snapshot", [])} == set(content.snapshots)
    assert {f"{row['volume_id']} {row['node_id']}" for row in found.get("attachment", [])} == set(content.attached)
    members = {member for row in found.get("group", []) for member in row["snapshot_ids"]}
    assert members <= set(content.snapshots)
    assert not any(row.get("deleting") for kind in found for row in found[kind])
    for row in found.get("volume", []):
        stored = content.volumes[row["volume_id"]]
        assert row["capacity_bytes"] == stored.size_bytes
        assert row.get("mutable_parameters", {}) | row.get("modified_parameters", {}) == stored.settings


JOURNAL_ONLY = {"a_name_again", "a_slow_snapshot"}
"""What takes a record: without one these replays have nothing to do."""

CASES = [(name, Slow) for name in SCENARIOS] + [(name, TaggedSlow) for name in SCENARIOS if name not in JOURNAL_ONLY]


@pytest.mark.parametrize(("name", "driver"), CASES, ids=[f"{name} {driver.name}" for name, driver in CASES])
async def test_a_crash_at_any_step_is_healed_by_the_replay(
    tmp_path: Path, name: str, driver: type[MemoryDriver]
) -> None:
    trace = CrashAt()
    async with Controller(tmp_path / "trace", driver=driver) as controller:
        await attempt(controller, await SCENARIOS[name](controller), trace)
    assert trace.passed
    for number, point in enumerate(trace.passed):
        async with Controller(tmp_path / str(number), driver=driver) as controller:
            request = await SCENARIOS[name](controller)
            assert await attempt(controller, request, CrashAt(point)), point
            if driver is TaggedSlow:
                await controller.plugin.stop()
                shutil.rmtree(controller.directory, ignore_errors=True)
            await controller.restart()
            response = await settle(controller, request)
            assert await controller.call(request) == response
            check_storage(controller)
            await check_journal(controller)


async def test_every_step_of_the_framework_is_crashed_at(tmp_path: Path) -> None:
    passed = set()
    for name, scenario in SCENARIOS.items():
        trace = CrashAt()
        async with Controller(tmp_path / name, driver=Slow) as controller:
            await attempt(controller, await scenario(controller), trace)
        passed.update(trace.passed)
    assert passed >= set(POINTS)
