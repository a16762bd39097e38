from __future__ import annotations

import pytest
from tools.check_sizes import Finding, findings


def function_of(lines: int) -> str:
    return "def long():\n" + "    pass\n" * (lines - 1)


@pytest.mark.parametrize(
    ("source", "found"),
    [
        pytest.param("x = 1\n" * 400, [], id="file-of-400-lines"),
        pytest.param("x = 1\n" * 401, [Finding("a.py: 401 lines (limit 700)", False)], id="file-for-review"),
        pytest.param("x = 1\n" * 701, [Finding("a.py: 701 lines (limit 700)", True)], id="file-too-long"),
        pytest.param(function_of(60), [], id="function-of-60-lines"),
        pytest.param(function_of(61), [Finding("a.py:1: long: 61 lines (limit 80)", False)], id="function-for-review"),
        pytest.param(
            "async " + function_of(81),
            [Finding("a.py:1: long: 81 lines (limit 80)", True)],
            id="function-too-long",
        ),
    ],
)
def test_what_is_too_long_is_told_and_what_is_much_too_long_fails(source: str, found: list[Finding]) -> None:
    assert list(findings(source, "a.py")) == found
