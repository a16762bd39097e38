"""A report for people at a terminal, as plain lines."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any

from moorage.verify.report import Report, Result

__all__ = ["area_table", "explain", "summary"]


def explain(result: Result) -> list[str]:
    """A failure: what was wrong, what was sent and answered, what is demanded, and how to see it again."""
    lines = [
        f"{result.id} ({result.severity}, {result.section})",
        f"  {result.title}",
        f"  Wrong:    {result.detail}",
        f"  Sends:    {result.sends}",
        f"  Demands:  {result.demands}",
    ]
    if result.evidence is not None:
        lines += [
            f"  Request:  {result.evidence.rpc} {_json(result.evidence.request)}",
            f"  Answer:   {_json(result.evidence.answer)}",
            f"  Repeat:   {result.evidence.reproduce}",
        ]
    return lines


def area_table(report: Report) -> list[str]:
    """Counts by area, with a line of totals."""
    rows = [("area", "pass", "fail", "skip", "seconds")]
    for area, results in report.by_area():
        tally = report.tally(area)
        seconds = sum(result.seconds for result in results)
        rows.append((area, str(tally.passed), str(tally.failed), str(tally.skipped), f"{seconds:.1f}"))
    total = report.tally()
    rows.append(("all", str(total.passed), str(total.failed), str(total.skipped), f"{report.seconds:.1f}"))
    return list(_aligned(rows))


def summary(report: Report) -> str:
    """One line: how many rules ended how, and in which time."""
    total = report.tally()
    text = f"{total.passed} passed, {total.failed} failed, {total.skipped} skipped in {_duration(report.seconds)}"
    return text if report.complete else f"{text}; not complete: the run was ended before all rules had their turn"


def _aligned(rows: Sequence[tuple[str, ...]]) -> Iterator[str]:
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for row in rows:
        cells = [row[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True))]
        yield "  ".join(cells)


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds, 1), 60)
    return f"{minutes:.0f} min {rest:.0f} s" if minutes else f"{rest:.1f} s"
