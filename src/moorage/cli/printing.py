"""Prints data that a command has found, as JSON, YAML or a table, to stdout.

Tables are drawn by rich on a terminal where it is installed, else as plain columns; they hold one row for each
entry of the only list in the data, or one for each field. This module knows nothing of what the data means.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from typing import Any, Final

import click
import msgspec

FORMATS: Final = ("json", "yaml", "table")


def print_data(data: Mapping[str, Any], fmt: str, *, lines: bool = False, one_of_many: bool = False) -> None:
    """Print one object; with `lines`, JSON takes one line. One of many starts a YAML document of its own."""
    if fmt == "yaml":
        click.echo(("---\n" if one_of_many else "") + to_yaml(data), nl=False)
    elif fmt == "table":
        print_table(data)
    else:
        encoded = msgspec.json.encode(data)
        click.echo((encoded if lines else msgspec.json.format(encoded, indent=2)).decode())


def to_yaml(data: Mapping[str, Any]) -> str:
    """The data as YAML. Raises click.ClickException when PyYAML is not installed."""
    try:
        import yaml
    except ImportError:
        raise click.ClickException(
            "YAML output needs PyYAML, which is not installed; install moorage[cli] or use -o json"
        ) from None
    return str(yaml.safe_dump(data, sort_keys=False, allow_unicode=True, default_flow_style=False))


def print_table(data: Mapping[str, Any]) -> None:
    """Print the data as a table."""
    headings, rows = tabulate(data)
    if not sys.stdout.isatty() or not _print_with_rich(headings, rows):
        _print_columns(headings, rows)


def _print_with_rich(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> bool:
    """Draws the table; False when rich is not installed."""
    try:
        from rich.box import SIMPLE_HEAD
        from rich.console import Console
        from rich.table import Table
        from rich.text import Text
    except ImportError:
        return False
    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    for heading in headings:
        table.add_column(Text(heading), overflow="fold")
    for row in rows:
        table.add_row(*(Text(cell) for cell in row))
    Console().print(table)
    return True


def tabulate(data: Mapping[str, Any]) -> tuple[list[str], list[list[str]]]:
    """Headings and rows: of the only list of objects in the data if there is one, else one row a field."""
    lists = [value for value in data.values() if isinstance(value, list)]
    if len(lists) == 1 and lists[0] and all(isinstance(item, dict) for item in lists[0]):
        flat = [_flatten(item) for item in lists[0]]
        headings = list(dict.fromkeys(key for row in flat for key in row))
        return headings, [[row.get(heading, "") for heading in headings] for row in flat]
    return ["field", "value"], [[key, value] for key, value in _flatten(data).items()]


def _flatten(value: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    flat: dict[str, str] = {}
    for key, item in value.items():
        name = f"{prefix}{key}"
        if isinstance(item, Mapping) and item:
            flat.update(_flatten(item, f"{name}."))
        else:
            flat[name] = _cell(item)
    return flat


def _cell(value: Any) -> str:
    match value:
        case None:
            return ""
        case bool():
            return "true" if value else "false"
        case Mapping():
            return ",".join(f"{key}={_cell(item)}" for key, item in value.items())
        case list():
            return ", ".join(
                ",".join(f"{key}={text}" for key, text in _flatten(item).items())
                if isinstance(item, Mapping)
                else _cell(item)
                for item in value
            )
        case _:
            return str(value)


def _print_columns(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    table = [list(headings), *rows]
    widths = [max(len(row[column]) for row in table) for column in range(len(headings))]
    for row in table:
        click.echo("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
