"""Subcommands of `moorage volume` that change one volume."""

from __future__ import annotations

from typing import Any

import click

from moorage.base.units import format_bytes
from moorage.cli.volume_options import (
    SIZE,
    common,
    driver_option,
    kind_options,
    pairs,
    parameter_option,
    secrets_option,
)
from moorage.cli.volume_session import Desk, capability_of, run
from moorage.orchestrator.model import VolumeRecord
from moorage.orchestrator.view import volume_details
from moorage.orchestrator.volumes import NewVolume, Reconciled


@click.command()
@click.argument("name")
@click.option("--size", "size_bytes", type=SIZE, default="0", help="At least this large, such as 10Gi.")
@click.option("--limit", "limit_bytes", type=SIZE, default="0", help="At most this large.")
@driver_option
@kind_options
@parameter_option
@secrets_option
@common
def create(
    *,
    name: str,
    size_bytes: int,
    limit_bytes: int,
    driver: str,
    block: bool,
    fs_type: str | None,
    access_mode: str | None,
    mount_flags: tuple[str, ...],
    parameters: tuple[str, ...],
    secrets_file: str | None,
    **settings: Any,
) -> None:
    """Make the volume NAME, or go on making it."""
    if limit_bytes and limit_bytes < size_bytes:
        raise click.UsageError("--limit is smaller than --size; give a larger limit")
    chosen = pairs(parameters)

    async def work(desk: Desk) -> None:
        registered = await desk.drivers.resolve(driver)
        _, declared = await desk.drivers.describe(registered)
        new = NewVolume(
            name=name,
            driver=registered,
            capability=capability_of(
                declared, block=block, fs_type=fs_type, access=access_mode, mount_flags=mount_flags
            ),
            size_bytes=size_bytes,
            limit_bytes=limit_bytes,
            parameters=chosen,
            secrets_file=secrets_file or "",
        )
        tell_volume(desk, await desk.volumes.create(new), "is ready")

    run(work, **settings)


@click.command()
@click.argument("name")
@click.argument("path", type=click.Path())
@click.option("--readonly", is_flag=True, help="Refuse writes at this path.")
@common
def mount(name: str, path: str, readonly: bool, **settings: Any) -> None:
    """Make the volume NAME visible at PATH; for a block volume PATH becomes the device."""

    async def work(desk: Desk) -> None:
        volume = await desk.volumes.mount(name, path, readonly=readonly)
        tell_volume(desk, volume, f"is mounted at {path}")

    run(work, **settings)


@click.command()
@click.argument("name_or_path")
@common
def unmount(name_or_path: str, **settings: Any) -> None:
    """Take a volume from one path (given a path) or from all its paths (given its name)."""

    async def work(desk: Desk) -> None:
        volume = await desk.volumes.unmount(name_or_path)
        places = ", ".join(mount.path for mount in volume.desired.mounts)
        tell_volume(desk, volume, f"is still mounted at {places}" if places else "is unmounted")

    run(work, **settings)


@click.command()
@click.argument("name")
@click.argument("size_bytes", metavar="SIZE", type=SIZE)
@common
def expand(name: str, size_bytes: int, **settings: Any) -> None:
    """Make the volume NAME at least SIZE large; the file system grows with it."""

    async def work(desk: Desk) -> None:
        volume = await desk.volumes.expand(name, size_bytes)
        owed = volume.actual.node_expansion_bytes
        tell_volume(desk, volume, "is expanded; its file system grows with the next mount" if owed else "is expanded")

    run(work, **settings)


@click.command()
@click.argument("name")
@common
def delete(name: str, **settings: Any) -> None:
    """Delete the volume NAME and its data; one that is gone already is fine."""

    async def work(desk: Desk) -> None:
        await desk.volumes.delete(name)
        desk.tell(f"volume {name!r} is deleted", {"name": name, "status": "deleted"})

    run(work, **settings)


@click.command("import")
@click.argument("name")
@click.option("--volume-id", required=True, help="What the driver calls the volume.")
@click.option("--size", "size_bytes", type=SIZE, default="0", help="How large it is, if known.")
@click.option("--volume-context", multiple=True, metavar="KEY=VALUE", help="As CreateVolume would give it.")
@driver_option
@kind_options
@secrets_option
@common
def import_volume(
    *,
    name: str,
    volume_id: str,
    size_bytes: int,
    volume_context: tuple[str, ...],
    driver: str,
    block: bool,
    fs_type: str | None,
    access_mode: str | None,
    mount_flags: tuple[str, ...],
    secrets_file: str | None,
    **settings: Any,
) -> None:
    """Take over a volume that exists in the storage system, under the name NAME."""
    context = pairs(volume_context)

    async def work(desk: Desk) -> None:
        registered = await desk.drivers.resolve(driver)
        _, declared = await desk.drivers.describe(registered)
        new = NewVolume(
            name=name,
            driver=registered,
            capability=capability_of(
                declared, block=block, fs_type=fs_type, access=access_mode, mount_flags=mount_flags
            ),
            size_bytes=size_bytes,
            secrets_file=secrets_file or "",
        )
        volume = await desk.volumes.import_volume(new, volume_id=volume_id, volume_context=context)
        tell_volume(desk, volume, "is imported")

    run(work, **settings)


@click.command()
@click.argument("name")
@click.option("--force", is_flag=True, help="Even if it is mounted or half made; mounts stay where they are.")
@common
def forget(name: str, force: bool, **settings: Any) -> None:
    """Drop the record of the volume NAME and leave the volume itself alone."""

    async def work(desk: Desk) -> None:
        await desk.volumes.forget(name, force=force)
        desk.tell(f"volume {name!r} is forgotten", {"name": name, "status": "forgotten"})

    run(work, **settings)


@click.command()
@common
@click.pass_context
def reconcile(ctx: click.Context, /, **settings: Any) -> None:
    """Mount again what a reboot took away, and finish what was begun; exit code 1 when a volume fails."""

    async def work(desk: Desk) -> list[Reconciled]:
        results = await desk.volumes.reconcile()
        rows = [{"name": result.name, "problem": result.problem} for result in results]
        lines = [f"{result.name}: {result.problem or 'as wanted'}" for result in results]
        desk.tell("\n".join(lines) or "there are no volumes", {"volumes": rows})
        return results

    if any(result.problem for result in run(work, **settings)):
        ctx.exit(1)


def tell_volume(desk: Desk, volume: VolumeRecord, what: str) -> None:
    """Prints one volume."""
    size = f" ({format_bytes(volume.actual.capacity_bytes)})" if volume.actual.capacity_bytes else ""
    desk.tell(f"volume {volume.name!r}{size} {what}", volume_details(volume))
