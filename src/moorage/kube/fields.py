"""Narrows a struct type to the fields that somebody reads, so that a cache holds nothing else.

A controller declares its fields as paths of attribute names, such as `spec.csi.driver`; lists and mappings are
passed through, and a path to a struct means all of it. What several controllers share is decoded to the union
of their declarations. In a test, an object pruned to one controller's declaration raises UndeclaredField when
that controller reads anything else: a field that production would silently miss. Knows no requests.
"""

from __future__ import annotations

import types
import typing
from collections.abc import Callable, Iterable, Iterator
from functools import lru_cache
from typing import Any, Final, TypeAlias, TypeVar, cast

import msgspec
from msgspec import NODEFAULT, Struct

__all__ = ["IDENTITY", "UndeclaredField", "prune", "union"]

S = TypeVar("S", bound=Struct)
_Tree: TypeAlias = dict[str, "_Tree"]

IDENTITY: Final = frozenset(
    {"metadata.name", "metadata.namespace", "metadata.uid", "metadata.resource_version", "metadata.deletion_timestamp"}
)
"""What every cache needs to know of an object, whoever reads it."""


class UndeclaredField(Exception):
    """A field was read that the reader did not declare; add it to the declaration.

    It is not an AttributeError, so that `getattr` with a default cannot hide it.
    """


def union(*declarations: Iterable[str]) -> frozenset[str]:
    """All paths of all declarations, without those that a shorter one includes."""
    paths = {path for declaration in declarations for path in declaration}
    return frozenset(path for path in paths if not any(prefix in paths for prefix in _prefixes(path)))


def prune(type_: type[S], paths: Iterable[str]) -> type[S]:
    """A type that decodes only `paths` of `type_`, and is otherwise read like it, methods included.

    Equal arguments give the same type. It is no subclass of `type_`: `isinstance` does not hold. Raises
    ValueError for a path that `type_` does not have, or for no path at all.
    """
    wanted = union(paths)
    if not wanted:
        raise ValueError(f"no field of {type_.__name__} is declared; name at least one, such as metadata.name")
    return cast("type[S]", _pruned(type_, wanted))


@lru_cache(maxsize=256)
def _pruned(type_: type[Struct], paths: frozenset[str]) -> type[Struct]:
    tree: _Tree = {}
    for path in sorted(paths):
        branch = tree
        for part in path.split("."):
            branch = branch.setdefault(part, {})
    return _narrow(type_, tree, type_.__name__)


def _narrow(type_: type[Struct], tree: _Tree, place: str) -> type[Struct]:
    fields = {field.name: field for field in msgspec.structs.fields(type_)}
    if unknown := sorted(set(tree) - set(fields)):
        raise ValueError(f"{place} has no field {unknown[0]!r}; it has {', '.join(fields)}")
    definitions = [_definition(fields[name], branch, f"{place}.{name}") for name, branch in tree.items()]
    config = type_.__struct_config__
    return msgspec.defstruct(
        type_.__name__,
        definitions,
        namespace=_behaviour(type_, frozenset(fields), declared=frozenset(tree), place=place),
        module=type_.__module__,
        frozen=config.frozen,
        gc=config.gc,
        omit_defaults=config.omit_defaults,
        kw_only=True,
    )


def _definition(field: msgspec.structs.FieldInfo, branch: _Tree, place: str) -> tuple[str, Any, Any]:
    annotation, default = field.type, field.default
    if branch:
        annotation = _replace_struct(annotation, lambda inner: _narrow(inner, branch, place))
        if annotation is field.type:
            raise ValueError(f"{place} has no fields of its own; declare it without {next(iter(branch))!r}")
        if isinstance(default, Struct):
            default = cast("type[Struct]", annotation)()
    if default is NODEFAULT and field.default_factory is not NODEFAULT:
        return field.name, annotation, msgspec.field(default_factory=field.default_factory, name=field.encode_name)
    return field.name, annotation, msgspec.field(default=default, name=field.encode_name)


def _replace_struct(annotation: Any, narrow: Callable[[type[Struct]], type[Struct]]) -> Any:
    """The annotation with its struct type narrowed: of `X`, `X | None`, `tuple[X, ...]`, `Mapping[str, X]`."""
    if isinstance(annotation, type) and issubclass(annotation, Struct):
        return narrow(annotation)
    arguments = typing.get_args(annotation)
    replaced = tuple(_replace_struct(argument, narrow) for argument in arguments)
    if replaced == arguments:
        return annotation
    if isinstance(annotation, types.UnionType) or typing.get_origin(annotation) is typing.Union:
        return typing.Union[replaced]  # noqa: UP007 # built from a tuple
    return typing.get_origin(annotation)[replaced]


def _behaviour(type_: type[Struct], fields: frozenset[str], *, declared: frozenset[str], place: str) -> dict[str, Any]:
    """What the narrowed type has besides its fields: the methods of the original, and the alarm."""
    namespace: dict[str, Any] = {
        name: value
        for name, value in vars(type_).items()
        if isinstance(value, types.FunctionType | property | classmethod | staticmethod) and not name.startswith("__")
    }
    undeclared = fields - declared

    def alarm(self: Struct, name: str) -> Any:
        if name in undeclared:
            raise UndeclaredField(f"{place}.{name} was read but is not declared; add it to the fields of the reader")
        raise AttributeError(f"{place} has no field {name!r}")

    namespace["__getattr__"] = alarm
    if own := vars(type_).get("__repr__"):
        namespace["__repr__"] = _careful(own)
    return namespace


def _careful(own: Callable[[Struct], str]) -> Callable[[Struct], str]:
    """A text form that hides something stays in force, also when it needs more than is there."""

    def text(self: Struct) -> str:
        try:
            return own(self)
        except UndeclaredField:
            return f"{type(self).__name__}(pruned)"

    return text


def _prefixes(path: str) -> Iterator[str]:
    end = path.find(".")
    while end >= 0:
        yield path[:end]
        end = path.find(".", end + 1)
