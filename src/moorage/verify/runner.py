"""Runs rules one after another against one driver, each within its time, and cleans up after each.

A driver that hangs fails the rule that met it; a driver that died is restarted where there is a command for it,
and otherwise fails every rule that still needed it, quickly. This module knows no particular rule and prints
nothing.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import os
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

import msgspec

from moorage.base.log import get_logger
from moorage.base.scrubber import SecretScrubber
from moorage.base.threads import DaemonPool
from moorage.host.mount import ensure_unmounted
from moorage.host.mountinfo import read_mounts
from moorage.spec.redact import secret_values
from moorage.verify.exchange import Exchange
from moorage.verify.facilities import choose_access_mode, find_facilities
from moorage.verify.lab import Lab
from moorage.verify.peer import Peer, PeerError
from moorage.verify.report import Report, Result, Verdict, result_of
from moorage.verify.rule import Facility, Failed, Rule, Skipped
from moorage.verify.selection import Facts, missing_need
from moorage.verify.settings import Settings

__all__ = ["Observer", "Run", "run_rules"]

log = get_logger(__name__)

Observer = Callable[[Rule, Result | None], None]
"""Told that a rule starts (without a result) and how it ended."""

_CLEANUP_S: Final = 90.0
_IO_THREADS: Final = 8


async def run_rules(
    rules: Sequence[Rule],
    peer: Peer,
    settings: Settings,
    *,
    read_only: bool = False,
    observe: Observer = lambda rule, result: None,
) -> Report:
    """Run the rules against a peer that has learnt who it is, and report.

    When the caller is cancelled, the rule that runs is cleaned up and the report is lost: use `observe` to keep
    the results. Rules for which no time is left are missing from the report, which then is not complete. Raises
    Failed when not even a plain volume can be made.
    """
    async with Run(peer, settings, read_only=read_only) as run:
        for rule in rules:
            if run.remaining_s <= 0:
                break
            observe(rule, None)
            observe(rule, await run.one(rule))
        return run.report(complete=len(run.results) == len(rules))


class Run:
    """One run, for callers that choose the next rule themselves: a context manager around calls of `one`.

    Its directory below `settings.work_dir` is removed at the end.
    """

    def __init__(self, peer: Peer, settings: Settings, *, read_only: bool = False) -> None:
        self.peer = peer
        self.settings = settings
        self.read_only = read_only
        self.results: list[Result] = []
        self.leftovers: list[str] = []
        """What could not be taken back, a sentence for each rule."""
        self.directory = settings.work_dir / f"run-{os.getpid()}-{time.monotonic_ns() % 1_000_000}"
        self._facts = Facts(declared=peer.declared, facilities=frozenset(), read_only=read_only)
        self._started = datetime.now(UTC)
        self._began_s = time.monotonic()

    async def __aenter__(self) -> Self:
        self.directory.mkdir(parents=True)
        lab = self._lab("facilities")
        try:
            if not self.read_only:
                mode = await choose_access_mode(lab)
                self.settings = lab.settings = dataclasses.replace(self.settings, access_mode=mode)
            facilities = await find_facilities(lab, read_only=self.read_only)
        except BaseException:
            await self._clean(lab)
            _remove_tree(self.directory)
            raise
        self._facts = dataclasses.replace(self._facts, facilities=facilities)
        self._choose_access(facilities)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        _remove_tree(self.directory)

    @property
    def remaining_s(self) -> float:
        """What is left of the time for the whole run."""
        return self._began_s + self.settings.run_timeout_s - time.monotonic()

    def report(self, *, complete: bool) -> Report:
        """The results so far."""
        return Report(
            driver=self.peer.info.name,
            vendor_version=self.peer.info.vendor_version,
            endpoint=self.peer.endpoint,
            seed=self.settings.seed,
            started=self._started.isoformat(timespec="seconds"),
            seconds=round(time.monotonic() - self._began_s, 3),
            complete=complete,
            rules=tuple(self.results),
        )

    async def one(self, rule: Rule) -> Result:
        """Examine one rule and clean up after it."""
        result = await self._one(rule)
        self.results.append(result)
        return result

    def _choose_access(self, facilities: frozenset[Facility]) -> None:
        """Fall back to the other access type for a driver that does not have the one asked for."""
        wanted, other = Facility.MOUNT, Facility.BLOCK
        if self.settings.access == "block":
            wanted, other = other, wanted
        if wanted not in facilities and other in facilities:
            self.settings = dataclasses.replace(self.settings, access="block" if other is Facility.BLOCK else "mount")

    def _lab(self, rule_id: str) -> Lab:
        directory = self.directory / rule_id
        directory.mkdir(mode=0o755)
        return Lab(
            self.peer,
            self.settings,
            rule_id=rule_id,
            directory=directory,
            pool=DaemonPool(f"verify {rule_id}", _IO_THREADS),  # of its own, as a call that hangs keeps its thread
            read_only=self.read_only,
        )

    async def _one(self, rule: Rule) -> Result:
        if reason := missing_need(rule, self._facts):
            return result_of(rule, Verdict.SKIP, detail=reason)
        began_s = time.monotonic()
        lab = self._lab(rule.id)
        limit_s = max(0.0, min(rule.timeout_s or self.settings.rule_timeout_s, self.remaining_s))
        try:
            verdict, detail, exchange = await self._examined(rule, lab, limit_s)
        finally:
            leftovers = await self._clean(lab)
            await lab.close()
        if leftovers is not None:
            self.leftovers.append(f"{rule.id}: {leftovers[0]}")
            if verdict is Verdict.FAIL:
                detail = f"{detail}; and then, {leftovers[0]}"
            else:
                verdict, (detail, exchange) = Verdict.FAIL, leftovers
        return self._scrubbed(rule, verdict, detail=detail, seconds=time.monotonic() - began_s, exchange=exchange)

    def _scrubbed(
        self, rule: Rule, verdict: Verdict, *, detail: str, seconds: float, exchange: Exchange | None
    ) -> Result:
        """The result without the secrets that were sent, whatever the driver quoted in its answers."""
        scrubber = SecretScrubber()
        given = [value for entry in self.settings.secrets.values() for value in _texts(entry)]
        sent = secret_values(exchange.request) if exchange is not None else ()
        with scrubber.hiding([*given, *sent]):
            result = result_of(rule, verdict, detail=detail, seconds=seconds, exchange=exchange)
            return msgspec.convert(_mapped(scrubber, msgspec.to_builtins(result)), Result)

    async def _examined(self, rule: Rule, lab: Lab, limit_s: float) -> tuple[Verdict, str, Exchange | None]:
        limit = asyncio.timeout(limit_s)
        try:
            await self._revive()
            async with limit:
                await rule.examine(lab)
        except Failed as failure:
            return Verdict.FAIL, failure.message, failure.exchange or lab.last
        except Skipped as skipped:
            return Verdict.SKIP, skipped.reason, None
        except PeerError as error:
            return Verdict.FAIL, str(error), None
        except TimeoutError as error:
            if not limit.expired():  # the kernel's own ETIMEDOUT
                return Verdict.FAIL, f"a file operation on the volume failed: {error.strerror}", lab.last
            return Verdict.FAIL, f"the rule was not done within {limit_s:.0f} s", lab.last
        except OSError as error:
            place = f" ({error.filename})" if error.filename else ""
            return Verdict.FAIL, f"a file operation on the volume failed: {error.strerror}{place}", lab.last
        except Exception as error:
            log.exception("verify.rule_broke", rule=rule.id)
            return Verdict.FAIL, f"the rule itself broke with {type(error).__name__}: {error}; report this", lab.last
        return Verdict.PASS, "", None

    async def _revive(self) -> None:
        """Have a driver that answers. Raises Failed when there is none."""
        if await self.peer.is_alive():
            return
        if not self.peer.restart_command:
            raise Failed("the driver does not answer Probe any more, so this could not be examined; start it again")
        await self.peer.restart()

    async def _clean(self, lab: Lab) -> tuple[str, Exchange | None] | None:
        """Take back what the rule made; what is wrong with that, if anything is."""
        problem: tuple[str, Exchange | None] | None = None
        try:
            async with asyncio.timeout(_CLEANUP_S):
                if failed := await lab.ledger.clean(lab.settle):
                    last = failed[0]
                    problem = f"cleaning up after the rule, {last.rpc.name} answered {last.described()}", last
        except TimeoutError:
            left = lab.ledger.remaining()
            problem = f"cleaning up after the rule was not done within {_CLEANUP_S:g} s; left are {left}", lab.last
        mounts = [entry.mount_point for entry in read_mounts() if _is_below(entry.mount_point, lab.directory)]
        if mounts and problem is None:
            problem = f"the driver left a mount behind at {mounts[-1]}", lab.last
        for path in sorted(mounts, reverse=True):
            with contextlib.suppress(OSError), contextlib.suppress(Failed):
                await lab.io(ensure_unmounted, path, lazy=True)
        return problem


def _texts(entry: str | Mapping[str, str]) -> list[str]:
    return [entry] if isinstance(entry, str) else list(entry.values())


def _mapped(scrub: Callable[[str], str], value: Any) -> Any:
    if isinstance(value, str):
        return scrub(value)
    if isinstance(value, dict):
        return {key: _mapped(scrub, item) for key, item in value.items()}
    if isinstance(value, list):
        return [_mapped(scrub, item) for item in value]
    return value


def _is_below(path: str, directory: Path) -> bool:
    return path.startswith(f"{os.path.realpath(directory)}/")


def _remove_tree(directory: Path) -> None:
    """Remove the run's directory, never a mounted file system with it."""
    if any(_is_below(entry.mount_point, directory) for entry in read_mounts()):
        log.warning("verify.directory_kept", directory=str(directory))
        return
    shutil.rmtree(directory, ignore_errors=True)
