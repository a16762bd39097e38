from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum
from typing import ClassVar

import msgspec
import pytest
from tools.api_listing import class_lines, function_text


class Colour(IntEnum):
    RED = 1


class Berth(msgspec.Struct, frozen=True):
    name: str
    depth_m: int = 3
    tags: Mapping[str, str] = {}


@dataclass(frozen=True, slots=True)
class Tide:
    height_m: float
    rising: bool = True


class Harbour:
    kinds: ClassVar[frozenset[str]] = frozenset({"b", "a"})

    def __init__(self, name: str) -> None:
        self._name = name

    @property
    def name(self) -> str:
        return self._name

    @classmethod
    def parse(cls, text: str) -> Harbour:
        return cls(text)

    async def moor(self, ship: str, *, berth: Berth | None = None) -> bool:
        return bool(ship and berth)

    def _hidden(self) -> None: ...


@pytest.mark.parametrize(
    ("cls", "lines"),
    [
        pytest.param(Colour, ["class Colour(IntEnum)", "RED = 1"], id="enum"),
        pytest.param(
            Berth,
            ["class Berth(Struct)", "name: str", "depth_m: int = 3", "tags: Mapping[str, str] = dict()"],
            id="struct",
        ),
        pytest.param(Tide, ["class Tide", "height_m: float", "rising: bool = True"], id="dataclass-with-slots"),
        pytest.param(
            Harbour,
            [
                "class Harbour",
                "kinds: ClassVar[frozenset[str]] = frozenset({'a', 'b'})",
                "def __init__(self, name: str) -> None",
                "async def moor(self, ship: str, *, berth: Berth | None = None) -> bool",
                "property name: str",
                "classmethod def parse(cls, text: str) -> Harbour",
            ],
            id="class",
        ),
    ],
)
def test_a_class_is_listed_with_fields_and_methods(cls: type, lines: list[str]) -> None:
    assert [line.strip() for line in class_lines(cls.__name__, cls)] == lines


def test_addresses_never_reach_the_listing() -> None:
    def call(marker: object = object()) -> None: ...

    assert function_text("call", call) == "def call(marker: object = <object object>) -> None"
