"""When the other controllers of the simulated cluster act: a little after something changed, until all is quiet."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import TYPE_CHECKING, Final, Protocol

from moorage.kube.resource import Resource
from moorage.testing.kube.store import Change

if TYPE_CHECKING:
    from moorage.testing.kube.server import FakeApiServer

__all__ = ["Behaviour", "Reactions"]

_MAX_ROUNDS: Final = 1000


class Behaviour(Protocol):
    """A controller that is not under test: looks at all objects and does what is to be done."""

    def react(self, server: FakeApiServer) -> None:
        """Bring the cluster one step further, or do nothing; never the same change twice."""
        ...


class Reactions:
    """Runs the behaviours of a server, `delay_s` after a change when an event loop runs, else on `settle`."""

    def __init__(self, server: FakeApiServer, behaviours: Iterable[Behaviour]) -> None:
        self.behaviours: list[Behaviour] = list(behaviours)
        self.delay_s = 0.01
        self._server = server
        self._scheduled = False
        server.store.listen(self._changed)

    def settle(self) -> None:
        """Act until nothing is left to be done. Raises RuntimeError when that never ends."""
        for _ in range(_MAX_ROUNDS):
            if not self._round():
                return
        raise RuntimeError(f"the simulated controllers still change objects after {_MAX_ROUNDS} rounds")

    def _changed(self, resource: Resource, change: Change) -> None:
        if not self.behaviours or self._scheduled:
            return
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            return
        self._scheduled = True
        loop.call_later(self.delay_s, self._act)

    def _act(self) -> None:
        self._scheduled = False
        self._round()

    def _round(self) -> bool:
        """One step of each behaviour; whether anything changed."""
        before = self._server.store.revision
        for behaviour in self.behaviours:
            behaviour.react(self._server)
        return self._server.store.revision != before
