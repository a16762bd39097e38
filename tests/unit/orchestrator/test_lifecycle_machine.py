"""Random wishes, crashes, lost answers and reboots: whatever happened, the next undisturbed run converges.

The memory driver itself asserts the specification's order in every call.
"""

from __future__ import annotations

import asyncio
import contextlib

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from msgspec.structs import replace
from tests.unit.orchestrator.memory_driver import Fault, MemoryDriver, OrchestratorKilled, everything
from tests.unit.orchestrator.setting import MemoryMachine, MemoryStore, a_volume, an_executor

from moorage.orchestrator.model import Mount, OrchestratorError, VolumeRecord
from moorage.orchestrator.observe import observed
from moorage.spec import errors
from moorage.spec.types import ControllerCapability, NodeCapability

ERRORS = st.sampled_from(
    [
        OrchestratorKilled(),
        errors.Aborted("busy"),
        errors.DeadlineExceeded("slow"),
        errors.Internal("defect"),
        errors.ResourceExhausted("full"),
    ]
)
PATHS = st.sets(st.sampled_from(["/a", "/b", "/c"]), max_size=3)


class VolumeLife(RuleBasedStateMachine):
    """One volume, one driver that declares this or that, and an orchestrator that may die at any moment."""

    @initialize(attach=st.booleans(), stage=st.booleans(), nomad=st.booleans())
    def start(self, attach: bool, stage: bool, nomad: bool) -> None:
        full = everything()
        controller, node = set(full.controller), set(full.node)
        if not attach:
            controller.discard(ControllerCapability.PUBLISH_UNPUBLISH_VOLUME)
        if not stage:
            node.discard(NodeCapability.STAGE_UNSTAGE_VOLUME)
        self.driver = MemoryDriver(replace(full, controller=frozenset(controller), node=frozenset(node)))
        self.store = MemoryStore()
        self.machine = MemoryMachine(self.driver)
        self.nomad = nomad
        self.boots = 1

    @property
    def volume(self) -> VolumeRecord:
        return self.store.volumes.get("data", a_volume())

    def go(self, volume: VolumeRecord) -> None:
        """Save the wish and run; the orchestrator may fail or die on the way."""
        self.store.volumes["data"] = volume
        executor = an_executor(self.driver, self.store, machine=self.machine, nomad_order=self.nomad)
        with contextlib.suppress(OrchestratorError, OrchestratorKilled):
            asyncio.run(executor.converge(volume))

    @rule(
        rpc=st.sampled_from(
            [
                "CreateVolume", "ControllerPublishVolume", "NodeStageVolume", "NodePublishVolume", "DeleteVolume",
                "NodeUnpublishVolume", "NodeUnstageVolume", "ControllerUnpublishVolume", "NodeExpandVolume", "*",
            ]
        ),
        after=st.booleans(),
        error=ERRORS,
    )  # fmt: skip
    def arm(self, rpc: str, after: bool, error: BaseException) -> None:
        self.driver.faults.append(Fault(rpc, "after" if after else "before", error))

    @rule(paths=PATHS, readonly=st.booleans())
    def mount(self, paths: set[str], readonly: bool) -> None:
        volume = self.volume
        if volume.desired.exists:
            mounts = tuple(Mount(path, readonly) for path in sorted(paths))
            self.go(replace(volume, desired=replace(volume.desired, mounts=mounts)))

    @rule(size_bytes=st.integers(1 << 26, 1 << 30))
    def expand(self, size_bytes: int) -> None:
        volume = self.volume
        if volume.desired.exists:
            self.go(replace(volume, desired=replace(volume.desired, size_bytes=size_bytes)))

    @rule()
    def delete(self) -> None:
        volume = self.volume
        if not volume.actual.mounts and not volume.desired.mounts:
            self.go(replace(volume, desired=replace(volume.desired, exists=False)))

    @rule()
    def reboot(self) -> None:
        self.driver.reboot()
        self.boots += 1
        self.machine.boot = f"boot-{self.boots}"
        if "data" in self.store.volumes:
            volume = self.volume
            paths = self.machine.mounted({m.path for m in volume.actual.mounts})
            self.store.volumes["data"] = observed(volume, mount_points=paths, boot_id=self.machine.boot)

    @invariant()
    def an_undisturbed_run_converges(self) -> None:
        if not hasattr(self, "store") or "data" not in self.store.volumes:
            return
        armed, self.driver.faults = self.driver.faults, []
        wish = self.volume.desired
        self.go(self.volume)
        self.driver.faults = armed
        if not wish.exists:
            assert "data" not in self.store.volumes
            assert self.driver.volumes == {}
            assert self.machine.staging == set()
            return
        (stored,) = self.driver.volumes.values()
        assert stored.published == {mount.path: mount.readonly for mount in wish.mounts}
        assert stored.size_bytes >= wish.size_bytes
        if not wish.mounts:
            assert not stored.staged
            assert not stored.attached
            assert self.machine.staging == set()
        # growth that the node refused for good waits for the next staging
        elif wish.size_bytes > 1 << 26 and not self.volume.actual.node_expansion_postponed:
            assert stored.node_size_bytes >= wish.size_bytes


VolumeLife.TestCase.settings = settings(max_examples=60, stateful_step_count=20, deadline=None)
TestVolumeLife = VolumeLife.TestCase
