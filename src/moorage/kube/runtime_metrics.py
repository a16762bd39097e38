"""Metrics of the runtime under the names that dashboards for Kubernetes controllers know.

The queues' are client-go's `workqueue_*`, the leases' its `leader_election_*`. What is a state, such as the
depth of a queue, is read at the scrape.
"""

from __future__ import annotations

import asyncio
from collections.abc import Hashable
from typing import TYPE_CHECKING, Any, Final

from moorage.base.metrics import Metrics
from moorage.kube.queue import Queue, QueueObserver, Retries

if TYPE_CHECKING:
    from prometheus_client import Counter, Histogram

__all__ = ["RuntimeMetrics"]

_BUCKETS_S: Final = (1e-8, 1e-7, 1e-6, 1e-5, 1e-4, 1e-3, 0.01, 0.1, 1, 10)


class RuntimeMetrics:
    """The metrics of all queues, controllers and leases of a process."""

    def __init__(self, metrics: Metrics) -> None:
        from prometheus_client import Histogram

        name = ("name",)
        self._depth = metrics.gauge("workqueue_depth", "Current depth of workqueue", labels=name)
        self._unfinished = metrics.gauge(
            "workqueue_unfinished_work_seconds",
            "How many seconds of work has been done that is in progress and hasn't been observed by work_duration.",
            labels=name,
        )
        self._longest = metrics.gauge(
            "workqueue_longest_running_processor_seconds",
            "How many seconds has the longest running processor for workqueue been running.",
            labels=name,
        )
        self._adds = metrics.counter("workqueue_adds_total", "Total number of adds handled by workqueue", labels=name)
        self._retries = metrics.counter(
            "workqueue_retries_total", "Total number of retries handled by workqueue", labels=name
        )
        self._waiting, self._working = (
            Histogram(metric, text, name, buckets=_BUCKETS_S, registry=metrics.registry)
            for metric, text in (
                (
                    "workqueue_queue_duration_seconds",
                    "How long in seconds an item stays in workqueue before being requested.",
                ),
                ("workqueue_work_duration_seconds", "How long in seconds processing an item from workqueue takes."),
            )
        )
        self._reconciled = metrics.counter(
            "moorage_kube_reconcile_total", "Reconciliations by how they ended.", labels=("controller", "result")
        )
        self._leading = metrics.gauge(
            "leader_election_master_status",
            "Gauge of if the reporting system is master of the relevant lease, 0 indicates backup, 1 indicates master."
            " 'name' is the string used to identify the lease. Please make sure to group by name.",
            labels=name,
        )
        self._slow_path = metrics.counter(
            "leader_election_slowpath_total",
            "Total number of slow path exercised in renewing leader leases. 'name' is the string used to identify"
            " the lease. Please make sure to group by name.",
            labels=name,
        )

    def queue(self, name: str, *, retries: Retries | None = None) -> Queue[Any]:
        """A queue that is measured; one of the same name takes the place of an earlier one."""
        observer = _QueueObserver(
            self._adds.labels(name), self._retries.labels(name), self._waiting.labels(name), self._working.labels(name)
        )
        queue: Queue[Hashable] = Queue(name, retries=retries or Retries(), observer=observer)
        self._depth.labels(name).set_function(lambda: len(queue))
        self._unfinished.labels(name).set_function(lambda: sum(_ages_s(queue)))
        self._longest.labels(name).set_function(lambda: max(_ages_s(queue), default=0.0))
        return queue

    def reconciled(self, controller: str, outcome: str) -> None:
        """Count a reconciliation; see `moorage.kube.controller.ReconcileObserver`."""
        self._reconciled.labels(controller, outcome).inc()

    def leading(self, lease: str, leads: bool) -> None:
        """Whether this process holds `lease`; see `moorage.kube.leader.LeaseObserver`."""
        self._leading.labels(lease).set(1 if leads else 0)

    def slow_path(self, lease: str) -> None:
        """A renewal had to read the lease first."""
        self._slow_path.labels(lease).inc()


class _QueueObserver(QueueObserver):
    __slots__ = ("_adds", "_retries", "_waiting", "_working")

    def __init__(self, adds: Counter, retries: Counter, waiting: Histogram, working: Histogram) -> None:
        self._adds = adds
        self._retries = retries
        self._waiting = waiting
        self._working = working

    def added(self) -> None:
        self._adds.inc()

    def retried(self) -> None:
        self._retries.inc()

    def started(self, waited_s: float) -> None:
        self._waiting.observe(waited_s)

    def finished(self, worked_s: float) -> None:
        self._working.observe(worked_s)


def _ages_s(queue: Queue[Any]) -> list[float]:
    now_s = asyncio.get_running_loop().time()
    return [now_s - since_s for since_s in queue.running_since_s]
