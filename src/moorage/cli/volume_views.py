"""Subcommands of `moorage volume` that change nothing."""

from __future__ import annotations

from typing import Any

import click

from moorage.cli.printing import print_data
from moorage.cli.volume_options import common, driver_option, pairs, parameter_option
from moorage.cli.volume_session import Desk, run
from moorage.orchestrator.view import (
    capacity_details,
    group_row,
    snapshot_row,
    stats_details,
    volume_details,
    volume_row,
)


@click.command("list")
@common
def list_volumes(**settings: Any) -> None:
    """List all volumes and where they are."""

    async def work(desk: Desk) -> None:
        volumes = await desk.volumes.all()
        if not volumes and settings["output"] is None:
            click.echo("there are no volumes; `moorage volume create --help` shows how to make one")
        elif settings["output"] in ("json", "yaml"):
            print_data({"volumes": [volume_details(volume) for volume in volumes]}, settings["output"])
        else:
            print_data({"volumes": [volume_row(volume) for volume in volumes]}, "table")

    run(work, **settings)


@click.command()
@click.argument("name")
@common
def show(name: str, **settings: Any) -> None:
    """Tell everything about the volume NAME."""

    async def work(desk: Desk) -> None:
        volume = await desk.volumes.get(name)
        print_data(volume_details(volume), settings["output"] or "table")

    run(work, **settings)


@click.command()
@click.argument("name")
@common
def stats(name: str, **settings: Any) -> None:
    """Tell how full the volume NAME is."""

    async def work(desk: Desk) -> None:
        answer = await desk.queries.stats(await desk.volumes.get(name))
        print_data(stats_details(name, answer), settings["output"] or "table")

    run(work, **settings)


@click.command()
@common
def snapshots(**settings: Any) -> None:
    """List all snapshots, and group snapshots with their volumes."""

    async def work(desk: Desk) -> None:
        rows = [snapshot_row(snapshot) for snapshot in await desk.snapshots.all()]
        groups = [group_row(group) for group in await desk.groups.all()]
        if settings["output"] in ("json", "yaml"):
            print_data({"snapshots": rows, "groups": groups}, settings["output"])
        elif rows:
            print_data({"snapshots": rows}, "table")
        else:
            click.echo("there are no snapshots; `moorage volume snapshot VOLUME NAME` makes one")

    run(work, **settings)


@click.command()
@driver_option
@parameter_option
@common
def capacity(driver: str, parameters: tuple[str, ...], **settings: Any) -> None:
    """Tell how much a driver can still provision."""
    chosen = pairs(parameters)

    async def work(desk: Desk) -> None:
        name = await desk.drivers.resolve(driver)
        answer = await desk.queries.capacity(name, parameters=chosen)
        print_data(capacity_details(name, answer), settings["output"] or "table")

    run(work, **settings)
