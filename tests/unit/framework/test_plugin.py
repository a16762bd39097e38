"""A plugin as a whole: start and stop, where its state lies, what it must never write down."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import msgspec
import pytest
from tests.support.controller import MIB, MOUNT, Controller, attach, create

import moorage.framework as csi
from moorage.framework.plugin import Plugin
from moorage.spec import messages as m
from moorage.spec.access import ORCHESTRATOR_CONTEXT
from moorage.spec.errors import Unavailable
from moorage.spec.rules import RPCS
from moorage.spec.types import AccessMode, CapacityRange, MountAccess, Secrets, VolumeCapability
from moorage.state import place
from moorage.state.errors import JournalLocked, JournalOnNetwork
from moorage.testing.memory import MemoryConfig, MemoryDriver, MemoryStorage

CANARY = "canary-3f9c"


async def test_state_lies_in_a_private_directory(controller: Controller) -> None:
    assert controller.directory.stat().st_mode & 0o077 == 0
    assert (controller.directory / "journal.sqlite").stat().st_mode & 0o077 == 0


async def test_one_state_directory_has_one_plugin(controller: Controller, tmp_path: Path) -> None:
    second = Plugin(MemoryDriver(), state_dir=controller.directory)
    with pytest.raises(JournalLocked, match=r"memory\.example\.org .*use another state directory"):
        await second.start()


async def test_a_network_file_system_is_refused_with_a_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(place, "file_system_magic", lambda path: 0x6969)
    with pytest.raises(JournalOnNetwork) as refusal:
        await Plugin(MemoryDriver(), state_dir=tmp_path / "state").start()
    assert str(refusal.value) == (
        f"journal {tmp_path}/state/journal.sqlite lies on NFS; move the state directory to a local disk"
    )


class Failing(MemoryDriver):
    """Cannot log in to its array."""

    def start(self) -> None:
        with self.storage.acting("start"):
            raise csi.Unauthenticated("the array refuses the password")


async def test_a_driver_that_does_not_start_leaves_the_journal_free(tmp_path: Path) -> None:
    with pytest.raises(csi.Unauthenticated):
        await Plugin(Failing(), state_dir=tmp_path / "state").start()
    async with Controller(tmp_path / "state") as controller:
        await controller.call(create())


async def test_start_and_stop_of_the_driver(tmp_path: Path) -> None:
    class Watched(MemoryDriver):
        def start(self) -> None:
            self.storage.calls["start"] += 1

        async def stop(self) -> None:
            self.storage.calls["stop"] += 1

    async with Controller(tmp_path / "state", driver=Watched) as watched:
        assert (watched.storage.calls["start"], watched.storage.calls["stop"]) == (1, 0)
    assert watched.storage.calls["stop"] == 1


async def test_a_driver_that_did_not_start_is_not_stopped(tmp_path: Path) -> None:
    class Watched(Failing):
        def stop(self) -> None:
            self.storage.calls["stop"] += 1

    driver = Watched()
    plugin = Plugin(driver, state_dir=tmp_path / "state")
    with pytest.raises(csi.Unauthenticated):
        await plugin.start()
    await plugin.stop(grace_s=1.0)
    assert driver.storage.calls["stop"] == 0


async def test_a_driver_that_does_not_stop_leaves_the_journal_free(tmp_path: Path) -> None:
    class Stubborn(MemoryDriver):
        def stop(self) -> None:
            raise csi.Unavailable("the array hung up")

    plugin = Plugin(Stubborn(), state_dir=tmp_path / "state")
    await plugin.start()
    with pytest.raises(csi.Unavailable):
        await plugin.stop(grace_s=1.0)
    async with Controller(tmp_path / "state") as controller:
        await controller.call(create())


async def test_every_rpc_that_is_declared_has_a_handler(controller: Controller) -> None:
    served = {name for name, rpc in RPCS.items() if rpc.service in controller.plugin.declared.services}
    assert served <= set(controller.plugin.handlers)
    assert set(controller.plugin.handlers) <= set(RPCS)


async def test_a_storage_in_a_file_outlives_everything(tmp_path: Path) -> None:
    file = tmp_path / "storage.json"

    class Filed(MemoryDriver):
        def __init__(self, config: MemoryConfig | None = None, *, storage: MemoryStorage | None = None) -> None:
            super().__init__(MemoryConfig(file=file))

    async with Controller(tmp_path / "state", driver=Filed) as first:
        volume = (await first.call(create())).volume
    async with Controller(tmp_path / "state", driver=Filed) as second:
        assert (await second.call(create())).volume == volume
        await second.call(m.DeleteVolumeRequest(volume.volume_id))
    assert MemoryStorage(file).content.volumes == {}


# --- secrets ---


class Trusting(MemoryDriver):
    """Fails each method once, quoting what it was given."""

    def create_volume(self, volume: csi.NewVolume) -> csi.Volume | None:
        made = super().create_volume(volume)
        if self.storage.calls["create_volume"] == 1:
            raise Unavailable(f"login with {dict(volume.secrets)} failed")
        return made


def with_canaries(request: msgspec.Struct) -> msgspec.Struct:
    fields: dict[str, Any] = {}
    for name in request.__struct_fields__:
        if isinstance(getattr(request, name), Secrets):
            fields[name] = Secrets(password=CANARY, user="u")
        if name == "volume_context":
            fields[name] = {f"{ORCHESTRATOR_CONTEXT[0]}serviceAccount.tokens": CANARY}
    return msgspec.structs.replace(request, **fields)


async def test_secrets_are_never_written_down(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    flagged = VolumeCapability(AccessMode.SINGLE_NODE_WRITER, MountAccess(mount_flags=(f"password={CANARY}",)))
    planted = 0

    async def call(controller: Controller, request: msgspec.Struct) -> Any:
        nonlocal planted
        asked = with_canaries(request)
        planted += asked != request
        try:
            return await controller.call(asked)
        except Unavailable:
            return await controller.call(asked)
        finally:
            for file in controller.directory.iterdir():
                assert CANARY.encode() not in file.read_bytes(), (file, type(request))

    async with Controller(tmp_path / "state", driver=Trusting) as trusting:
        volume = (await call(trusting, create(volume_capabilities=(flagged,)))).volume
        other = (await call(trusting, create("other"))).volume
        await call(trusting, attach(volume.volume_id))
        await call(trusting, m.ValidateVolumeCapabilitiesRequest(volume.volume_id, (MOUNT,)))
        await call(trusting, m.ControllerUnpublishVolumeRequest(volume.volume_id))
        await call(trusting, m.ControllerExpandVolumeRequest(volume.volume_id, CapacityRange(16 * MIB)))
        await call(trusting, m.ControllerModifyVolumeRequest(volume.volume_id, {"a": "b"}))
        cut = (await call(trusting, m.CreateSnapshotRequest(volume.volume_id, "snap"))).snapshot
        await call(trusting, m.ListSnapshotsRequest())
        await call(trusting, m.GetSnapshotRequest(cut.snapshot_id))
        await call(trusting, m.DeleteSnapshotRequest(cut.snapshot_id))
        sources = (volume.volume_id, other.volume_id)
        group = (await call(trusting, m.CreateVolumeGroupSnapshotRequest("g", sources))).group_snapshot
        members = tuple(snapshot.snapshot_id for snapshot in group.snapshots)
        await call(trusting, m.GetVolumeGroupSnapshotRequest(group.group_snapshot_id, members))
        await call(trusting, m.DeleteVolumeGroupSnapshotRequest(group.group_snapshot_id, members))
        await call(trusting, m.DeleteVolumeRequest(volume.volume_id))
        for stored in trusting.storage.content.volumes.values():
            assert CANARY not in str(stored.tags)
    assert planted == 15
    assert trusting.storage.calls["create_volume"] == 3
