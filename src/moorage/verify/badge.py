"""The line that a driver's README can show."""

from __future__ import annotations

from urllib.parse import quote

from moorage.verify.report import Report
from moorage.verify.rule import Severity

__all__ = ["badge_line"]


def badge_line(report: Report) -> str:
    """A Markdown image with the count of rules passed; red with the count of failures when there are any."""
    failed = len(report.failures(at_least=Severity.SHOULD))
    text, colour = (f"{failed} failed", "red") if failed else (f"{report.tally().passed} passed", "brightgreen")
    image = f"https://img.shields.io/badge/CSI_1.13_moorage_verify-{quote(text.replace(' ', '_'))}-{colour}"
    return f"![CSI conformance: {text}]({image})"
