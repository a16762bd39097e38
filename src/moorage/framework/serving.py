"""A driver class, running as a process: plugin, socket, metrics and signals, from start to a bounded stop.

Everything that serves is opened here and closed again: calls first, then the driver, and HTTP last, so that a slow
stop can be watched. A stop takes `grace_s` at most, even
when a vendor's call hangs or blocks the event loop: a thread of its own ends the process then. This module
reads neither the environment nor files; `moorage.cli.serve` and tests say what to serve and where.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import re
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from moorage.base import faults
from moorage.base.http import Address, HttpServer, parse_address
from moorage.base.log import get_logger
from moorage.base.scrubber import SecretScrubber
from moorage.base.signals import Signals
from moorage.framework.config import Config, options
from moorage.framework.driver import Driver
from moorage.framework.inference import Mode
from moorage.framework.plugin import Plugin, PluginError
from moorage.framework.serving_http import ServingMetrics, routes
from moorage.framework.states import LocalJournal
from moorage.rpc.endpoint import SOCKET_MODE, Endpoint, EndpointError, parse_server_endpoint
from moorage.rpc.server import ABORT_S, Server
from moorage.spec.errors import CsiError
from moorage.state.errors import JournalError

GRACE_S: Final = 25.0
"""How long a stop may take: less than the 30 s after which the kubelet kills."""
_DRAIN_S: Final = 2.0
_REPLICA_SET_POD: Final = re.compile(r"[a-z0-9.-]+-[bcdf-hj-np-tv-xz2456789]{8,10}-[bcdf-hj-np-tv-xz2456789]{5}")
_CLOSE_S: Final = 1.0

log = get_logger(__name__)


class ServeError(Exception):
    """The driver cannot be served; the message is one sentence that says why and what to do."""


async def serve(
    driver_class: type[Driver],
    config: Config,
    *,
    endpoint: str,
    mode: Mode = "all",
    state_dir: Path,
    metrics_address: str | None = None,
    grace_s: float = GRACE_S,
    socket_mode: int = SOCKET_MODE,
    grpc_health: bool = False,
    grpc_reflection: bool = False,
    scrubber: SecretScrubber | None = None,
    fault_plan: faults.FaultPlan | None = None,
) -> int:
    """Serve a driver until SIGTERM or SIGINT; SIGUSR1 writes what runs to the log.

    state_dir: this driver's own directory (see `state_directory`). metrics_address: HOST:PORT for /metrics,
    /healthz, /readyz and /operations, None for none. grace_s: the longest stop, in seconds. scrubber: the one
    that the log was configured with. Returns 0, or 1 when operations were left running at the end; the caller
    should then leave with `os._exit`, as their threads cannot be ended. Raises ServeError.
    """
    scrubber = scrubber or SecretScrubber()
    address = _checked_address(metrics_address)
    with contextlib.ExitStack() as hidden:
        hidden.enter_context(scrubber.hiding(_secrets_of(config)))
        if fault_plan is not None:
            hidden.enter_context(_faults_in_force(fault_plan))
        try:
            service = _Service(
                plugin=Plugin(driver_class(config), state_dir=state_dir, mode=mode, scrubber=scrubber),
                endpoint=parse_server_endpoint(endpoint),
                address=address,
                grace_s=grace_s,
            )
            service.prepare(scrubber, socket_mode=socket_mode, grpc_health=grpc_health, grpc_reflection=grpc_reflection)
            return await service.run()
        except (PluginError, EndpointError, JournalError, CsiError, ImportError) as error:
            raise ServeError(scrubber(str(error))) from error
        except OSError as error:
            place = f" ({error.filename})" if error.filename else ""
            raise ServeError(f"{driver_class.__name__} cannot start: {scrubber(str(error.strerror))}{place}") from error
        except Exception as error:
            log.exception("driver.failed", driver=driver_class.__name__)
            reason = scrubber(" ".join(str(error).split()))
            raise ServeError(
                f"{driver_class.__name__} failed with {type(error).__name__} ({reason}); the log has its traceback"
            ) from error


def state_directory(root: Path | None, driver_name: str, *, environment: Mapping[str, str], is_root: bool) -> Path:
    """Where a driver keeps its journal: a directory of its own name below `root`.

    Without a root it is /var/lib/moorage for the superuser, else `moorage` in the XDG state directory.
    """
    if root is None:
        root = Path("/var/lib/moorage") if is_root else _xdg_state_home(environment) / "moorage"
    return root.absolute() / driver_name


def placement_problem(driver_class: type[Driver], mode: Mode, *, environment: Mapping[str, str]) -> str:
    """Why this process may not keep a journal where it runs, as a sentence; empty when it may.

    A controller in a Deployment moves between machines and may run twice while it does, so a journal on local disk
    is not its truth. Such a pod is told by its name, which the ReplicaSet makes and HOSTNAME holds.
    """
    if not isinstance(driver_class.state, LocalJournal) or mode == "node":
        return ""
    pod = environment.get("HOSTNAME", "") if environment.get("KUBERNETES_SERVICE_HOST") else ""
    if not _REPLICA_SET_POD.fullmatch(pod):
        return ""
    return (
        f"{driver_class.__name__} keeps its state in a journal on local disk, and pod {pod} looks like one of a "
        "Deployment, which moves between nodes; run the controller in a StatefulSet or a DaemonSet"
    )


def _xdg_state_home(environment: Mapping[str, str]) -> Path:
    given = Path(environment.get("XDG_STATE_HOME", ""))
    return given if given.is_absolute() else Path(environment.get("HOME") or "/tmp") / ".local" / "state"


def _checked_address(text: str | None) -> Address | None:
    try:
        return parse_address(text) if text else None
    except ValueError as error:
        raise ServeError(f"metrics address {error}") from None


def _secrets_of(config: Config) -> list[str]:
    values = [getattr(config, option.field) for option in options(type(config)) if option.secret]
    flat = [item for value in values for item in (value if isinstance(value, list | tuple) else [value])]
    return [str(item) for item in flat if item is not None and not isinstance(item, bool)]


@contextlib.contextmanager
def _faults_in_force(plan: faults.FaultPlan) -> Iterator[None]:
    faults.install(plan)
    log.warning("faults.installed")
    try:
        yield
    finally:
        faults.install(None)


@dataclass(slots=True, kw_only=True)
class _Service:
    """The parts of a running driver, and the order in which they start and stop."""

    plugin: Plugin
    endpoint: Endpoint
    address: Address | None
    grace_s: float
    metrics: ServingMetrics | None = None
    scrubber: SecretScrubber = field(default_factory=SecretScrubber)
    socket: dict[str, bool | int] = field(default_factory=dict)
    server: Server | None = None
    http: HttpServer | None = None
    stopping: bool = False

    def prepare(self, scrubber: SecretScrubber, **socket: bool | int) -> None:
        self.scrubber = scrubber
        self.socket = socket
        if self.address is not None:
            self.metrics = ServingMetrics(self.plugin)

    async def run(self) -> int:
        with Signals() as signals:
            signals.on_dump("operation", self._operation_rows)
            signals.on_dump("call", self._call_rows)
            told = asyncio.create_task(signals.stopping.wait(), name="wait for a signal")
            starting = asyncio.create_task(self._start(), name="start the driver")
            try:
                await asyncio.wait({told, starting}, return_when=asyncio.FIRST_COMPLETED)
                if starting.done():
                    await starting
                    self._tell_ready()
                    await told
            except BaseException:
                await self._abandon(told)
                raise
            return await self._stop(starting)

    async def _start(self) -> None:
        await self.plugin.start()
        self.server = Server(
            self.plugin.handlers,
            self.plugin.declared,
            driver_name=self.plugin.name,
            endpoint=self.endpoint,
            mode=int(self.socket["socket_mode"]),
            scrubber=self.scrubber,
            observe=self.metrics.observe if self.metrics is not None else None,
            health=bool(self.socket["grpc_health"]),
            reflection=bool(self.socket["grpc_reflection"]),
        )
        await self.server.start()
        if self.address is not None and self.metrics is not None:
            self.http = HttpServer(routes(self.plugin, self.server, self.metrics, is_stopping=lambda: self.stopping))
            self.address = await self.http.start(self.address)

    def _tell_ready(self) -> None:
        plan = faults.installed()
        if plan is not None and (unknown := plan.unknown_points()):
            log.warning("faults.unknown_points", points=unknown)
        shown = f"{self.address.host}:{self.address.port}" if self.address is not None else "none"
        log.info(
            "ready",
            endpoint=str(self.endpoint),
            driver=self.plugin.name,
            version=self.plugin.version,
            mode=self.plugin.mode,
            metrics=shown,
        )

    async def _abandon(self, told: asyncio.Task[bool]) -> None:
        """Undo a start that failed half way."""
        told.cancel()
        with _forced_exit_after(self.grace_s, self.plugin.name):
            if self.server is not None:
                await self.server.stop(grace_s=0.0)
            await self.plugin.stop(grace_s=0.0)

    async def _stop(self, starting: asyncio.Task[None]) -> int:
        deadline_s = time.monotonic() + self.grace_s
        self.stopping = True
        with _forced_exit_after(self.grace_s, self.plugin.name):
            if not starting.done():
                starting.cancel()
                await asyncio.wait({starting}, timeout=_CLOSE_S)
            if self.server is not None:
                await self.server.stop(grace_s=max(0.0, self.grace_s - ABORT_S - _DRAIN_S - _CLOSE_S))
            left = await self.plugin.stop(grace_s=max(0.0, deadline_s - time.monotonic() - _CLOSE_S))
            if self.http is not None:
                await self.http.close(grace_s=0.2)
        for operation in left:
            log.warning("operation.left_running", operation=operation.describe, age_s=round(operation.age_s, 1))
        log.info("stopped", driver=self.plugin.name, left=len(left))
        return 1 if left else 0

    def _operation_rows(self) -> list[dict[str, object]]:
        return [
            {"operation": row.describe, "age_s": round(row.age_s, 1), "waiters": row.waiters}
            for row in self.plugin.running()
        ]

    def _call_rows(self) -> list[dict[str, object]]:
        calls = self.server.calls() if self.server is not None else []
        return [
            {"rpc": call.rpc_name, "request_id": call.request_id, "remaining_s": round(call.remaining_s, 1)}
            for call in calls
        ]


@contextlib.contextmanager
def _forced_exit_after(grace_s: float, driver_name: str) -> Iterator[None]:
    """End the process from a thread when the body takes longer: a vendor's call may block even the loop."""

    def leave() -> None:
        log.error("process.forced_exit", driver=driver_name, after_s=grace_s)
        logging.shutdown()
        os._exit(1)

    timer = threading.Timer(grace_s, leave)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
