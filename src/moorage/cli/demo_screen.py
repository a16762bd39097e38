"""How the demo looks: a line for each act, below it one for each RPC, and a summary; or one JSON document."""

from __future__ import annotations

import contextlib
import os
import sys
from dataclasses import dataclass, field
from typing import Any

import click

from moorage.spec.errors import CsiError


@dataclass(slots=True)
class Told:
    """What happened in one act; `outcome` is done, left or failed."""

    title: str
    outcome: str = "done"
    detail: str = ""
    calls: list[dict[str, Any]] = field(default_factory=list)


class Screen:
    """Prints while things happen, unless `quiet`, and keeps everything for the summary. Also a `Progress`."""

    def __init__(self, *, quiet: bool) -> None:
        self.quiet = quiet
        self.acts: list[Told] = []
        self.colour = sys.stdout.isatty() and not os.environ.get("NO_COLOR")
        encoding = (sys.stdout.encoding or "").lower()
        self._marks = (
            {"done": "✓", "left": "–", "failed": "✗"}
            if self.colour and "utf" in encoding
            else {"done": "ok", "left": "--", "failed": "FAILED"}
        )

    def act(self, title: str) -> None:
        """An act begins."""
        self.acts.append(Told(title))
        self._say(
            click.style(f"{len(self.acts):>2}. {title}", bold=True) if self.colour else f"{len(self.acts):>2}. {title}"
        )

    def ended(self, outcome: str, detail: str = "") -> None:
        """The act ended; `detail` is what was seen."""
        told = self.acts[-1]
        told.outcome, told.detail = outcome, detail
        if detail or outcome != "done":
            colours = {"done": "green", "left": "yellow", "failed": "red"}
            mark = self._marks[outcome]
            self._say(f"    {click.style(mark, fg=colours[outcome]) if self.colour else mark} {detail}")

    def complain(self, text: str) -> None:
        """A line on stderr, also when quiet."""
        with contextlib.suppress(OSError):
            click.echo(f"moorage: {text}", err=True)

    def say(self, text: str) -> None:
        """A line that belongs to no act."""
        self._say(text)

    def started(self, rpc: str, subject: str) -> None:
        """Nothing is shown before a call is done."""

    def retrying(self, rpc: str, error: CsiError, *, delay_s: float) -> None:
        """A call is repeated."""
        self._say(f"    {rpc}: {error.code.name}, {error.message}; again in {delay_s:.1f} s")

    def finished(self, rpc: str, subject: str, *, elapsed_s: float) -> None:
        """A call is done."""
        if self.acts:
            self.acts[-1].calls.append({"rpc": rpc, "ms": round(elapsed_s * 1000, 1)})
        dots = "." * max(3, 30 - len(rpc))
        dots = click.style(dots, dim=True) if self.colour else dots
        self._say(f"    {rpc} {dots} {elapsed_s * 1000:8.1f} ms")

    def note(self, text: str) -> None:
        """A remark."""
        self._say(f"    {text}")

    def document(self) -> list[dict[str, Any]]:
        """The acts as plain data."""
        return [
            {"title": told.title, "outcome": told.outcome, "detail": told.detail, "calls": told.calls}
            for told in self.acts
        ]

    def calls(self) -> int:
        """How many RPCs were made."""
        return sum(len(told.calls) for told in self.acts)

    def _say(self, text: str) -> None:
        if self.quiet:
            return
        try:
            click.echo(text)
        except OSError:  # the terminal or the reader of the pipe is gone; cleaning up must go on
            self.quiet = True
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
