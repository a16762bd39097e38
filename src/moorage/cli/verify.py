"""`moorage verify`: the conformance suite against the driver at a socket."""

from __future__ import annotations

import asyncio
import signal
from pathlib import Path
from typing import Any

import click

from moorage.cli.volume_options import DURATION, SIZE, decorated

_REPORTS = (".json", ".xml", ".html")

_WHICH = (
    click.option("--rule", "only", metavar="ID", multiple=True, help="Only this rule; patterns like create.* too."),
    click.option("--skip", metavar="ID", multiple=True, help="Leave this rule out; patterns too."),
    click.option("--area", "areas", metavar="AREA", multiple=True, help="Only the rules of this area."),
    click.option("--read-only", is_flag=True, help="Only rules that change nothing: no volume, no restart."),
    click.option("--list", "list_only", is_flag=True, help="List the rules instead of running them."),
)
_DRIVER = (
    click.option("--node-endpoint", metavar="ADDRESS", help="Socket of the node service, where it is another one."),
    click.option(
        "--restart-command",
        metavar="CMD",
        default="",
        help="A shell command that kills the driver with SIGKILL and starts it again. Without it no crash is tried.",
    ),
    click.option(
        "--log-file",
        metavar="FILE",
        type=click.Path(exists=True, dir_okay=False, path_type=Path),
        help="The driver's log, to be searched for secrets.",
    ),
    click.option("--other-node", metavar="ID", default="", help="Id of a second node that volumes can be attached to."),
)
_REQUESTS = (
    click.option("--parameters", metavar="FILE", help="Parameters of new volumes: a map in JSON or YAML."),
    click.option("--snapshot-parameters", metavar="FILE", help="Parameters of new snapshots."),
    click.option("--mutable-parameters", metavar="FILE", help="Parameters that ControllerModifyVolume may set."),
    click.option("--secrets", metavar="FILE", help="Secrets: one map for every RPC, or a map from RPC names to maps."),
    click.option("--size", "size_bytes", type=SIZE, default="1Gi", show_default=True, help="Size of new volumes."),
    click.option("--expanded-size", "expanded_bytes", type=SIZE, help="Size to grow to.  [default: twice --size]"),
    click.option(
        "--access", type=click.Choice(("mount", "block")), default="mount", help="How volumes are used by default."
    ),
    click.option("--fs-type", metavar="FS", default="", help="File system to ask for; by default the driver chooses."),
)
_LIMITS = (
    click.option("--seed", type=int, default=0, help="Where random choices start.  [default: 0]"),
    click.option("--rounds", type=click.IntRange(1), default=3, show_default=True, help="Tries of rules about chance."),
    click.option("--all-crash-points", is_flag=True, help="Kill a Moorage driver at every durable step, not at some."),
    click.option("--call-timeout", "call_timeout_s", type=DURATION, default="1m", help="Of a call.  [default: 1m]"),
    click.option(
        "--patience",
        "patience_s",
        type=DURATION,
        default="1m",
        help="Of an operation that goes on in the background, such as a snapshot.  [default: 1m]",
    ),
    click.option("--rule-timeout", "rule_timeout_s", type=DURATION, default="2m", help="Of a rule.  [default: 2m]"),
    click.option("--run-timeout", "run_timeout_s", type=DURATION, default="30m", help="Of all.  [default: 30m]"),
    click.option(
        "--work-dir",
        metavar="DIR",
        type=click.Path(file_okay=False, path_type=Path),
        help="Where staging and target paths are made; the driver must see it under the same path."
        "  [default: a temporary directory]",
    ),
)
_OUTPUT = (
    click.option(
        "--report",
        "reports",
        metavar="FILE",
        multiple=True,
        help="Write a report: .json, .xml (JUnit) or .html by its ending; may be repeated.",
    ),
    click.option(
        "--fail-on",
        type=click.Choice(("must", "should", "advice")),
        default="should",
        show_default=True,
        help="The weakest kind of rule whose failure makes the exit code 1.",
    ),
    click.option("-o", "--output", type=click.Choice(("text", "json")), default="text", help="Form of the outcome."),
)


def _options(function: Any) -> Any:
    return decorated(function, *_WHICH, *_DRIVER, *_REQUESTS, *_LIMITS, *_OUTPUT)


@click.command(short_help="Examine any CSI driver, with real data.")
@click.argument("endpoint", required=False, envvar="CSI_ENDPOINT")
@_options
@click.pass_context
def command(
    ctx: click.Context,
    /,
    *,
    endpoint: str | None,
    list_only: bool,
    only: tuple[str, ...],
    skip: tuple[str, ...],
    areas: tuple[str, ...],
    **given: Any,
) -> None:
    """Examine the driver at ENDPOINT: a unix socket such as unix:///run/csi/csi.sock.

    Volumes are made, mounted, written, copied, grown, broken and deleted, so point it at a driver whose storage
    you can spare. Run it as root on the driver's machine for all of it. What a run needs and does not have (root, a
    restart command, a capability) makes rules skip, with the reason. Exit code 0 when every rule holds, 1 when one
    fails or the driver cannot be examined, 2 for wrong usage.
    """
    from moorage.cli.verify_run import Wish, examine, print_rules
    from moorage.verify import ALL_RULES, SelectionError, select

    for path in given["reports"]:
        if Path(path).suffix not in _REPORTS:
            raise click.UsageError(f"--report {path}: the name must end in {', '.join(_REPORTS)}")
    try:
        rules = select(ALL_RULES, only=only, skip=skip, areas=areas)
    except SelectionError as error:
        raise click.UsageError(str(error)) from None
    if not rules:
        raise click.UsageError(
            "no rule is left: --rule, --area and --skip narrow each other; --list shows what is chosen"
        )
    if list_only:
        print_rules(rules, as_json=given["output"] == "json")
        return
    if not endpoint:
        raise click.UsageError("no ENDPOINT was given: name the driver's socket, or set CSI_ENDPOINT")
    for name in ("parameters", "snapshot_parameters", "mutable_parameters", "secrets"):
        given[name] = _map_of(given[name], name)
    ctx.exit(asyncio.run(_until_signalled(examine(Wish(endpoint=endpoint, rules=tuple(rules), **given)))))


def _map_of(path: str | None, name: str) -> dict[str, Any]:
    from moorage.verify.map_file import MapFileError, read_map

    try:
        return read_map(path, nested=name == "secrets")
    except MapFileError as error:
        raise click.UsageError(f"--{name.replace('_', '-')} {error}") from None


async def _until_signalled(work: Any) -> int:
    """Run to the end, or until SIGINT, SIGTERM or SIGHUP, when the rule that runs is cleaned up first."""
    task = asyncio.ensure_future(work)
    ended_by: list[signal.Signals] = []

    def stop(number: signal.Signals) -> None:
        ended_by.append(number)
        task.cancel()

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        asyncio.get_running_loop().add_signal_handler(number, stop, number)
    try:
        code: int = await task
    except asyncio.CancelledError:
        if not ended_by:
            raise
        code = 1
    if ended_by:
        click.echo(f"moorage: ended by {ended_by[0].name}", err=True)
        return 128 + ended_by[0]
    return code
