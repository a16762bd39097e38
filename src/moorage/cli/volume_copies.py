"""Subcommands of `moorage volume` that make and delete copies: snapshots, groups, restored volumes, clones."""

from __future__ import annotations

from typing import Any

import click

from moorage.cli.volume_changes import tell_volume
from moorage.cli.volume_options import SIZE, common, kind_options, pairs, parameter_option, secrets_option
from moorage.cli.volume_session import Desk, capability_of, run
from moorage.orchestrator.model import OrchestratorError, VolumeRecord
from moorage.orchestrator.view import group_row, snapshot_row
from moorage.orchestrator.volumes import NewVolume
from moorage.spec.types import ContentSource, ControllerCapability, SnapshotSource, VolumeSource


@click.command()
@click.argument("volume")
@click.argument("name")
@parameter_option
@secrets_option
@common
def snapshot(volume: str, name: str, parameters: tuple[str, ...], secrets_file: str | None, **settings: Any) -> None:
    """Cut a snapshot NAME of VOLUME, and wait until it is ready."""
    chosen = pairs(parameters)

    async def work(desk: Desk) -> None:
        source = await desk.volumes.get(volume)
        made = await desk.snapshots.create(source, name, parameters=chosen, secrets_file=secrets_file or "")
        desk.tell(f"snapshot {name!r} of volume {volume!r} is ready", snapshot_row(made))

    run(work, **settings)


@click.command("group-snapshot")
@click.argument("name")
@click.argument("volumes", nargs=-1, required=True)
@parameter_option
@secrets_option
@common
def group_snapshot(
    name: str,
    volumes: tuple[str, ...],
    parameters: tuple[str, ...],
    secrets_file: str | None,
    **settings: Any,
) -> None:
    """Cut all VOLUMES at one instant; the snapshots are called NAME-VOLUME."""
    chosen = pairs(parameters)

    async def work(desk: Desk) -> None:
        sources = [await desk.volumes.get(volume) for volume in dict.fromkeys(volumes)]
        made = await desk.groups.create(sources, name, parameters=chosen, secrets_file=secrets_file or "")
        desk.tell(f"group {name!r} of {len(sources)} volumes is ready", group_row(made))

    run(work, **settings)


@click.command("delete-snapshot")
@click.argument("name")
@common
def delete_snapshot(name: str, **settings: Any) -> None:
    """Delete the snapshot or group NAME; one that is gone already is fine."""

    async def work(desk: Desk) -> None:
        if await desk.groups.find(name) is not None:
            await desk.groups.delete(name)
        else:
            await desk.snapshots.delete(name)
        desk.tell(f"snapshot {name!r} is deleted", {"name": name, "status": "deleted"})

    run(work, **settings)


@click.command()
@click.argument("snapshot_name", metavar="SNAPSHOT")
@click.argument("name")
@click.option("--size", "size_bytes", type=SIZE, default="0", help="Larger than the snapshot, if wanted.")
@kind_options
@parameter_option
@secrets_option
@common
def restore(snapshot_name: str, name: str, **values: Any) -> None:
    """Make the volume NAME with the content of SNAPSHOT."""
    settings = _split(values)

    async def work(desk: Desk) -> None:
        cut = await desk.snapshots.ready(snapshot_name)
        pattern = await desk.volumes.find(cut.source_volume) if cut.source_volume else None
        least_bytes = cut.size_bytes or (pattern.actual.capacity_bytes if pattern else 0)
        await _copy(
            desk,
            name,
            driver=cut.driver,
            source=SnapshotSource(cut.snapshot_id),
            least_bytes=least_bytes,
            pattern=pattern,
            inherited_secrets=cut.secrets_file,
            **values,
        )

    run(work, **settings)


@click.command()
@click.argument("volume")
@click.argument("name")
@click.option("--size", "size_bytes", type=SIZE, default="0", help="Larger than the source, if wanted.")
@kind_options
@parameter_option
@secrets_option
@common
def clone(volume: str, name: str, **values: Any) -> None:
    """Make the volume NAME with the present content of VOLUME."""
    settings = _split(values)

    async def work(desk: Desk) -> None:
        pattern = await desk.volumes.get(volume)
        _, declared = await desk.drivers.describe(pattern.driver)
        if ControllerCapability.CLONE_VOLUME not in declared.controller:
            raise OrchestratorError(
                f"driver {pattern.driver!r} does not offer clones; snapshot {volume!r} and restore that"
            )
        await _copy(
            desk,
            name,
            driver=pattern.driver,
            source=VolumeSource(pattern.actual.volume_id),
            least_bytes=pattern.actual.capacity_bytes,
            pattern=pattern,
            inherited_secrets=pattern.secrets_file,
            **values,
        )

    run(work, **settings)


def _split(values: dict[str, Any]) -> dict[str, Any]:
    """Takes the settings that every subcommand has out of `values`."""
    return {key: values.pop(key) for key in ("state_dir", "timeout_s", "output", "nomad")}


async def _copy(
    desk: Desk,
    name: str,
    *,
    driver: str,
    source: ContentSource,
    least_bytes: int,
    pattern: VolumeRecord | None,
    inherited_secrets: str,
    size_bytes: int,
    block: bool,
    fs_type: str | None,
    access_mode: str | None,
    mount_flags: tuple[str, ...],
    parameters: tuple[str, ...],
    secrets_file: str | None,
) -> None:
    """Create a volume from a source, used like the source's volume unless the options say otherwise."""
    _, declared = await desk.drivers.describe(driver)
    as_before = pattern is not None and not (block or fs_type or access_mode or mount_flags)
    new = NewVolume(
        name=name,
        driver=driver,
        capability=pattern.capability
        if pattern is not None and as_before
        else capability_of(declared, block=block, fs_type=fs_type, access=access_mode, mount_flags=mount_flags),
        size_bytes=max(size_bytes, least_bytes),
        parameters=pairs(parameters) or (dict(pattern.parameters) if pattern is not None else {}),
        source=source,
        secrets_file=secrets_file or inherited_secrets,
    )
    tell_volume(desk, await desk.volumes.create(new), "is ready")
