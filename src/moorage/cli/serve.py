"""`moorage serve DRIVER`: runs a storage driver behind a unix socket.

Every setting of the driver is a flag, an environment variable and a key of the configuration file; the flags
are made from its `Config` class when the driver is named. Nothing heavy is imported: this runs in node pods.
"""

from __future__ import annotations

import asyncio
import os
import sys
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final, TypeVar

import click
from click.shell_completion import CompletionItem

from moorage.base.faults import FaultPlan, FaultPlanError, load_plan
from moorage.base.loopwatch import watching
from moorage.base.scrubber import SecretScrubber
from moorage.cli.logs import LogSettings, log_parameters
from moorage.cli.startup import collection_paused
from moorage.framework.config import Config, ConfigError, ConfigOption, load, options
from moorage.framework.config_file import read_config_file
from moorage.framework.discovery import DiscoveryError, find_driver, known_drivers
from moorage.framework.driver import Driver
from moorage.framework.inference import Mode

T = TypeVar("T")
MODES: Final = ("all", "controller", "node")
TEARDOWN_S: Final = 3.0
CONTEXT: Final = {"help_option_names": ["-h", "--help"], "max_content_width": 100}


class ServeGroup(click.Group):
    """Its commands are the installed drivers; `package.module:Class` names any other."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The names of the installed drivers."""
        return list(known_drivers())

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command that serves this driver, with the driver's own options. Raises click.UsageError."""
        try:
            with collection_paused():
                driver = find_driver(cmd_name)
            return driver_command(cmd_name, driver)
        except (DiscoveryError, TypeError) as error:
            raise click.UsageError(str(error), ctx) from error

    def collect_usage_pieces(self, ctx: click.Context) -> list[str]:
        """The options stand behind the driver: most are its own."""
        return ["DRIVER", "[OPTIONS]"]

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Lists the drivers without importing any."""
        rows = [(name, path) for name, path in known_drivers().items()]
        with formatter.section("Drivers"):
            formatter.write_dl([*rows, ("package.module:Class", "any other class, also in this directory")])

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """Completes the names of the installed drivers."""
        return [CompletionItem(name) for name in known_drivers() if name.startswith(incomplete)]


class DriverCommand(click.Command):
    """Shows the driver's own options apart from those that every driver has."""

    def __init__(self, *args: Any, own: frozenset[str], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._own = own

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Writes both groups of options."""
        for heading, own in (("Settings of this driver", True), ("Options", False)):
            rows = [
                record
                for parameter in self.get_params(ctx)
                if (parameter.name in self._own) is own and (record := parameter.get_help_record(ctx)) is not None
            ]
            if rows:
                with formatter.section(heading):
                    formatter.write_dl(rows)


def driver_command(name: str, driver: type[Driver]) -> click.Command:
    """The command `moorage serve NAME`. Raises TypeError when a setting of the driver takes a flag of ours."""
    own = [_click_option(option) for option in options(driver.Config) if option.flag]
    common = _common_options()
    taken = {text for option in common for text in option.opts}
    for option in own:
        if clash := taken & {*option.opts, *option.secondary_opts}:
            raise TypeError(
                f"{driver.__name__} has a setting {option.name}, but {clash.pop()} is an option of `moorage serve`; "
                "rename the setting"
            )

    def callback(**values: Any) -> int:
        flags = {str(option.name): values.pop(str(option.name)) for option in own}
        return run(driver, flags, **values)

    summary = (driver.__doc__ or f"Serve {driver.__name__}.").split("\n\n")[0]
    secrets = [option for option in options(driver.Config) if not option.flag]
    return DriverCommand(
        name,
        params=[*own, *common],
        callback=callback,
        help=f"{' '.join(summary.split())}\n\nServes {getattr(driver, 'name', driver.__name__)} until SIGTERM or"
        " SIGINT. A flag wins over its environment variable, that over the configuration file."
        + _secrets_help(secrets),
        own=frozenset(str(option.name) for option in own),
        context_settings=CONTEXT,
    )


def _secrets_help(secrets: list[ConfigOption]) -> str:
    if not secrets:
        return ""
    listed = ", ".join(f"{option.field} ({option.environment})" for option in secrets)
    return f"\n\nSecrets are set by environment or file only: {listed}."


def _click_option(option: ConfigOption) -> click.Option:
    notes = [f"environment: {option.environment}"]
    if option.required:
        notes.append("required")
    elif option.default_text:
        notes.append(f"default: {option.default_text}")
    if option.repeatable:
        notes.append("may be repeated")
    help_text = f"{option.help[:1].upper()}{option.help[1:]}  [{'; '.join(notes)}]"
    if option.kind.is_bool and not option.repeatable:
        names = [f"{option.flag}/{option.no_flag}", option.field]
        return click.Option(names, default=None, help=help_text)
    return click.Option(
        [option.flag, option.field],
        multiple=option.repeatable,
        metavar=option.metavar,
        type=_Completing(option),
        help=help_text,
    )


class _Completing(click.ParamType[str]):
    """Leaves the text as it is, `Config` converts it; helps the shell to complete choices and paths."""

    name = "text"

    def __init__(self, option: ConfigOption) -> None:
        self._option = option

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        if self._option.kind.is_path:
            return [CompletionItem(incomplete, type="dir" if self._option.metavar == "DIR" else "file")]
        return [CompletionItem(text) for text in self._option.choices if text.startswith(incomplete)]


def _common_options() -> list[click.Parameter]:
    file = click.Path(path_type=Path)
    return [
        click.Option(
            ["--config"],
            metavar="FILE",
            type=file,
            help="Settings as .json, .toml or .yaml.  [environment: MOORAGE_CONFIG]",
            envvar="MOORAGE_CONFIG",
        ),
        click.Option(
            ["--endpoint"],
            metavar="ADDRESS",
            envvar="CSI_ENDPOINT",
            help="Socket to listen at: unix:///run/csi/csi.sock.  [environment: CSI_ENDPOINT]",
        ),
        click.Option(
            ["--mode"],
            type=click.Choice(MODES),
            default="all",
            envvar="MOORAGE_MODE",
            help="Which services this process offers.  [environment: MOORAGE_MODE; default: all]",
        ),
        click.Option(
            ["--state-dir"],
            metavar="DIR",
            type=file,
            envvar="MOORAGE_STATE_DIR",
            help="Where journals live, in a directory of the driver's name.  [environment: MOORAGE_STATE_DIR; default:"
            " /var/lib/moorage as root, else the XDG state directory]",
        ),
        click.Option(
            ["--metrics-address"],
            metavar="HOST:PORT",
            envvar="MOORAGE_METRICS_ADDRESS",
            help="Serve /metrics, /healthz, /readyz and /operations here.  [environment: MOORAGE_METRICS_ADDRESS]",
        ),
        click.Option(
            ["--socket-mode"],
            metavar="OCTAL",
            default="0600",
            envvar="MOORAGE_SOCKET_MODE",
            help="Permissions of the socket.  [environment: MOORAGE_SOCKET_MODE; default: 0600]",
        ),
        click.Option(["--grpc-health"], is_flag=True, help="Serve grpc.health.v1 too (needs moorage[health])."),
        click.Option(["--grpc-reflection"], is_flag=True, help="Serve gRPC reflection too (needs moorage[health])."),
        click.Option(
            ["--faults"],
            metavar="FILE",
            type=file,
            help="Inject the faults of this plan, for tests.  [environment, with the plan itself: MOORAGE_FAULTS]",
        ),
        *log_parameters(),
    ]


def run(
    driver: type[Driver],
    flags: Mapping[str, object],
    *,
    config: Path | None,
    endpoint: str | None,
    mode: Mode,
    state_dir: Path | None,
    metrics_address: str | None,
    socket_mode: str,
    grpc_health: bool,
    grpc_reflection: bool,
    faults: Path | None,
    log_format: str | None = None,
    log_level: str | None = None,
) -> int:
    """Read the settings, serve the driver, return the exit code. Raises click exceptions with one sentence."""
    scrubber = SecretScrubber()
    settings = LogSettings.in_force().overlaid(log_format=log_format, log_level=log_level)
    settings.apply(default_level="info", scrubber=scrubber)
    problems: list[str] = []
    plan = _read(problems, lambda: _fault_plan(faults))
    loaded = _read(problems, lambda: _load_config(driver, flags, config))
    permissions = _read(problems, lambda: _octal(socket_mode))
    _read(problems, lambda: _check_addresses(endpoint, metrics_address))
    if problems or loaded is None or permissions is None or endpoint is None:
        raise click.UsageError("; ".join(problems), click.get_current_context(silent=True))
    with collection_paused():
        from moorage.framework.serving import ServeError, placement_problem, serve, state_directory

    if problem := placement_problem(driver, mode, environment=os.environ):
        raise click.ClickException(problem)
    directory = state_directory(state_dir, driver.name, environment=os.environ, is_root=os.geteuid() == 0)

    async def body() -> int:
        with watching(os.environ.get("MOORAGE_LOOP_WATCH")):
            code = await serve(
                driver,
                loaded,
                endpoint=endpoint,
                mode=mode,
                state_dir=directory,
                metrics_address=metrics_address,
                socket_mode=permissions,
                grpc_health=grpc_health,
                grpc_reflection=grpc_reflection,
                scrubber=scrubber,
                fault_plan=plan,
            )
        _leave_soon(code)
        return code

    try:
        return asyncio.run(body())
    except ServeError as error:
        raise click.ClickException(str(error)) from error


def _leave_soon(code: int) -> None:
    """Bound what asyncio and the interpreter still do: they wait for threads that may never end."""
    if code:
        sys.stderr.flush()
        os._exit(code)
    timer = threading.Timer(TEARDOWN_S, os._exit, (code,))
    timer.daemon = True
    timer.start()


def _read(problems: list[str], reader: Callable[[], T]) -> T | None:
    """What `reader` gives, or None with what is wrong added to `problems`, so that all of it is told at once."""
    try:
        return reader()
    except ConfigError as error:
        problems += error.problems
        return None


def _check_addresses(endpoint: str | None, metrics_address: str | None) -> None:
    with collection_paused():
        from moorage.base.http import parse_address
        from moorage.rpc.endpoint import EndpointError, parse_server_endpoint

    problems = []
    if not endpoint:
        problems.append("no endpoint is given; use --endpoint unix:///run/csi/csi.sock or set CSI_ENDPOINT")
    else:
        try:
            parse_server_endpoint(endpoint)
        except EndpointError as error:
            problems.append(str(error))
    try:
        if metrics_address:
            parse_address(metrics_address)
    except ValueError as error:
        problems.append(f"metrics address {error}")
    if problems:
        raise ConfigError(*problems)


def _load_config(driver: type[Driver], flags: Mapping[str, object], path: Path | None) -> Config:
    in_file = read_config_file(path) if path is not None else {}
    texts = {name: _flag_text(value) for name, value in flags.items()}
    return load(driver.Config, flags=texts, environment=os.environ, file_values=in_file)


def _flag_text(value: object) -> object:
    return list(value) if isinstance(value, tuple) and value else value


def _octal(text: str) -> int:
    try:
        mode = int(text, 8)
    except ValueError:
        mode = -1
    if not 0 <= mode <= 0o777:
        raise ConfigError(f"socket mode {text!r} is not an octal mode such as 0660")
    return mode


def _fault_plan(path: Path | None) -> FaultPlan | None:
    try:
        text = path.read_text(encoding="utf-8") if path is not None else os.environ.get("MOORAGE_FAULTS", "")
        return load_plan(text) if text else None
    except FaultPlanError as error:
        raise ConfigError(str(error)) from error
    except OSError as error:
        raise ConfigError(f"fault plan {str(path)!r} cannot be read ({error.strerror})") from error


@click.group(
    cls=ServeGroup,
    invoke_without_command=True,
    context_settings=CONTEXT,
    epilog="`moorage serve DRIVER --help` shows the settings of a driver.",
)
@click.pass_context
def command(ctx: click.Context) -> None:
    """Run a storage driver behind a unix socket.

    DRIVER is one of those listed below, or package.module:Class.
    """
    if ctx.invoked_subcommand is None:
        click.echo(ctx.get_help())
