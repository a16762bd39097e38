"""What a run finds at hand: from its settings, and by making volumes."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.support.scripted_driver import ScriptedDriver

from moorage.base.threads import DaemonPool
from moorage.spec import messages as m
from moorage.spec.errors import InvalidArgument, ResourceExhausted
from moorage.spec.types import AccessMode
from moorage.verify import Facility, Peer, Settings
from moorage.verify.facilities import choose_access_mode, find_facilities
from moorage.verify.lab import Lab


@asynccontextmanager
async def lab_of(driver: ScriptedDriver, directory: Path, **settings: Any) -> AsyncIterator[Lab]:
    async with driver:
        peer = Peer(driver.endpoint)
        try:
            await peer.learn()
            wishes = replace(Settings(work_dir=directory), **settings)
            yield Lab(peer, wishes, rule_id="facilities", directory=directory, pool=DaemonPool("t", 1))
        finally:
            await peer.close()


@pytest.mark.parametrize(
    ("settings", "facility"),
    [
        pytest.param({"log_file": Path("/var/log/driver.log")}, Facility.LOG, id="log"),
        pytest.param({"mutable_parameters": {"a": "b"}}, Facility.MUTABLE_PARAMETERS, id="mutable-parameters"),
        pytest.param({"secrets": {"user": "x"}}, Facility.SECRETS, id="secrets"),
        pytest.param({"other_node": "b"}, Facility.OTHER_NODE, id="other-node"),
    ],
)
async def test_what_is_given_is_at_hand(tmp_path: Path, settings: dict[str, Any], facility: Facility) -> None:
    async with lab_of(ScriptedDriver(tmp_path), tmp_path) as lab:
        assert facility not in await find_facilities(lab, read_only=True)
    async with lab_of(ScriptedDriver(tmp_path), tmp_path, **settings) as lab:
        assert facility in await find_facilities(lab, read_only=True)


async def test_a_unix_socket_is_local_and_its_process_visible(tmp_path: Path) -> None:
    async with lab_of(ScriptedDriver(tmp_path), tmp_path) as lab:
        found = await find_facilities(lab, read_only=True)
        assert {Facility.LOCAL, Facility.PROCESS} <= found
        assert (Facility.ROOT in found) == (os.geteuid() == 0)
        lab.peer.node_endpoint = "tcp:10.0.0.7:9000"
        assert Facility.LOCAL not in await find_facilities(lab, read_only=True)


@pytest.mark.parametrize(
    ("refused", "found"),
    [
        pytest.param("mount", {Facility.BLOCK}, id="no-mount"),
        pytest.param("block", {Facility.MOUNT}, id="no-block"),
        pytest.param("", {Facility.MOUNT, Facility.BLOCK}, id="both"),
    ],
)
async def test_access_types_are_found_by_making_a_volume_of_each(
    tmp_path: Path, refused: str, found: set[Facility]
) -> None:
    driver = ScriptedDriver(tmp_path)

    def create(request: m.CreateVolumeRequest) -> Any:
        if refused in {"block" if capability.is_block else "mount" for capability in request.volume_capabilities}:
            raise InvalidArgument("not so")
        return driver._create(request)

    driver.script["CreateVolume"] = create
    async with lab_of(driver, tmp_path) as lab:
        assert await find_facilities(lab, read_only=False) & {Facility.MOUNT, Facility.BLOCK} == found
    assert driver.volumes == {}


async def test_a_full_driver_has_neither_and_the_run_goes_on(tmp_path: Path) -> None:
    def full(request: Any) -> Any:
        raise ResourceExhausted("the pool is full")

    async with lab_of(ScriptedDriver(tmp_path, CreateVolume=full), tmp_path) as lab:
        assert not await find_facilities(lab, read_only=False) & {Facility.MOUNT, Facility.BLOCK}


@pytest.mark.parametrize(
    ("made", "chosen"),
    [
        pytest.param(set(AccessMode), AccessMode.SINGLE_NODE_WRITER, id="one-writer-first"),
        pytest.param({AccessMode.MULTI_NODE_READER_ONLY}, AccessMode.MULTI_NODE_READER_ONLY, id="readers-only"),
        pytest.param(set(), AccessMode.SINGLE_NODE_WRITER, id="nothing-goes"),
    ],
)
async def test_the_access_mode_is_one_that_the_driver_has(
    tmp_path: Path, made: set[AccessMode], chosen: AccessMode
) -> None:
    driver = ScriptedDriver(tmp_path)

    def create(request: m.CreateVolumeRequest) -> Any:
        if not {capability.access_mode for capability in request.volume_capabilities} <= made:
            raise InvalidArgument("not so")
        return driver._create(request)

    driver.script["CreateVolume"] = create
    async with lab_of(driver, tmp_path) as lab:
        assert await choose_access_mode(lab) is chosen


async def test_reading_makes_no_volume(tmp_path: Path) -> None:
    driver = ScriptedDriver(tmp_path)
    async with lab_of(driver, tmp_path) as lab:
        assert not await find_facilities(lab, read_only=True) & {Facility.MOUNT, Facility.BLOCK}
    assert "CreateVolume" not in driver.calls


async def test_without_the_capability_no_volume_is_made(tmp_path: Path) -> None:
    driver = ScriptedDriver(tmp_path, ControllerGetCapabilities=lambda _: m.ControllerGetCapabilitiesResponse())
    async with lab_of(driver, tmp_path) as lab:
        assert not await find_facilities(lab, read_only=False) & {Facility.MOUNT, Facility.BLOCK}
    assert "CreateVolume" not in driver.calls
