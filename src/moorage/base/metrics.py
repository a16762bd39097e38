"""Metrics in Prometheus text format, under the names that dashboards for CSI already use.

A thin wrapper with its own registry, so that nothing leaks in from other users of prometheus_client in the
same process. That library is imported when the first `Metrics` is made: a process without metrics does not
pay for it. Label values come from the caller; this module knows no RPC and no status code.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from prometheus_client import Counter, Gauge

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"
PLUGIN_OPERATIONS: Final = "csi_plugin_operations_seconds"
SIDECAR_OPERATIONS: Final = "csi_sidecar_operations_seconds"
BUCKETS_S: Final = (0.1, 0.25, 0.5, 1, 2.5, 5, 10, 15, 25, 50, 120, 300, 600)
LABELS: Final = ("driver_name", "method_name", "grpc_status_code")


class Metrics:
    """Duration of operations by driver, method and status code, plus gauges and counters that a caller adds.

    `operations` is the name of the histogram (`PLUGIN_OPERATIONS` or `SIDECAR_OPERATIONS`); `extra_labels`
    are further label names of it, such as `migrated`.
    """

    def __init__(self, operations: str, *, extra_labels: tuple[str, ...] = ()) -> None:
        import prometheus_client as client

        client.disable_created_metrics()  # type: ignore[no-untyped-call] # upstream has no *_created series
        self._client = client
        self.registry = client.CollectorRegistry()
        self._operations = client.Histogram(
            operations,
            "Duration of Container Storage Interface operations in seconds, by gRPC status code",
            (*LABELS, *extra_labels),
            buckets=BUCKETS_S,
            registry=self.registry,
        )
        start = self.gauge("process_start_time_seconds", "Start time of the process since unix epoch in seconds.")
        start.set(process_start_time_s())

    def observe(
        self,
        duration_s: float,
        *,
        driver_name: str,
        method_name: str,
        grpc_status_code: str,
        **extra_labels: str,
    ) -> None:
        """Count one finished operation, such as method `/csi.v1.Controller/CreateVolume` with status `OK`."""
        self._operations.labels(
            driver_name=driver_name,
            method_name=method_name,
            grpc_status_code=grpc_status_code,
            **extra_labels,
        ).observe(duration_s)

    def gauge(
        self,
        name: str,
        text: str,
        *,
        labels: tuple[str, ...] = (),
        read: Callable[[], float] | None = None,
    ) -> Gauge:
        """Add a gauge; with `read`, its value is asked for at every scrape."""
        gauge = self._client.Gauge(name, text, labels, registry=self.registry)
        if read is not None:
            gauge.set_function(read)
        return gauge

    def counter(self, name: str, text: str, *, labels: tuple[str, ...] = ()) -> Counter:
        """Add a counter."""
        return self._client.Counter(name, text, labels, registry=self.registry)

    def render(self) -> bytes:
        """All metrics in text format 0.0.4; serve them as `CONTENT_TYPE`."""
        return self._client.generate_latest(self.registry)


def process_start_time_s() -> float:
    """When this process started, in seconds since the epoch, from /proc."""
    try:
        with open("/proc/self/stat", "rb") as stat, open("/proc/uptime", "rb") as uptime:
            ticks = int(stat.read().rpartition(b")")[2].split()[19])
            boot_s = time.time() - float(uptime.read().split()[0])
    except (OSError, ValueError, IndexError):
        return time.time()
    return round(boot_s + ticks / os.sysconf("SC_CLK_TCK"), 2)
