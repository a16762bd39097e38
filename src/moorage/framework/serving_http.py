"""What a serving driver tells over HTTP: metrics, whether it lives, whether it is ready, and what it is doing.

The server itself is `moorage.base.http`. Nothing here changes anything.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any, Final

from moorage.base.http import Response, Route
from moorage.base.metrics import CONTENT_TYPE, PLUGIN_OPERATIONS, Metrics
from moorage.framework.plugin import Plugin
from moorage.rpc.observation import observe_in
from moorage.rpc.server import Server
from moorage.spec.errors import Code, CsiError
from moorage.spec.messages import ProbeRequest

_TEXT: Final = "text/plain; charset=utf-8"
_JSON: Final = "application/json"


class ServingMetrics:
    """The metrics of one plugin: durations of its RPCs, and how many operations run."""

    def __init__(self, plugin: Plugin) -> None:
        self._metrics = Metrics(PLUGIN_OPERATIONS)
        self._observe = observe_in(self._metrics, driver_name=plugin.name)
        self._metrics.gauge(
            "moorage_operations_running",
            "Operations that run now, whether or not a caller still waits for them.",
            read=lambda: len(plugin.running()),
        )
        self._metrics.gauge(
            "moorage_operation_age_seconds",
            "Age of the oldest operation that runs now, 0 when none does.",
            read=lambda: max((operation.age_s for operation in plugin.running()), default=0.0),
        )

    def observe(self, path: str, code: Code, duration_s: float) -> None:
        """Count a finished RPC."""
        self._observe(path, code, duration_s)

    def render(self) -> bytes:
        """All metrics in Prometheus' text format."""
        return self._metrics.render()


def routes(
    plugin: Plugin, server: Server, metrics: ServingMetrics, *, is_stopping: Callable[[], bool]
) -> Mapping[str, Route]:
    """The paths served: /metrics, /healthz (the loop answers), /readyz (Probe says so) and /operations."""

    async def render_metrics() -> Response:
        return 200, CONTENT_TYPE, metrics.render()

    async def healthz() -> Response:
        return 200, _TEXT, b"ok\n"

    async def readyz() -> Response:
        if is_stopping():
            return 503, _TEXT, b"stopping\n"
        problem = await _probe_problem(plugin)
        return (503, _TEXT, f"{problem}\n".encode()) if problem else (200, _TEXT, b"ok\n")

    async def operations() -> Response:
        return 200, _JSON, json.dumps(_running(plugin, server), indent=2).encode() + b"\n"

    return {"/metrics": render_metrics, "/healthz": healthz, "/readyz": readyz, "/operations": operations}


async def _probe_problem(plugin: Plugin) -> str:
    probe: Any = plugin.handlers["Probe"]
    try:
        response = await probe(ProbeRequest())
    except CsiError as error:
        return f"{error.code.name}: {error.message}"
    return "" if response.ready in {None, True} else "the driver is not ready"


def _running(plugin: Plugin, server: Server) -> dict[str, list[dict[str, object]]]:
    return {
        "operations": [
            {"operation": row.describe, "age_s": round(row.age_s, 3), "waiters": row.waiters}
            for row in plugin.running()
        ],
        "calls": [
            {"rpc": call.rpc_name, "request_id": call.request_id, "remaining_s": round(call.remaining_s, 3)}
            for call in server.calls()
        ],
    }
