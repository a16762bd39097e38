"""How a run of `moorage verify` looks: a line for each rule, a running count on a terminal, and what was wrong."""

from __future__ import annotations

import os
import sys
from types import TracebackType
from typing import Final, Self

import click

from moorage.verify import ALL_RULES, Report, Result, Rule, Severity, Verdict
from moorage.verify.badge import badge_line
from moorage.verify.text import area_table, explain, summary

_COLOURS: Final = {Verdict.PASS: "green", Verdict.FAIL: "red", Verdict.SKIP: "yellow"}


class Screen:
    """Prints while rules run, unless `quiet`. On a terminal the rule that runs is shown in the last line."""

    def __init__(self, total: int, *, quiet: bool) -> None:
        self.total = total
        self.quiet = quiet
        self.done = 0
        self.terminal = sys.stdout.isatty()
        self.colour = self.terminal and not os.environ.get("NO_COLOR")
        self._area = ""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._clear()

    def begin(self, driver: str, version: str, endpoint: str) -> None:
        """Name the driver."""
        self._say(f"{driver} {version} at {endpoint}: {self.total} rules")

    def observe(self, rule: Rule, result: Result | None) -> None:
        """A rule starts, or has ended."""
        if self.quiet:
            return
        if result is None:
            if self.terminal:
                click.echo(f"\r\x1b[K[{self.done + 1}/{self.total}] {rule.id}", nl=False)
            return
        self.done += 1
        self._clear()
        if result.area != self._area:
            self._area = result.area
            self._say(self._styled(result.area, bold=True))
        mark = self._styled(f"{result.verdict.value:4}", fg=_COLOURS[result.verdict])
        slug = result.id.partition(".")[2]
        detail = result.detail if result.verdict is not Verdict.PASS else ""
        self._say(f"  {mark}  {slug:44} {result.seconds:6.2f} s  {detail}".rstrip())

    def conclude(self, report: Report) -> None:
        """The failures in full, the table, the count and the badge."""
        for result in report.failures():
            head, *rest = explain(result)
            self._say("")
            self._say(self._styled(f"FAILED {head}", fg="red", bold=True))
            for line in rest:
                self._say(line)
        self._say("")
        for line in area_table(report):
            self._say(line)
        self._say("")
        self._say(self._styled(summary(report), bold=True))
        whole = len(report.rules) == len(ALL_RULES) and report.tally().passed > report.tally().skipped
        if whole and report.complete and not report.failures(at_least=Severity.SHOULD):
            self._say(f"For the README: {badge_line(report)}")

    def _clear(self) -> None:
        if self.terminal and not self.quiet:
            click.echo("\r\x1b[K", nl=False)

    def _styled(self, text: str, *, fg: str | None = None, bold: bool | None = None) -> str:
        return click.style(text, fg=fg, bold=bold) if self.colour else text

    def _say(self, text: str) -> None:
        if not self.quiet:
            click.echo(text)
