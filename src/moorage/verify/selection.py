"""Which rules run: those that were asked for, and of them those whose needs this driver and place fulfil.

Pure: facts in, rules and reasons out.
"""

from __future__ import annotations

import difflib
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

from moorage.spec.capabilities import Declared
from moorage.spec.types import OpenEnum
from moorage.verify.rule import Area, Danger, Facility, Need, Rule

__all__ = ["Facts", "SelectionError", "missing_need", "select"]


class SelectionError(ValueError):
    """A rule or area that was named does not exist."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What a run can count on; `facilities` are those at hand."""

    declared: Declared
    facilities: frozenset[Facility]
    read_only: bool = False


def select(
    rules: Sequence[Rule],
    *,
    only: Collection[str] = (),
    skip: Collection[str] = (),
    areas: Collection[str] = (),
) -> list[Rule]:
    """The rules asked for, in their order; `only` and `skip` take ids and patterns like `create.*`.

    Raises SelectionError for a pattern that matches nothing and for an unknown area.
    """
    known = [area.value for area in Area]
    for area in areas:
        if area not in known:
            raise SelectionError(f"there is no area {area!r}; the areas are {', '.join(known)}")
    for pattern in (*only, *skip):
        if not any(fnmatchcase(rule.id, pattern) for rule in rules):
            near = difflib.get_close_matches(pattern, [rule.id for rule in rules], n=1)
            hint = f"; did you mean {near[0]}?" if near else "; --list shows all rules"
            raise SelectionError(f"no rule matches {pattern!r}{hint}")
    return [
        rule
        for rule in rules
        if (not areas or rule.area.value in areas) and (not only or _matches(rule, only)) and not _matches(rule, skip)
    ]


def _matches(rule: Rule, patterns: Iterable[str]) -> bool:
    return any(fnmatchcase(rule.id, pattern) for pattern in patterns)


def missing_need(rule: Rule, facts: Facts) -> str:
    """Why this rule cannot run here, as a reason for skipping; empty when it can."""
    if facts.read_only and (dangers := rule.danger - {Danger.MAY_CREATE}):
        return f"--read-only: the rule {' and '.join(sorted(danger.value for danger in dangers))}"
    for need in rule.needs:
        options = need if isinstance(need, tuple) else (need,)
        if not any(_at_hand(option, facts) for option in options):
            return _lacking(options)
    return ""


def _at_hand(need: Need, facts: Facts) -> bool:
    if isinstance(need, Facility):
        return need in facts.facilities
    if isinstance(need, OpenEnum):
        return facts.declared.has(need)
    return need in facts.declared.services


def _lacking(options: Sequence[Need]) -> str:
    names = " or ".join(_named(option) for option in options)
    if isinstance(options[0], Facility):
        return f"needs {names}"
    return f"the driver does not declare {names}" if isinstance(options[0], OpenEnum) else f"needs the {names} service"


def _named(need: Need) -> str:
    return need.name if isinstance(need, OpenEnum) else str(need)
