from __future__ import annotations

from html.parser import HTMLParser
from xml.etree import ElementTree

import msgspec
import pytest

from moorage.verify.badge import badge_line
from moorage.verify.html import to_html
from moorage.verify.junit import to_junit
from moorage.verify.report import Evidence, Report, Result, Verdict
from moorage.verify.rule import Severity
from moorage.verify.text import area_table, explain, summary


def result(rule_id: str, verdict: Verdict, *, detail: str = "", severity: Severity = Severity.MUST) -> Result:
    evidence = None
    if verdict is Verdict.FAIL:
        evidence = Evidence(
            rpc="CreateVolume",
            request={"name": "<b>"},
            answer={"code": "OK", "message": "</pre><script>alert(1)</script>"},
            reproduce="moorage rpc Controller CreateVolume",
        )
    return Result(
        id=rule_id,
        area=rule_id.partition(".")[0],
        section="CreateVolume",
        severity=severity.value,
        verdict=verdict,
        detail=detail,
        title="a title",
        sends="a call",
        demands="OK",
        seconds=0.25,
        evidence=evidence,
    )


def report(*results: Result, complete: bool = True, seconds: float = 75.04) -> Report:
    return Report(
        driver="a.example.org",
        vendor_version="1",
        endpoint="unix:///run/csi.sock",
        seed=7,
        started="2026-01-01T00:00:00+00:00",
        seconds=seconds,
        complete=complete,
        rules=results,
    )


PASSED = result("create.one", Verdict.PASS)
FAILED = result("node.one", Verdict.FAIL, detail="wrong & <bad>\x00")
SKIPPED = result("node.two", Verdict.SKIP, detail="needs root")
ADVICE = result("wire.one", Verdict.FAIL, detail="could be nicer", severity=Severity.ADVICE)
MIXED = report(PASSED, FAILED, SKIPPED, ADVICE)


def test_the_json_form_has_the_promised_keys() -> None:
    document = msgspec.json.decode(msgspec.json.encode(MIXED))
    assert document["schema"] == "moorage.dev/verify/v1"
    assert [row["verdict"] for row in document["rules"]] == ["pass", "fail", "skip", "fail"]
    assert {"id", "area", "section", "severity", "verdict", "detail"} <= set(document["rules"][0])


@pytest.mark.parametrize(
    ("least", "ids"),
    [
        pytest.param(Severity.MUST, ["node.one"], id="must"),
        pytest.param(Severity.SHOULD, ["node.one"], id="should"),
        pytest.param(Severity.ADVICE, ["node.one", "wire.one"], id="advice"),
    ],
)
def test_failures_are_counted_from_a_severity_on(least: Severity, ids: list[str]) -> None:
    assert [found.id for found in MIXED.failures(at_least=least)] == ids


def test_junit_has_a_suite_for_each_area_and_only_legal_characters() -> None:
    root = ElementTree.fromstring(to_junit(MIXED))
    assert [(suite.get("name"), suite.get("failures")) for suite in root] == [
        ("create", "0"),
        ("node", "1"),
        ("wire", "1"),
    ]
    failure = root.find("testsuite[@name='node']/testcase/failure")
    assert failure is not None
    assert failure.get("message") == "wrong & <bad>\N{REPLACEMENT CHARACTER}"
    assert root.find("testsuite[@name='node']/testcase/skipped") is not None


class Page(HTMLParser):
    """Collects tags and the addresses that a browser would load."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.loaded: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        for name, value in attrs:
            if value and (name == "src" or (name == "href" and tag == "link")):
                self.loaded.append(value)


def test_the_page_is_self_contained_and_runs_nothing_of_the_driver() -> None:
    page = Page()
    page.feed(to_html(MIXED))
    assert "script" not in page.tags
    assert page.loaded == ["data:,"]
    assert page.tags.count("details") == len(MIXED.rules) + len(MIXED.failures())


def test_a_failure_is_explained_with_the_call_and_how_to_repeat_it() -> None:
    text = "\n".join(explain(FAILED))
    for part in ("node.one (MUST, CreateVolume)", "wrong & <bad>", '{"name": "<b>"}', "Repeat:   moorage rpc"):
        assert part in text


def test_the_table_counts_by_area() -> None:
    rows = [line.split() for line in area_table(MIXED)]
    assert rows[1:] == [
        ["create", "1", "0", "0", "0.2"],
        ["node", "0", "1", "1", "0.5"],
        ["wire", "0", "1", "0", "0.2"],
        ["all", "1", "2", "1", "75.0"],
    ]


def test_the_summary_says_when_a_run_is_not_complete() -> None:
    assert summary(MIXED) == "1 passed, 2 failed, 1 skipped in 1 min 15 s"
    assert "not complete" in summary(report(PASSED, complete=False))


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        pytest.param(report(PASSED), "1_passed-brightgreen", id="all-passed"),
        pytest.param(report(PASSED, ADVICE), "1_passed-brightgreen", id="advice-does-not-count"),
        pytest.param(MIXED, "1_failed-red", id="failed"),
    ],
)
def test_the_badge_tells_the_outcome(given: Report, shown: str) -> None:
    assert shown in badge_line(given)
