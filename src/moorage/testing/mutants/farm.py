"""Runs mutants against the suite, several at a time, each in front of a correct driver of its own.

For the tests of the suite and for the table of mutants in the documentation.
"""

from __future__ import annotations

import asyncio
import contextlib
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from moorage.rpc.endpoint import parse_server_endpoint
from moorage.rpc.raw import RawClient
from moorage.rpc.relay import Relay
from moorage.testing.mutants.mutant import Meddler, Mutant
from moorage.testing.restart import Restartable
from moorage.verify import ALL_RULES, Facility, Peer, Settings, Verdict, run_rules, select

__all__ = ["Backend", "Outcome", "backend", "mutated", "run_mutants"]

SIZE_BYTES: Final = 32 << 20
ARGUMENTS: Final = ("--attach", "--attach-node", "other", "--attach-limit", "8")
_READY_S: Final = 30.0
_NO_VERDICT: Final = ("the rule itself broke", "the rule was not done within")
"""How the details of failures begin that the runner found, and not the rule: any other defect could be behind them."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What the suite said of one mutant: the rules of its area that failed, with details, and the time in seconds."""

    mutant: Mutant
    failures: Mapping[str, str]
    seconds: float

    @property
    def failed(self) -> tuple[str, ...]:
        """The ids of the rules that failed."""
        return tuple(self.failures)

    @property
    def caught(self) -> bool:
        """Whether the rule that must catch it did, by a verdict of its own: neither by breaking nor by taking long."""
        return self.mutant.rule in self.failures and not self.detail.startswith(_NO_VERDICT)

    @property
    def detail(self) -> str:
        """What the rule that must catch it said; empty when it did not fail."""
        return self.failures.get(self.mutant.rule, "")


@dataclass(frozen=True, slots=True)
class Backend:
    """A correct driver that runs; `settings` are for runs of the suite against it."""

    endpoint: str
    driver: Restartable
    settings: Settings
    directory: Path


@contextlib.asynccontextmanager
async def backend(directory: Path, *, rounds: int = 1, arguments: Sequence[str] = ARGUMENTS) -> AsyncIterator[Backend]:
    """`serve local` in a new directory below `directory`, ended with the context."""
    own = Path(tempfile.mkdtemp(prefix="b", dir=directory))
    (own / "pool").mkdir()
    endpoint = f"unix://{own}/csi.sock"
    argv = [
        *(sys.executable, "-m", "moorage", "serve", "local", "--pool", str(own / "pool"), *arguments),
        *("--endpoint", endpoint, "--state-dir", str(own / "state")),
    ]
    driver = Restartable(argv, directory=own)
    settings = Settings(
        work_dir=own / "work",
        size_bytes=SIZE_BYTES,
        expanded_bytes=2 * SIZE_BYTES,
        other_node="other",
        log_file=driver.log_path,
        mutable_parameters={"readAheadKiB": "256"},
        secrets={"token": "canary"},
        rounds=rounds,
    )
    await asyncio.to_thread(driver.start)
    try:
        yield Backend(endpoint, driver, settings, own)
    finally:
        await asyncio.to_thread(driver.stop)


@contextlib.asynccontextmanager
async def mutated(mutant_name: str, behind: Backend) -> AsyncIterator[str]:
    """The mutant in front of this backend; the address at which it listens."""
    socket = behind.directory / "mutant.sock"
    with (behind.directory / "mutant.log").open("ab") as log:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "moorage.testing.mutants", mutant_name),
            *("--listen", str(socket), "--backend", behind.endpoint),
            stdout=asyncio.subprocess.PIPE,
            stderr=log,
        )
    assert process.stdout is not None
    try:
        async with asyncio.timeout(_READY_S):
            await process.stdout.readline()
        yield f"unix://{socket}"
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.terminate()
        await process.wait()


@contextlib.asynccontextmanager
async def in_process(mutant: Mutant, behind: Backend) -> AsyncIterator[str]:
    """The mutant in this very process, which spares a start; not for rules that look at the driver's process."""
    endpoint = f"unix://{behind.directory}/inside.sock"
    client = RawClient(behind.endpoint)
    relay = Relay(parse_server_endpoint(endpoint), Meddler(mutant, client))
    await relay.start()
    try:
        yield endpoint
    finally:
        await relay.stop()
        await client.close()


async def examine(mutant: Mutant, behind: Backend, *, whole_area: bool) -> Outcome:
    """Run the rules of the mutant's area against it, or its own rule alone."""
    began_s = time.monotonic()
    area = mutant.rule.partition(".")[0]
    rules = select(ALL_RULES, areas=[area]) if whole_area else select(ALL_RULES, only=[mutant.rule])
    apart = any(Facility.PROCESS in rule.needs for rule in rules)
    async with mutated(mutant.name, behind) if apart else in_process(mutant, behind) as endpoint:
        peer = Peer(endpoint, restart_command=behind.driver.command)
        try:
            await peer.learn()
            report = await run_rules(rules, peer, behind.settings)
        finally:
            await peer.close()
    failures = {result.id: result.detail for result in report.rules if result.verdict is Verdict.FAIL}
    return Outcome(mutant, failures, time.monotonic() - began_s)


@dataclass(slots=True)
class _Queue:
    waiting: list[Mutant]
    outcomes: dict[str, Outcome] = field(default_factory=dict)


async def run_mutants(
    mutants: Iterable[Mutant],
    directory: Path,
    *,
    workers: int = 2,
    whole_area: bool = False,
    observe: Callable[[Outcome], None] = lambda outcome: None,
) -> dict[str, Outcome]:
    """Examine all mutants, `workers` at a time; outcomes by name. `observe` is told of each as it ends.

    Each meets its own rule, or with `whole_area` all rules of its area.
    """
    queue = _Queue(list(reversed(list(mutants))))

    async def work() -> None:
        async with backend(directory) as behind:
            while queue.waiting:
                outcome = await examine(queue.waiting.pop(), behind, whole_area=whole_area)
                queue.outcomes[outcome.mutant.name] = outcome
                observe(outcome)

    async with asyncio.TaskGroup() as group:
        for number in range(workers):
            group.create_task(work(), name=f"mutant worker {number}")
    return queue.outcomes
