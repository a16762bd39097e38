"""What holds for all rules, and for their agreement with csi-sanity's cases."""

from __future__ import annotations

from collections import Counter

import pytest

from moorage.spec.types import ControllerCapability
from moorage.verify import ALL_RULES, Area, Danger, Rule
from moorage.verify.parity import CASES

IDS = {rule.id for rule in ALL_RULES}


def test_ids_are_unique() -> None:
    assert [rule_id for rule_id, count in Counter(rule.id for rule in ALL_RULES).items() if count > 1] == []


def test_every_area_has_rules() -> None:
    assert {rule.area for rule in ALL_RULES} == set(Area)


@pytest.mark.parametrize("rule", ALL_RULES, ids=lambda rule: rule.id)
def test_a_rule_that_needs_volumes_says_that_it_makes_them(rule: Rule) -> None:
    needs = [option for need in rule.needs for option in (need if isinstance(need, tuple) else (need,))]
    if any(need is ControllerCapability.CREATE_DELETE_VOLUME for need in needs):
        assert Danger.CREATES in rule.danger


@pytest.mark.parametrize("rule", ALL_RULES, ids=lambda rule: rule.id)
def test_a_rule_reads_well(rule: Rule) -> None:
    for text in (rule.title, rule.sends, rule.demands, rule.section):
        assert text == text.strip()
        assert text
        assert not text.endswith(".")
        assert "  " not in text


def test_csi_sanitys_cases_are_all_covered_by_rules_that_exist() -> None:
    assert len(CASES) == 103
    for case, rule_ids in CASES.items():
        assert rule_ids, f"no rule covers: {case}"
        assert set(rule_ids) <= IDS, case
