"""How the command line chooses the format and level of the log.

Given before or after the name of a subcommand; the value nearest to the subcommand wins. The log goes to
stderr; stdout belongs to data.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar, Final, cast

import click

FORMATS: Final = ("klog", "json", "console")
LEVELS: Final = ("debug", "info", "warning", "error")


def log_parameters() -> list[click.Parameter]:
    """The options `--log-format` and `--log-level`, passed as `log_format` and `log_level`."""
    return [
        click.Option(
            ["--log-format"],
            type=click.Choice(FORMATS),
            envvar="MOORAGE_LOG_FORMAT",
            help="Form of the log; klog is Kubernetes' text."
            "  [environment: MOORAGE_LOG_FORMAT; default: console on a terminal, else klog]",
        ),
        click.Option(
            ["--log-level"],
            type=click.Choice(LEVELS),
            envvar="MOORAGE_LOG_LEVEL",
            help="Lowest level of the log.  [environment: MOORAGE_LOG_LEVEL]",
        ),
    ]


def coloured() -> bool:
    """Whether stderr takes colours: a terminal that is not dumb, and NO_COLOR is unset or empty."""
    return sys.stderr.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


@dataclass(frozen=True, slots=True)
class LogSettings:
    """What was asked for; None leaves the choice to the command."""

    format: str | None = None
    level: str | None = None
    applied_level: ClassVar[str] = "warning"

    def apply(self, *, default_level: str, scrubber: Callable[[str], str] | None = None) -> None:
        """Configure the process's log; `scrubber` gets every text before it is written."""
        from moorage.base import log

        level = self.level or default_level
        fmt = self.format or ("console" if sys.stderr.isatty() else "klog")
        log.configure(cast("log.Format", fmt), level, scrubber=scrubber, colour=coloured())
        LogSettings.applied_level = level

    def overlaid(self, *, log_format: str | None, log_level: str | None) -> LogSettings:
        """These settings with those given nearer to the subcommand on top."""
        return LogSettings(log_format or self.format, log_level or self.level)

    @staticmethod
    def in_force() -> LogSettings:
        """What was asked for before the name of the subcommand."""
        ctx: click.Context | None = click.get_current_context(silent=True)
        while ctx is not None and not isinstance(ctx.obj, LogSettings):
            ctx = ctx.parent
        return ctx.obj if ctx is not None else LogSettings()

    @staticmethod
    def current_level() -> str:
        """The level that was applied last."""
        return LogSettings.applied_level
