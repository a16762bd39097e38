from __future__ import annotations

from typing import Any

import pytest
from tools.mutant_report import Row, chosen, failed_cases, page, summary

from moorage.testing.mutants import Call, Mutant, Reply


async def _never(call: Call) -> Reply:
    raise AssertionError("a mutant was asked")


def row(name: str, rule: str, *, caught: bool = True, noticed: frozenset[str] | None = frozenset()) -> Row:
    mutant = Mutant(name=name, rule=rule, what=f"The {name} | <it> is wrong.", on=frozenset(), answer=_never)
    return Row(mutant, caught, 1.26, noticed)


def case(state: str, text: str = "does", *, containers: list[str] | None = None, kind: str = "It") -> dict[str, Any]:
    return {"State": state, "LeafNodeText": text, "LeafNodeType": kind, "ContainerHierarchyTexts": containers}


def test_failed_cases_are_those_that_neither_passed_nor_were_left_out() -> None:
    suite = {
        "SpecReports": [
            case("passed"),
            case("skipped"),
            case("pending"),
            case("failed", "fails", containers=["Controller", "CreateVolume"]),
            case("timedout", "hangs"),
            case("panicked", "", kind="AfterSuite"),
        ]
    }
    assert failed_cases([suite]) == {"Controller CreateVolume fails", "hangs", "AfterSuite"}
    assert failed_cases([{"SpecReports": None}]) == frozenset()


@pytest.mark.parametrize(
    ("rows", "text"),
    [
        pytest.param(
            [row("a", "create.x", noticed=frozenset({"c"})), row("b", "create.y"), row("c", "node.z", caught=False)],
            "2 of 3 mutants are caught by `moorage verify`, 1 of 3 by csi-sanity.",
            id="both",
        ),
        pytest.param(
            [row("a", "create.x", noticed=None)], "1 of 1 mutants are caught by `moorage verify`.", id="without"
        ),
    ],
)
def test_the_summary_counts(rows: list[Row], text: str) -> None:
    assert summary(rows) == text


def test_the_page_has_a_table_for_each_area() -> None:
    rows = [
        row("a", "create.x", noticed=frozenset({"1", "2"})),
        row("b", "node.y", caught=False),
        row("c", "create.z", noticed=None),
    ]
    tables = page(rows).partition("by csi-sanity.\n")[2]
    assert (
        tables
        == r"""
**create**

| mutant | what is wrong | caught by | seconds | csi-sanity notices |
|---|---|---|---|---|
| `a` | The a \| &lt;it> is wrong. | `create.x` | 1.3 | yes |
| `c` | The c \| &lt;it> is wrong. | `create.z` | 1.3 | ? |

**node**

| mutant | what is wrong | caught by | seconds | csi-sanity notices |
|---|---|---|---|---|
| `b` | The b \| &lt;it> is wrong. | **not** by `node.y` | 1.3 | no |
"""
    )


def test_mutants_are_chosen_by_name_or_rule() -> None:
    assert [mutant.name for mutant in chosen(["forgets-the-size"])] == ["forgets-the-size"]
    assert {mutant.rule for mutant in chosen(["create.replay-same-answer"])} == {"create.replay-same-answer"}
    with pytest.raises(SystemExit, match="no mutant matches no-such"):
        chosen(["no-such"])
