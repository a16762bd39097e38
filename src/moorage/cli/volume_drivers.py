"""`moorage volume drivers`: which drivers this machine's orchestrator knows."""

from __future__ import annotations

from typing import Any

import click

from moorage.cli.printing import print_data
from moorage.cli.volume_options import common
from moorage.cli.volume_session import Desk, run
from moorage.orchestrator.view import declared_details, driver_row


@click.group(invoke_without_command=True)
@click.pass_context
def command(ctx: click.Context) -> None:
    """List, register and remove drivers; alone, list them."""
    if ctx.invoked_subcommand is None:
        ctx.invoke(list_drivers, state_dir=None, timeout_s=300.0, output=None, nomad=False)


@command.command("list")
@common
def list_drivers(**settings: Any) -> None:
    """List the registered drivers."""

    async def work(desk: Desk) -> None:
        rows = [driver_row(driver) for driver in await desk.drivers.all()]
        if not rows and settings["output"] is None:
            click.echo("no driver is registered; `moorage volume drivers add SOCKET` registers one")
        else:
            print_data({"drivers": rows}, settings["output"] or "table")

    run(work, **settings)


@command.command()
@click.argument("socket")
@click.option("--name", default="", help="What to call it; by default what it calls itself.")
@click.option("--replace", is_flag=True, help="Move the name to this socket.")
@common
def add(socket: str, name: str, replace: bool, **settings: Any) -> None:
    """Register the driver that listens at SOCKET."""

    async def work(desk: Desk) -> None:
        driver = await desk.drivers.add(socket, name=name, replace=replace)
        desk.tell(f"driver {driver.name!r} is registered at {driver.endpoint}", driver_row(driver))

    run(work, **settings)


@command.command()
@click.argument("name")
@common
def show(name: str, **settings: Any) -> None:
    """Tell what the driver NAME declares."""

    async def work(desk: Desk) -> None:
        driver, declared = await desk.drivers.describe(await desk.drivers.resolve(name))
        print_data({**driver_row(driver), **declared_details(declared)}, settings["output"] or "table")

    run(work, **settings)


@command.command()
@click.argument("name")
@common
def remove(name: str, **settings: Any) -> None:
    """Forget the driver NAME, which has no volumes any more."""

    async def work(desk: Desk) -> None:
        await desk.drivers.remove(name)
        desk.tell(f"driver {name!r} is removed", {"name": name, "status": "removed"})

    run(work, **settings)
