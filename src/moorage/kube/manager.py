"""Runs the controllers of a process: services below, groups above, each group a failure domain of its own.

Services (informers, the event recorder, the HTTP server) start in order before any group and stop in reverse
order after all of them. A group builds whatever it needs anew at each start. If it fails it is started again,
until it has failed too often, and then the process ends. A group with a lease works only while it leads. The
others notice nothing of all that.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from moorage.base.backoff import Backoff
from moorage.base.log import get_logger
from moorage.kube.leader import Candidate
from moorage.kube.lease_keeper import LeaseKeeper
from moorage.kube.server import LEADER_ELECTION, Check

__all__ = ["Budget", "Group", "GroupFailed", "Service", "Standing", "Supervisor"]

_RESTART: Final = Backoff(1.0, 30.0, jitter=0.2)

_log = get_logger(__name__)


class GroupFailed(Exception):
    """A group, or a service that all need, has failed for good; the process should end with exit code 1."""


@dataclass(frozen=True, slots=True)
class Budget:
    """How often a group may be started again within a time."""

    restarts: int = 5
    within_s: float = 600.0


class Standing:
    """Where a group stands. Without a `problem` it counts as ready, also while another process leads."""

    def __init__(self) -> None:
        self.problem = "it has not been started yet"
        self.restarts = 0

    def ready(self) -> None:
        """The group does its work from now on; for the group itself to say."""
        self.problem = ""


async def _nothing() -> None:
    pass


@dataclass(frozen=True, slots=True)
class Service:
    """Something that runs until cancelled, and what is to be awaited before it is (flushing, for example)."""

    name: str
    run: Callable[[], Awaitable[None]]
    before_stop: Callable[[], Awaitable[object]] = _nothing


@dataclass(frozen=True, slots=True)
class Group:
    """Controllers that start, stop and fail together; `run` ends only when it is cancelled."""

    name: str
    run: Callable[[Standing], Awaitable[None]]
    candidate: Candidate | None = None
    budget: Budget = field(default_factory=Budget)


class Supervisor:
    """The services and groups of a process. `keeper` is needed when a group has a lease, and must be entered before."""

    def __init__(
        self, groups: Sequence[Group], *, services: Sequence[Service] = (), keeper: LeaseKeeper | None = None
    ) -> None:
        names = [group.name for group in groups]
        if len(set(names)) < len(names):
            raise ValueError(f"two groups have the same name among {', '.join(names)}; name them apart")
        if keeper is None and any(group.candidate for group in groups):
            raise ValueError("a group with a lease needs a LeaseKeeper; give one")
        self._groups = groups
        self._services = services
        self._keeper = keeper
        self.standing: Mapping[str, Standing] = {group.name: Standing() for group in groups}

    def ready_checks(self) -> Mapping[str, Check]:
        """One check for each group, for `moorage.kube.server.routes`."""
        return {name: _ready_check(standing) for name, standing in self.standing.items()}

    def live_checks(self) -> Mapping[str, Check]:
        """The check of the leases, if there are any."""
        return {} if self._keeper is None else {LEADER_ELECTION: self._keeper.check}

    async def run(self) -> None:
        """Run until cancelled. Raises GroupFailed."""
        try:
            async with contextlib.AsyncExitStack() as stack:
                for service in self._services:
                    await stack.enter_async_context(_background(service))
                async with asyncio.TaskGroup() as tasks:
                    for group in self._groups:
                        tasks.create_task(self._supervise(group), name=f"group {group.name}")
        except BaseExceptionGroup as errors:
            raise _first(errors) from errors

    async def _supervise(self, group: Group) -> None:
        standing = self.standing[group.name]
        failed_at_s: deque[float] = deque()
        loop = asyncio.get_running_loop()
        while True:
            try:
                await self._lead(group, standing)
                continue
            except Exception as error:
                now_s = loop.time()
                failed_at_s.append(now_s)
                while failed_at_s[0] <= now_s - group.budget.within_s:
                    failed_at_s.popleft()
                standing.problem = f"it failed and will be started again: {error}"
                _log.exception("group.failed", group=group.name, failures=len(failed_at_s))
                if len(failed_at_s) > group.budget.restarts:
                    raise GroupFailed(
                        f"controller group {group.name} failed {len(failed_at_s)} times within "
                        f"{group.budget.within_s:g} s, last with: {error}"
                    ) from error
            standing.restarts += 1
            await asyncio.sleep(_RESTART.delay_s(len(failed_at_s) - 1))

    async def _lead(self, group: Group, standing: Standing) -> None:
        """Run a group once, as the leader if it has a lease; returns when the lease is lost, else raises."""

        async def work() -> None:
            standing.problem = "it is starting"
            await group.run(standing)
            raise RuntimeError(f"controller group {group.name} ended without being told to")

        if group.candidate is None or self._keeper is None:
            await work()
            return
        standing.problem = ""
        await self._keeper.lead(group.candidate, work)
        _log.warning("group.stopped", group=group.name, lease=group.candidate.name)


@contextlib.asynccontextmanager
async def _background(service: Service) -> AsyncIterator[None]:
    async def run() -> None:
        await service.run()
        raise GroupFailed(f"service {service.name} ended without being told to")

    async with asyncio.TaskGroup() as tasks:
        task = tasks.create_task(run(), name=f"service {service.name}")
        try:
            yield
        finally:
            try:
                if not task.done():
                    await service.before_stop()
            finally:
                task.cancel()


def _ready_check(standing: Standing) -> Check:
    async def check() -> str:
        return standing.problem

    return check


def _first(errors: BaseExceptionGroup[BaseException]) -> BaseException:
    """The one that matters: the verdict on a group, else the first."""
    leaves = list(_leaves(errors))
    return next((error for error in leaves if isinstance(error, GroupFailed)), leaves[0])


def _leaves(errors: BaseExceptionGroup[BaseException]) -> Iterable[BaseException]:
    for error in errors.exceptions:
        if isinstance(error, BaseExceptionGroup):
            yield from _leaves(error)
        else:
            yield error
