"""One run of `moorage verify`: the driver found, the rules run, the outcome shown and written."""

from __future__ import annotations

import asyncio
import contextlib
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import click
import msgspec

from moorage.cli.verify_screen import Screen
from moorage.verify import Failed, Peer, PeerError, Report, Rule, Run, Settings, Severity
from moorage.verify.html import to_html
from moorage.verify.junit import to_junit

_SEVERITIES: Final = {"must": Severity.MUST, "should": Severity.SHOULD, "advice": Severity.ADVICE}


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """What the command line asks for."""

    endpoint: str
    rules: tuple[Rule, ...]
    read_only: bool
    node_endpoint: str | None
    restart_command: str
    log_file: Path | None
    other_node: str
    parameters: dict[str, str]
    snapshot_parameters: dict[str, str]
    mutable_parameters: dict[str, str]
    secrets: dict[str, Any]
    size_bytes: int
    expanded_bytes: int | None
    access: str
    fs_type: str
    seed: int
    rounds: int
    all_crash_points: bool
    call_timeout_s: float
    patience_s: float
    rule_timeout_s: float
    run_timeout_s: float
    work_dir: Path | None
    reports: tuple[str, ...]
    fail_on: str
    output: str

    def settings(self, work_dir: Path) -> Settings:
        """The same for the suite."""
        names = {
            field
            for field in Settings.__dataclass_fields__
            if field not in ("work_dir", "expanded_bytes", "access_mode")
        }
        values = {name: getattr(self, name) for name in names}
        expanded = self.expanded_bytes or 2 * self.size_bytes
        return Settings(work_dir=work_dir, expanded_bytes=expanded, **values)


async def examine(wish: Wish) -> int:
    """Run the rules and show the outcome; the exit code. Raises click.ClickException."""
    peer = _peer(wish)
    try:
        with _work_dir(wish.work_dir) as directory:
            await peer.learn()
            screen = Screen(len(wish.rules), quiet=wish.output == "json")
            screen.begin(peer.info.name, peer.info.vendor_version, wish.endpoint)
            settings = wish.settings(directory)
            with screen:
                report = await _run(wish.rules, Run(peer, settings, read_only=wish.read_only), screen)
    except (PeerError, Failed) as error:
        raise click.ClickException(str(error)) from None
    finally:
        await peer.close()
    for path in wish.reports:
        _write(report, Path(path))
    if wish.output == "json":
        click.echo(msgspec.json.format(msgspec.json.encode(report), indent=2).decode())
    else:
        screen.conclude(report)
    wrong = report.failures(at_least=_SEVERITIES[wish.fail_on])
    return 1 if wrong or not report.complete else 0


async def _run(rules: Sequence[Rule], run: Run, screen: Screen) -> Report:
    """The report of the rules, as far as they came until the time was over or somebody ended the run."""
    async with run:
        try:
            for rule in rules:
                if run.remaining_s <= 0:
                    break
                screen.observe(rule, None)
                screen.observe(rule, await run.one(rule))
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if task is not None:
                task.uncancel()
    for leftover in run.leftovers:
        click.echo(f"moorage: left behind by {leftover}", err=True)
    return run.report(complete=len(run.results) == len(rules))


def _peer(wish: Wish) -> Peer:
    try:
        return Peer(wish.endpoint, node_endpoint=wish.node_endpoint, restart_command=wish.restart_command)
    except ValueError as error:
        raise click.UsageError(str(error)) from None


@contextlib.contextmanager
def _work_dir(given: Path | None) -> Iterator[Path]:
    """The directory for the run; one made here is removed only if it is empty, as a mount may be left in it."""
    made = given is None or not given.exists()
    directory = Path(tempfile.mkdtemp(prefix="moorage-verify-")) if given is None else given
    directory.mkdir(parents=True, exist_ok=True)
    try:
        yield directory.resolve()
    finally:
        if made:
            with contextlib.suppress(OSError):
                directory.rmdir()


def _write(report: Report, path: Path) -> None:
    if path.suffix == ".html":
        text = to_html(report)
    elif path.suffix == ".xml":
        text = to_junit(report)
    else:
        text = msgspec.json.format(msgspec.json.encode(report), indent=2).decode() + "\n"
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise click.ClickException(f"--report {path} cannot be written: {error.strerror}") from None


def print_rules(rules: Sequence[Rule], *, as_json: bool) -> None:
    """List rules: id, severity and title; with JSON all that is known of each."""
    if not as_json:
        width = max((len(rule.id) for rule in rules), default=0)
        for rule in rules:
            click.echo(f"{rule.id:{width}}  {rule.severity.value:6}  {rule.title}")
        return
    rows = [
        {
            "id": rule.id,
            "area": rule.area.value,
            "section": rule.section,
            "severity": rule.severity.value,
            "title": rule.title,
            "sends": rule.sends,
            "demands": rule.demands,
            "needs": [
                [_need(option) for option in (need if isinstance(need, tuple) else (need,))] for need in rule.needs
            ],
            "danger": sorted(danger.value for danger in rule.danger),
        }
        for rule in rules
    ]
    click.echo(msgspec.json.format(msgspec.json.encode({"rules": rows}), indent=2).decode())


def _need(need: Any) -> str:
    return str(getattr(need, "name", need))
