"""What the suite learns of a driver, which calls it keeps, and what it does when the driver is gone."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from tests.support.scripted_driver import ScriptedDriver

from moorage.spec import messages as m
from moorage.spec.errors import Code, FailedPrecondition, Unavailable, VolumeNotFound
from moorage.spec.rules import RPCS
from moorage.spec.types import ControllerCapability, GroupControllerCapability, NodeCapability, PluginCapability
from moorage.verify import Failed, Peer, PeerError

NODE = {
    "NodeGetCapabilities": lambda _: m.NodeGetCapabilitiesResponse(frozenset({NodeCapability.GET_VOLUME_STATS})),
    "NodeGetInfo": lambda _: m.NodeGetInfoResponse(node_id="here"),
}
PLUGIN = m.GetPluginCapabilitiesResponse(
    capabilities=frozenset({PluginCapability.CONTROLLER_SERVICE, PluginCapability.GROUP_CONTROLLER_SERVICE})
)


@asynccontextmanager
async def peer_of(endpoint: str, **fields: Any) -> AsyncIterator[Peer]:
    peer = Peer(endpoint, **fields)
    try:
        yield peer
    finally:
        await peer.close()


def driver_in(directory: Path, **script: Callable[[Any], Any]) -> ScriptedDriver:
    directory.mkdir()
    return ScriptedDriver(directory, **script)


async def test_one_socket_tells_all_services(tmp_path: Path) -> None:
    group = m.GroupControllerGetCapabilitiesResponse(
        frozenset({GroupControllerCapability.CREATE_DELETE_GET_VOLUME_GROUP_SNAPSHOT})
    )
    script = {"GetPluginCapabilities": lambda _: PLUGIN, "GroupControllerGetCapabilities": lambda _: group, **NODE}
    async with ScriptedDriver(tmp_path, **script) as driver, peer_of(driver.endpoint) as peer:
        await peer.learn()
        assert peer.info.name == "scripted.example.org"
        assert peer.declared.services == {"Identity", "Controller", "GroupController", "Node"}
        assert peer.declared.has(ControllerCapability.CREATE_DELETE_VOLUME)
        assert peer.declared.has(NodeCapability.GET_VOLUME_STATS)
        assert peer.node.node_id == "here"
        assert {peer.endpoint_of(rpc) for rpc in RPCS.values()} == {driver.endpoint}


async def test_two_sockets_make_one_driver(tmp_path: Path) -> None:
    controller, node = driver_in(tmp_path / "c"), driver_in(tmp_path / "n", **NODE)
    for name in ("ControllerGetCapabilities", "CreateVolume", "DeleteVolume"):
        del node.script[name]
    async with controller, node, peer_of(controller.endpoint, node_endpoint=node.endpoint) as peer:
        await peer.learn()
        assert peer.declared.services == {"Identity", "Controller", "Node"}
        assert peer.declared.has(ControllerCapability.CREATE_DELETE_VOLUME)
        assert peer.declared.has(NodeCapability.GET_VOLUME_STATS)
        assert peer.node.node_id == "here"
        sent = await peer.send(m.NodeGetInfoRequest(), timeout_s=5)
        assert (sent.ok, sent.endpoint) == (True, node.endpoint)
    assert not {"NodeGetInfo", "NodeGetCapabilities"} & set(controller.calls)
    assert set(node.calls) == {"NodeGetInfo", "NodeGetCapabilities"}


async def test_a_second_socket_may_serve_no_node(tmp_path: Path) -> None:
    controller, other = driver_in(tmp_path / "c"), driver_in(tmp_path / "n")
    async with controller, other, peer_of(controller.endpoint, node_endpoint=other.endpoint) as peer:
        await peer.learn()
        assert peer.declared.services == {"Identity", "Controller"}
        assert peer.node.node_id == ""


@pytest.mark.parametrize(
    ("script", "message"),
    [
        pytest.param({"Probe": FailedPrecondition("the licence is missing")}, "the licence is missing", id="probe"),
        pytest.param(
            {"ControllerGetCapabilities": VolumeNotFound("v")}, "volume 'v' does not exist", id="capabilities"
        ),
    ],
)
async def test_why_a_driver_cannot_be_examined(tmp_path: Path, script: dict[str, Exception], message: str) -> None:
    def failing(error: Exception) -> Callable[[Any], Any]:
        def fail(_: Any) -> Any:
            raise error

        return fail

    answers = {name: failing(error) for name, error in script.items()}
    async with ScriptedDriver(tmp_path, **answers) as driver, peer_of(driver.endpoint) as peer:
        with pytest.raises(PeerError, match=message):
            await peer.learn()


async def test_nothing_listens(tmp_path: Path) -> None:
    async with peer_of(f"unix://{tmp_path}/none.sock") as peer:
        with pytest.raises(PeerError, match="was not ready within"):
            await peer.learn(timeout_s=0.2)
        assert not await peer.is_alive()
        assert peer.pids() == ()


async def test_every_call_is_kept_as_it_was(tmp_path: Path) -> None:
    async with ScriptedDriver(tmp_path) as driver, peer_of(driver.endpoint) as peer:
        await peer.learn()
        before = len(peer.exchanges)
        await peer.send(m.DeleteVolumeRequest("v"), timeout_s=5)
        garbage = await peer.send_bytes(RPCS["ListVolumes"], b"\xff", m.ListVolumesRequest(), timeout_s=5)
        assert [exchange.rpc.name for exchange in peer.exchanges[before:]] == ["DeleteVolume", "ListVolumes"]
        assert (garbage.code, garbage.message) == (Code.UNIMPLEMENTED, "not in the script")


async def test_the_typed_calls_raise_what_the_driver_said(tmp_path: Path) -> None:
    def gone(_: Any) -> Any:
        raise VolumeNotFound("v")

    async with ScriptedDriver(tmp_path, ControllerGetVolume=gone) as driver, peer_of(driver.endpoint) as peer:
        with pytest.raises(Exception, match="volume 'v' does not exist") as caught:
            await peer.unary(
                "ControllerGetVolume", m.ControllerGetVolumeRequest("v"), m.ControllerGetVolumeResponse, timeout_s=5
            )
        assert getattr(caught.value, "code", None) is Code.NOT_FOUND
    async with peer_of(f"unix://{tmp_path}/none.sock") as peer:
        with pytest.raises(Unavailable, match="does not answer"):
            await peer.probe(timeout_s=1)


async def test_the_process_behind_a_socket_is_found(tmp_path: Path) -> None:
    async with ScriptedDriver(tmp_path) as driver, peer_of(driver.endpoint) as peer:
        assert peer.pids() == (os.getpid(),)
    async with peer_of("tcp://127.0.0.1:1") as peer:
        assert peer.pids() == ()


async def test_a_restart_runs_the_command_and_waits(tmp_path: Path) -> None:
    command = f"printf %s \"$GREETING\" >'{tmp_path}/ran'; touch '{tmp_path}/scripted.sock'"
    async with ScriptedDriver(tmp_path) as driver, peer_of(driver.endpoint, restart_command=command) as peer:
        await peer.restart(environment={"GREETING": "hello"})
        assert (tmp_path / "ran").read_text() == "hello"


async def test_a_restart_command_runs_where_its_user_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "restart.sh").write_text("pwd >ran; touch scripted.sock\n")
    async with ScriptedDriver(tmp_path) as driver, peer_of(driver.endpoint, restart_command="sh ./restart.sh") as peer:
        await peer.restart()
    assert (tmp_path / "ran").read_text() == f"{tmp_path}\n"


async def test_a_restart_command_that_restarts_nothing_is_found_out(tmp_path: Path) -> None:
    async with ScriptedDriver(tmp_path) as driver, peer_of(driver.endpoint, restart_command="true") as peer:
        with pytest.raises(PeerError, match="did not end the driver"):
            await peer.restart()


async def test_a_restart_command_that_fails_is_quoted(tmp_path: Path) -> None:
    async with peer_of(f"unix://{tmp_path}/x.sock", restart_command="echo no such unit >&2; exit 5") as peer:
        with pytest.raises(PeerError, match="ended with status 5: no such unit"):
            await peer.restart()


async def test_a_driver_that_comes_back_ill_is_reported(tmp_path: Path) -> None:
    def ill(_: Any) -> Any:
        raise FailedPrecondition("the journal is damaged")

    async with (
        ScriptedDriver(tmp_path) as driver,
        peer_of(driver.endpoint, restart_command=f"touch '{tmp_path}/scripted.sock'") as peer,
    ):
        await peer.learn()
        driver.script["Probe"] = ill
        with pytest.raises(Failed, match="killed and started again, and then: the journal is damaged"):
            await peer.restart()
