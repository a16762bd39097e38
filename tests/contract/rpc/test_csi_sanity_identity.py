"""The Identity cases of csi-sanity, a Go client, against a server of ours with three handlers."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from moorage.rpc.client import Client
from moorage.spec.capabilities import Declared
from moorage.spec.messages import (
    ControllerGetCapabilitiesResponse,
    GetPluginCapabilitiesResponse,
    GetPluginInfoResponse,
    NodeGetCapabilitiesResponse,
    ProbeResponse,
)
from moorage.spec.types import PluginCapability

pytestmark = pytest.mark.contract

Serve = Callable[..., contextlib.AbstractAsyncContextManager[Client]]


def returning(response: object) -> Any:
    async def handler(request: object) -> Any:
        return response

    return handler


async def test_csi_sanity_accepts_the_identity_service(csi_sanity: Path, serve: Serve, folder: Path) -> None:
    plugin = frozenset({PluginCapability.CONTROLLER_SERVICE})
    handlers = {
        "GetPluginInfo": returning(GetPluginInfoResponse(name="test.moorage.example", vendor_version="1.0.0")),
        "GetPluginCapabilities": returning(GetPluginCapabilitiesResponse(plugin)),
        "Probe": returning(ProbeResponse(ready=True)),
        "ControllerGetCapabilities": returning(ControllerGetCapabilitiesResponse()),
        "NodeGetCapabilities": returning(NodeGetCapabilitiesResponse()),
    }
    declared = Declared(plugin=plugin, services=frozenset({"Identity", "Controller", "Node"}))
    async with serve(handlers, declared=declared):
        process = await asyncio.create_subprocess_exec(
            csi_sanity,
            f"--csi.endpoint={folder}/csi.sock",
            f"--csi.mountdir={folder}/mount",
            f"--csi.stagingdir={folder}/staging",
            "--ginkgo.focus=Identity Service",
            "--ginkgo.no-color",
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        output, _ = await asyncio.wait_for(process.communicate(), 50)
    text = output.decode()
    assert process.returncode == 0, text
    assert "0 Failed" in text, text
    assert " 0 Passed" not in text, text
