"""`moorage local`: looks after pools of the local driver while no driver serves them.

`check` compares pools with the driver's journal, `repair` clears away what is unfinished, `import` writes what the
volumes say of themselves into the journal. Exit code 1 means that something is wrong.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, TypeAlias, TypeVar

import click

from moorage.cli.printing import print_data

if TYPE_CHECKING:
    from moorage.drivers.local.pool import Pool
    from moorage.framework.store import Store
    from moorage.framework.values import GroupRecord, SnapshotRecord, VolumeRecord

Records: TypeAlias = "Sequence[VolumeRecord | SnapshotRecord | GroupRecord]"
ResultT = TypeVar("ResultT")

POOLS = click.argument("pools", metavar="POOL...", nargs=-1, required=True)
STATE_DIR = click.option(
    "--state-dir",
    metavar="DIR",
    type=click.Path(path_type=Path, file_okay=False),
    envvar="MOORAGE_STATE_DIR",
    help="Where journals live, as for `moorage serve local`.",
)
OUTPUT = click.option("-o", "--output", type=click.Choice(["json", "yaml", "table"]), help="Print data, not sentences.")


@click.group()
def command() -> None:
    """Check, repair and import pools of the local driver.

    POOL is the directory of a pool. Volumes describe themselves there, so the driver's journal can be compared with
    them and rebuilt. Stop the driver first where the journal is needed: it holds it.
    """


@command.command()
@POOLS
@STATE_DIR
@click.option("--no-journal", is_flag=True, help="Look at the pools only; works while the driver runs.")
@OUTPUT
def check(pools: tuple[str, ...], state_dir: Path | None, no_journal: bool, output: str | None) -> int:
    """Tell what is wrong in the pools: orphans, rows without files, damage, leftovers, idle loop devices.

    Changes nothing. Exit code 1 when something was found.
    """
    from msgspec import to_builtins

    from moorage.drivers.local.inspection import check as check_pools

    opened = _open_pools(pools)
    if no_journal:
        found = check_pools(opened)
    else:
        known = asyncio.run(_in_journal(state_dir, _known_ids, create=False))
        found = check_pools(opened, known_volumes=known.volumes, known_snapshots=known.snapshots, begun=known.begun)
    if output:
        print_data({"findings": to_builtins(list(found))}, output)
    else:
        for finding in found:
            click.echo(f"{finding.problem}: {finding.text}")
        click.echo(f"{len(found)} found" if found else "nothing is wrong")
    return 1 if found else 0


@command.command()
@POOLS
@OUTPUT
def repair(pools: tuple[str, ...], output: str | None) -> int:
    """Remove what was begun and never finished, and loop devices on files that are gone.

    Never removes a volume or a snapshot. What a running driver works on is left alone. Exit code 1 when something
    was left.
    """
    from msgspec import to_builtins

    from moorage.drivers.local.inspection import repair as repair_pools

    found = repair_pools(_open_pools(pools))
    done = sum(repair.done for repair in found)
    if output:
        print_data({"repairs": to_builtins(list(found))}, output)
    else:
        for repair in found:
            click.echo(repair.text)
        click.echo(f"{done} repaired, {len(found) - done} left" if found else "nothing to repair")
    return 0 if done == len(found) else 1


@command.command("import")
@POOLS
@STATE_DIR
@OUTPUT
def import_(pools: tuple[str, ...], state_dir: Path | None, output: str | None) -> int:
    """Write volumes and snapshots that the driver's journal does not know into it.

    Rows that are there stay as they are. Exit code 1 when an object could not be read or its name is taken.
    """
    from moorage.drivers.local.inspection import import_records

    found = import_records(_open_pools(pools))
    records: Records = (*found.volumes, *found.snapshots, *found.groups)
    added, refused = asyncio.run(_in_journal(state_dir, lambda store: _add_missing(store, records), create=True))
    problems = [*(finding.text for finding in found.findings), *refused]
    if output:
        print_data({"imported": added, "problems": problems}, output)
    else:
        for text in problems:
            click.echo(f"problem: {text}")
        click.echo(f"{len(added)} imported" + (f": {', '.join(added)}" if added else ""))
    return 1 if problems else 0


def _open_pools(texts: Sequence[str]) -> list[Pool]:
    """The pools, opened. Raises click.UsageError or click.ClickException."""
    from moorage.drivers.local.config import parse_pools
    from moorage.drivers.local.facts import is_privileged
    from moorage.drivers.local.pool import Pool

    numbered = [text if "=" in text else f"pool{number}={os.path.abspath(text)}" for number, text in enumerate(texts)]
    try:
        settings = parse_pools(numbered)
    except ValueError as error:
        raise click.UsageError(str(error)) from error
    pools = [Pool(setting, privileged=is_privileged()) for setting in settings]
    for pool in pools:
        if not pool.layout.tmp.is_dir():
            raise click.ClickException(
                f"{pool.layout.root} is no pool; give the directory that --pool of serve was given"
            )
        pool.open()
    return pools


async def _in_journal(state_dir: Path | None, work: Callable[[Store], Awaitable[ResultT]], *, create: bool) -> ResultT:
    """What `work` says of the driver's journal, which no other process may hold. Raises click.ClickException."""
    from moorage.drivers.local.driver import NAME
    from moorage.framework.journal_store import JournalStore
    from moorage.framework.serving import state_directory
    from moorage.state.errors import JournalError
    from moorage.state.journal import Journal

    directory = state_directory(state_dir, NAME, environment=os.environ, is_root=os.geteuid() == 0)
    path = directory / "journal.sqlite"
    if create:
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)
    elif not path.exists():
        raise click.ClickException(f"there is no journal at {path}; give --state-dir, or --no-journal to do without")
    try:
        journal = Journal.open(path, owner="moorage local")
    except JournalError as error:
        raise click.ClickException(str(error)) from error
    try:
        return await work(JournalStore(journal))
    finally:
        await journal.close()


class Known(NamedTuple):
    """Ids of volumes and snapshots with a row in the journal, and of those whose creation has begun."""

    volumes: set[str]
    snapshots: set[str]
    begun: set[str]


async def _known_ids(store: Store) -> Known:
    begun: set[str] = set()
    for intent in await store.intents():
        begun |= {intent.object_id, *(member.snapshot_id for member in intent.snapshots)}
    return Known(
        {record.volume_id for record in await store.volumes()},
        {record.snapshot_id for record in await store.snapshots()},
        begun,
    )


async def _add_missing(store: Store, records: Records) -> tuple[list[str], list[str]]:
    """Ids of the records that were added, and a sentence for each that could not be."""
    from moorage.framework.values import SnapshotRecord, VolumeRecord
    from moorage.state.errors import NameTaken

    added, refused = [], []
    for record in records:
        if isinstance(record, VolumeRecord):
            object_id, known = record.volume_id, await store.volume(record.volume_id) is not None
        elif isinstance(record, SnapshotRecord):
            object_id, known = record.snapshot_id, await store.snapshot(record.snapshot_id) is not None
        else:
            object_id, known = record.group_snapshot_id, await store.group(record.group_snapshot_id) is not None
        if known:
            continue
        try:
            await store.settle(put=(record,))
        except NameTaken as error:
            refused.append(f"{object_id} is not imported: {error}")
        else:
            added.append(object_id)
    return added, refused
