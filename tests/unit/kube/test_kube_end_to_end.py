"""The client over real connections: the verbs, a watch with large objects, and what it loads."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
from aiohttp import web
from msgspec import Struct
from tests.support.kube_servers import serving

from moorage.kube.api import Api
from moorage.kube.config import ClientConfig, Cluster
from moorage.kube.errors import Gone, NotFound
from moorage.kube.http_transport import HttpTransport
from moorage.kube.resource import CONFIG_MAPS
from moorage.kube.watch import Bookmark, Change

LARGE = "x" * 3_000_000


class Metadata(Struct, rename="camel"):
    name: str = ""
    resource_version: str = ""


class ConfigMap(Struct):
    metadata: Metadata
    data: dict[str, str] = {}


def event(type_: str, **found: object) -> bytes:
    return json.dumps({"type": type_, "object": found}).encode() + b"\n"


async def cluster(request: web.Request) -> web.StreamResponse:
    """One ConfigMap, which grows large and goes, and a watch that becomes too old then."""
    if request.query.get("watch"):
        response = web.StreamResponse()
        await response.prepare(request)
        await response.write(event("MODIFIED", metadata={"name": "a", "resourceVersion": "6"}, data={"k": LARGE}))
        await response.write(event("BOOKMARK", metadata={"resourceVersion": "8"}))
        await response.write(event("ERROR", kind="Status", reason="Expired", code=410, message="too old"))
        return response
    if request.path.endswith("/a"):
        return web.json_response({"metadata": {"name": "a", "resourceVersion": "5"}})
    return web.json_response({"kind": "Status", "reason": "NotFound", "message": "no b", "code": 404}, status=404)


async def test_get_and_watch() -> None:
    async with serving(cluster) as seen:
        api = Api(HttpTransport(ClientConfig(cluster=Cluster(server=f"http://127.0.0.1:{seen.port}"))))
        try:
            found = await api.get(CONFIG_MAPS, ConfigMap, name="a", namespace="x")
            assert found.metadata == Metadata("a", "5")
            with pytest.raises(NotFound, match="no b"):
                await api.get(CONFIG_MAPS, ConfigMap, name="b", namespace="x")
            async with api.watch(CONFIG_MAPS, ConfigMap, resource_version="5") as events:
                change = await anext(events)
                assert isinstance(change, Change)
                assert change.object.data == {"k": LARGE}
                assert await anext(events) == Bookmark("8")
                with pytest.raises(Gone):
                    await anext(events)
        finally:
            await api.close()


def test_only_the_transport_over_connections_loads_an_http_library() -> None:
    modules = "api, config, exec_plugin, kubeconfig, observation, patch, server, tls, watch"
    program = f"from moorage.kube import {modules}\nimport sys\nprint({{'aiohttp', 'yaml', 'grpc'}} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=30, check=True)
    assert done.stdout.strip() == "set()"
