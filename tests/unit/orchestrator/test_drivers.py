"""Registering drivers, and finding the one that a user means."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.unit.orchestrator.memory_driver import MemoryDriver
from tests.unit.orchestrator.setting import a_desk, a_wish

from moorage.orchestrator.drivers import Drivers
from moorage.orchestrator.model import OrchestratorError


async def test_a_socket_is_registered_under_the_name_of_its_plugin(tmp_path: Path) -> None:
    desk = a_desk(tmp_path)
    drivers = Drivers(desk.workspace)
    assert await drivers.resolve("/run/memory.sock") == "memory.example.org"
    assert await drivers.resolve("unix:///run/memory.sock") == "memory.example.org"
    assert await drivers.resolve("") == "memory.example.org"
    assert desk.driver.closed
    (known,) = await drivers.all()
    assert (known.endpoint, known.vendor_version) == ("unix:///run/memory.sock", "1")


async def test_a_name_cannot_silently_move_to_another_socket(tmp_path: Path) -> None:
    drivers = Drivers(a_desk(tmp_path).workspace)
    await drivers.add("/run/memory.sock", name="fast")
    with pytest.raises(OrchestratorError, match="registered at unix"):
        await drivers.add("/run/other.sock", name="fast")
    assert (await drivers.add("/run/other.sock", name="fast", replace=True)).endpoint == "unix:///run/other.sock"


async def test_a_driver_with_volumes_cannot_be_removed(tmp_path: Path) -> None:
    desk = a_desk(tmp_path)
    await desk.register()
    await desk.volumes.create(a_wish())
    with pytest.raises(OrchestratorError, match="needed by volume 'data'"):
        await Drivers(desk.workspace).remove("memory")
    await desk.volumes.delete("data")
    await Drivers(desk.workspace).remove("memory")
    assert await Drivers(desk.workspace).all() == []


async def test_the_driver_may_be_left_out_only_when_there_is_one(tmp_path: Path) -> None:
    drivers = Drivers(a_desk(tmp_path, MemoryDriver()).workspace)
    with pytest.raises(OrchestratorError, match="give --driver"):
        await drivers.resolve("")
    await drivers.add("/run/a.sock", name="a")
    await drivers.add("/run/b.sock", name="b")
    with pytest.raises(OrchestratorError, match="2 are registered"):
        await drivers.resolve("")


@pytest.mark.parametrize(
    ("endpoint", "says"),
    [
        pytest.param("nobody", "no driver 'nobody' is registered", id="unknown-name"),
        pytest.param("tcp://10.0.0.1:99", "not on this machine", id="remote-tcp"),
        pytest.param("http:///x", "scheme", id="scheme"),
    ],
)
async def test_what_is_no_driver_is_refused(tmp_path: Path, endpoint: str, says: str) -> None:
    with pytest.raises(OrchestratorError, match=says):
        await Drivers(a_desk(tmp_path).workspace).resolve(endpoint)
