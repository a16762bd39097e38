"""Keep files and functions of a size that a reader can hold.

Files of `src` above 400 lines are reported, above 700 lines they fail the check; functions above 60
lines are reported, above 80 they fail. The generated stubs are left out.
"""

from __future__ import annotations

import argparse
import ast
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
FILE_REVIEW, FILE_LIMIT = 400, 700
FUNCTION_REVIEW, FUNCTION_LIMIT = 60, 80
EXCLUDED = "src/moorage/proto/"


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that is longer than it should be; `fails` when it is longer than it may be."""

    text: str
    fails: bool


def findings(source: str, name: str) -> Iterator[Finding]:
    """What is too long in the Python text `source`; `name` is how it is called in the report."""
    lines = len(source.splitlines())
    if lines > FILE_REVIEW:
        yield Finding(f"{name}: {lines} lines (limit {FILE_LIMIT})", lines > FILE_LIMIT)
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            lines = (node.end_lineno or node.lineno) - node.lineno + 1
            if lines > FUNCTION_REVIEW:
                place = f"{name}:{node.lineno}: {node.name}"
                yield Finding(f"{place}: {lines} lines (limit {FUNCTION_LIMIT})", lines > FUNCTION_LIMIT)


def main() -> None:
    argparse.ArgumentParser(description="Check the sizes of files and functions in src.").parse_args()
    found: list[Finding] = []
    for path in sorted((ROOT / "src").rglob("*.py")):
        name = path.relative_to(ROOT).as_posix()
        if not name.startswith(EXCLUDED):
            found += findings(path.read_text(), name)
    for finding in found:
        print(f"{'too long' if finding.fails else 'review'}: {finding.text}")
    if any(finding.fails for finding in found):
        sys.exit("split what is marked 'too long'")


if __name__ == "__main__":
    main()
