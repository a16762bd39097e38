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
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from moorage.base.log import get_logger
from moorage.base.threads import DaemonPool
from moorage.host.mount import ensure_unmounted
from moorage.host.mountinfo import read_mounts
from moorage.verify.exchange import Exchange
from moorage.verify.facilities import find_facilities
from moorage.verify.lab import Lab
from moorage.verify.peer import Peer, PeerError
from moorage.verify.report import Report, Result, Verdict, result_of
from moorage.verify.rule import Facility, Failed, Rule, Skipped
from moorage.verify.selection import Facts, missing_need
from moorage.verify.settings import Settings

__all__ = ["Observer", "run_rules"]

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

    The run's directory below `settings.work_dir` is removed at the end. When the caller is cancelled, the rule
    that runs is cleaned up and the report of the finished ones is lost: use `observe` to keep them.
    """
    run = _Run(peer, settings, read_only=read_only, observe=observe)
    return await run.all(rules)


class _Run:
    def __init__(self, peer: Peer, settings: Settings, *, read_only: bool, observe: Observer) -> None:
        self.peer = peer
        self.settings = settings
        self.read_only = read_only
        self.observe = observe
        self.pool = DaemonPool("verify", _IO_THREADS)
        self.directory = settings.work_dir / f"run-{os.getpid()}-{time.monotonic_ns() % 1_000_000}"

    async def all(self, rules: Sequence[Rule]) -> Report:
        started, began_s = datetime.now(UTC), time.monotonic()
        results: list[Result] = []
        self.directory.mkdir(parents=True)
        try:
            facilities = await find_facilities(self._lab("facilities"), read_only=self.read_only)
            self._choose_access(facilities)
            facts = Facts(declared=self.peer.declared, facilities=facilities, read_only=self.read_only)
            for rule in rules:
                remaining_s = began_s + self.settings.run_timeout_s - time.monotonic()
                if remaining_s <= 0:
                    break
                self.observe(rule, None)
                result = await self._one(rule, facts, remaining_s=remaining_s)
                results.append(result)
                self.observe(rule, result)
        finally:
            _remove_tree(self.directory)
        return Report(
            driver=self.peer.info.name,
            vendor_version=self.peer.info.vendor_version,
            endpoint=self.peer.endpoint,
            seed=self.settings.seed,
            started=started.isoformat(timespec="seconds"),
            seconds=round(time.monotonic() - began_s, 3),
            complete=len(results) == len(rules),
            rules=tuple(results),
        )

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
        return Lab(self.peer, self.settings, rule_id=rule_id, directory=directory, pool=self.pool)

    async def _one(self, rule: Rule, facts: Facts, *, remaining_s: float) -> Result:
        if reason := missing_need(rule, facts):
            return result_of(rule, Verdict.SKIP, detail=reason)
        began_s = time.monotonic()
        lab = self._lab(rule.id)
        limit_s = min(rule.timeout_s or self.settings.rule_timeout_s, remaining_s)
        try:
            verdict, detail, exchange = await self._examined(rule, lab, limit_s)
        finally:
            leftovers = await self._clean(lab)
        if verdict is not Verdict.FAIL and leftovers is not None:
            verdict, (detail, exchange) = Verdict.FAIL, leftovers
        return result_of(rule, verdict, detail=detail, seconds=time.monotonic() - began_s, exchange=exchange)

    async def _examined(self, rule: Rule, lab: Lab, limit_s: float) -> tuple[Verdict, str, Exchange | None]:
        try:
            await self._revive()
            async with asyncio.timeout(limit_s):
                await rule.examine(lab)
        except Failed as failure:
            return Verdict.FAIL, failure.message, failure.exchange or lab.last
        except Skipped as skipped:
            return Verdict.SKIP, skipped.reason, None
        except PeerError as error:
            return Verdict.FAIL, str(error), None
        except TimeoutError:
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
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_CLEANUP_S):
                if failed := await lab.ledger.clean(lab.settle):
                    last = failed[0]
                    problem = f"cleaning up after the rule, {last.rpc.name} answered {last.described()}", last
        left = [entry.mount_point for entry in read_mounts() if _is_below(entry.mount_point, lab.directory)]
        if left and problem is None:
            problem = f"the driver left a mount behind at {left[-1]}", lab.last
        for path in sorted(left, reverse=True):
            with contextlib.suppress(OSError):
                await self.pool.call(ensure_unmounted, path, lazy=True)
        return problem


def _is_below(path: str, directory: Path) -> bool:
    return path.startswith(f"{os.path.realpath(directory)}/")


def _remove_tree(directory: Path) -> None:
    """Remove the run's directory, never a mounted file system with it."""
    if any(_is_below(entry.mount_point, directory) for entry in read_mounts()):
        log.warning("verify.directory_kept", directory=str(directory))
        return
    shutil.rmtree(directory, ignore_errors=True)
