"""Moorage and grpc-go: our client with a Go driver, a Go client with our server, our commands with a Go driver."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tests.support import peer_contract, peers

pytestmark = pytest.mark.contract


@pytest.fixture(scope="module")
def binary() -> Path:
    place = peers.place_of("go")
    if place.missing:
        pytest.skip(place.missing)
    return place.binary


class TestGoDriver(peer_contract.DriverContract):
    plugin_name = "go.peer.example.com"
    id_prefix = "go-"


class TestGoClient(peer_contract.ClientContract):
    pass


async def moorage(*arguments: str | Path, state_dir: Path) -> str:
    """What the command prints; it must succeed."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "moorage", *arguments),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={**os.environ, "XDG_STATE_HOME": str(state_dir)},
    )
    try:
        async with asyncio.timeout(50):
            output, errors = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert process.returncode == 0, (output + errors).decode(errors="replace")
    return output.decode()


class TestCommands:
    """Our commands with a Go driver whose volumes are directories that it mounts."""

    @pytest.fixture
    async def driver(self, binary: Path, folder: Path, tmp_path: Path) -> AsyncIterator[peers.Serving]:
        async with peers.Serving(binary, folder / "csi.sock", (str(tmp_path),)) as serving:
            yield serving

    async def test_rpc_prints_what_the_driver_says(self, driver: peers.Serving, tmp_path: Path) -> None:
        address = ("-e", driver.socket)
        info = await moorage("rpc", *address, "identity", "get-plugin-info", "--check", state_dir=tmp_path)
        assert json.loads(info)["name"] == "go.peer.example.com"
        stream = await moorage("rpc", *address, "metadata", "allocated", "monday", state_dir=tmp_path)
        ranges = [block for line in stream.splitlines() for block in json.loads(line)["block_metadata"]]
        assert len(ranges) == peer_contract.BLOCK_COUNT

    @pytest.mark.root
    async def test_the_demo_takes_a_volume_through_its_life(self, driver: peers.Serving, tmp_path: Path) -> None:
        told = json.loads(await moorage("demo", "--driver", driver.socket, "-o", "json", state_dir=tmp_path))
        assert told["ok"] is True
        assert told["left_behind"] == []
        done = {act["title"] for act in told["acts"] if act["outcome"] == "done"}
        assert {"mount it", "ask how full it is", "the clone holds the new content", "delete twin"} <= done
        made = {call["rpc"] for act in told["acts"] for call in act["calls"]}
        assert {"CreateVolume", "NodePublishVolume", "NodeUnpublishVolume", "DeleteVolume"} <= made
        assert list(tmp_path.iterdir()) == []
