"""The rules as pytest items: `pytest --csi-endpoint unix:///run/csi/csi.sock`.

Each rule is one test, named by its id, so that `-k`, `-x`, `--junit-xml` and the rest of pytest work on them.
pytest loads this module wherever moorage is installed: it imports the suite only when an endpoint is given.
"""

from __future__ import annotations

import asyncio
import contextlib
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pytest

if TYPE_CHECKING:
    from moorage.verify import Result, Rule, Run, Settings

_OPTIONS: Final = (
    ("--csi-endpoint", "ADDRESS", "examine the CSI driver that listens here; a unix socket"),
    ("--csi-node-endpoint", "ADDRESS", "socket of the node service, where it is another one"),
    ("--csi-restart-command", "CMD", "shell command that kills the driver with SIGKILL and starts it again"),
    ("--csi-log-file", "FILE", "the driver's log, to be searched for secrets"),
    ("--csi-other-node", "ID", "id of a second node that volumes can be attached to"),
    ("--csi-parameters", "FILE", "parameters of new volumes: a map in JSON"),
    ("--csi-mutable-parameters", "FILE", "parameters that ControllerModifyVolume may set: a map in JSON"),
    ("--csi-secrets", "FILE", "secrets: one map in JSON, or a map from RPC names to maps"),
    ("--csi-size", "SIZE", "size of new volumes (1Gi)"),
    ("--csi-area", "AREAS", "only the rules of these areas, separated by commas"),
    ("--csi-seed", "NUMBER", "where random choices start (0)"),
)


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options."""
    group = parser.getgroup("csi", "CSI conformance (moorage verify)")
    for name, metavar, text in _OPTIONS:
        group.addoption(name, metavar=metavar, default=None, help=text)
    group.addoption("--csi-read-only", action="store_true", help="only rules that change nothing")


def pytest_collection_modifyitems(session: pytest.Session, config: pytest.Config, items: list[pytest.Item]) -> None:
    """Put the rules behind whatever else was collected."""
    if config.getoption("--csi-endpoint") is None:
        return
    chosen = RuleItems.from_parent(session, name="csi", nodeid="csi")
    items.extend(chosen.collect())


class RuleItems(pytest.Collector):
    """The collector of the rules, and the one run that all of them share."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._runner: asyncio.Runner | None = None
        self._stack = contextlib.AsyncExitStack()
        self._trouble: Exception | None = None
        self._run: Run

    def collect(self) -> Iterator[RuleItem]:
        """An item for each rule of the chosen areas."""
        from moorage.verify import ALL_RULES, SelectionError, select

        areas = [area for area in (self.config.getoption("--csi-area") or "").split(",") if area]
        try:
            for rule in select(ALL_RULES, areas=areas):
                yield RuleItem.from_parent(self, name=rule.id, rule=rule)
        except SelectionError as error:
            raise pytest.UsageError(str(error)) from None

    def examine(self, rule: Rule) -> Result:
        """Run one rule; the first call learns about the driver. Raises PeerError and Failed when there is none."""
        if self._runner is None:
            self._runner = asyncio.Runner()
            self.session.config.add_cleanup(self._close)
            try:
                self._runner.run(self._begin())
            except Exception as error:
                self._trouble = error
        if self._trouble is not None:
            raise self._trouble
        if self._run.remaining_s <= 0:
            pytest.skip(f"the time for the whole run ({self._run.settings.run_timeout_s:.0f} s) is over")
        return self._runner.run(self._run.one(rule))

    async def _begin(self) -> None:
        from moorage.verify import Peer, Run

        option = self.config.getoption
        directory = Path(tempfile.mkdtemp(prefix="moorage-verify-"))
        self._stack.callback(_remove_if_empty, directory)
        settings = _settings(self.config, directory)
        node_endpoint, restart_command = option("--csi-node-endpoint"), option("--csi-restart-command") or ""
        peer = Peer(option("--csi-endpoint"), node_endpoint=node_endpoint, restart_command=restart_command)
        self._stack.push_async_callback(peer.close)
        await peer.learn()
        self._run = await self._stack.enter_async_context(Run(peer, settings, read_only=option("--csi-read-only")))

    def _close(self) -> None:
        if self._runner is not None:
            with self._runner as runner:
                runner.run(self._stack.aclose())


def _remove_if_empty(directory: Path) -> None:
    with contextlib.suppress(OSError):  # a mount may be left in it
        directory.rmdir()


def _settings(config: pytest.Config, directory: Path) -> Settings:
    from moorage.base.units import parse_bytes
    from moorage.verify import Settings
    from moorage.verify.map_file import read_map

    option = config.getoption
    log_file, size_bytes = option("--csi-log-file"), parse_bytes(option("--csi-size") or "1Gi")
    return Settings(
        work_dir=directory,
        seed=int(option("--csi-seed") or 0),
        size_bytes=size_bytes,
        expanded_bytes=2 * size_bytes,
        other_node=option("--csi-other-node") or "",
        log_file=Path(log_file) if log_file else None,
        parameters=read_map(option("--csi-parameters")),
        mutable_parameters=read_map(option("--csi-mutable-parameters")),
        secrets=read_map(option("--csi-secrets"), nested=True),
    )


class RuleItem(pytest.Item):
    """One rule as a test."""

    def __init__(self, *, rule: Rule, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.rule = rule

    def runtest(self) -> None:
        """Examine it."""
        from moorage.verify import Verdict

        assert isinstance(self.parent, RuleItems)
        result = self.parent.examine(self.rule)
        if result.verdict is Verdict.SKIP:
            pytest.skip(result.detail)
        if result.verdict is Verdict.FAIL:
            raise RuleFailure(result)

    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException], style: Any = None) -> Any:
        """The rule's own account instead of a traceback."""
        from moorage.verify import Failed, PeerError
        from moorage.verify.text import explain

        if isinstance(excinfo.value, RuleFailure):
            return "\n".join(explain(excinfo.value.result))
        if isinstance(excinfo.value, Failed | PeerError):
            return str(excinfo.value)
        return super().repr_failure(excinfo, style)

    def reportinfo(self) -> tuple[Path, None, str]:
        """Where pytest says that the test is."""
        return Path(__file__), None, f"{self.rule.id}: {self.rule.title}"


class RuleFailure(Exception):
    """A rule that failed, with its result."""

    def __init__(self, result: Result) -> None:
        super().__init__(result.detail)
        self.result = result
