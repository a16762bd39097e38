"""A report as JUnit XML, which CI systems read: a suite for each area, a case for each rule."""

from __future__ import annotations

import re
from typing import Final
from xml.etree import ElementTree

from moorage.verify.report import Report, Result, Verdict
from moorage.verify.text import explain

__all__ = ["to_junit"]

_NOT_XML: Final = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def to_junit(report: Report) -> str:
    """The document. Characters that XML cannot hold are replaced."""
    total = report.tally()
    root = ElementTree.Element(
        "testsuites",
        name=f"moorage verify {report.driver}",
        tests=str(len(report.rules)),
        failures=str(total.failed),
        skipped=str(total.skipped),
        time=f"{report.seconds:.3f}",
    )
    for area, results in report.by_area():
        tally = report.tally(area)
        suite = ElementTree.SubElement(
            root,
            "testsuite",
            name=area,
            tests=str(len(results)),
            failures=str(tally.failed),
            skipped=str(tally.skipped),
            errors="0",
            time=f"{sum(result.seconds for result in results):.3f}",
            timestamp=report.started,
        )
        for result in results:
            _add_case(suite, result)
    ElementTree.indent(root)
    return ElementTree.tostring(root, encoding="unicode", xml_declaration=True) + "\n"


def _add_case(suite: ElementTree.Element, result: Result) -> None:
    case = ElementTree.SubElement(
        suite, "testcase", classname=f"verify.{result.area}", name=result.id, time=f"{result.seconds:.3f}"
    )
    if result.verdict is Verdict.FAIL:
        failure = ElementTree.SubElement(case, "failure", type=result.severity, message=_clean(result.detail))
        failure.text = _clean("\n".join(explain(result)))
    elif result.verdict is Verdict.SKIP:
        ElementTree.SubElement(case, "skipped", message=_clean(result.detail))


def _clean(text: str) -> str:
    return _NOT_XML.sub("\N{REPLACEMENT CHARACTER}", text)
