"""Label and field selectors: text to a condition on objects."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, TypeAlias

from moorage.testing.kube.kinds import Kind
from moorage.testing.kube.refusal import Refusal, bad_request
from moorage.testing.kube.tree import lookup

__all__ = ["Condition", "field_condition", "label_condition"]

Condition: TypeAlias = Callable[[Mapping[str, Any]], bool]
_LabelTest: TypeAlias = Callable[[str | None], bool]

_KEY: Final = r"(?:[a-z0-9A-Z][-a-z0-9A-Z_.]*/)?[a-zA-Z0-9][-a-zA-Z0-9_.]*"
_VALUE: Final = r"(?:[a-zA-Z0-9][-a-zA-Z0-9_.]*)?"
_SET: Final = re.compile(rf"\s*({_KEY})\s+(in|notin)\s*\(([^()]*)\)\s*$")
_COMPARED: Final = re.compile(rf"\s*({_KEY})\s*(==|=|!=|>|<)\s*({_VALUE})\s*$")
_EXISTS: Final = re.compile(rf"\s*(!?)\s*({_KEY})\s*$")
_OUTER_COMMA: Final = re.compile(r",(?![^()]*\))")
_FIELD: Final = re.compile(r"([^=!]+)(==|!=|=)(.*)", re.DOTALL)
_FIELD_COMMA: Final = re.compile(r"(?<!\\),")


def label_condition(selector: str) -> Condition | None:
    """The condition that a label selector sets, None for an empty one. Raises Refusal."""
    tests = [_label_test(part) for part in _OUTER_COMMA.split(selector)] if selector.strip() else []
    if not tests:
        return None

    def holds(tree: Mapping[str, Any]) -> bool:
        labels = lookup(tree, "metadata.labels") or {}
        return all(test(labels.get(key)) for key, test in tests)

    return holds


def _label_test(text: str) -> tuple[str, _LabelTest]:
    if match := _SET.match(text):
        key, operator, listed = match.groups()
        values = frozenset(value.strip() for value in listed.split(","))
        if operator == "in":
            return key, lambda value: value is not None and value in values
        return key, lambda value: value is None or value not in values
    if match := _COMPARED.match(text):
        key, operator, wanted = match.groups()
        return key, _comparison(operator, wanted)
    if match := _EXISTS.match(text):
        absent, key = match.groups()
        return key, (lambda value: value is None) if absent else (lambda value: value is not None)
    raise bad_request(f"unable to parse requirement: {text.strip()!r} is no condition on a label")


def _comparison(operator: str, wanted: str) -> _LabelTest:
    if operator == "!=":
        return lambda value: value != wanted
    if operator in {"=", "=="}:
        return lambda value: value == wanted
    limit = int(wanted) if wanted.isdigit() else None
    if limit is None:
        raise bad_request(f"unable to parse requirement: {wanted!r} is no number")
    more = operator == ">"
    return lambda value: value is not None and value.isdigit() and (int(value) > limit if more else int(value) < limit)


def field_condition(selector: str, kind: Kind) -> Condition | None:
    """The condition that a field selector sets, None for an empty one. Raises Refusal for an unknown field."""
    if not selector:
        return None
    tests = [_field_test(part, kind) for part in _FIELD_COMMA.split(selector) if part]

    def holds(tree: Mapping[str, Any]) -> bool:
        return all((_text(tree, field) == wanted) == equal for field, wanted, equal in tests)

    return holds


def _field_test(text: str, kind: Kind) -> tuple[str, str, bool]:
    match = _FIELD.fullmatch(text)
    if match is None:
        raise bad_request(f"invalid selector: '{text}'; can't understand '{text}'")
    field, operator, wanted = match.groups()
    if field not in kind.selectable:
        raise _unknown_field(field, kind)
    return field, re.sub(r"\\(.)", r"\1", wanted), operator != "!="


def _unknown_field(field: str, kind: Kind) -> Refusal:
    if kind.custom or kind.fields:
        return bad_request(f"field label not supported: {field}")
    names = ", ".join(f'"{name}"' for name in kind.selectable)
    return bad_request(f'"{field}" is not a known field selector: only {names}')


def _text(tree: Mapping[str, Any], field: str) -> str:
    """The value of a field as a selector sees it; what is absent is empty, or what the field is by default."""
    found = lookup(tree, field)
    if field == "source":
        found = lookup(tree, "source.component") or tree.get("reportingComponent")
    if isinstance(found, bool):
        return "true" if found else "false"
    if found is None and field in {"spec.unschedulable", "spec.hostNetwork"}:
        return "false"
    return "" if found is None else str(found)


def both(conditions: Sequence[Condition | None]) -> Condition | None:
    """The condition that holds when all do, None when there is none."""
    given = [condition for condition in conditions if condition is not None]
    if len(given) < 2:
        return given[0] if given else None
    return lambda tree: all(condition(tree) for condition in given)
