"""Write the table of mutants: which rule catches each, and whether csi-sanity notices it as well.

    tools/mutant_report.py [--only PATTERN]... [--without-csi-sanity] [--output docs/reference/mutants.md]

Every mutant meets its rule in front of a driver that two workers share out among them, and then
csi-sanity in front of a driver of its own. csi-sanity notices a mutant when a case fails that the correct
driver passes behind the same relay. Needs root; exit code 1 when a mutant was not caught by its rule.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from moorage.host import loop
from moorage.host.mount import ensure_unmounted
from moorage.host.mountinfo import mounts_below
from moorage.testing.mutants import MUTANTS, Mutant
from moorage.testing.mutants.farm import Outcome, backend, mutated, run_mutants
from moorage.verify import Peer

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "reference" / "mutants.md"
NONE = "none"
WORKERS = 2
SANITY_S = 180
"""A mutant that hangs makes csi-sanity wait; it does not matter for how long, as that counts as noticed."""
GRACE_S = 60
SIZE_BYTES = 32 << 20
MUTABLE = 'readAheadKiB: "256"\n'


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table. `noticed` has csi-sanity's failed cases, None when it was not asked.

    One failure can make others fail, so the page tells only whether there are any.
    """

    mutant: Mutant
    caught: bool
    seconds: float
    noticed: frozenset[str] | None


# --- csi-sanity ---------------------------------------------------------------------------------------


def failed_cases(document: Any) -> frozenset[str]:
    """The failed cases of a JSON report of Ginkgo, by their full text; a set-up that failed counts as one."""
    return frozenset(
        " ".join((*(spec["ContainerHierarchyTexts"] or ()), spec["LeafNodeText"] or spec["LeafNodeType"]))
        for suite in document
        for spec in suite["SpecReports"] or ()
        if spec["State"] not in ("passed", "skipped", "pending")
    )


async def judge(sanity: Path, endpoint: str, directory: Path) -> frozenset[str]:
    """csi-sanity's failed cases of the driver at `endpoint`; what it was killed over counts as one."""
    (directory / "mutable.yaml").write_text(MUTABLE)
    report = directory / "sanity.json"
    process = await asyncio.create_subprocess_exec(
        *(str(sanity), "-csi.endpoint", endpoint),
        *("-csi.mountdir", str(directory / "mount"), "-csi.stagingdir", str(directory / "staging")),
        *("-csi.testvolumesize", str(SIZE_BYTES), "-csi.testvolumeexpandsize", str(2 * SIZE_BYTES)),
        *("-csi.testvolumeaccesstype", "mount", "-csi.testvolumemutableparameters", str(directory / "mutable.yaml")),
        *("--ginkgo.seed", "1", "--ginkgo.timeout", f"{SANITY_S}s", "--ginkgo.grace-period", "5s"),
        *("--ginkgo.json-report", str(report)),
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        async with asyncio.timeout(SANITY_S + GRACE_S):
            await process.wait()
    except TimeoutError:
        process.kill()
        await process.wait()
    if not report.exists():
        return frozenset({"csi-sanity did not come to an end"})
    return failed_cases(json.loads(report.read_text()))


async def examine(name: str, sanity: Path, directory: Path) -> frozenset[str]:
    """csi-sanity's failed cases of one mutant, in front of a new driver."""
    with tempfile.TemporaryDirectory(prefix="s", dir=directory, ignore_cleanup_errors=True) as own:
        try:
            async with backend(Path(own)) as behind, mutated(name, behind) as endpoint:
                await until_ready(behind.endpoint)
                return await judge(sanity, endpoint, behind.directory)
        finally:
            clear_away(own)


async def until_ready(endpoint: str) -> None:
    """Wait for the driver behind the mutant: csi-sanity does not wait for anybody."""
    peer = Peer(endpoint)
    try:
        await peer.learn()
    finally:
        await peer.close()


def clear_away(directory: str) -> None:
    """Take back what a wrong driver left below the directory: mounts and loop devices."""
    for entry in reversed(mounts_below(directory)):
        with contextlib.suppress(OSError):
            ensure_unmounted(entry.mount_point, lazy=True)
    for device in loop.list_loops():
        if device.backing_path.startswith(f"{directory}/"):
            with contextlib.suppress(OSError):
                loop.detach(device.path, expected_backing=device.backing_path)


async def examine_all(mutants: Iterable[Mutant], sanity: Path, directory: Path) -> dict[str, frozenset[str]]:
    """For each mutant the cases that fail on it and not on the correct driver."""
    usual = await examine(NONE, sanity, directory)
    waiting = [mutant.name for mutant in mutants]
    found: dict[str, frozenset[str]] = {}

    async def work() -> None:
        while waiting:
            name = waiting.pop(0)
            found[name] = await examine(name, sanity, directory) - usual
            say(f"csi-sanity {f'fails {len(found[name])} cases of' if found[name] else 'passes'} {name}")

    async with asyncio.TaskGroup() as group:
        for number in range(WORKERS):
            group.create_task(work(), name=f"csi-sanity {number}")
    return found


# --- the page -----------------------------------------------------------------------------------------


HEAD = """\
# Mutants

Who tests the tests: each mutant is the local driver with one thing wrong. `moorage verify` must catch it with the rule
named here, whatever other rules run. csi-sanity 5.6.0 notices it when a case fails that the correct driver
passes. `make mutants` writes this page.
"""


def page(rows: Sequence[Row]) -> str:
    """The page as Markdown: a line that sums up, and a table for each area, in the order of the mutants."""
    blocks = [HEAD.rstrip(), summary(rows)]
    for area in dict.fromkeys(area_of(row) for row in rows):
        lines = [line_of(row) for row in rows if area_of(row) == area]
        head = ["| mutant | what is wrong | caught by | seconds | csi-sanity notices |", "|---|---|---|---|---|"]
        blocks.append("\n".join([f"**{area}**", "", *head, *lines]))
    return "\n".join(f"{block}\n" for block in blocks)


def summary(rows: Sequence[Row]) -> str:
    """How many were caught by whom, as a sentence."""
    ours = f"{sum(row.caught for row in rows)} of {len(rows)} mutants are caught by `moorage verify`"
    asked = [row for row in rows if row.noticed is not None]
    if not asked:
        return f"{ours}."
    return f"{ours}, {sum(bool(row.noticed) for row in asked)} of {len(asked)} by csi-sanity."


def area_of(row: Row) -> str:
    """The area of the rule that must catch it."""
    return row.mutant.rule.partition(".")[0]


def line_of(row: Row) -> str:
    """One line of a table."""
    rule = f"`{row.mutant.rule}`" if row.caught else f"**not** by `{row.mutant.rule}`"
    noticed = "?" if row.noticed is None else "yes" if row.noticed else "no"
    cells = (f"`{row.mutant.name}`", cell(row.mutant.what), rule, f"{row.seconds:.1f}", noticed)
    return f"| {' | '.join(cells)} |"


def cell(text: str) -> str:
    """Text that may stand in a table of Markdown."""
    return text.replace("|", "\\|").replace("<", "&lt;")


# --- the command --------------------------------------------------------------------------------------


def say(text: str) -> None:
    """Progress, for whoever waits."""
    print(text, file=sys.stderr, flush=True)


def tell(outcome: Outcome) -> None:
    """How one mutant fared with our rules."""
    verdict = "caught" if outcome.caught else "MISSED"
    say(f"{verdict} {outcome.mutant.name} ({outcome.seconds:.1f} s): {outcome.detail or 'the rule did not fail'}")


async def measure(mutants: Sequence[Mutant], sanity: Path | None) -> list[Row]:
    """Run everything."""
    with tempfile.TemporaryDirectory(prefix="mutants-", ignore_cleanup_errors=True) as scratch:
        try:
            outcomes = await run_mutants(mutants, Path(scratch), workers=WORKERS, observe=tell)
            noticed = await examine_all(mutants, sanity, Path(scratch)) if sanity is not None else {}
        finally:
            clear_away(scratch)
    return [
        Row(mutant, outcomes[mutant.name].caught, outcomes[mutant.name].seconds, noticed.get(mutant.name))
        for mutant in mutants
    ]


def chosen(patterns: Sequence[str]) -> list[Mutant]:
    """The mutants whose name or rule matches one of the patterns; all without any. Exits when none does."""
    found = [
        mutant
        for mutant in MUTANTS.values()
        if not patterns or any(fnmatchcase(text, p) for p in patterns for text in (mutant.name, mutant.rule))
    ]
    if not found:
        sys.exit(f"no mutant matches {' or '.join(patterns)}")
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--only", action="append", default=[], metavar="PATTERN", help="names or rules, with wildcards")
    parser.add_argument("--without-csi-sanity", action="store_true", help="ask our rules only")
    parser.add_argument("--output", type=Path, default=PAGE, metavar="FILE", help="the page to be written")
    given = parser.parse_args()
    sanity = None
    if not given.without_csi_sanity:
        built = subprocess.run([ROOT / "tools" / "csi_sanity.sh"], check=True, stdout=subprocess.PIPE, text=True)
        sanity = Path(built.stdout.strip())
    rows = asyncio.run(measure(chosen(given.only), sanity))
    given.output.write_text(page(rows), encoding="utf-8")
    say(summary(rows))
    if not all(row.caught for row in rows):
        sys.exit("a mutant was not caught by its rule")


if __name__ == "__main__":
    main()
