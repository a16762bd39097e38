"""Merge patch (RFC 7386), JSON patch (RFC 6902) and strategic merge patch, as the API server applies them.

All are pure: they take a tree, leave it alone, and return another.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import msgspec

from moorage.testing.kube.refusal import Refusal, bad_request
from moorage.testing.kube.tree import Tree, copied, decode

__all__ = ["json_patch", "merge_patch", "strategic_patch"]

MAX_OPERATIONS: Final = 10_000
_MERGE_KEYS: Final[Mapping[str, tuple[str, ...]]] = {
    "ownerReferences": ("uid",),
    "conditions": ("type",),
    "containers": ("name",),
    "initContainers": ("name",),
    "volumes": ("name",),
    "volumeMounts": ("mountPath",),
    "volumeDevices": ("devicePath",),
    "env": ("name",),
    "ports": ("containerPort", "port"),
    "taints": ("key",),
    "addresses": ("type",),
    "drivers": ("name",),
    "imagePullSecrets": ("name",),
    "secrets": ("name",),
}
"""By which key the entries of a list are told apart; the server has this for each kind, here it is by name."""
_MERGED_VALUES: Final = frozenset({"finalizers"})
_DELETE_VALUES: Final = "$deleteFromPrimitiveList/"
_ORDER: Final = "$setElementOrder/"
_RETAIN: Final = "$retainKeys"


def decoded(body: bytes) -> Any:
    """The JSON of a patch. Raises Refusal."""
    try:
        return decode(body)
    except msgspec.DecodeError as error:
        raise bad_request(f"error decoding patch: {error}") from error


def merge_patch(tree: Tree, body: bytes) -> Tree:
    """Apply a merge patch. Raises Refusal when it is no JSON object."""
    patch = decoded(body)
    if not isinstance(patch, dict):
        raise bad_request(f"error decoding patch: it must be an object, not {type(patch).__name__}")
    merged = _merged(tree, patch)
    assert isinstance(merged, dict)
    return merged


def _merged(target: Any, patch: Any) -> Any:
    if not isinstance(patch, dict):
        return copied(patch)
    result = copied(target) if isinstance(target, dict) else {}
    for key, value in patch.items():
        if value is None:
            result.pop(key, None)
        else:
            result[key] = _merged(result.get(key), value)
    return result


def json_patch(tree: Tree, body: bytes) -> Tree:
    """Do all operations or none. Raises Refusal: malformed is 400, a test or a path that fails is 422."""
    operations = decoded(body)
    if not isinstance(operations, list) or not all(isinstance(entry, dict) for entry in operations):
        raise bad_request("error decoding patch: it must be a list of operations")
    if len(operations) > MAX_OPERATIONS:
        message = f"The allowed maximum operations in a JSON patch is {MAX_OPERATIONS}, got {len(operations)}"
        raise Refusal(413, "RequestEntityTooLarge", message)
    document: Any = copied(tree)
    for operation in operations:
        try:
            document = _operate(document, operation)
        except (LookupError, TypeError, ValueError) as error:
            raise _does_not_fit() from error
    if not isinstance(document, dict):
        raise _does_not_fit()
    return document


def _does_not_fit() -> Refusal:
    return Refusal(422, "Invalid", "the server rejected our request due to an error in our request", details={})


def _operate(document: Any, operation: Mapping[str, Any]) -> Any:
    parts = _pointer(operation["path"])
    match operation["op"]:
        case "test":
            if not _same(_find(document, parts), operation.get("value")):
                raise ValueError("the value is another one")
        case "add":
            return _put(document, parts, copied(operation["value"]), insert=True)
        case "replace":
            return _put(document, parts, copied(operation["value"]), insert=False)
        case "remove":
            _take(document, parts)
        case "move":
            return _put(document, parts, _take(document, _pointer(operation["from"])), insert=True)
        case "copy":
            return _put(document, parts, copied(_get(document, _pointer(operation["from"]))), insert=True)
        case other:
            raise ValueError(f"unknown operation {other!r}")
    return document


def _pointer(path: str) -> list[str]:
    if path and not path.startswith("/"):
        raise ValueError(f"{path!r} is no JSON pointer")
    return [part.replace("~1", "/").replace("~0", "~") for part in path.split("/")[1:]]


def _get(document: Any, parts: list[str]) -> Any:
    for part in parts:
        document = document[_index(document, part)] if isinstance(document, list) else document[part]
    return document


def _find(document: Any, parts: list[str]) -> Any:
    """What a test compares: a key that its object does not have counts as null, a missing object does not."""
    if not parts:
        return document
    parent = _get(document, parts[:-1])
    if isinstance(parent, dict):
        return parent.get(parts[-1])
    return parent[_index(parent, parts[-1])]


def _put(document: Any, parts: list[str], value: Any, *, insert: bool) -> Any:
    if not parts:
        return value
    parent = _get(document, parts[:-1])
    last = parts[-1]
    if isinstance(parent, list):
        if insert:
            parent.insert(len(parent) if last == "-" else _index(parent, last, beyond=1), value)
        else:
            parent[_index(parent, last)] = value
    else:
        parent[last] = value  # replace sets a key that is missing too, unlike RFC 6902
    return document


def _take(document: Any, parts: list[str]) -> Any:
    if not parts:
        raise ValueError("the whole object cannot be removed")
    parent = _get(document, parts[:-1])
    return parent.pop(_index(parent, parts[-1]) if isinstance(parent, list) else parts[-1])


def _index(found: list[Any], part: str, *, beyond: int = 0) -> int:
    index = int(part)
    if not -len(found) <= index < len(found) + beyond:
        raise IndexError(part)
    return index


def _same(one: Any, other: Any) -> bool:
    """Equality as JSON sees it: true is not 1."""
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(_same(value, other[key]) for key, value in one.items())
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(_same, one, other))
    return isinstance(one, bool) == isinstance(other, bool) and bool(one == other)


def strategic_patch(tree: Tree, body: bytes) -> Tree:
    """Apply a strategic merge patch: lists with a key are merged by it. Raises Refusal when it is no JSON object."""
    patch = decoded(body)
    if not isinstance(patch, dict):
        raise bad_request(f"error decoding patch: it must be an object, not {type(patch).__name__}")
    return _strategic(tree, patch)


def _strategic(target: Tree, patch: Mapping[str, Any]) -> Tree:
    if patch.get("$patch") == "replace":
        return {key: copied(value) for key, value in patch.items() if key != "$patch"}
    if patch.get("$patch") == "delete":
        return {}
    result: Tree = copied(target)
    if _RETAIN in patch:
        result = {key: value for key, value in result.items() if key in patch[_RETAIN]}
    for key, value in patch.items():
        if key.startswith(_DELETE_VALUES):
            name = key.removeprefix(_DELETE_VALUES)
            result[name] = [entry for entry in result.get(name) or () if entry not in value]
        elif key.startswith("$"):
            continue
        elif value is None:
            result.pop(key, None)
        elif isinstance(value, dict):
            before = result.get(key)
            result[key] = _strategic(before if isinstance(before, dict) else {}, value)
        elif isinstance(value, list):
            order = patch.get(f"{_ORDER}{key}")
            result[key] = _strategic_list(key, result.get(key) or [], value, order)
        else:
            result[key] = value
    return result


def _strategic_list(name: str, before: list[Any], patch: list[Any], order: list[Any] | None) -> list[Any]:
    if name in _MERGED_VALUES:
        merged = [*dict.fromkeys(patch), *(entry for entry in before if entry not in patch)]
        return sorted(merged, key=lambda entry: order.index(entry) if entry in order else -1) if order else merged
    keys = _MERGE_KEYS.get(name)
    if keys is None or not all(isinstance(entry, dict) for entry in patch):
        return copied(patch)  # type: ignore[no-any-return] # a copy of a list is a list
    if any(entry.get("$patch") == "replace" for entry in patch):
        return [copied(entry) for entry in patch if entry.get("$patch") != "replace"]
    result = copied(before)
    for entry in patch:
        key = next((key for key in keys if key in entry), None)
        if key is None:
            raise bad_request(f"map: {entry} does not contain declared merge key: {keys[0]}")
        place = next((at for at, old in enumerate(result) if old.get(key) == entry[key]), None)
        if entry.get("$patch") == "delete":
            if place is not None:
                del result[place]
        elif place is None:
            result.append(_strategic({}, entry))
        else:
            result[place] = _strategic(result[place], entry)
    return result  # type: ignore[no-any-return] # a copy of a list is a list
