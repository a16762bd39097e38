"""A `BackendTags` driver that forgets everything between any two calls still makes one object for one name.

The state directory is deleted and the plugin made anew at random, replies get lost, creations fail half way;
the caller does what an orchestrator does: it repeats a call until its answer is final.
"""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from tests.support.controller import BLOCK, MIB, Controller, attach, clone, create, restore

import moorage.framework as csi
from moorage.spec import messages as m
from moorage.spec.errors import CsiError, Unavailable
from moorage.spec.types import CapacityRange
from moorage.testing.memory import TaggedDriver

NAMES = st.sampled_from(["a", "b", "../c", "d d"])
SIZES = st.sampled_from([4 * MIB, 8 * MIB, 16 * MIB])
EFFECTS = (
    "create_volume",
    "clone_volume",
    "restore_snapshot",
    "delete_volume",
    "create_snapshot",
    "delete_snapshot",
    "controller_publish",
    "controller_unpublish",
    "expand_volume",
    "list_tagged_volumes",
    "list_tagged_snapshots",
    "node_connect",
    "node_disconnect",
)
FAULTS = st.lists(st.tuples(st.sampled_from(EFFECTS), st.booleans()), max_size=3)


class Forgetful(TaggedDriver):
    """Has a node side, so that there is a state directory to lose; cuts groups one by one, and may stop between.

    A volume is connected to the node while its device is in `sessions`; a file stands in for the device, which is
    used as a raw block volume, so that nothing is mounted.
    """

    sessions: Path

    def node_info(self) -> csi.NodeInfo:
        return csi.NodeInfo(node_id="node-1")

    def device(self, volume_id: str) -> Path:
        return self.sessions / volume_id

    def node_source(self, volume: csi.NodeVolume) -> csi.Source | None:
        if volume.volume_id not in self.storage.content.volumes:
            raise csi.VolumeNotFound(volume.volume_id)
        device = self.device(volume.volume_id)
        return csi.BlockDevice(device) if device.exists() else None

    def node_connect(self, volume: csi.NodeVolume) -> None:
        with self.storage.acting("node_connect"):
            self.device(volume.volume_id).touch()

    def node_disconnect(self, volume: csi.NodeVolume) -> None:
        with self.storage.acting("node_disconnect"):
            self.device(volume.volume_id).unlink(missing_ok=True)

    def create_group_snapshot(
        self, group: csi.NewGroupSnapshot, sources: tuple[csi.VolumeRecord, ...]
    ) -> tuple[csi.Snapshot, ...]:
        cuts = [self.create_snapshot(member, source) for member, source in zip(group.members, sources, strict=True)]
        return tuple(cut for cut in cuts if cut is not None)


class Orchestrator(RuleBasedStateMachine):
    """Calls the plugin and keeps its own account of what must exist."""

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.directory = Path(tempfile.mkdtemp(prefix="moorage-amnesia-"))
        self.volumes: dict[str, str] = {}
        self.data: dict[str, str] = {}
        self.snapshots: dict[str, tuple[str, str]] = {}
        self.groups: dict[str, dict[str, str]] = {}
        self.attached: set[tuple[str, str]] = set()
        self.staged: set[str] = set()
        self.forget_each_time = False
        for name in ("sessions", "staging"):
            (self.directory / name).mkdir()
        driver = type("Here", (Forgetful,), {"sessions": self.directory / "sessions"})
        self.controller = Controller(self.directory / "state", driver=driver)

    @initialize(always=st.booleans())
    def begin(self, *, always: bool) -> None:
        self.forget_each_time = always
        self.runner.run(self.controller.plugin.start())
        for name in ("a", "b"):
            self.create(name, 8 * MIB, [])

    @rule()
    def forget(self) -> None:
        """The node is lost, and another one takes over."""
        self.runner.run(self._forget())

    async def _forget(self) -> None:
        await self.controller.plugin.stop()
        shutil.rmtree(self.controller.directory)
        await self.controller.restart()

    def until_final(self, request: msgspec.Struct, faults: list[tuple[str, bool]]) -> Any:
        """The answer to a call, repeated while it may still be running; None for a final error."""
        for method, after in faults:
            self.controller.storage.fail(method, Unavailable("lost"), after=after)

        async def calls() -> Any:
            for _ in range(20):
                if self.forget_each_time:
                    await self._forget()
                try:
                    return await self.controller.call(request)
                except CsiError as error:
                    if error.final:
                        return None
            raise AssertionError(f"{request} never came to an end")

        answer = self.runner.run(calls())
        self.controller.storage.clear_troubles()
        return answer

    def made(self, name: str, answer: m.CreateVolumeResponse | None, data: str, *, known: bool) -> None:
        if answer is None:
            assert not known or name in self.volumes
            return
        volume_id = answer.volume.volume_id
        assert self.volumes.setdefault(name, volume_id) == volume_id
        if volume_id not in self.data:
            self.data[volume_id] = data

    @rule(name=NAMES, size=SIZES, faults=FAULTS)
    def create(self, name: str, size: int, faults: list[tuple[str, bool]]) -> None:
        fresh = name not in self.volumes
        answer = self.until_final(create(name, size), faults)
        self.made(name, answer, "", known=True)
        if fresh and answer is not None:
            assert answer.volume.capacity_bytes == size
            self.write(answer.volume.volume_id, f"{name} {len(self.data)}")

    def write(self, volume_id: str, data: str) -> None:
        self.controller.storage.content.volumes[volume_id].data = data
        self.data[volume_id] = data

    @precondition(lambda self: self.volumes)
    @rule(pick=st.data(), name=NAMES, faults=FAULTS)
    def clone(self, pick: st.DataObject, name: str, faults: list[tuple[str, bool]]) -> None:
        source = self.volumes[pick.draw(st.sampled_from(sorted(self.volumes)))]
        answer = self.until_final(clone(name, source, size=16 * MIB), faults)
        self.made(name, answer, self.data[source], known=True)

    @precondition(lambda self: self.snapshots)
    @rule(pick=st.data(), name=NAMES, faults=FAULTS)
    def restore(self, pick: st.DataObject, name: str, faults: list[tuple[str, bool]]) -> None:
        snapshot_id, data = self.snapshots[pick.draw(st.sampled_from(sorted(self.snapshots)))]
        answer = self.until_final(restore(name, snapshot_id, size=16 * MIB), faults)
        self.made(name, answer, data, known=True)

    @precondition(lambda self: self.volumes)
    @rule(pick=st.data(), name=NAMES, faults=FAULTS)
    def cut(self, pick: st.DataObject, name: str, faults: list[tuple[str, bool]]) -> None:
        source = self.volumes[pick.draw(st.sampled_from(sorted(self.volumes)))]
        answer = self.until_final(m.CreateSnapshotRequest(source, name), faults)
        if answer is None:
            assert name in self.snapshots
        else:
            found = answer.snapshot.snapshot_id
            assert self.snapshots.setdefault(name, (found, self.data[source]))[0] == found

    @precondition(lambda self: self.volumes)
    @rule(name=st.sampled_from(["g", "h"]), faults=FAULTS)
    def cut_group(self, name: str, faults: list[tuple[str, bool]]) -> None:
        sources = tuple(sorted(self.volumes.values()))
        answer = self.until_final(m.CreateVolumeGroupSnapshotRequest(name, sources), faults)
        if answer is None:
            assert name in self.groups
            return
        members = {
            snapshot.snapshot_id: self.data[snapshot.source_volume_id] for snapshot in answer.group_snapshot.snapshots
        }
        assert set(self.groups.setdefault(name, members)) == set(members)
        assert len(members) == len(sources)

    @precondition(lambda self: self.groups)
    @rule(pick=st.data(), faults=FAULTS)
    def delete_group(self, pick: st.DataObject, faults: list[tuple[str, bool]]) -> None:
        name = pick.draw(st.sampled_from(sorted(self.groups)))
        (group_id,) = {
            stored.snapshot.group_snapshot_id
            for snapshot_id, stored in self.controller.storage.content.snapshots.items()
            if snapshot_id in self.groups[name]
        }
        request = m.DeleteVolumeGroupSnapshotRequest(group_id, tuple(self.groups.pop(name)))
        assert self.until_final(request, faults) is not None

    @precondition(lambda self: self.snapshots)
    @rule(pick=st.data(), faults=FAULTS)
    def delete_snapshot(self, pick: st.DataObject, faults: list[tuple[str, bool]]) -> None:
        name = pick.draw(st.sampled_from(sorted(self.snapshots)))
        assert self.until_final(m.DeleteSnapshotRequest(self.snapshots.pop(name)[0]), faults) is not None

    @precondition(lambda self: self.volumes)
    @rule(pick=st.data(), faults=FAULTS)
    def delete(self, pick: st.DataObject, faults: list[tuple[str, bool]]) -> None:
        name = pick.draw(st.sampled_from(sorted(self.volumes)))
        volume_id = self.volumes[name]
        self.unstage(volume_id, faults)
        answer = self.until_final(m.DeleteVolumeRequest(volume_id), faults)
        in_use = any(attached == volume_id for attached, _ in self.attached)
        assert (answer is None) == in_use
        if not in_use:
            del self.volumes[name], self.data[volume_id]

    @precondition(lambda self: self.volumes)
    @rule(pick=st.data(), node=st.sampled_from(["node-1", "node-2"]), faults=FAULTS, attaches=st.booleans())
    def publish(self, pick: st.DataObject, node: str, faults: list[tuple[str, bool]], *, attaches: bool) -> None:
        volume_id = self.volumes[pick.draw(st.sampled_from(sorted(self.volumes)))]
        if not attaches:
            assert self.until_final(m.ControllerUnpublishVolumeRequest(volume_id, node), faults) is not None
            self.attached.discard((volume_id, node))
            return
        elsewhere = any(attached == volume_id and other != node for attached, other in self.attached)
        answer = self.until_final(attach(volume_id, node), faults)
        assert (answer is None) == elsewhere
        if not elsewhere:
            self.attached.add((volume_id, node))

    @precondition(lambda self: self.volumes)
    @rule(pick=st.data(), faults=FAULTS, stages=st.booleans())
    def stage(self, pick: st.DataObject, faults: list[tuple[str, bool]], *, stages: bool) -> None:
        """Whatever was forgotten, a volume is connected while it is staged and not longer."""
        volume_id = self.volumes[pick.draw(st.sampled_from(sorted(self.volumes)))]
        if stages:
            request = m.NodeStageVolumeRequest(volume_id, str(self.directory / "staging"), BLOCK)
            assert self.until_final(request, faults) is not None
            self.staged.add(volume_id)
        else:
            self.unstage(volume_id, faults)

    def unstage(self, volume_id: str, faults: list[tuple[str, bool]]) -> None:
        request = m.NodeUnstageVolumeRequest(volume_id, str(self.directory / "staging"))
        assert self.until_final(request, faults) is not None
        self.staged.discard(volume_id)

    @precondition(lambda self: self.volumes)
    @rule(pick=st.data(), faults=FAULTS)
    def grow(self, pick: st.DataObject, faults: list[tuple[str, bool]]) -> None:
        volume_id = self.volumes[pick.draw(st.sampled_from(sorted(self.volumes)))]
        request = m.ControllerExpandVolumeRequest(volume_id, CapacityRange(16 * MIB))
        assert self.until_final(request, faults).capacity_bytes >= 16 * MIB

    @invariant()
    def storage_holds_what_was_made_and_nothing_else(self) -> None:
        content = self.controller.storage.content
        assert set(content.volumes) == set(self.volumes.values())
        for volume_id, stored in content.volumes.items():
            assert stored.data == self.data[volume_id]
        members = {snapshot_id: data for group in self.groups.values() for snapshot_id, data in group.items()}
        expected = {**members, **dict(self.snapshots.values())}
        assert {snapshot_id: stored.data for snapshot_id, stored in content.snapshots.items()} == expected
        assert {device.name for device in (self.directory / "sessions").iterdir()} == self.staged
        assert set(content.attached) == {f"{volume_id} {node}" for volume_id, node in self.attached}

    def teardown(self) -> None:
        stop: Callable[[], Any] = self.controller.plugin.stop
        self.runner.run(stop())
        self.runner.close()
        shutil.rmtree(self.directory)


Orchestrator.TestCase.settings = settings(
    max_examples=30, stateful_step_count=20, deadline=None, suppress_health_check=list(HealthCheck)
)
TestAmnesia = pytest.mark.timeout(300)(Orchestrator.TestCase)  # a failure is shrunk, which takes long
