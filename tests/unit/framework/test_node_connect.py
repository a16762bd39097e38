"""Volumes that are connected to the node: what is asked, what is done, and that nothing of it is lost in a crash.

The device of a connected volume is a file here, used as a raw block volume: staging one mounts nothing.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import pytest_asyncio
from tests.support.controller import BLOCK, Controller, Crash, CrashAt

import moorage.framework as csi
from moorage.base import faults
from moorage.spec import messages as m
from moorage.spec.errors import CsiError
from moorage.spec.types import Secrets
from moorage.testing.memory import MemoryDriver, TaggedDriver

POINTS = [
    f"{when}:node.{step}"
    for step in (
        "stage.begun",
        "stage.connected",
        "stage.located",
        "stage.recorded",
        "unstage.unmounted",
        "unstage.disconnected",
        "unstage.forgotten",
    )
    for when in ("before", "after")
]
CONTEXT = {"portal": "10.0.0.7", "csi.storage.k8s.io/pod.name": "p"}


class Fabric(TaggedDriver):
    """A volume is there while there is a session of it; the session is found by the portal in its context."""

    directory: Path
    told: list[tuple[str, csi.NodeVolume]]
    appears = True

    def node_info(self) -> csi.NodeInfo:
        return csi.NodeInfo(node_id="node-1")

    def device(self, volume_id: str) -> Path:
        return self.directory / f"device-{volume_id}"

    def node_source(self, volume: csi.NodeVolume) -> csi.Source | None:
        self.told.append(("source", volume))
        if volume.volume_id == "nobody":
            raise csi.VolumeNotFound(volume.volume_id)
        path = self.device(volume.volume_id)
        return csi.BlockDevice(path) if path.exists() else None

    def node_connect(self, volume: csi.NodeVolume) -> None:
        self.told.append(("connect", volume))
        with self.storage.acting("node_connect"):
            if self.appears:
                self.device(volume.volume_id).touch()

    def node_disconnect(self, volume: csi.NodeVolume) -> None:
        self.told.append(("disconnect", volume))
        with self.storage.acting("node_disconnect"):
            self.device(volume.volume_id).unlink(missing_ok=True)


class Node(Controller):
    """A plugin of `Fabric` and what was said to its driver."""

    def __init__(self, directory: Path, driver: type[Fabric] = Fabric) -> None:
        self.told: list[tuple[str, csi.NodeVolume]] = []
        driver.directory, driver.told = directory, self.told
        directory.mkdir()
        super().__init__(directory / "state", driver=driver)
        self.staging = str(directory / "staging")
        (directory / "staging").mkdir()

    async def stage(self, volume_id: str = "v", path: str = "") -> None:
        await self.call(
            m.NodeStageVolumeRequest(
                volume_id,
                path or self.staging,
                BLOCK,
                volume_context=CONTEXT,
                publish_context={"lun": "3"},
                secrets=Secrets({"password": "hunter2"}),
            )
        )

    async def unstage(self, volume_id: str = "v", path: str = "") -> None:
        await self.call(m.NodeUnstageVolumeRequest(volume_id, path or self.staging))

    async def use(self) -> None:
        await self.stage()
        await self.unstage()

    def calls(self, *kinds: str) -> list[str]:
        return [kind for kind, _ in self.told if kind in (kinds or ("connect", "disconnect"))]

    def last(self, kind: str) -> csi.NodeVolume:
        return next(volume for said, volume in reversed(self.told) if said == kind)

    @property
    def connected(self) -> bool:
        return any(path.name.startswith("device-") for path in Fabric.directory.iterdir())


@pytest_asyncio.fixture
async def node(tmp_path: Path) -> AsyncIterator[Node]:
    async with Node(tmp_path / "node") as running:
        yield running


@pytest.fixture(autouse=True)
def no_faults_left() -> Iterator[None]:
    yield
    faults.install(None)


async def test_a_volume_is_connected_once_and_disconnected_with_its_last_staging(node: Node) -> None:
    other = f"{node.staging}2"
    Path(other).mkdir()
    for _ in range(2):
        await node.stage()
    assert node.calls() == ["connect"]
    await node.stage(path=other)
    await node.unstage()
    assert "disconnect" not in node.calls()
    await node.unstage(path=other)
    assert node.calls("disconnect") == ["disconnect"]
    assert not node.connected
    await node.unstage()
    assert not node.connected


async def test_what_the_staging_was_told_is_told_again_but_for_secrets(node: Node) -> None:
    await node.stage()
    assert node.last("connect").secrets == {"password": "hunter2"}
    await node.restart()
    await node.unstage()
    for kind in ("source", "disconnect"):
        told = node.last(kind)
        assert told.volume_context == {"portal": "10.0.0.7"}
        assert told.publish_context == {"lun": "3"}
        assert told.volume_capability == BLOCK
        assert not told.secrets


async def test_the_staging_is_recorded_when_the_driver_connects(node: Node) -> None:
    seen: list[bool] = []
    journal = node.plugin._journal
    assert journal is not None
    node.storage.trouble("node_connect", lambda: seen.append(bool(journal.page("staged", limit=1))))
    await node.stage()
    assert seen == [True]


@pytest.mark.parametrize(
    ("error", "connects"),
    [
        pytest.param(csi.Unauthenticated("no such user"), ["connect", "disconnect"], id="final"),
        pytest.param(csi.Unavailable("the portal reboots"), ["connect"], id="not-final"),
    ],
)
@pytest.mark.parametrize("after", [False, True], ids=["before-the-effect", "after-the-effect"])
async def test_a_failed_connection(node: Node, error: CsiError, connects: list[str], *, after: bool) -> None:
    """A final error leaves nothing behind; after any other, the orchestrator repeats the staging or ends it."""
    node.storage.fail("node_connect", error, after=after)
    with pytest.raises(type(error)):
        await node.stage()
    assert node.calls() == connects
    if error.final:
        assert not node.connected
    await node.stage()
    await node.unstage()
    assert not node.connected


async def test_a_disconnection_that_fails_is_taken_up_again(node: Node) -> None:
    await node.stage()
    node.storage.fail("node_disconnect", csi.Internal("confused"))
    with pytest.raises(csi.Internal):
        await node.unstage()
    assert node.connected
    await node.restart()
    await node.unstage()
    assert not node.connected


async def test_a_volume_that_does_not_appear(node: Node) -> None:
    node.plugin.driver.appears = False  # type: ignore[attr-defined]  # it is a Fabric
    with pytest.raises(csi.Unavailable, match="has not appeared"):
        await node.stage()
    node.plugin.driver.appears = True  # type: ignore[attr-defined]
    await node.stage()


async def test_an_unknown_volume_is_neither_connected_nor_disconnected(node: Node) -> None:
    with pytest.raises(csi.VolumeNotFound):
        await node.stage("nobody")
    await node.unstage("nobody")
    assert node.calls() == []


async def test_without_a_record_the_connection_is_still_taken_down(node: Node) -> None:
    await node.stage()
    await node.plugin.stop()
    for path in node.directory.glob("journal*"):
        path.unlink()
    await node.restart()
    await node.unstage()
    assert not node.connected
    assert node.last("disconnect").volume_context == {}


async def test_after_a_reboot_the_volume_is_connected_again(node: Node) -> None:
    await node.stage()
    node.plugin.driver.device("v").unlink()  # type: ignore[attr-defined]  # it is a Fabric
    await node.restart()
    await node.stage()
    assert node.connected
    assert node.calls() == ["connect", "connect"]
    await node.unstage()


@pytest.mark.parametrize("repeats", [True, False], ids=["staged-again", "given-up"])
@pytest.mark.parametrize("point", POINTS)
async def test_a_crash_leaves_no_connection_behind(tmp_path: Path, point: str, *, repeats: bool) -> None:
    """Killed at any step, the orchestrator either repeats what it wanted, or unstages: it knows no more than that."""
    plan = CrashAt(point)
    async with Node(tmp_path / "node") as node:
        faults.install(plan)
        with pytest.raises(Crash):
            await node.use()
        faults.install(None)
        await node.restart()
        if repeats:
            await node.stage()
            assert node.connected
        await node.unstage()
        assert not node.connected
        journal = node.plugin._journal
        assert journal is not None
        assert journal.page("staged", limit=1) == []


class Vague(MemoryDriver):
    """Says that a volume is not connected, and cannot connect it."""

    def node_info(self) -> csi.NodeInfo:
        return csi.NodeInfo(node_id="node-1")

    def node_source(self, volume: csi.NodeVolume) -> csi.Source | None:
        return None


async def test_a_driver_that_cannot_connect_must_know_where_a_volume_is(tmp_path: Path) -> None:
    async with Controller(tmp_path / "state", driver=Vague) as vague:
        with pytest.raises(csi.Internal, match="cannot connect it"):
            await vague.call(m.NodeStageVolumeRequest("v", str(tmp_path), BLOCK))


async def test_a_driver_is_told_what_it_answered_and_that_it_may_not_write(node: Node) -> None:
    await node.call(
        m.NodeStageVolumeRequest("v", node.staging, BLOCK, publish_context={"lun": "3", "moorage.dev/readonly": "true"})
    )
    await node.unstage()
    assert node.calls() == ["connect", "disconnect"]
    assert {said for said, _ in node.told} == {"source", "connect", "disconnect"}
    assert [(volume.publish_context, volume.readonly) for _, volume in node.told] == [({"lun": "3"}, True)] * len(
        node.told
    )


async def test_a_volume_staged_for_readers_is_not_staged_for_a_writer(node: Node) -> None:
    reading = m.NodeStageVolumeRequest("v", node.staging, BLOCK, publish_context={"moorage.dev/readonly": "true"})
    for _ in range(2):
        await node.call(reading)
    with pytest.raises(csi.AlreadyExists, match="read-only"):
        await node.stage()
