"""`moorage demo`: the whole life of a volume, through a real driver process and real mounts, on this machine.

As root it runs on loop devices; without root in a user namespace of its own, on plain directories. Whatever
happens, it takes everything away again and proves it, unless `--keep` is given.
"""

from __future__ import annotations

import asyncio
import os
from typing import Final

import click

from moorage.base.units import format_bytes
from moorage.cli.volume_options import SIZE

LEAST_BYTES: Final = 16 << 20


@click.command()
@click.option("--keep", is_flag=True, help="Leave volumes, mounts and state for a closer look.")
@click.option(
    "--driver",
    metavar="SOCKET",
    default="",
    help="Use the driver that listens here instead of `moorage serve local`; what it does not offer is left out.",
)
@click.option("--size", "size_bytes", type=SIZE, default="64Mi", show_default=True, help="Size of the volumes.")
@click.option(
    "--pool",
    metavar="DIR",
    type=click.Path(exists=True, file_okay=False, resolve_path=True),
    default=None,
    help="Where the local driver keeps volumes; by default a temporary directory.",
)
@click.option("-o", "--output", type=click.Choice(("json",)), help="Print one JSON document instead.")
@click.pass_context
def command(
    ctx: click.Context, /, *, keep: bool, driver: str, size_bytes: int, pool: str | None, output: str | None
) -> None:
    """Take a volume through its whole life on this machine, step by step.

    Create, mount, write, snapshot, restore, clone, expand, group snapshot, raw block, and everything back. Checksums
    are verified on the way; afterwards nothing is left. Exit code 1 when a step fails, 130, 143 or 129 when it was
    ended by Ctrl-C, SIGTERM or SIGHUP.
    """
    if size_bytes < LEAST_BYTES:
        raise click.UsageError(f"--size must be at least {format_bytes(LEAST_BYTES)}, which the demo's files need")
    if driver and pool:
        raise click.UsageError("--pool belongs to the demo's own driver; leave it out with --driver")
    as_user = os.geteuid() != 0 and not driver
    if as_user and keep:
        raise click.UsageError("--keep needs root: without it, mounts end with the demo's namespace")
    from moorage.cli.demo_place import enter_namespace
    from moorage.orchestrator.drivers import BadEndpoint, checked_endpoint
    from moorage.orchestrator.model import OrchestratorError

    try:
        if driver:
            checked_endpoint(driver)
    except BadEndpoint as error:
        raise click.UsageError(str(error)) from error
    try:
        if as_user:
            enter_namespace()  # before anything starts a thread
    except OrchestratorError as error:
        raise click.ClickException(str(error)) from error
    from moorage.cli.demo_run import Demo, Wish

    wish = Wish(size_bytes=size_bytes, driver=driver, pool=pool or "", keep=keep, as_user=as_user)
    demo = Demo(wish, as_json=output == "json")
    try:
        ctx.exit(asyncio.run(demo.run()))
    except asyncio.CancelledError:
        if demo.ended_by is None:
            raise
        demo.screen.complain(f"ended by {demo.ended_by.name}")
        ctx.exit(128 + demo.ended_by)
