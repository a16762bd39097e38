"""Directives that write tables and help texts from the code, so that the reference cannot fall behind it.

    {moorage-settings} package.module:Class    the settings of a driver
    {moorage-help} serve local                 what `moorage serve local --help` prints
    {moorage-steps} local.                     the durable steps whose names begin so
    {moorage-methods}                          the methods of `Driver` and the capabilities that need each
    {moorage-rules}                            the rules of `moorage verify`, by area
    {moorage-parity}                           csi-sanity's cases and the rules that cover them

They import Moorage and describe it; they know nothing of single pages.
"""

from __future__ import annotations

import importlib
import socket
from typing import Any, ClassVar, cast

from docutils import nodes
from docutils.statemachine import StringList
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

from moorage.base.faults import declared_steps
from moorage.framework.config import Config, document
from moorage.framework.driver import Driver
from moorage.framework.inference import OPTIONAL_METHODS, declare
from moorage.spec.types import OpenEnum
from moorage.verify import ALL_RULES, Area, Rule
from moorage.verify.parity import CASES

HELP_WIDTH = 98
STEP_MODULES = ("moorage.framework.plugin", "moorage.drivers.local")


class _Markdown(SphinxDirective):
    """A directive whose content is Markdown made at build time."""

    def markdown(self) -> str:
        """The text to be parsed in place of the directive."""
        raise NotImplementedError

    def run(self) -> list[nodes.Node]:
        """The parsed nodes."""
        holder = nodes.container()
        self.state.nested_parse(StringList(self.markdown().splitlines(), source="generated"), 0, holder)
        return holder.children


class Settings(_Markdown):
    """The table of a driver's settings."""

    required_arguments = 1

    def markdown(self) -> str:
        """One row for each setting; the builder's host name is no default that a reader has."""
        module_name, _, class_name = self.arguments[0].partition(":")
        settings = cast("type[Config]", getattr(importlib.import_module(module_name), class_name))
        return document(settings).replace(f"`{socket.gethostname()}`", "the host name")


class Steps(_Markdown):
    """The table of durable steps."""

    optional_arguments = 1

    def markdown(self) -> str:
        """One row for each step."""
        for name in STEP_MODULES:
            importlib.import_module(name)
        prefix = self.arguments[0] if self.arguments else ""
        rows = [f"| `{name}` | {text} |" for name, text in declared_steps() if name.startswith(prefix)]
        return "\n".join(["| step | what is durable after it |", "|---|---|", *rows])


class Rules(_Markdown):
    """The rules of the conformance suite, a table for each area."""

    def markdown(self) -> str:
        """One row for each rule, in the order in which they run."""
        blocks = []
        for area in Area:
            rows = [
                f"| `{rule.id}` | {rule.severity.value} | {_cell(rule.section)} | {_cell(rule.title)} | "
                f"{_cell(rule.sends)} | {_cell(rule.demands)} | {_cell(_needs(rule))} |"
                for rule in ALL_RULES
                if rule.area is area
            ]
            head = ["| rule | severity | section | title | sends | demands | needs |", "|---|---|---|---|---|---|---|"]
            blocks += [f"**{area.value}**", "", *head, *rows, ""]
        return "\n".join(blocks)


class Parity(_Markdown):
    """csi-sanity's cases and the rules that cover them."""

    def markdown(self) -> str:
        """One row for each case."""
        rows = [
            f"| {_cell(case)} | {', '.join(f'`{rule_id}`' for rule_id in rule_ids)} |"
            for case, rule_ids in CASES.items()
        ]
        return "\n".join(["| case of csi-sanity | rules |", "|---|---|", *rows])


def _needs(rule: Rule) -> str:
    texts = []
    for need in rule.needs:
        options = need if isinstance(need, tuple) else (need,)
        texts.append(" or ".join(option.name if isinstance(option, OpenEnum) else str(option) for option in options))
    return ", ".join(texts)


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("<", "&lt;")


class Methods(_Markdown):
    """The table of a driver's methods."""

    def markdown(self) -> str:
        """One row for each optional method, in the order of the class."""
        rows = [
            f"| `{name}` | {_first_line(getattr(Driver, name))} | {_needing(name)} |"
            for name in vars(Driver)
            if name in OPTIONAL_METHODS
        ]
        return "\n".join(
            ["| method | what it makes sure of, or tells | declared only with it |", "|---|---|---|", *rows]
        )


class Help(SphinxDirective):
    """What a command prints for `--help`."""

    final_argument_whitespace = True
    optional_arguments = 1
    option_spec: ClassVar[Any] = {}

    def run(self) -> list[nodes.Node]:
        """A literal block with the text."""
        from click.testing import CliRunner

        from moorage.cli.app import command

        words = self.arguments[0].split() if self.arguments else []
        done = CliRunner().invoke(
            command, [*words, "--help"], prog_name="moorage", terminal_width=HELP_WIDTH, catch_exceptions=False
        )
        if done.exit_code:
            raise self.error(f"`moorage {' '.join(words)} --help` fails: {done.output}")
        text = done.output.replace(f"default: {socket.gethostname()}]", "default: host name]")
        shown = nodes.literal_block(text, text.rstrip())
        shown["language"] = "text"
        return [shown]


def _first_line(method: object) -> str:
    return " ".join((method.__doc__ or "").split("\n\n")[0].split()).replace("|", "\\|")


def _needing(method: str) -> str:
    """What a driver with all methods declares and the same driver without this one does not."""
    lost = sorted(_declared(frozenset()) - _declared(frozenset({method})))
    return ", ".join(f"`{name}`" for name in lost)


def _declared(without: frozenset[str]) -> set[str]:
    def method(*_: object) -> None:
        """Never called."""

    body: dict[str, object] = dict.fromkeys(OPTIONAL_METHODS - without, method)
    found = declare(type("Everything", (Driver,), body)(Config()), "all")
    groups = {"": found.controller, "group ": found.group, "node ": found.node, "plugin ": found.plugin}
    names = {f"{prefix}{capability.name}" for prefix, values in groups.items() for capability in values}
    return names | {f"service {name}" for name in found.services}


def setup(app: Sphinx) -> dict[str, bool]:
    """Called by Sphinx."""
    app.add_directive("moorage-settings", Settings)
    app.add_directive("moorage-steps", Steps)
    app.add_directive("moorage-methods", Methods)
    app.add_directive("moorage-rules", Rules)
    app.add_directive("moorage-parity", Parity)
    app.add_directive("moorage-help", Help)
    return {"parallel_read_safe": True}
