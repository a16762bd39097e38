"""Renews the leases of a process on a thread and connection of their own.

However busy the main event loop is, and however many requests wait there, leases are renewed in time. And
when a lease is lost while the main loop does not answer, this thread is what still can end the process, before
another one starts to work.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Final, Self, TypeVar

from moorage.base.log import get_logger
from moorage.kube.api import Api
from moorage.kube.leader import Announce, Candidate, Elector, LeaseObserver
from moorage.kube.objects.meta import PartialObject

__all__ = ["HEALTH_GRACE_S", "LeaseKeeper"]

T = TypeVar("T")
HEALTH_GRACE_S: Final = 20.0
_LEAST_STOP_S: Final = 0.5

_log = get_logger(__name__)


class LeaseKeeper:
    """Holds leases for work in the event loop in which it is used; an async context manager.

    `connect` makes the connection, in the thread; `overrun` ends the process at once (`os._exit`), and is
    called in the thread with a text when work has not stopped although its lease is over. `announce` is called
    in the main loop.
    """

    def __init__(
        self,
        connect: Callable[[], Api],
        *,
        overrun: Callable[[str], None],
        observer: LeaseObserver | None = None,
        announce: Announce | None = None,
    ) -> None:
        self._announce = announce or _unannounced
        self._connect = connect
        self._overrun = overrun
        self._observer = observer
        self._electors: dict[str, Elector] = {}
        self._thread: tuple[asyncio.AbstractEventLoop, Api] | None = None
        self._ended = asyncio.Event()

    async def __aenter__(self) -> Self:
        """Start the thread. Raises what `connect` raises."""
        main = asyncio.get_running_loop()
        started: asyncio.Future[None] = main.create_future()
        threading.Thread(target=self._serve, args=(main, started), name="leases", daemon=True).start()
        await started
        return self

    async def __aexit__(self, *_: object) -> None:
        """Close the connection and end the thread; no work may be under way."""
        loop, _api = self._running()
        self._thread = None
        loop.call_soon_threadsafe(loop.stop)
        await self._ended.wait()

    async def lead(self, candidate: Candidate, work: Callable[[], Awaitable[T]]) -> T | None:
        """Wait for the lease, then do `work`; the lease is given up after it has ended, however it did.

        When the lease is lost, `work` is cancelled, and None is returned once it has stopped.
        """
        loop, api = self._running()
        elector = Elector(api, candidate, observer=self._observer)
        self._electors[candidate.name] = elector
        bell = _Bell(asyncio.get_running_loop())
        stopped = asyncio.Event()
        campaign = self._submit(self._campaign(elector, bell, stopped))
        try:
            await _wait_first(bell.acquired, campaign)
            self._announce(candidate, elector.lease, "became leader")
            try:
                return await _work_until((bell.lost, campaign), work)
            finally:
                self._announce(candidate, elector.lease, "stopped leading")
        finally:
            loop.call_soon_threadsafe(stopped.set)
            campaign.cancel()
            self._electors.pop(candidate.name, None)
            await asyncio.shield(self._submit(elector.release()))

    async def check(self) -> str:
        """For `/healthz/leader-election`: which lease we believe to hold is over for long, empty when none."""
        for name, elector in list(self._electors.items()):
            over_s = await self._submit(_overdue_s(elector))
            if over_s > HEALTH_GRACE_S:
                return f"lease {name} ended {over_s:.0f} s ago without being renewed; restart the process"
        return ""

    async def _campaign(self, elector: Elector, bell: _Bell, stopped: asyncio.Event) -> None:
        """In the thread: get the lease, keep it, and see to it that nothing goes on without it."""
        await elector.acquire()
        bell.ring(bell.acquired)
        await elector.hold()
        bell.ring(bell.lost)
        now_s = asyncio.get_running_loop().time()
        end_s = min(now_s + elector.candidate.times.stop_margin_s, elector.expires_s)
        try:
            async with asyncio.timeout_at(max(end_s, now_s + _LEAST_STOP_S)):
                await stopped.wait()
        except TimeoutError:
            self._overrun(
                f"the work under lease {elector.candidate.name} has not stopped in time after the lease was lost; "
                f"the process ends so that {elector.holder or 'another one'} can work alone"
            )

    def _submit(self, work: Coroutine[Any, Any, T]) -> asyncio.Future[T]:
        try:
            loop, _api = self._running()
        except RuntimeError:
            work.close()
            raise
        return asyncio.wrap_future(asyncio.run_coroutine_threadsafe(work, loop))

    def _running(self) -> tuple[asyncio.AbstractEventLoop, Api]:
        if self._thread is None:
            raise RuntimeError("the thread of the leases does not run; use the LeaseKeeper as a context manager")
        return self._thread

    def _serve(self, main: asyncio.AbstractEventLoop, started: asyncio.Future[None]) -> None:
        with asyncio.Runner() as runner:
            loop = runner.get_loop()
            try:
                api = self._connect()
            except Exception as error:
                main.call_soon_threadsafe(started.set_exception, error)
                return
            self._thread = loop, api
            main.call_soon_threadsafe(started.set_result, None)
            loop.run_forever()
            loop.run_until_complete(api.close())
        with contextlib.suppress(RuntimeError):
            main.call_soon_threadsafe(self._ended.set)


def _unannounced(_candidate: Candidate, _lease: PartialObject, _what: str) -> None:
    pass


class _Bell:
    """What the thread tells the main loop, once each."""

    def __init__(self, main: asyncio.AbstractEventLoop) -> None:
        self._main = main
        self.acquired: asyncio.Future[None] = main.create_future()
        self.lost: asyncio.Future[None] = main.create_future()

    def ring(self, future: asyncio.Future[None]) -> None:
        """From the thread: this has happened."""
        self._main.call_soon_threadsafe(lambda: None if future.done() else future.set_result(None))


async def _wait_first(wanted: asyncio.Future[None], campaign: asyncio.Future[None]) -> None:
    """Wait for the lease; a campaign that ends without one has failed."""
    await asyncio.wait((wanted, campaign), return_when=asyncio.FIRST_COMPLETED)
    if not wanted.done():
        await campaign


async def _work_until(ends: tuple[asyncio.Future[None], ...], work: Callable[[], Awaitable[T]]) -> T | None:
    """Do `work`, but stop it when one of `ends` comes; raises what that one raises."""
    task = asyncio.ensure_future(work())
    awaited: list[asyncio.Future[Any]] = [task, *ends]
    try:
        await asyncio.wait(awaited, return_when=asyncio.FIRST_COMPLETED)
    finally:
        if not task.done():
            await _stop(task)
    if not task.cancelled() and task.exception() is None:
        return task.result()
    for end in ends:
        if end.done():
            await end
            return None
    return await task


async def _stop(task: asyncio.Future[Any]) -> None:
    """Cancel `task` and wait until it has ended, whatever it says at its end."""
    task.cancel()
    await asyncio.wait({task})
    if not task.cancelled() and (error := task.exception()) is not None:
        _log.warning("lease.work_failed_at_its_end", reason=str(error))


async def _overdue_s(elector: Elector) -> float:
    return elector.unhealthy_for_s()
