"""The `moorage` command: finds the subcommand, sets up logging, and turns every failure into one sentence.

Subcommands are named here with their summaries, so that `moorage --help` and shell completion import none of
them; a subcommand whose module is not installed does not appear. Exit codes: 0 done, 1 failed or found a
problem, 2 used wrongly; 130 interrupted (Ctrl-C), and, of a demo that was ended and has cleaned up, 143 (SIGTERM)
and 129 (SIGHUP).
"""

from __future__ import annotations

import importlib.util
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, cast

import click
from click.shell_completion import CompletionItem

from moorage.cli.logs import LogSettings, log_parameters
from moorage.cli.startup import collection_paused

FAILED: Final = 1
MISUSED: Final = 2
INTERRUPTED: Final = 130


@dataclass(frozen=True, slots=True)
class Lazy:
    """A subcommand that is not imported yet: where it is, under which heading, and what it does."""

    target: str
    heading: str
    summary: str


COMMANDS: Final = {
    "demo": Lazy("moorage.cli.demo:command", "Try it", "Take a volume through its whole life on this machine."),
    "volume": Lazy("moorage.cli.volume:command", "Try it", "Make, mount, grow and copy volumes of any driver."),
    "serve": Lazy("moorage.cli.serve:command", "Drivers", "Run a storage driver behind a unix socket."),
    "new": Lazy("moorage.cli.new:command", "Drivers", "Start a driver project of your own, with tests."),
    "verify": Lazy("moorage.cli.verify:command", "Drivers", "Examine any CSI driver, with real data."),
    "local": Lazy("moorage.cli.local:command", "Drivers", "Check, repair and import pools of the local driver."),
    "rpc": Lazy("moorage.cli.rpc:command", "Debugging", "Make any CSI call to any driver."),
    "completion": Lazy("moorage.cli.completion:command", "Debugging", "Print the completion script of a shell."),
}


class LazyGroup(click.Group):
    """A group that imports a subcommand when it is run or asked for help, and shows them under headings."""

    def __init__(self, *args: Any, lazy: dict[str, Lazy], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.lazy = lazy

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The names of the subcommands that are installed, in the order of the table."""
        return [name for name, lazy in self.lazy.items() if _installed(lazy.target)]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Imports the subcommand; None when there is none of this name."""
        lazy = self.lazy.get(cmd_name)
        if lazy is None or not _installed(lazy.target):
            return None
        module_name, _, attribute = lazy.target.partition(":")
        with collection_paused():
            module = importlib.import_module(module_name)
        return cast("click.Command", getattr(module, attribute))

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Writes the summaries under their headings."""
        rows: dict[str, list[tuple[str, str]]] = {}
        for name in self.list_commands(ctx):
            rows.setdefault(self.lazy[name].heading, []).append((name, self.lazy[name].summary))
        for heading, entries in rows.items():
            with formatter.section(heading):
                formatter.write_dl(entries)

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """Completes the names of subcommands without importing any."""
        if incomplete.startswith("-"):
            return super().shell_complete(ctx, incomplete)
        names = [name for name in self.list_commands(ctx) if name.startswith(incomplete)]
        return [CompletionItem(name, help=self.lazy[name].summary) for name in names]


def _installed(target: str) -> bool:
    return importlib.util.find_spec(target.partition(":")[0]) is not None


def _print_version(ctx: click.Context, _parameter: click.Parameter, wanted: bool) -> None:
    if wanted and not ctx.resilient_parsing:
        from importlib.metadata import version

        click.echo(f"moorage {version('moorage')} (CSI 1.13)")
        ctx.exit(0)


@click.group(
    cls=LazyGroup,
    lazy=COMMANDS,
    params=log_parameters(),
    invoke_without_command=True,
    no_args_is_help=False,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="`moorage COMMAND --help` explains a command. NO_COLOR turns colours off.",
)
@click.option(
    "--version",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_print_version,
    help="Show the version and exit.",
)
@click.pass_context
def command(ctx: click.Context, log_format: str | None, log_level: str | None) -> None:
    """Moorage: the Container Storage Interface, whole, in Python.

    Write a storage driver as one class, run any CSI driver on one machine without Kubernetes, and talk to it.
    """
    settings = LogSettings(log_format, log_level)
    settings.apply(default_level="warning")
    ctx.obj = settings
    if ctx.invoked_subcommand is None:
        click.echo(ctx.get_help())


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the command line and exits; `arguments` are those after the program's name."""
    sys.exit(run(arguments))


def run(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line and returns its exit code; failures are told on stderr."""
    try:
        result = command.main(args=arguments, prog_name="moorage", standalone_mode=False)
        sys.stdout.flush()
    except click.exceptions.Exit as done:
        return done.exit_code
    except click.UsageError as error:
        return _tell_usage(error)
    except click.ClickException as error:
        return _tell(error.format_message(), error.exit_code)
    except (KeyboardInterrupt, click.Abort):
        return _tell("interrupted", INTERRUPTED)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILED
    except Exception as error:
        return _tell_unforeseen(error)
    return result if isinstance(result, int) else 0


def _tell(message: str, code: int) -> int:
    for line in message.splitlines() or [message]:
        print(f"moorage: {line}", file=sys.stderr)
    return code


def _tell_usage(error: click.UsageError) -> int:
    path = error.ctx.command_path if error.ctx else "moorage"
    message = " ".join(error.format_message().split()).rstrip(".")
    print(f"{path}: {message[:1].lower()}{message[1:]}; see `{path} --help`", file=sys.stderr)
    return MISUSED


def _tell_unforeseen(error: Exception) -> int:
    """Tells of a CSI error as `CODE: message`, of a defect by its type (and place, when debugging)."""
    from moorage.spec.errors import CsiError

    if isinstance(error, CsiError):
        print(f"{error.code.name}: {error.message}", file=sys.stderr)
        return FAILED
    if isinstance(error, OSError) and error.strerror:
        where = f" ({error.filename})" if error.filename else ""
        return _tell(f"{error.strerror}{where}", FAILED)
    if LogSettings.current_level() == "debug":
        import traceback

        traceback.print_exception(error)
    text = " ".join(str(error).split())[:300]
    return _tell(f"unforeseen {type(error).__name__}: {text}; `moorage --log-level debug ...` shows where", FAILED)


if __name__ == "__main__":
    main()
