"""A report as one HTML page that needs nothing else: no script, no font, no other file."""

from __future__ import annotations

import json
from collections.abc import Iterator
from html import escape
from typing import Final

from moorage.verify.badge import badge_line
from moorage.verify.report import Report, Result, Verdict
from moorage.verify.text import summary

__all__ = ["to_html"]

_STYLE: Final = """
:root { color-scheme: light dark; --line: #8884; --pass: #1a7f37; --fail: #c62828; --skip: #777; --soft: #8881; }
@media (prefers-color-scheme: dark) { :root { --pass: #4ac26b; --fail: #ff7b72; --skip: #999; } }
body { font: 15px/1.5 system-ui, sans-serif; max-width: 62rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.5rem; margin-bottom: .2rem; } h2 { font-size: 1.1rem; margin: 2rem 0 .5rem; }
p.facts { color: var(--skip); margin-top: 0; }
table { border-collapse: collapse; } td, th { padding: .15rem .8rem .15rem 0; text-align: right; }
td:first-child, th:first-child { text-align: left; }
tfoot td { border-top: 1px solid var(--line); font-weight: 600; }
details { border-top: 1px solid var(--line); padding: .3rem 0; } summary { cursor: pointer; }
summary code { font-size: .9rem; } summary .seconds { color: var(--skip); float: right; }
.mark { display: inline-block; width: 3rem; font-weight: 600; }
.pass .mark { color: var(--pass); } .fail .mark { color: var(--fail); } .skip .mark { color: var(--skip); }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .2rem 1rem; margin: .5rem 0 .5rem 3rem; }
dt { color: var(--skip); } dd { margin: 0; min-width: 0; }
pre { background: var(--soft); margin: 0; padding: .4rem .6rem; overflow-x: auto; white-space: pre-wrap;
      overflow-wrap: anywhere; }
"""


def to_html(report: Report) -> str:
    """The page. Everything that a driver said is escaped."""
    title = f"{escape(report.driver)} against CSI 1.13"
    body = "\n".join(_body(report))
    return (
        f'<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f'<link rel="icon" href="data:,">\n<title>{title}</title>\n<style>{_STYLE}</style>\n</head>\n'
        f"<body>\n<h1>{title}</h1>\n{body}\n</body>\n</html>\n"
    )


def _body(report: Report) -> Iterator[str]:
    facts = f"version {report.vendor_version}, at {report.endpoint}, {report.started}, seed {report.seed}"
    yield f'<p class="facts">{escape(facts)}</p>'
    yield f"<p><strong>{escape(summary(report))}</strong></p>"
    yield "<table><thead><tr><th>area</th><th>pass</th><th>fail</th><th>skip</th><th>seconds</th></tr></thead><tbody>"
    for area, results in report.by_area():
        tally = report.tally(area)
        seconds = sum(result.seconds for result in results)
        yield _row(f'<a href="#{area}">{area}</a>', tally.passed, tally.failed, tally.skipped, seconds)
    total = report.tally()
    yield "</tbody><tfoot>"
    yield _row("all", total.passed, total.failed, total.skipped, report.seconds)
    yield "</tfoot></table>"
    failures = report.failures()
    if failures:
        yield '<h2 id="failures">What is wrong</h2>'
        yield from (_rule(result, is_open=True) for result in failures)
    for area, results in report.by_area():
        yield f'<h2 id="{area}">{area}</h2>'
        yield from (_rule(result, is_open=False) for result in results)
    yield f"<h2>For the README</h2>\n<pre>{escape(badge_line(report))}</pre>"


def _row(name: str, passed: int, failed: int, skipped: int, seconds: float) -> str:
    cells = "".join(f"<td>{cell}</td>" for cell in (passed, failed, skipped, f"{seconds:.1f}"))
    return f"<tr><td>{name}</td>{cells}</tr>"


def _rule(result: Result, *, is_open: bool) -> str:
    head = (
        f'<summary><span class="mark">{result.verdict.value}</span> <code>{escape(result.id)}</code> '
        f'{escape(result.title)} <span class="seconds">{result.seconds:.2f} s</span></summary>'
    )
    rows = [
        ("Section", escape(f"{result.section} ({result.severity})")),
        ("Sends", escape(result.sends)),
        ("Demands", escape(result.demands)),
    ]
    if result.detail:
        rows.insert(0, ("Wrong" if result.verdict is Verdict.FAIL else "Skipped", escape(result.detail)))
    if result.evidence is not None:
        rows += [
            ("Request", f"<pre>{escape(result.evidence.rpc)} {_json(result.evidence.request)}</pre>"),
            ("Answer", f"<pre>{_json(result.evidence.answer)}</pre>"),
            ("Repeat", f"<pre>{escape(result.evidence.reproduce)}</pre>"),
        ]
    fields = "".join(f"<dt>{name}</dt><dd>{value}</dd>" for name, value in rows)
    opened = " open" if is_open else ""
    return f'<details class="{result.verdict.value}"{opened}>{head}<dl>{fields}</dl></details>'


def _json(value: object) -> str:
    return escape(json.dumps(value, ensure_ascii=False, indent=1))
