"""Runs the suite against drivers that declare less, two at a time, each in front of a whole driver."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import msgspec
from tests.support.lesser import WHOLE, Lesser
from tests.support.lesser_trace import Trace, Watcher, concerned

from moorage.spec.capabilities import Declared
from moorage.testing.mutants.farm import ARGUMENTS, Backend, backend
from moorage.verify import ALL_RULES, Area, Peer, Result, Rule, Settings, Verdict, run_rules

ROOT: Final = Path(__file__).resolve().parents[2]
TOPOLOGY: Final = "--snapshot-topology"
READY_S: Final = 30.0
XFS_SIZE_BYTES: Final = 320 << 20
"""The least size of other file systems is below that of xfs."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of the rules that were run against one driver, what it declared, and the time in seconds."""

    declared: Declared
    results: tuple[Result, ...]
    seconds: float

    def failures(self) -> list[str]:
        """The failed rules with what was wrong, for people."""
        return [
            f"{result.id} ({result.severity}): {result.detail}"
            + (f"\n    {result.evidence}" if result.evidence else "")
            for result in self.results
            if result.verdict is Verdict.FAIL
        ]

    def count(self, verdict: Verdict) -> int:
        """How many rules ended so."""
        return sum(result.verdict is verdict for result in self.results)


@contextlib.asynccontextmanager
async def relayed(declared: Declared, behind: Backend, name: str) -> AsyncIterator[str]:
    """A driver that declares this in front of the backend; the address at which it listens."""
    socket = behind.directory / f"{name}.sock"
    with (behind.directory / "lesser.log").open("ab") as log:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "tests.support.lesser_driver", "--listen", str(socket)),
            *("--backend", behind.endpoint, "--directory", str(behind.directory / "hidden")),
            *("--declared", msgspec.json.encode(declared).decode()),
            stdout=asyncio.subprocess.PIPE,
            stderr=log,
            cwd=ROOT,
        )
    assert process.stdout is not None
    try:
        async with asyncio.timeout(READY_S):
            assert await process.stdout.readline(), (behind.directory / "lesser.log").read_text()
        yield f"unix://{socket}"
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.terminate()
        await process.wait()


@contextlib.asynccontextmanager
async def peer_of(lesser: Lesser, behind: Backend) -> AsyncIterator[Peer]:
    """The suite's view of this driver, in front of the backend."""
    async with contextlib.AsyncExitStack() as stack:
        endpoint = await stack.enter_async_context(relayed(lesser.declared, behind, "lesser"))
        node_endpoint = None
        if lesser.node_socket is not None:
            node_endpoint = await stack.enter_async_context(relayed(lesser.node_socket, behind, "node"))
        restart_command = behind.driver.command if lesser.crashes else ""
        peer = Peer(endpoint, node_endpoint=node_endpoint, restart_command=restart_command)
        stack.push_async_callback(peer.close)
        await peer.learn()
        yield peer


def settings_for(lesser: Lesser, behind: Backend) -> Settings:
    """The settings of a run against this driver."""
    settings = behind.settings
    if not lesser.fs_type:
        return settings
    return dataclasses.replace(
        settings, fs_type=lesser.fs_type, size_bytes=XFS_SIZE_BYTES, expanded_bytes=2 * XFS_SIZE_BYTES
    )


async def examine(lesser: Lesser, behind: Backend, rules: Sequence[Rule]) -> tuple[Outcome, dict[str, Trace]]:
    """Run the rules against this driver, and tell what each came across."""
    began_s = time.monotonic()
    settings = settings_for(lesser, behind)
    async with peer_of(lesser, behind) as peer:
        declared = peer.declared
        watcher = Watcher(peer)
        report = await run_rules(rules, peer, settings, observe=watcher.observe)
    return Outcome(declared, report.rules, time.monotonic() - began_s), watcher.traces


@dataclass(slots=True)
class _Work:
    """What the workers share: jobs still to be done, and what came of those that are."""

    jobs: list[tuple[Lesser, list[Rule]]] = field(default_factory=list)
    outcomes: dict[str, Outcome] = field(default_factory=dict)
    traces: dict[str, Trace] = field(default_factory=dict)


class Runs:
    """Workers with backends of their own below `directory`."""

    def __init__(
        self, directory: Path, *, observe: Callable[[str, Outcome], None] = lambda name, outcome: None
    ) -> None:
        self._directory = directory
        self._observe = observe
        self._stack = contextlib.AsyncExitStack()

    async def all(self, drivers: Iterable[Lesser], *, rules: Sequence[Rule] = ALL_RULES) -> dict[str, Outcome]:
        """The whole driver, half of the rules in each worker, and then the others; outcomes by name."""
        whole = _Work()
        whole.jobs = [
            (Lesser(name=f"whole-{number}", declared=WHOLE), half) for number, half in enumerate(_halves(rules), 1)
        ]
        others = _Work()
        async with self._stack:
            backends = [await self._backends() for _ in range(2)]
            await self._work(whole, backends)
            others.jobs = [(lesser, concerned(rules, whole.traces, WHOLE, lesser)) for lesser in drivers]
            others.jobs.sort(key=lambda job: len(job[1]))
            await self._work(others, backends)
        return whole.outcomes | others.outcomes

    async def _backends(self) -> dict[bool, Backend]:
        """A driver that attaches, and one that does not."""
        return {
            attaches: await self._stack.enter_async_context(backend(self._directory, arguments=arguments))
            for attaches, arguments in ((True, (*ARGUMENTS, TOPOLOGY)), (False, (TOPOLOGY,)))
        }

    async def _work(self, work: _Work, backends: list[dict[bool, Backend]]) -> None:
        async def one(own: dict[bool, Backend]) -> None:
            while work.jobs:
                lesser, rules = work.jobs.pop()
                outcome, traces = await examine(lesser, own[lesser.attaches], rules)
                work.outcomes[lesser.name] = outcome
                work.traces |= traces
                self._observe(lesser.name, outcome)

        async with asyncio.TaskGroup() as group:
            for number, own in enumerate(backends):
                group.create_task(one(own), name=f"worker {number}")


def _halves(rules: Sequence[Rule]) -> tuple[list[Rule], list[Rule]]:
    """The rules about use on the node and about every answer, and the others: about the same work each.

    Those about robustness are left out: they are not traced.
    """
    node = (Area.NODE, Area.PUBLISH, Area.WIRE)
    traced = [rule for rule in rules if rule.area is not Area.ROBUSTNESS]
    return [rule for rule in traced if rule.area in node], [rule for rule in traced if rule.area not in node]
