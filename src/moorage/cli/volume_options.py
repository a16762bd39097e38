"""Options that the subcommands of `moorage volume` share, and how their texts become values."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, TypeVar

import click

from moorage.base.units import UnitError, parse_bytes, parse_duration
from moorage.cli.printing import FORMATS

CommandT = TypeVar("CommandT", bound=Callable[..., Any])


class SizeType(click.ParamType[int]):
    """A size in bytes as Kubernetes writes quantities."""

    name = "size"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Bytes; fails with a usage error."""
        try:
            return parse_bytes(value)
        except UnitError as error:
            self.fail(str(error), param, ctx)


class DurationType(click.ParamType[float]):
    """A duration as Go writes it."""

    name = "duration"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Seconds; fails with a usage error."""
        if isinstance(value, float):
            return value
        try:
            duration_s = parse_duration(value)
        except UnitError as error:
            self.fail(str(error), param, ctx)
        if duration_s <= 0:
            self.fail(f"{value!r} is not positive; write for example 2m", param, ctx)
        return duration_s


SIZE = SizeType()
DURATION = DurationType()


def pairs(texts: Iterable[str]) -> dict[str, str]:
    """`key=value` texts as a map. Raises click.BadParameter."""
    found: dict[str, str] = {}
    for text in texts:
        key, separator, value = text.partition("=")
        if not separator or not key:
            raise click.BadParameter(f"{text!r} is not of the form KEY=VALUE")
        found[key] = value
    return found


def decorated(command: CommandT, *options: Callable[[Any], Any]) -> CommandT:
    """The command with these options, in this order in its help."""
    for option in reversed(options):
        command = option(command)
    return command


def common(command: CommandT) -> CommandT:
    """Options of every subcommand: where state is, how long to try, how to print."""
    return decorated(
        command,
        click.option(
            "--state-dir",
            metavar="DIR",
            envvar="MOORAGE_STATE_DIR",
            help="Where records are kept.  [environment: MOORAGE_STATE_DIR; default: /var/lib/moorage as root, else"
            " the XDG state directory]",
        ),
        click.option(
            "--timeout",
            "timeout_s",
            type=DURATION,
            default="5m",
            show_default=True,
            metavar="DURATION",
            help="Give up after this long; running the command again goes on.",
        ),
        click.option("-o", "--output", type=click.Choice(FORMATS), help="How to print the result."),
        click.option("--nomad", is_flag=True, hidden=True, help="Call in the order of Nomad, for tests."),
    )


def driver_option(command: CommandT) -> CommandT:
    """`--driver`."""
    return decorated(
        command,
        click.option(
            "--driver",
            default="",
            envvar="MOORAGE_DRIVER",
            metavar="SOCKET|NAME",
            help="The driver's socket, or its registered name; may be left out when one is registered."
            "  [environment: MOORAGE_DRIVER]",
        ),
    )


def kind_options(command: CommandT) -> CommandT:
    """How a volume is to be used; given as `kind`, see `Kind`."""
    return decorated(
        command,
        click.option("--block", is_flag=True, help="A raw block device instead of a file system."),
        click.option("--fs-type", metavar="TYPE", help="File system: ext4, xfs, btrfs, ...; the driver's default."),
        click.option(
            "--access-mode",
            metavar="MODE",
            help="rwo, rwop, rox, rwx or a name of the CSI specification.  [default: rwo]",
        ),
        click.option("--mount-flag", "mount_flags", multiple=True, metavar="FLAG", help="Mount option; repeatable."),
    )


def secrets_option(command: CommandT) -> CommandT:
    """`--secrets-file`."""
    return decorated(
        command,
        click.option(
            "--secrets-file",
            type=click.Path(exists=True, dir_okay=False, resolve_path=True),
            default=None,
            help="JSON or YAML map of secrets, or a map of maps by RPC name; only its path is recorded.",
        ),
    )


def parameter_option(command: CommandT) -> CommandT:
    """`--parameter`."""
    return decorated(
        command,
        click.option(
            "--parameter",
            "parameters",
            multiple=True,
            metavar="KEY=VALUE",
            help="Passed to the driver as it is; repeatable.",
        ),
    )
