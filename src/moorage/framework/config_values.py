"""How one value of a configuration is read from a flag, an environment variable or a file, by its type.

`kind_of` compiles an annotation into a `Kind`. Flags and variables bring text; files bring text, numbers,
bools and lists, and both go through the same conversion. This module knows no field names and no sources.
"""

from __future__ import annotations

import enum
import types
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Final, Literal, Union, get_args, get_origin

from msgspec import Struct

from moorage.base.units import UnitError, format_duration, format_quantity, parse_bytes, parse_duration


class Marker(enum.Enum):
    """Put into an annotation to say that a number has a unit."""

    SIZE = "size"
    DURATION = "duration"


SIZE: Final = Marker.SIZE
DURATION: Final = Marker.DURATION
YES: Final = frozenset({"true", "yes", "on", "1", "t", "y"})
NO: Final = frozenset({"false", "no", "off", "0", "f", "n"})


class BadValue(ValueError):
    """A value is not of its type: `shown` is the value, `accepted` says what is wanted."""

    def __init__(self, value: object, accepted: str) -> None:
        super().__init__(accepted)
        self.shown = f"{value!r},"
        self.accepted = accepted


class Kind(Struct, frozen=True, kw_only=True):
    """A type of setting: how it is called, converted from text or file values, and written back.

    `is_path` lets a shell complete file names.
    """

    name: str
    metavar: str
    convert: Callable[[object], Any]
    show: Callable[[Any], str] = str
    repeatable: bool = False
    choices: tuple[str, ...] = ()
    is_bool: bool = False
    is_path: bool = False


def kind_of(annotation: Any) -> Kind:
    """The kind of a field annotation. Raises TypeError for a type that settings cannot have."""
    if get_origin(annotation) is Annotated:
        inner, *notes = get_args(annotation)
        marker = next((note for note in notes if isinstance(note, Marker)), None)
        return _MARKED[marker] if marker is not None else kind_of(inner)
    if get_origin(annotation) in {Union, types.UnionType}:
        return _optional(annotation)
    if get_origin(annotation) in {list, tuple}:
        return _sequence(annotation)
    if get_origin(annotation) is Literal:
        return _choice({str(value): value for value in get_args(annotation)})
    if isinstance(annotation, type) and issubclass(annotation, enum.Enum):
        return _choice({_member_text(member): member for member in annotation})
    try:
        return _PLAIN[annotation]
    except (KeyError, TypeError):
        raise TypeError(f"a setting cannot be of type {annotation!r}") from None


def _optional(annotation: Any) -> Kind:
    inner = [part for part in get_args(annotation) if part is not type(None)]
    if len(inner) != 1 or len(inner) == len(get_args(annotation)):
        raise TypeError(f"a setting cannot be of type {annotation!r}: only `T | None` has one meaning")
    kind = kind_of(inner[0])
    return _copy(kind, convert=lambda value: None if value is None else kind.convert(value))


def _sequence(annotation: Any) -> Kind:
    arguments = get_args(annotation)
    container: Callable[[list[Any]], Any] = get_origin(annotation)
    if container is tuple and (len(arguments) != 2 or arguments[1] is not Ellipsis):
        raise TypeError(f"a setting cannot be of type {annotation!r}: write tuple[T, ...]")
    element = kind_of(arguments[0])
    if element.repeatable:
        raise TypeError(f"a setting cannot be of type {annotation!r}: lists of lists have no textual form")

    def convert(value: object) -> Any:
        if isinstance(value, str):
            return container([element.convert(value)])
        if not isinstance(value, list | tuple):
            raise BadValue(value, f"a list of values, each {element.name}")
        return container([element.convert(item) for item in value])

    def show(value: Any) -> str:
        return ",".join(element.show(item) for item in value)

    return _copy(element, convert=convert, show=show, repeatable=True, is_bool=False)


def _copy(kind: Kind, **changes: Any) -> Kind:
    from msgspec import structs

    return structs.replace(kind, **changes)


def _member_text(member: enum.Enum) -> str:
    return member.value if isinstance(member.value, str) else member.name


def _choice(by_text: dict[str, Any]) -> Kind:
    def convert(value: object) -> Any:
        for text, member in by_text.items():
            if str(value) == text or (value is member and not isinstance(value, str)):
                return member
        raise BadValue(value, f"one of {', '.join(by_text)}")

    def show(value: Any) -> str:
        return next((text for text, member in by_text.items() if member == value), str(value))

    names = tuple(by_text)
    return Kind(name="|".join(names), metavar="|".join(names), convert=convert, show=show, choices=names)


def _text(value: object) -> str:
    if isinstance(value, str):
        return value
    raise BadValue(value, "text; quote it in the file")


def _path(value: object) -> Path:
    if isinstance(value, str) and value and "\0" not in value:
        try:
            return Path(value).expanduser()
        except RuntimeError:
            pass
    raise BadValue(value, "a path")


def _integer(value: object) -> int:
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    if isinstance(value, str):
        try:
            return int(value)
        except ValueError:
            pass
    raise BadValue(value, "a whole number")


def _number(value: object) -> float:
    if isinstance(value, str | int | float) and not isinstance(value, bool):
        try:
            number = float(value)
        except ValueError:
            pass
        else:
            if number - number == 0:
                return number
    raise BadValue(value, "a number")


def _bool(value: object) -> bool:
    if isinstance(value, bool):
        return value
    if isinstance(value, str) and value.lower() in YES | NO:
        return value.lower() in YES
    raise BadValue(value, "true or false")


def _size(value: object) -> int:
    if isinstance(value, int | str) and not isinstance(value, bool):
        try:
            return parse_bytes(value)
        except UnitError:
            pass
    raise BadValue(value, "a size in bytes or a quantity such as 512Mi, 10Gi or 1.5G")


def _duration(value: object) -> float:
    try:
        seconds = parse_duration(value) if isinstance(value, str) and value[-1:].isalpha() else _number(value)
        if seconds >= 0:
            return seconds
    except (UnitError, BadValue):
        pass
    raise BadValue(value, "a duration such as 30s, 1m30s or 250ms, or a number of seconds")


def _show_bool(value: bool) -> str:
    return "true" if value else "false"


_PLAIN: Final[dict[Any, Kind]] = {
    str: Kind(name="text", metavar="TEXT", convert=_text),
    int: Kind(name="whole number", metavar="N", convert=_integer),
    float: Kind(name="number", metavar="N", convert=_number),
    bool: Kind(name="bool", metavar="BOOL", convert=_bool, show=_show_bool, is_bool=True),
    Path: Kind(name="path", metavar="PATH", convert=_path, is_path=True),
}
_MARKED: Final[dict[Marker, Kind]] = {
    SIZE: Kind(name="size", metavar="SIZE", convert=_size, show=format_quantity),
    DURATION: Kind(name="duration", metavar="DURATION", convert=_duration, show=format_duration),
}
