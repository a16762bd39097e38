"""`moorage rpc SERVICE METHOD`: makes any CSI call to any driver, with every field of the specification.

The tree of commands is made from the rules table; names, aliases and flags are those of csc where csc has them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final, cast

import click

from moorage.cli.printing import FORMATS
from moorage.cli.rpc_flags import Flag, flags_of
from moorage.cli.rpc_names import (
    find_method,
    find_rpc,
    find_service,
    methods_of,
    names_of,
    positional_fields,
    short_name,
    shown_services,
)
from moorage.cli.rpc_session import Settings, run_calls
from moorage.spec.rules import Rpc, Service

CONTEXT: Final = {"help_option_names": ["-h", "--help"], "max_content_width": 100}
PAGED: Final = frozenset({"ListVolumes", "ListSnapshots", "ControllerListVolumeHealth"})


def shared_options() -> list[click.Parameter]:
    """The options that may stand at every level; the one nearest to the method wins."""
    return [
        click.Option(
            ["-e", "--endpoint"],
            metavar="ADDRESS",
            help="Socket of the driver: unix:///run/csi/csi.sock, or its path.  [environment: CSI_ENDPOINT]",
        ),
        click.Option(["-t", "--timeout"], metavar="DURATION", help="Limit of one call.  [default: 1m0s]"),
        click.Option(["-o", "--output"], type=click.Choice(FORMATS), help="Form of the answer.  [default: json]"),
        click.Option(
            ["--secrets-file"],
            metavar="FILE",
            help="Secrets as a JSON object or KEY=VALUE lines; - is stdin.  [environment for csc's form"
            " k=v,k=v: X_CSI_SECRETS]",
        ),
        click.Option(
            ["-m", "--metadata"], metavar="KEY=VALUE,...", multiple=True, help="gRPC metadata to send; may be repeated."
        ),
        click.Option(
            ["--retry"],
            is_flag=True,
            default=None,
            help="Repeat after ABORTED and UNAVAILABLE until the timeout.",
        ),
        click.Option(
            ["--check"],
            is_flag=True,
            default=None,
            help="Hold the answer against the specification; problems go to stderr, exit code 1.",
        ),
    ]


def _remember(ctx: click.Context) -> Settings:
    """The settings of the levels above with those of this level on top."""
    above = ctx.parent.obj if ctx.parent is not None and isinstance(ctx.parent.obj, Settings) else Settings()
    mine = {name: ctx.params.pop(name) for name in Settings.__struct_fields__ if name in ctx.params}
    return above.overlaid(mine)


class RpcGroup(click.Group):
    """`moorage rpc`: its commands are the services; the name of an RPC alone is accepted too."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The services."""
        return [name for name, _ in shown_services()]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """A service by any of its names, or a method by its full name."""
        service = find_service(cmd_name)
        if service is not None:
            return service_command(service)
        rpc = find_rpc(cmd_name)
        return None if rpc is None else method_command(rpc)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Writes every method of every service."""
        for name, service in shown_services():
            with formatter.section(f"{service}"):
                formatter.write_dl([(f"{name} {short_name(rpc)}", _summary(rpc)) for rpc in methods_of(service)])


class ServiceGroup(click.Group):
    """One service: its commands are its methods, by any of their names."""

    def __init__(self, service: Service, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.service = service

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The methods, by the names shown."""
        return [short_name(rpc) for rpc in methods_of(self.service)]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """A method by any of its names."""
        rpc = find_method(self.service, cmd_name)
        return None if rpc is None else method_command(rpc)


def service_command(service: Service) -> click.Command:
    """The group of a service's methods."""
    name = {known: shown for shown, known in shown_services()}[service]

    def callback(**_: object) -> None:
        ctx = click.get_current_context()
        ctx.obj = _remember(ctx)
        if ctx.invoked_subcommand is None:
            click.echo(ctx.get_help())

    return ServiceGroup(
        service,
        name=name,
        params=shared_options(),
        callback=callback,
        invoke_without_command=True,
        help=f"Call a method of the {service} service.",
        context_settings=CONTEXT,
    )


def method_command(rpc: Rpc) -> click.Command:
    """The command of one RPC, with a flag for each field of its request."""
    flags = flags_of(rpc)
    fields = positional_fields(rpc)
    params: list[click.Parameter] = [_click_option(flag) for flag in flags]
    if fields:
        params.insert(0, click.Argument(["positional"], nargs=-1, metavar=_usage(rpc)))
    params.append(
        click.Option(["--json", "json_text"], metavar="JSON", help="The request: JSON, @FILE, or - for stdin.")
    )
    if rpc.name in PAGED:
        params.append(click.Option(["--paging"], is_flag=True, help="Get all pages, one after the other."))

    def callback(**values: Any) -> int:
        ctx = click.get_current_context()
        settings = _remember(ctx)
        given = [(flag, _texts(ctx.params[_key(flag)])) for flag in flags if _was_given(ctx.params[_key(flag)])]
        return run_calls(
            rpc,
            settings,
            json_text=values["json_text"],
            flags=given,
            positional=values.get("positional", ()),
            paging=values.get("paging", False),
        )

    aliases = ", ".join(names_of(rpc)[1:])
    gate = " or ".join(capability.name for capability in rpc.gate)
    text = f"{_summary(rpc)}\n\nOther names: {aliases}." + (f"\n\nNeeds the capability {gate}." if gate else "")
    return click.Command(
        short_name(rpc),
        params=[*params, *shared_options()],
        callback=callback,
        help=text,
        short_help=_summary(rpc),
        context_settings=CONTEXT,
    )


def _usage(rpc: Rpc) -> str:
    fields = positional_fields(rpc)
    if rpc.name in {"NodeGetVolumeStats", "NodeGetVolumeHealth"}:
        return "ID:PATH[:STAGING]..."
    if len(fields) == 1:
        return f"{fields[0].upper()}..."
    return " ".join(field.upper() for field in fields)


def _click_option(flag: Flag) -> click.Option:
    if flag.is_bool:
        return click.Option([*flag.names, _key(flag)], is_flag=True, default=None, help=flag.help)
    return click.Option(
        [*flag.names, _key(flag)], metavar=flag.metavar, multiple=flag.multiple, default=None, help=flag.help
    )


def _key(flag: Flag) -> str:
    return "flag_" + flag.names[0].lstrip("-").replace("-", "_")


def _was_given(value: object) -> bool:
    return value is not None and value != ()


def _texts(value: object) -> Sequence[str]:
    if isinstance(value, tuple):
        return value
    return ("true" if value else "false",) if isinstance(value, bool) else (str(value),)


def _summary(rpc: Rpc) -> str:
    return " ".join((rpc.request.__doc__ or rpc.name).split("\n\n")[0].split())


def _root(**_: object) -> None:
    ctx = click.get_current_context()
    ctx.obj = _remember(ctx)
    if ctx.invoked_subcommand is None:
        click.echo(ctx.get_help())


command: Final = RpcGroup(
    "rpc",
    params=shared_options(),
    callback=cast("Callable[..., Any]", _root),
    invoke_without_command=True,
    help="Make any CSI call to any driver.\n\nSERVICE and METHOD may be given as in the specification (Controller"
    " CreateVolume), in kebab case (controller create-volume), or by csc's names (c new). The request is made"
    " from --json, flags and positional arguments; several ids make one call each.",
    subcommand_metavar="SERVICE METHOD [ARGS]...",
    context_settings=CONTEXT,
)
