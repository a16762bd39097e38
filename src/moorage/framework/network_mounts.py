"""Mounts, unmounts and statistics of network file systems, none of which may take the node down with its server.

Each runs in a child process with a deadline (`moorage.host.helper`) and holds a thread of pools that nothing else
uses. Of one server only a few run at a time, so that a dead one leaves room for the others. A child that the kernel
does not let go of keeps its operation running, and with it the key of the volume, until it is gone: only then
is it known what it did. It holds no thread meanwhile, and when many servers are dead, only unmounts are begun.
Statistics change nothing, so they are answered at once, but asked again only then.
"""

from __future__ import annotations

import asyncio
import errno
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from functools import partial
from typing import Final, TypeVar
from weakref import WeakValueDictionary

from moorage.base.operations import OperationInterrupted, Operations, Overloaded
from moorage.base.threads import DaemonPool
from moorage.framework.source import NetworkMount
from moorage.host.helper import HelperBusy, HelperTimeout, MountHelper
from moorage.host.network import server_of
from moorage.host.stats import FilesystemStats
from moorage.spec.errors import FailedPrecondition, Unavailable

T = TypeVar("T")

_BUSY_S: Final = 3.0
_POLL_S: Final = 0.1
_LOST_POLL_S: Final = 1.0
_LOST: Final = 32
"""From how many lost children on nothing is mounted; the room above it is for unmounts."""


class NetworkMounts:
    """The only way in which the framework touches a mount of a server.

    change_timeout_s: how long an unmount or a bind may take; a mount has its own limit.
    question_timeout_s: how long statistics may take.
    """

    def __init__(self, *, change_timeout_s: float = 30.0, question_timeout_s: float = 10.0) -> None:
        self._change_timeout_s = change_timeout_s
        self._question_timeout_s = question_timeout_s
        self._changes = _Lanes("network mounts", size=16, per_server=4, children=2 * _LOST)
        self._questions = _Lanes("network statistics", size=8, per_server=2, children=8)
        self._asking = Operations(limit=256)
        self._stuck: dict[str, HelperTimeout] = {}
        self._lost = 0

    async def close(self) -> None:
        """Start nothing more; children that hang are left to end with this process."""
        for lanes in (self._changes, self._questions):
            lanes.helper.close()
            await lanes.pool.close(timeout_s=0.0)

    async def mount(self, source: NetworkMount, path: str, flags: Sequence[str]) -> None:
        """Have the source mounted at `path`. Raises OSError, `Unavailable` and `FailedPrecondition`."""
        self._check_lost()
        call = partial(
            self._changes.helper.mount,
            source.source,
            path,
            fs_type=source.fs_type,
            options=(*source.options, *flags),
            with_program=source.with_program,
            timeout_s=source.timeout_s,
        )
        try:
            await self._change(source.source, call, timeout_s=source.timeout_s)
        except OSError as error:
            if error.errno == errno.ENODEV:
                raise FailedPrecondition(
                    f"this node cannot mount {source.fs_type}; load its kernel module and repeat the call"
                ) from error
            if error.errno == errno.EIO:  # mount(8) says in words what is wrong, and the helper hides the options
                raise Unavailable(f"{error.strerror}; mend that and repeat the call") from error
            raise

    async def bind(self, source: str, path: str, target: str, *, readonly: bool) -> None:
        """Have what is mounted at `path` from `source` bound at `target`. Raises OSError and `Unavailable`."""
        self._check_lost()
        timeout_s = self._change_timeout_s
        call = partial(self._changes.helper.bind, path, target, readonly=readonly, timeout_s=timeout_s)
        await self._change(source, call, timeout_s=timeout_s)

    async def unmount(self, source: str, path: str) -> None:
        """Have nothing mounted at `path`, never by force. Raises OSError, EBUSY for a user that stays,
        and `Unavailable`.
        """
        timeout_s = self._change_timeout_s
        call = partial(self._changes.helper.unmount, path, timeout_s=timeout_s)
        loop = asyncio.get_running_loop()
        deadline_s = loop.time() + _BUSY_S
        while True:
            try:
                await self._change(source, call, timeout_s=timeout_s)
                return
            except OSError as error:
                if error.errno != errno.EBUSY or loop.time() >= deadline_s:
                    raise
            await asyncio.sleep(_POLL_S)

    async def usage(self, source: NetworkMount, path: str) -> FilesystemStats:
        """Figures of the file system mounted at `path`; callers that ask for one path at a time share the answer.

        Raises OSError and `Unavailable`, within `question_timeout_s` when the server is dead.
        """
        stuck = self._stuck.get(path)
        if stuck is not None and stuck.still_running():
            raise Unavailable(f"an earlier question still hangs: {stuck}")
        self._stuck.pop(path, None)
        try:
            return await self._asking.run(
                path, b"", describe=f"statistics of {path}", factory=lambda: self._ask(source.source, path)
            )
        except (Overloaded, OperationInterrupted) as refused:
            raise Unavailable(f"{refused}; repeat the call later") from refused

    async def _ask(self, source: str, path: str) -> FilesystemStats:
        timeout_s, lanes = self._question_timeout_s, self._questions
        try:
            async with lanes.place(source, timeout_s):
                return await lanes.call(partial(lanes.helper.statfs, path, timeout_s=timeout_s))
        except HelperTimeout as late:
            self._stuck[path] = late
            raise Unavailable(f"{late}; repeat the call then") from late

    def _check_lost(self) -> None:
        """Raises `Unavailable` when so much hangs that the room left is for unmounts."""
        if self._lost >= _LOST:
            raise Unavailable(
                f"{self._lost} operations hang on servers that do not answer, so nothing more is mounted; "
                "mend those servers or restart the node"
            )

    async def _change(self, source: str, call: Callable[[], T], *, timeout_s: float) -> T:
        """The result of the call; its failure only when the process that it ran in can do nothing more."""
        async with self._changes.place(source, timeout_s):
            try:
                return await self._changes.call(call)
            except HelperTimeout as late:
                await self._until_gone(late)
                raise Unavailable(f"{late}; repeat the call then") from late

    async def _until_gone(self, late: HelperTimeout) -> None:
        """Wait, without a limit and without a thread, until the process of a lost call has ended."""
        self._lost += 1
        pause_s = _POLL_S
        try:
            while late.still_running():
                await asyncio.sleep(pause_s)
                pause_s = min(2 * pause_s, _LOST_POLL_S)
        finally:
            self._lost -= 1


class _Lanes:
    """Children and threads for one purpose, of which one server takes only a few."""

    def __init__(self, name: str, *, size: int, per_server: int, children: int) -> None:
        self.helper = MountHelper(max_children=children)
        self.pool = DaemonPool(name, size)
        self._per_server = per_server
        self._lanes: WeakValueDictionary[str, asyncio.Semaphore] = WeakValueDictionary()

    async def call(self, function: Callable[[], T]) -> T:
        """Run in a thread; that all children are taken is `Unavailable`."""
        try:
            return await self.pool.call(function)
        except HelperBusy as busy:
            raise Unavailable(f"network file systems cannot be worked with now: {busy.strerror}") from busy

    @asynccontextmanager
    async def place(self, source: str, wait_s: float) -> AsyncIterator[None]:
        """A place among the few operations of the server of `source`; raises `Unavailable` when none comes free."""
        server = server_of(source)
        lane = self._lanes.get(server)
        if lane is None:
            lane = self._lanes[server] = asyncio.Semaphore(self._per_server)
        try:
            async with asyncio.timeout(wait_s):
                await lane.acquire()
        except TimeoutError:
            raise Unavailable(
                f"{self._per_server} operations wait for {server!r} already; see what is wrong with that server"
            ) from None
        try:
            yield
        finally:
            lane.release()
