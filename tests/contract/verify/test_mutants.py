"""Every rule catches the driver that breaks it: the tests of the tests."""

from __future__ import annotations

from pathlib import Path

import pytest

from moorage.testing.mutants import MUTANTS, Mutant
from moorage.testing.mutants.farm import Outcome, run_mutants
from moorage.verify import ALL_RULES

pytestmark = [pytest.mark.root, pytest.mark.slow, pytest.mark.timeout(900)]


@pytest.fixture(scope="module")
async def outcomes(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Outcome]:
    """All mutants, examined once."""
    directory = tmp_path_factory.mktemp("m")
    return await run_mutants(MUTANTS.values(), Path(directory))


@pytest.mark.parametrize("mutant", MUTANTS.values(), ids=MUTANTS)
def test_the_mutant_is_caught_by_its_rule(mutant: Mutant, outcomes: dict[str, Outcome]) -> None:
    outcome = outcomes[mutant.name]
    said = outcome.detail or f"passed; failed: {', '.join(outcome.failed) or 'nothing'}"
    assert outcome.caught, f"{mutant.what} {mutant.rule} did not notice: {said}"


def test_every_rule_has_a_mutant() -> None:
    assert {rule.id for rule in ALL_RULES} == {mutant.rule for mutant in MUTANTS.values()}
