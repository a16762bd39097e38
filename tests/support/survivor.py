"""An orchestrator that never gives up, and a driver that is killed at every durable step.

The driver runs with a plan that kills it at whichever of the remaining points it passes first. Each
death strikes one point off, the driver is started again, and the call that died is repeated, until
the call succeeds. What then exists must be what was asked for, once.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from moorage.spec.errors import CsiError
from moorage.testing.driver import DriverDied, DriverProcess


class Survivor:
    """Makes calls across the deaths of one driver.

    points: where to kill: `before:STEP` and `after:STEP`; `killed` lists where it happened, in order.
    """

    def __init__(self, process: DriverProcess, points: Iterable[str]) -> None:
        self.process = process
        self.remaining = set(points)
        self.killed: list[str] = []
        self._trace = process.directory / "trace"
        self._rules: Sequence[Mapping[str, Any]] = ()

    async def begin(self, *rules: Mapping[str, Any]) -> None:
        """Start the driver, or start it again with further rules besides the kills."""
        await self.process.stop()
        self._rules = rules
        await self._start()

    async def _start(self) -> None:
        """Start until the driver stays up: start-up has durable steps too."""
        while True:
            kills = [{"point": point, "action": "kill"} for point in sorted(self.remaining)]
            self._trace.unlink(missing_ok=True)
            try:
                await self.process.start(faults=[*self._rules, *kills], trace=self._trace)
            except DriverDied:
                self._strike()
            else:
                return

    def _strike(self) -> None:
        """Take the point of death, the last one in the trace, off the list."""
        passed = self._trace.read_text().split() if self._trace.exists() else []
        assert passed, f"the driver died by itself: {self.process.log_tail()}"
        assert passed[-1] in self.remaining, f"it died at {passed[-1]}, unasked: {self.process.log_tail()}"
        self.remaining.discard(passed[-1])
        self.killed.append(passed[-1])

    async def call(self, rpc: str, request: Any) -> Any:
        """The answer, however many deaths and answers that are not final come first."""
        for _ in range(500):
            try:
                return await self.process.client.call(rpc, request, timeout_s=30.0)
            except CsiError as error:
                if await self._died():
                    self._strike()
                    await self._start()
                elif error.final:
                    raise
                else:
                    await asyncio.sleep(0.02)
        raise AssertionError(f"{rpc} did not succeed; {self.process.log_tail()}")

    async def _died(self) -> bool:
        """Whether the driver is dead or about to be: a kill can be a moment later than the broken connection."""
        try:
            await self.process.wait_dead(timeout_s=0.3)
        except TimeoutError:
            return False
        return True


def files_below(root: Path) -> list[str]:
    """Regular files and directories below `root`, for comparing before and after."""
    return sorted(str(path.relative_to(root)) for path in root.rglob("*"))
