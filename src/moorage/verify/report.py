"""The outcome of a run as values: a verdict for each rule, and the stable JSON form of them.

The JSON schema is part of the public interface: keys are added, never renamed or removed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from enum import StrEnum
from typing import Any

from msgspec import Struct

from moorage.verify.exchange import Exchange
from moorage.verify.rule import Area, Rule, Severity

__all__ = ["Evidence", "Report", "Result", "Tally", "Verdict"]

SCHEMA = "moorage.dev/verify/v1"


class Verdict(StrEnum):
    """What became of a rule."""

    PASS = "pass"
    FAIL = "fail"
    SKIP = "skip"


class Evidence(Struct, frozen=True, kw_only=True):
    """The call that shows a failure: the RPC, request and answer without secrets, and a command to repeat it."""

    rpc: str
    request: dict[str, Any]
    answer: dict[str, Any]
    reproduce: str


class Result(Struct, frozen=True, kw_only=True):
    """One rule's verdict. `detail` says what was wrong, or why the rule was skipped; empty for a pass."""

    id: str
    area: str
    section: str
    severity: str
    verdict: Verdict
    detail: str
    title: str
    sends: str
    demands: str
    seconds: float
    evidence: Evidence | None = None


class Tally(Struct, frozen=True):
    """How many rules ended how."""

    passed: int = 0
    failed: int = 0
    skipped: int = 0


class Report(Struct, frozen=True, kw_only=True):
    """A whole run. `complete` is False when it was interrupted or ran out of time."""

    schema: str = SCHEMA
    driver: str
    vendor_version: str
    endpoint: str
    seed: int
    started: str
    seconds: float
    complete: bool
    rules: tuple[Result, ...]

    def tally(self, area: str | None = None) -> Tally:
        """The counts, of one area or of all."""
        counts = Counter(result.verdict for result in self.rules if area in (None, result.area))
        return Tally(counts[Verdict.PASS], counts[Verdict.FAIL], counts[Verdict.SKIP])

    def failures(self, *, at_least: Severity = Severity.ADVICE) -> tuple[Result, ...]:
        """The failed rules whose severity is `at_least` this."""
        order = [severity.value for severity in Severity]
        limit = order.index(at_least.value)
        return tuple(r for r in self.rules if r.verdict is Verdict.FAIL and order.index(r.severity) <= limit)

    def by_area(self) -> Sequence[tuple[str, Sequence[Result]]]:
        """The results in the order of the areas; areas without any are left out."""
        found = [(area.value, tuple(r for r in self.rules if r.area == area.value)) for area in Area]
        return [(area, results) for area, results in found if results]


def result_of(
    rule: Rule, verdict: Verdict, *, detail: str = "", seconds: float = 0.0, exchange: Exchange | None = None
) -> Result:
    """A rule's result, with the exchange as evidence."""
    evidence = None
    if exchange is not None:
        evidence = Evidence(
            rpc=exchange.rpc.name,
            request=exchange.request_view(),
            answer=exchange.answer_view(),
            reproduce=exchange.reproduce(),
        )
    return Result(
        id=rule.id,
        area=rule.area.value,
        section=rule.section,
        severity=rule.severity.value,
        verdict=verdict,
        detail=detail,
        title=rule.title,
        sends=rule.sends,
        demands=rule.demands,
        seconds=round(seconds, 3),
        evidence=evidence,
    )
