"""The rows of the table: functions with a name, collected by a decorator."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from tests.support.api_table.site import Site

Run = Callable[[Site], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Case:
    """One behaviour of an API server. `kcm` says that it needs the controllers of Kubernetes beside it."""

    id: str
    run: Run
    kcm: bool = False


CASES: list[Case] = []


def case(run: Run) -> Run:
    """Put a function into the table under its own name."""
    CASES.append(Case(run.__name__.replace("_", "-"), run))
    return run


def kcm_case(run: Run) -> Run:
    """Put a function into the table that needs the controller manager."""
    CASES.append(Case(run.__name__.replace("_", "-"), run, kcm=True))
    return run
