"""Between the subcommands of `moorage volume` and the orchestrator: runs one coroutine, tells failures."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import click

from moorage.cli.printing import print_data
from moorage.cli.volume_progress import Spinner, progress_for
from moorage.orchestrator.access import access_mode
from moorage.orchestrator.calling import Patience
from moorage.orchestrator.drivers import BadEndpoint, Drivers
from moorage.orchestrator.groups import Groups
from moorage.orchestrator.model import OrchestratorError
from moorage.orchestrator.queries import Queries
from moorage.orchestrator.snapshots import Snapshots
from moorage.orchestrator.volumes import Volumes
from moorage.orchestrator.workspace import Workspace, open_workspace
from moorage.spec.capabilities import Declared
from moorage.spec.types import BlockAccess, MountAccess, VolumeCapability

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Desk:
    """All parts of the orchestrator over one workspace, and how its user wants answers printed."""

    workspace: Workspace
    output: str | None

    @property
    def volumes(self) -> Volumes:
        """The volumes."""
        return Volumes(self.workspace)

    @property
    def snapshots(self) -> Snapshots:
        """The snapshots."""
        return Snapshots(self.workspace)

    @property
    def groups(self) -> Groups:
        """The group snapshots."""
        return Groups(self.workspace)

    @property
    def drivers(self) -> Drivers:
        """The registered drivers."""
        return Drivers(self.workspace)

    @property
    def queries(self) -> Queries:
        """What changes nothing."""
        return Queries(self.workspace)

    def tell(self, sentence: str, data: dict[str, Any]) -> None:
        """Prints the data as asked for, or the sentence when no format was asked for."""
        if self.output is None:
            click.echo(sentence)
        else:
            print_data(data, self.output)


def run(
    work: Callable[[Desk], Coroutine[Any, Any, T]],
    *,
    state_dir: str | None,
    timeout_s: float,
    output: str | None,
    nomad: bool,
) -> T:
    """Do the work on a desk with these settings. Raises click.ClickException with one sentence (exit code 1).

    Raises click.UsageError (exit code 2) for an endpoint that is none.
    """
    progress = progress_for(data_wanted=output in ("json", "yaml"))
    workspace = open_workspace(
        state_dir or default_state_dir(),
        patience=Patience(limit_s=timeout_s),
        progress=progress,
        nomad_order=nomad,
    )
    try:
        return asyncio.run(work(Desk(workspace, output)))
    except BadEndpoint as error:
        raise click.UsageError(str(error), click.get_current_context(silent=True)) from error
    except OrchestratorError as error:
        raise click.ClickException(str(error)) from error
    finally:
        if isinstance(progress, Spinner):
            progress.stop()


def default_state_dir() -> str:
    """/var/lib/moorage for the superuser, else `moorage` in the XDG state directory."""
    if os.geteuid() == 0:
        return "/var/lib/moorage"
    given = os.environ.get("XDG_STATE_HOME", "")
    home = Path(given) if given.startswith("/") else Path.home() / ".local" / "state"
    return str(home / "moorage")


def capability_of(
    declared: Declared, *, block: bool, fs_type: str | None, access: str | None, mount_flags: tuple[str, ...]
) -> VolumeCapability:
    """The capability that the options describe. Raises click.UsageError when they contradict each other."""
    if block and (fs_type or mount_flags):
        raise click.UsageError("--block volumes have no file system; leave out --fs-type and --mount-flag")
    try:
        mode = access_mode(access or "rwo", declared)
    except OrchestratorError as error:
        raise click.UsageError(str(error)) from error
    return VolumeCapability(mode, BlockAccess() if block else MountAccess(fs_type or "", mount_flags))
