"""No rule fails a correct driver for what it may lack: one driver for each capability that can be left out.

Each is the local driver behind a relay that declares less and is correct for it (`tests.support.lesser_driver`).
The whole driver goes first, through the same relay, and what each rule asks and calls is noted; of the others,
each meets the rules that came across what it lacks, and the rules about every answer. The rest cannot tell it
from the whole driver.

The rules of the area robustness take most of the time, and what they need is much the same for all. So they meet
the driver without a node service and the one that can do least; only that one is killed by them, too.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.support.lesser import LESSER, WHOLE
from tests.support.lesser_runs import Outcome, Runs

from moorage.spec import messages as m
from moorage.verify import ALL_RULES, Verdict, rule
from moorage.verify.lab import Lab

pytestmark = [pytest.mark.root, pytest.mark.slow, pytest.mark.timeout(900)]

WHOLE_RUNS = ("whole-1", "whole-2")


@pytest.fixture(scope="module")
async def outcomes(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Outcome]:
    """All drivers, examined once."""
    return await Runs(Path(tmp_path_factory.mktemp("l"))).all(LESSER.values())


@pytest.mark.parametrize("name", [*WHOLE_RUNS, *LESSER])
def test_no_rule_fails(name: str, outcomes: dict[str, Outcome]) -> None:
    failures = outcomes[name].failures()
    assert not failures, "\n".join(failures)


@pytest.mark.parametrize("name", LESSER)
def test_the_driver_declares_what_it_should(name: str, outcomes: dict[str, Outcome]) -> None:
    assert outcomes[name].declared == LESSER[name].whole


def test_the_local_driver_has_every_capability_that_can_be_dropped(outcomes: dict[str, Outcome]) -> None:
    assert all(outcomes[name].declared == WHOLE for name in WHOLE_RUNS)


def test_every_rule_is_traced_or_runs_anyway(outcomes: dict[str, Outcome]) -> None:
    met = [result.id for name in (*WHOLE_RUNS, "create-only") for result in outcomes[name].results]
    assert set(met) == {rule.id for rule in ALL_RULES}


@pytest.mark.parametrize("name", LESSER)
def test_rules_are_not_only_skipped(name: str, outcomes: dict[str, Outcome]) -> None:
    assert outcomes[name].count(Verdict.PASS) > 10


@rule("capacity.forgetful", section="GetCapacity", title="t", sends="GetCapacity", demands="OK")
async def forgetful(lab: Lab) -> None:
    (await lab.settle(m.GetCapacityRequest())).response(m.GetCapacityResponse)


async def test_a_rule_that_forgets_what_it_needs_is_found(tmp_path: Path) -> None:
    lesser = LESSER["controller-GET_CAPACITY-dropped"]
    outcomes = await Runs(tmp_path).all([lesser], rules=[forgetful])
    assert not [failure for name in WHOLE_RUNS for failure in outcomes[name].failures()]
    (failure,) = outcomes[lesser.name].failures()
    assert "GetCapacity must succeed here, and answered UNIMPLEMENTED" in failure
