"""`moorage volume`: the orchestrator for one machine, on any driver's socket.

The subcommands are in `volume_changes`, `volume_copies`, `volume_views` and `volume_drivers`; they are imported
when they are run.
"""

from __future__ import annotations

import click

from moorage.cli.app import Lazy, LazyGroup

CHANGES = "moorage.cli.volume_changes"
COPIES = "moorage.cli.volume_copies"
VIEWS = "moorage.cli.volume_views"

SUBCOMMANDS = {
    "create": Lazy(f"{CHANGES}:create", "Volumes", "Make a volume, or go on making it."),
    "mount": Lazy(f"{CHANGES}:mount", "Volumes", "Make a volume visible at a path."),
    "unmount": Lazy(f"{CHANGES}:unmount", "Volumes", "Take a volume from one path or from all."),
    "expand": Lazy(f"{CHANGES}:expand", "Volumes", "Make a volume larger, mounted or not."),
    "delete": Lazy(f"{CHANGES}:delete", "Volumes", "Delete a volume that is not mounted."),
    "list": Lazy(f"{VIEWS}:list_volumes", "Volumes", "List volumes and where they are."),
    "show": Lazy(f"{VIEWS}:show", "Volumes", "Tell everything about one volume."),
    "stats": Lazy(f"{VIEWS}:stats", "Volumes", "Tell how full a mounted volume is."),
    "snapshot": Lazy(f"{COPIES}:snapshot", "Copies", "Cut a snapshot of a volume."),
    "group-snapshot": Lazy(f"{COPIES}:group_snapshot", "Copies", "Cut several volumes at one instant."),
    "snapshots": Lazy(f"{VIEWS}:snapshots", "Copies", "List snapshots."),
    "restore": Lazy(f"{COPIES}:restore", "Copies", "Make a volume from a snapshot."),
    "clone": Lazy(f"{COPIES}:clone", "Copies", "Make a volume from another volume."),
    "delete-snapshot": Lazy(f"{COPIES}:delete_snapshot", "Copies", "Delete a snapshot or a group."),
    "reconcile": Lazy(f"{CHANGES}:reconcile", "Upkeep", "Mount again what a reboot took away; finish what was begun."),
    "import": Lazy(f"{CHANGES}:import_volume", "Upkeep", "Take over a volume that the storage system has."),
    "forget": Lazy(f"{CHANGES}:forget", "Upkeep", "Drop the record of a volume and leave the volume alone."),
    "capacity": Lazy(f"{VIEWS}:capacity", "Upkeep", "Tell how much a driver can still provision."),
    "drivers": Lazy("moorage.cli.volume_drivers:command", "Upkeep", "List, register and remove drivers."),
}


@click.group(
    cls=LazyGroup,
    lazy=SUBCOMMANDS,
    invoke_without_command=True,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="Every subcommand may be run again: it goes on where it stopped.",
)
@click.pass_context
def command(ctx: click.Context) -> None:
    """Make, mount, grow and copy volumes of any CSI driver on this machine, without Kubernetes.

    \b
    moorage volume create data --driver /run/csi/csi.sock --size 10Gi
    moorage volume mount data /mnt/data
    """
    if ctx.invoked_subcommand is None:
        click.echo(ctx.get_help())
