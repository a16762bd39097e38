"""Calling a driver's methods, `async def` or plain `def`, without ever blocking the loop.

Each side has its own pool of daemon threads: ten hung creates never stop an unpublish, nor do
questions (statistics, health) that hang on a dead mount, and none of them stops a probe. Knows
nothing of RPCs.
"""

from __future__ import annotations

import inspect
from typing import Any, Literal

from moorage.base.log import get_logger
from moorage.base.threads import DaemonPool
from moorage.framework.driver import Driver
from moorage.framework.inference import methods_of
from moorage.framework.translate import as_csi_error

Side = Literal["controller", "node", "query", "identity"]

log = get_logger(__name__)


class Invoker:
    """Calls the methods that a driver offers; `offers` says which those are."""

    def __init__(
        self, driver: Driver, *, controller_threads: int = 16, node_threads: int = 16, query_threads: int = 8
    ) -> None:
        self._driver = driver
        self._offered = methods_of(driver)
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
            if inspect.iscoroutinefunction(function):
                return await function(*arguments)
            answer = await self._pools[side].call(function, *arguments)
            return await answer if inspect.isawaitable(answer) else answer
        except Exception as error:
            known = as_csi_error(error)
            if known is None or known is error:
                raise
            log.warning("driver.failed", method=method, exc_info=error)
            raise known from error

    async def run(self, side: Side, function: Any, /, *arguments: object) -> Any:
        """Run blocking host work in the pool of this side."""
        return await self._pools[side].call(function, *arguments)

    def pools(self) -> dict[str, DaemonPool]:
        """The pools by side, for metrics and dumps."""
        return dict(self._pools)

    async def close(self) -> None:
        """Stop taking work; threads that hang are left to the end of the process."""
        for pool in self._pools.values():
            await pool.close(timeout_s=0.0)
