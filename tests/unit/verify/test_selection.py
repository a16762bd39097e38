from __future__ import annotations

import pytest

from moorage.spec.capabilities import Declared
from moorage.spec.types import ControllerCapability, NodeCapability
from moorage.verify.lab import Lab
from moorage.verify.rule import Danger, Facility, Need, Rule, rule
from moorage.verify.selection import Facts, SelectionError, missing_need, select


def a_rule(rule_id: str, *needs: Need | tuple[Need, ...], danger: tuple[Danger, ...] = ()) -> Rule:
    @rule(rule_id, section="s", title="t", sends="x", demands="y", needs=needs, danger=danger)
    async def examined(lab: Lab) -> None:
        """Never run here."""

    return examined


RULES = [a_rule("create.one"), a_rule("create.two"), a_rule("node.one")]


@pytest.mark.parametrize(
    ("only", "skip", "areas", "chosen"),
    [
        pytest.param((), (), (), ["create.one", "create.two", "node.one"], id="all"),
        pytest.param(("create.*",), (), (), ["create.one", "create.two"], id="a-pattern"),
        pytest.param(("*.one",), ("node.*",), (), ["create.one"], id="skip-wins"),
        pytest.param((), (), ("node",), ["node.one"], id="an-area"),
        pytest.param(("create.one",), (), ("node",), [], id="rule-and-area-must-both-hold"),
    ],
)
def test_rules_are_chosen(
    only: tuple[str, ...], skip: tuple[str, ...], areas: tuple[str, ...], chosen: list[str]
) -> None:
    assert [found.id for found in select(RULES, only=only, skip=skip, areas=areas)] == chosen


def test_a_misspelt_rule_is_refused_with_a_hint() -> None:
    with pytest.raises(SelectionError, match=r"no rule matches 'create.tow'; did you mean create.two\?"):
        select(RULES, only=["create.tow"])


def test_an_unknown_area_is_refused_with_the_known_ones() -> None:
    with pytest.raises(SelectionError, match=r"there is no area .nodes.; the areas are validation, create"):
        select(RULES, areas=["nodes"])


CREATES = ControllerCapability.CREATE_DELETE_VOLUME


@pytest.mark.parametrize(
    ("needs", "reason"),
    [
        pytest.param((CREATES,), "", id="declared"),
        pytest.param(("Node",), "needs the Node service", id="service"),
        pytest.param(
            (NodeCapability.STAGE_UNSTAGE_VOLUME,),
            "the driver does not declare STAGE_UNSTAGE_VOLUME",
            id="not-declared",
        ),
        pytest.param(((Facility.BLOCK, Facility.MOUNT),), "", id="one-of-two"),
        pytest.param((Facility.RESTART,), "needs --restart-command", id="facility"),
        pytest.param(
            ((ControllerCapability.CLONE_VOLUME, ControllerCapability.GET_VOLUME),),
            "the driver does not declare CLONE_VOLUME or GET_VOLUME",
            id="none-of-two",
        ),
    ],
)
def test_a_missing_need_is_told(needs: tuple[Need | tuple[Need, ...], ...], reason: str) -> None:
    declared = Declared(controller=frozenset({CREATES}), services=frozenset({"Identity", "Controller"}))
    facts = Facts(declared=declared, facilities=frozenset({Facility.MOUNT}))
    assert missing_need(a_rule("create.one", *needs), facts) == reason


def test_read_only_leaves_out_what_is_dangerous() -> None:
    facts = Facts(declared=Declared(), facilities=frozenset(), read_only=True)
    dangerous = a_rule("create.one", danger=(Danger.CREATES, Danger.RESTARTS))
    assert missing_need(dangerous, facts) == ("--read-only: the rule creates volumes and kills and restarts the driver")
    assert missing_need(a_rule("create.two"), facts) == ""
    assert missing_need(a_rule("create.three", danger=(Danger.MAY_CREATE,)), facts) == ""


@pytest.mark.parametrize("rule_id", ["Create.one", "create", "create.One", "create.one-", "nowhere.one"])
def test_an_id_that_is_not_area_and_slug_is_refused(rule_id: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        a_rule(rule_id)
