"""What holds for every test: tiers that this machine cannot run are skipped with the reason, a run
that leaves a mount or a loop device behind fails, and the report ends with an account of the tiers.

`MOORAGE_NO_SKIP=1` turns every skip into a failure, but for the reasons in `tiers.MAY_SKIP`: CI sets it.
"""

from __future__ import annotations

import os
from collections.abc import Generator
from functools import cache
from pathlib import Path

import pytest
from tests.support import leaks, tiers

NO_SKIP = os.environ.get("MOORAGE_NO_SKIP") == "1"
HELD_BEFORE = pytest.StashKey[set[str]]()

missing_for = cache(tiers.missing_for)


@pytest.fixture(scope="session")
def csi_sanity() -> Path:
    """The csi-sanity binary; tests that use it carry the `contract` marker."""
    return tiers.csi_sanity_path()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        item.user_properties.append(("tier", tiers.tier_of(mark.name for mark in item.iter_markers())))
        for marker in ("root", "contract", "browser", "cluster"):
            if item.get_closest_marker(marker) and (reason := missing_for(marker)):
                item.add_marker(pytest.mark.skip(reason=reason))


def skip_reason(report: pytest.TestReport | pytest.CollectReport) -> str:
    """The reason of a skipped test, as its author gave it."""
    return report.longrepr[2].removeprefix("Skipped: ") if isinstance(report.longrepr, tuple) else ""


def forbid_skip(report: pytest.TestReport | pytest.CollectReport) -> None:
    """Make a skip a failure when skipping is forbidden for its reason; an expected failure is no skip."""
    if not (NO_SKIP and report.skipped) or hasattr(report, "wasxfail"):
        return
    if (reason := skip_reason(report)) not in tiers.MAY_SKIP:
        report.longrepr = f"MOORAGE_NO_SKIP=1 forbids skipping, but this test was skipped: {reason}"
        report.outcome = "failed"


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    forbid_skip(report)
    return report


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_make_collect_report() -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    report = yield
    forbid_skip(report)
    return report


def is_xdist_worker(config: pytest.Config) -> bool:
    """Workers see each other's mounts come and go, so that only the process that started them may judge."""
    return hasattr(config, "workerinput")


def pytest_sessionstart(session: pytest.Session) -> None:
    if not is_xdist_worker(session.config):
        session.config.stash[HELD_BEFORE] = leaks.held_now()


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """Fail the run when it leaves anything of the host behind; the report shows it as one more error."""
    before = session.config.stash.get(HELD_BEFORE, None)
    if before is None:
        return
    temporary: pytest.TempPathFactory = session.config._tmp_path_factory  # type: ignore[attr-defined]  # xdist reads it too
    if left := leaks.settle(before, temporary.getbasetemp()):
        text = "\n".join(["this run left behind:", *left, "unmount or detach it by hand, then find the test"])
        error = pytest.TestReport("leak guard", ("", None, "leak guard"), {}, "failed", text, "teardown")
        reporter = session.config.pluginmanager.get_plugin("terminalreporter")
        if reporter is not None:
            reporter.stats.setdefault("error", []).append(error)
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def outcome_of(kind: str, report: pytest.TestReport) -> tiers.Outcome:
    """One test for the account of the tiers."""
    reason = skip_reason(report) if kind == "skipped" else ""
    return tiers.Outcome(str(dict(report.user_properties)["tier"]), kind, reason)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    kinds = {
        "passed": "passed",
        "xfailed": "passed",
        "failed": "failed",
        "error": "failed",
        "skipped": "skipped",
    }
    outcomes = [
        outcome_of(kind, report)
        for category, kind in kinds.items()
        for report in terminalreporter.stats.get(category, [])
        if isinstance(report, pytest.TestReport) and report.user_properties
    ]
    terminalreporter.section("tiers")
    for line in tiers.account_lines(outcomes):
        terminalreporter.line(line)
