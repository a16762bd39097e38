"""Shows on stderr how the calls of a command go: a spinner on a terminal with rich, plain lines otherwise."""

from __future__ import annotations

import os
import sys
from typing import Any

import click

from moorage.orchestrator.calling import Progress, Silent
from moorage.spec.errors import CsiError


class PlainProgress:
    """One line for each call that is done, and for what goes wrong on the way."""

    def started(self, rpc: str, subject: str) -> None:
        """Nothing is shown before a call is done."""

    def retrying(self, rpc: str, error: CsiError, *, delay_s: float) -> None:
        """Says that a call is repeated, and why."""
        click.echo(f"  {rpc}: {error.code.name}, {error.message}; again in {delay_s:.1f} s", err=True)

    def finished(self, rpc: str, subject: str, *, elapsed_s: float) -> None:
        """Says that a call is done, and how long it took."""
        click.echo(f"  {rpc:<28} {elapsed_s * 1000:8.1f} ms  {subject}", err=True)

    def note(self, text: str) -> None:
        """Passes a remark on."""
        click.echo(f"  {text}", err=True)


class Spinner(PlainProgress):
    """A spinner beside the call that runs, the lines of `PlainProgress` above it."""

    def __init__(self, console: Any) -> None:
        self._status = console.status("")

    def started(self, rpc: str, subject: str) -> None:
        """Turns the spinner on."""
        self._status.update(f"{rpc} of {subject}")
        self._status.start()

    def retrying(self, rpc: str, error: CsiError, *, delay_s: float) -> None:
        """Says why the wait is long."""
        super().retrying(rpc, error, delay_s=delay_s)
        self._status.update(f"{rpc}: waiting {delay_s:.1f} s")

    def finished(self, rpc: str, subject: str, *, elapsed_s: float) -> None:
        """Turns the spinner off."""
        self._status.stop()
        super().finished(rpc, subject, elapsed_s=elapsed_s)

    def stop(self) -> None:
        """Turns the spinner off when a call failed."""
        self._status.stop()


class NotesOnly(Silent):
    """Remarks and retries, for commands whose output is data."""

    def retrying(self, rpc: str, error: CsiError, *, delay_s: float) -> None:
        """As the plain lines."""
        PlainProgress().retrying(rpc, error, delay_s=delay_s)

    def note(self, text: str) -> None:
        """As the plain lines."""
        PlainProgress().note(text)


def progress_for(*, data_wanted: bool) -> Progress:
    """What suits this terminal; `data_wanted` keeps stderr quiet but for remarks."""
    if data_wanted:
        return NotesOnly()
    if sys.stdout.isatty() and sys.stderr.isatty() and os.environ.get("TERM") != "dumb":
        try:
            from rich.console import Console
        except ImportError:
            return PlainProgress()
        return Spinner(Console(stderr=True))
    return PlainProgress()
