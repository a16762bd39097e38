"""Write `docs/api.txt`, the listing of the public API, or fail with `--check` when it is stale.

A change of the public API is thereby a line of the diff that somebody reads. The public API is what
the modules below name in `__all__`; a module that does not exist yet is left out, and one that has
public names but no `__all__` is refused.
"""

from __future__ import annotations

import argparse
import dataclasses
import difflib
import enum
import importlib
import importlib.util
import inspect
import pkgutil
import re
import sys
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

LISTING = Path(__file__).resolve().parent.parent / "docs" / "api.txt"
MODULES = ("moorage.framework", "moorage.testing", "moorage.verify")
WITH_CHILDREN = frozenset({"moorage.testing"})
STARS: dict[int, str] = {inspect.Parameter.VAR_POSITIONAL: "*", inspect.Parameter.VAR_KEYWORD: "**"}
LONGEST_VALUE = 200
ADDRESS = re.compile(r" at 0x[0-9a-f]+")


def public_modules() -> Iterator[str]:
    """The names of the public modules that exist."""
    for name in MODULES:
        found = importlib.util.find_spec(name)
        if found is None:
            continue
        if found.origin is not None:
            yield name
        if name in WITH_CHILDREN:
            children = pkgutil.iter_modules(found.submodule_search_locations, f"{name}.")
            yield from sorted(child.name for child in children if not child.name.rpartition(".")[2].startswith("_"))


def annotation_text(annotation: object) -> str:
    """An annotation as it is written in the source."""
    if isinstance(annotation, str):
        return annotation
    return inspect.formatannotation(annotation)


def value_text(value: object) -> str:
    """A default value, the same on every run: no addresses, no order of hashes."""
    if isinstance(value, frozenset):
        return f"frozenset({{{', '.join(sorted(map(value_text, value)))}}})" if value else "frozenset()"
    if isinstance(value, enum.Enum):
        return f"{type(value).__name__}.{value.name}"
    if isinstance(value, type | types.FunctionType):
        return value.__qualname__
    text = ADDRESS.sub("", repr(value))
    # Long values are data, not interface, and the order in a set changes from run to run.
    return text if len(text) <= LONGEST_VALUE else f"<{type(value).__name__}>"


def signature_text(function: Any) -> str:
    """The signature of a function with its annotations as written."""
    parts, star = [], False
    signature = inspect.signature(function)
    for parameter in signature.parameters.values():
        prefix = STARS.get(parameter.kind, "")
        if parameter.kind is parameter.KEYWORD_ONLY and not star:
            parts.append("*")
        star = star or parameter.kind in {parameter.KEYWORD_ONLY, parameter.VAR_POSITIONAL}
        text = prefix + parameter.name
        if parameter.annotation is not parameter.empty:
            text += f": {annotation_text(parameter.annotation)}"
        if parameter.default is not parameter.empty:
            text += f" = {value_text(parameter.default)}"
        parts.append(text)
    result = signature.return_annotation
    arrow = "" if result is signature.empty else f" -> {annotation_text(result)}"
    return f"({', '.join(parts)}){arrow}"


def function_text(name: str, function: Any) -> str:
    """One line for a function or method."""
    is_async = inspect.iscoroutinefunction(function) or inspect.isasyncgenfunction(function)
    return f"{'async ' if is_async else ''}def {name}{signature_text(function)}"


def struct_default(cls: Any, name: str) -> str:
    """` = VALUE` for a field of a msgspec Struct that has a default, else nothing."""
    field = next(field for field in msgspec.structs.fields(cls) if field.name == name)
    if field.default is not msgspec.NODEFAULT:
        return f" = {value_text(field.default)}"
    if field.default_factory is not msgspec.NODEFAULT:
        return f" = {value_text(field.default_factory)}()"
    return ""


def dataclass_default(cls: Any, name: str) -> str:
    """` = VALUE` for a field of a dataclass that has a default, else nothing."""
    field = cls.__dataclass_fields__[name]
    if field.default is not dataclasses.MISSING:
        return f" = {value_text(field.default)}"
    if field.default_factory is not dataclasses.MISSING:
        return f" = {value_text(field.default_factory)}()"
    return ""


def field_lines(cls: type) -> Iterator[str]:
    """The annotated fields that a class defines itself, with their defaults."""
    is_struct = issubclass(cls, msgspec.Struct)
    for name, annotation in inspect.get_annotations(cls).items():
        if name.startswith("_"):
            continue
        default = ""
        if is_struct and name in cls.__struct_fields__:  # type: ignore[attr-defined]  # narrowed by is_struct
            default = struct_default(cls, name)
        elif name in getattr(cls, "__dataclass_fields__", ()):
            default = dataclass_default(cls, name)
        elif name in vars(cls):
            default = f" = {value_text(vars(cls)[name])}"
        yield f"{name}: {annotation_text(annotation)}{default}"


def member_line(name: str, member: Any) -> str | None:
    """One line for a member of a class; None for what is no part of the interface."""
    if isinstance(member, property):
        result = inspect.signature(member.fget).return_annotation if member.fget else ""
        return f"property {name}: {annotation_text(result)}"
    if isinstance(member, classmethod | staticmethod):
        return f"{type(member).__name__} {function_text(name, member.__func__)}"
    return function_text(name, member) if inspect.isfunction(member) else None


def class_lines(name: str, cls: type) -> Iterator[str]:
    """A class with its bases, then what it defines itself; what it inherits is told by the bases."""
    bases = ", ".join(base.__name__ for base in cls.__bases__ if base is not object)
    yield f"class {name}({bases})" if bases else f"class {name}"
    if issubclass(cls, enum.Enum):
        yield from (f"    {member} = {value.value!r}" for member, value in cls.__members__.items())
        return
    yield from (f"    {line}" for line in field_lines(cls))
    for member_name, member in sorted(vars(cls).items()):
        if member_name == "__init__" and not hasattr(cls, "__dataclass_fields__"):
            yield f"    {function_text(member_name, member)}"
        elif not member_name.startswith("_") and (line := member_line(member_name, member)):
            yield f"    {line}"


def name_lines(module: types.ModuleType, name: str) -> Iterator[str]:
    """What one public name of a module is."""
    value = getattr(module, name)
    if inspect.isclass(value):
        yield from class_lines(name, value)
    elif inspect.isfunction(value):
        yield function_text(name, value)
    elif inspect.ismodule(value):
        yield f"module {name}"
    else:
        kind = inspect.get_annotations(module).get(name)
        yield f"{name}: {annotation_text(kind)}" if kind else f"{name} = {value_text(value)}"


def module_lines(name: str) -> Iterator[str]:
    """The heading of a module, then its public names in alphabetical order."""
    module = importlib.import_module(name)
    public = getattr(module, "__all__", None)
    if public is None:
        own = [key for key, value in vars(module).items() if getattr(value, "__module__", None) == name]
        if any(not key.startswith("_") for key in own):
            sys.exit(f"{name} is public but has no __all__; name its public API there")
        public = ()
    yield f"[{name}]"
    for public_name in sorted(public):
        yield from name_lines(module, public_name)
    yield ""


def main() -> None:
    parser = argparse.ArgumentParser(description="Write docs/api.txt, the listing of the public API.")
    parser.add_argument("--check", action="store_true", help="fail when the committed listing is stale")
    check = parser.parse_args().check
    lines = [line for name in public_modules() for line in module_lines(name)]
    text = "\n".join(lines).rstrip() + "\n"
    if not check:
        LISTING.write_text(text)
        print(f"wrote {len(lines)} lines to docs/api.txt")
        return
    committed = LISTING.read_text() if LISTING.exists() else ""
    if committed != text:
        names = ("docs/api.txt", "the code")
        print("\n".join(difflib.unified_diff(committed.splitlines(), text.splitlines(), *names, lineterm="")))
        sys.exit("the public API changed; run tools/api_listing.py, review the diff, and commit it")
    print("docs/api.txt is up to date")


if __name__ == "__main__":
    main()
