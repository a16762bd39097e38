"""Calling a driver's methods, `async def` or plain `def`, without ever blocking the loop.

Each side has its own pool of daemon threads: ten hung creates never stop an unpublish, nor do
questions (statistics, health) that hang on a dead mount, and none of them stops a probe. Knows
nothing of RPCs.

A stint is a stretch of framework code with a driver's method in its middle, run in one thread from its first
commit to its last, because each hand-over between the loop and a thread costs as much as a small commit.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Literal, TypeVar

from moorage.base.log import get_logger
from moorage.base.threads import DaemonPool
from moorage.framework.driver import Driver
from moorage.framework.inference import methods_of
from moorage.framework.translate import as_csi_error

Side = Literal["controller", "node", "query", "identity"]
T = TypeVar("T")

log = get_logger(__name__)


class Invoker:
    """Calls the methods that a driver offers; `offers` says which those are."""

    def __init__(
        self, driver: Driver, *, controller_threads: int = 16, node_threads: int = 16, query_threads: int = 8
    ) -> None:
        self._driver = driver
        self._offered = methods_of(driver)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._pools = {
            "controller": DaemonPool("controller", controller_threads),
            "node": DaemonPool("node", node_threads),
            "query": DaemonPool("query", query_threads),
            "identity": DaemonPool("identity", 2),
        }

    def offers(self, method: str) -> bool:
        """Whether the driver defines this optional method."""
        return method in self._offered

    async def call(self, side: Side, method: str, /, *arguments: object) -> Any:
        """The driver's answer. Its exceptions pass through, those of the layers below as CSI errors."""
        function = getattr(self._driver, method)
        try:
            if not _runs_in_loop():
                return self._called_in_stint(function, *arguments)
            if _is_async(function):
                return await function(*arguments)
            answer = await self._pools[side].call(function, *arguments)
            return await answer if inspect.isawaitable(answer) else answer
        except Exception as error:
            known = as_csi_error(error)
            if known is None or known is error:
                raise
            log.warning("driver.failed", method=method, exc_info=error)
            raise known from error

    async def stint(
        self, side: Side, method: str, work: Callable[..., Coroutine[Any, Any, T]], /, *arguments: object
    ) -> T:
        """The result of `work`, a coroutine function that calls `method` of the driver.

        It runs in a thread of this side, from end to end, if the method is plain `def`, and in the loop if it is
        `async def`. In the thread nothing suspends it: `call` calls the driver right there, a journal write blocks,
        and what does need the loop waits for it. So `work` may await `call` and the store, but nothing else, and
        must leave alone what belongs to the loop, such as locks.
        """
        function = getattr(self._driver, method)
        if _is_async(function):
            return await work(*arguments)
        self._loop = asyncio.get_running_loop()

        def body() -> T:
            return _run_through(work(*arguments))

        body.__qualname__ = getattr(function, "__qualname__", method)  # a dump names what the driver may hang in
        return await self._pools[side].call(body)

    def _called_in_stint(self, function: Callable[..., Any], *arguments: object) -> Any:
        """Call a driver's method in this thread; what it leaves to the loop is waited for here."""
        answer = function(*arguments)
        if not inspect.isawaitable(answer):
            return answer
        assert self._loop is not None
        return asyncio.run_coroutine_threadsafe(_result_of(answer), self._loop).result()

    async def run(self, side: Side, function: Any, /, *arguments: object) -> Any:
        """Run blocking host work in the pool of this side; in a stint right there."""
        if not _runs_in_loop():
            return function(*arguments)
        return await self._pools[side].call(function, *arguments)

    def pools(self) -> dict[str, DaemonPool]:
        """The pools by side, for metrics and dumps."""
        return dict(self._pools)

    async def close(self) -> None:
        """Stop taking work; threads that hang are left to the end of the process."""
        for pool in self._pools.values():
            await pool.close(timeout_s=0.0)


def _is_async(function: Any) -> bool:
    code = getattr(function, "__code__", None)  # a fraction of what inspect takes
    return inspect.iscoroutinefunction(function) if code is None else bool(code.co_flags & inspect.CO_COROUTINE)


def _runs_in_loop() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


async def _result_of(awaitable: Awaitable[T]) -> T:
    return await awaitable


def _run_through(coroutine: Coroutine[Any, Any, T]) -> T:
    """The result of a coroutine that never has to wait for the loop."""
    try:
        coroutine.send(None)
    except StopIteration as end:
        result: T = end.value
        return result
    coroutine.close()
    raise RuntimeError(f"{coroutine!r} awaits the event loop inside a stint; do that before or after it")
