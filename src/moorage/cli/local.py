"""`moorage local`: looks after pools of the local driver.

`check` compares pools with the driver's journal, `repair` clears away what is unfinished, `import` writes what the
volumes say of themselves into the journal. Exit code 1 means that something is wrong, or is left so.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from moorage.cli.printing import print_data

if TYPE_CHECKING:
    from moorage.cli.local_journal import Known
    from moorage.drivers.local.pool import Pool

POOLS = click.argument("pools", metavar="POOL...", nargs=-1, required=True)
STATE_DIR = click.option(
    "--state-dir",
    metavar="DIR",
    type=click.Path(path_type=Path, file_okay=False),
    envvar="MOORAGE_STATE_DIR",
    help="Where journals live, as for `moorage serve local`.  [environment: MOORAGE_STATE_DIR; default:"
    " /var/lib/moorage as root, else the XDG state directory]",
)
OUTPUT = click.option("-o", "--output", type=click.Choice(["json", "yaml", "table"]), help="Print data, not sentences.")


@click.group()
def command() -> None:
    """Check, repair and import pools of the local driver.

    POOL is the directory of a pool. Volumes describe themselves there, so the driver's journal can be compared with
    them and rebuilt. Stop the driver before a repair or an import: a pool has one process at a time.
    """


@command.command(short_help="Tell what is wrong in the pools; changes nothing.")
@POOLS
@STATE_DIR
@click.option("--no-journal", is_flag=True, help="Look at the pools only.")
@OUTPUT
def check(pools: tuple[str, ...], state_dir: Path | None, no_journal: bool, output: str | None) -> int:
    """Tell what is wrong in the pools: orphans, rows without files, damage, leftovers, idle loop devices.

    Changes nothing. Beside a running driver, which has the journal, only the pools are looked at. Exit code 1 when
    something was found.
    """
    from msgspec import to_builtins

    from moorage.drivers.local.inspection import check as check_pools

    with _looked_at(pools) as opened:
        known = None if no_journal else _known(state_dir)
        if known is None:
            found = check_pools(opened)
        else:
            found = check_pools(opened, known_volumes=known.volumes, known_snapshots=known.snapshots, begun=known.begun)
    if output:
        print_data({"findings": to_builtins(list(found))}, output)
    else:
        for finding in found:
            click.echo(f"{finding.problem}: {finding.text}")
        click.echo(f"{len(found)} found" if found else "nothing is wrong")
    return 1 if found else 0


@command.command(short_help="Remove what was begun and never finished.")
@POOLS
@OUTPUT
def repair(pools: tuple[str, ...], output: str | None) -> int:
    """Remove what was begun and never finished, and detach loop devices whose file is gone.

    Never removes a volume or a snapshot. Refused while a driver runs on a pool. Then tells what is left, as `check
    --no-journal` would: exit code 1 when that is anything.
    """
    from msgspec import to_builtins

    from moorage.drivers.local.inspection import check as check_pools
    from moorage.drivers.local.mending import repair as repair_pools

    with _held(pools, owner="moorage local repair") as opened:
        repairs = repair_pools(opened)
        told = {each.path for each in repairs if not each.done}
        left = [finding for finding in check_pools(opened) if finding.path not in told]
    done = sum(each.done for each in repairs)
    if output:
        print_data({"repairs": to_builtins(list(repairs)), "findings": to_builtins(left)}, output)
    else:
        for each in repairs:
            click.echo(each.text)
        for finding in left:
            click.echo(f"{finding.problem}: {finding.text}")
        found = bool(repairs or left)
        click.echo(f"{done} repaired, {len(told) + len(left)} left" if found else "nothing to repair")
    return 1 if told or left else 0


@command.command("import", short_help="Write what the pools hold into the driver's journal.")
@POOLS
@STATE_DIR
@OUTPUT
def import_(pools: tuple[str, ...], state_dir: Path | None, output: str | None) -> int:
    """Write volumes and snapshots that the driver's journal does not know into it.

    Rows that are there stay as they are. Refused while a driver runs on a pool. Exit code 1 when an object could not
    be read or its name is taken.
    """
    from moorage.cli.local_journal import add_missing, journal_path
    from moorage.drivers.local.importing import import_records

    with _held(pools, owner="moorage local import") as opened:
        found = import_records(opened)
        added, refused = add_missing(journal_path(state_dir), (*found.volumes, *found.snapshots, *found.groups))
    problems = [*(finding.text for finding in found.findings), *refused]
    if output:
        print_data({"imported": added, "problems": problems}, output)
    else:
        for text in problems:
            click.echo(f"problem: {text}")
        click.echo(f"{len(added)} imported" + (f": {', '.join(added)}" if added else ""))
    return 1 if problems else 0


@contextmanager
def _looked_at(texts: Sequence[str]) -> Iterator[list[Pool]]:
    """The pools, to be read. Raises click.UsageError or click.ClickException, also for what goes wrong inside."""
    from moorage.drivers.local.config import parse_pools
    from moorage.drivers.local.facts import is_privileged
    from moorage.drivers.local.pool import Pool
    from moorage.framework.config import ConfigError

    named = [text if "=" in text else f"pool{number}={Path(text).absolute()}" for number, text in enumerate(texts)]
    try:
        settings = parse_pools(named)
    except ConfigError as error:
        raise click.UsageError("; ".join(error.problems), click.get_current_context()) from error
    pools = [Pool(setting, privileged=is_privileged()) for setting in settings]
    try:
        for pool in pools:
            if (obstacle := pool.layout.obstacle()) is not None:
                raise click.ClickException(
                    f"{pool.layout.root} is no pool, as {obstacle} is no directory; give the directory that --pool of "
                    "serve was given"
                )
            pool.look()
        yield pools
    except OSError as error:
        place = f" at {error.filename}" if error.filename else ""
        raise click.ClickException(
            f"the pool cannot be looked after ({error.strerror}{place}); mend that first"
        ) from error


@contextmanager
def _held(texts: Sequence[str], *, owner: str) -> Iterator[list[Pool]]:
    """The pools, with every other process kept off them. Raises as `_looked_at`, and while a driver has a pool."""
    from moorage.drivers.local.pool_lock import PoolInUse

    with _looked_at(texts) as pools, ExitStack() as stack:
        for pool in pools:
            try:
                pool.hold(owner=owner)
            except PoolInUse as error:
                raise click.ClickException(f"{error.message.partition(';')[0]}; stop that process first") from error
            stack.callback(pool.close)
        yield pools


def _known(state_dir: Path | None) -> Known | None:
    """What the journal knows; None, and a note, while a driver has it. Raises click.ClickException."""
    from moorage.cli.local_journal import journal_path, known_ids
    from moorage.state.errors import JournalLocked

    try:
        return known_ids(journal_path(state_dir))
    except JournalLocked as error:
        click.echo(f"moorage: {error.holder} has the journal, so only the pools are looked at", err=True)
        return None
