"""Builds changes to objects: JSON patch operations, merge patches, and edits of raw JSON.

Three ways, because roles differ in what they grant and kinds in what they accept. All are pure functions;
none sees more of an object than it names, so nothing that this version does not know is lost.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal, Self, TypeAlias, cast

import msgspec

__all__ = [
    "Edit",
    "Operation",
    "edit_annotations",
    "edit_raw",
    "merge_difference",
    "pointer",
    "preconditions",
    "with_finalizer",
    "without_finalizer",
]


Edit: TypeAlias = Callable[[dict[str, Any]], bool]
"""Changes the decoded JSON of an object in place; False when there was nothing to change."""


@dataclass(frozen=True, slots=True)
class Operation:
    """One step of a JSON patch (RFC 6902); `path` is made with `pointer`."""

    op: Literal["add", "remove", "replace", "test"]
    path: str
    value: Any = None

    @classmethod
    def add(cls, path: str, value: Any) -> Self:
        """Set a key, or insert into a list at an index or, with `/-`, at its end; the parent must exist."""
        return cls("add", path, value)

    @classmethod
    def replace(cls, path: str, value: Any) -> Self:
        """Set a key or list entry that must exist."""
        return cls("replace", path, value)

    @classmethod
    def remove(cls, path: str) -> Self:
        """Remove a key or list entry that must exist."""
        return cls("remove", path)

    @classmethod
    def test(cls, path: str, value: Any) -> Self:
        """Let the whole patch fail unless this value is there; None also holds for a key that is absent."""
        return cls("test", path, value)

    def as_json(self) -> dict[str, Any]:
        """The operation as the API server takes it."""
        return {"op": self.op, "path": self.path} | ({} if self.op == "remove" else {"value": self.value})


def pointer(*parts: str | int) -> str:
    """The JSON pointer to a place (RFC 6901): `pointer("metadata", "annotations", "a/b")`."""
    return "".join(f"/{str(part).replace('~', '~0').replace('/', '~1')}" for part in parts)


def preconditions(*, uid: str = "", resource_version: str = "") -> dict[str, str]:
    """The conditions that are given, named as in metadata and in DeleteOptions."""
    return ({"uid": uid} if uid else {}) | ({"resourceVersion": resource_version} if resource_version else {})


def merge_difference(before: Mapping[str, Any], after: Mapping[str, Any]) -> dict[str, Any]:
    """The smallest merge patch (RFC 7386) that turns `before` into `after`; empty when they are equal.

    Raises ValueError for a None inside `after`, which a merge patch cannot set.
    """
    patch: dict[str, Any] = {key: None for key in before if key not in after}
    for key, value in after.items():
        if isinstance(value, Mapping) and isinstance(earlier := before.get(key), Mapping):
            if inner := merge_difference(earlier, value):
                patch[key] = inner
        elif key not in before or not _same(before[key], value):
            _refuse_none(key, value)
            patch[key] = value
    return patch


def edit_raw(raw: bytes, edit: Edit) -> bytes | None:
    """Apply `edit` to the JSON of an object; None when it returned False, that is, changed nothing.

    Every field survives, also those that no struct names, and so does the resourceVersion.
    """
    tree = cast("dict[str, Any]", _decoder.decode(raw))
    return _encoder.encode(tree) if edit(tree) else None


def with_finalizer(finalizer: str) -> Edit:
    """An edit that adds `finalizer` at the end unless it is there."""

    def edit(tree: dict[str, Any]) -> bool:
        metadata = tree.setdefault("metadata", {})
        present: Sequence[str] = metadata.get("finalizers") or ()
        if finalizer in present:
            return False
        metadata["finalizers"] = [*present, finalizer]
        return True

    return edit


def without_finalizer(finalizer: str) -> Edit:
    """An edit that removes `finalizer` and keeps the order of the others."""

    def edit(tree: dict[str, Any]) -> bool:
        metadata = tree.get("metadata") or {}
        present: Sequence[str] = metadata.get("finalizers") or ()
        if finalizer not in present:
            return False
        rest = [name for name in present if name != finalizer]
        if rest:
            metadata["finalizers"] = rest
        else:
            del metadata["finalizers"]
        return True

    return edit


def edit_annotations(changes: Mapping[str, str | None]) -> Edit:
    """An edit that sets annotations, and removes those whose new value is None."""

    def edit(tree: dict[str, Any]) -> bool:
        metadata = tree.setdefault("metadata", {})
        before: Mapping[str, str] = metadata.get("annotations") or {}
        after = {key: value for key, value in ({**before, **changes}).items() if value is not None}
        if after == before:
            return False
        if after:
            metadata["annotations"] = after
        else:
            del metadata["annotations"]
        return True

    return edit


def _same(one: Any, other: Any) -> bool:
    """Equality as JSON sees it: True is not 1."""
    return bool(one == other) and _sorted.encode(one) == _sorted.encode(other)


def _refuse_none(key: str, value: Any) -> None:
    """A null in a merge patch removes, so a null that should stay cannot be written with one."""
    if value is None:
        raise ValueError(f"a merge patch cannot set {key!r} to null, it would remove it; use a JSON patch")
    if isinstance(value, Mapping):
        for name, inner in value.items():
            _refuse_none(f"{key}.{name}", inner)


_encoder: Final = msgspec.json.Encoder()
_sorted: Final = msgspec.json.Encoder(order="deterministic")
_decoder: Final = msgspec.json.Decoder()
