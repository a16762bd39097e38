"""Who wrote which field: `metadata.managedFields`, and server-side apply, which decides by it.

Fields are paths of keys; a list counts as one field, but for finalizers and owner references, which several
writers share. That is coarser than the real server, which takes lists apart by their schema.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final, Literal, TypeAlias

from moorage.testing.kube.refusal import Refusal
from moorage.testing.kube.tree import Tree, copied

__all__ = ["Operation", "applied", "recorded"]

Operation: TypeAlias = Literal["Apply", "Update"]
Path: TypeAlias = tuple[str, ...]

_UNOWNED_METADATA: Final = frozenset(
    {"name", "namespace", "uid", "resourceVersion", "generation", "creationTimestamp", "deletionTimestamp",
     "deletionGracePeriodSeconds", "managedFields", "selfLink", "generateName"}
)  # fmt: skip
_SETS: Final[Mapping[Path, str]] = {("metadata", "finalizers"): "", ("metadata", "ownerReferences"): "uid"}


def recorded(before: Tree | None, after: Tree, *, manager: str, api_version: str, subresource: str, time: str) -> None:
    """Note in `after` that `manager` wrote what differs from `before`; others lose what they no longer own."""
    old, new = _fields(before or {}), _fields(after)
    changed = {path for path, value in new.items() if path not in old or old[path] != value}
    entries = _entries(before)
    touched = before is None or changed or old.keys() != new.keys()
    key = (manager, "Update", subresource)
    owned = {
        name: {path for path in paths if path in new and (name == key or path not in changed)}
        for name, paths in entries.items()
    }
    owned[key] = owned.get(key, set()) | changed
    _write(after, before, owned, api_version=api_version, time=time, written=key if touched else None)


def applied(
    before: Tree | None, wanted: Tree, *, manager: str, force: bool, api_version: str, subresource: str, time: str
) -> Tree:
    """`before` with the fields of `wanted`, owned by `manager`; what it owned and leaves out goes.

    Raises Refusal when somebody else owns one of the fields with another value, unless `force`.
    """
    fields = _fields(wanted)
    entries = _entries(before)
    current = _fields(before or {})
    key = (manager, "Apply", subresource)
    contested = [
        (name[0], path)
        for name, paths in entries.items()
        if name != key
        for path in sorted(paths & fields.keys())
        if current.get(path) != fields[path]
    ]
    if contested and not force:
        raise _conflict(contested)
    result: Tree = copied(before) if before else {name: wanted[name] for name in ("apiVersion", "kind")}
    taken = {path for _, path in contested}
    owned = {name: paths - taken if name != key else paths for name, paths in entries.items()}
    others = set().union(*(paths for name, paths in owned.items() if name != key))
    for path in entries.get(key, set()) - fields.keys() - others:
        _remove(result, path)
    for path in fields:
        _set(result, path, wanted)
    owned[key] = set(fields)
    for name in ("name", "namespace"):
        if name in wanted.get("metadata", {}):
            result.setdefault("metadata", {})[name] = wanted["metadata"][name]
    _write(result, before, owned, api_version=api_version, time=time, written=key)
    return result


def _conflict(contested: list[tuple[str, Path]]) -> Refusal:
    causes = [
        {"reason": "FieldManagerConflict", "message": f'conflict with "{manager}"', "field": f".{'.'.join(path)}"}
        for manager, path in contested
    ]
    count = f"{len(causes)} conflict{'s' if len(causes) > 1 else ''}"
    if len(causes) == 1:
        text = f"{count}: {causes[0]['message']}: {causes[0]['field']}"
    else:
        text = f"{count}: " + "\n".join(f"{cause['message']}: {cause['field']}" for cause in causes)
    return Refusal(409, "Conflict", f"Apply failed with {text}", details={"causes": causes})


def _fields(tree: Mapping[str, Any]) -> dict[Path, Any]:
    found: dict[Path, Any] = {}
    for key, value in tree.items():
        if key not in {"apiVersion", "kind"}:
            _collect((key,), value, found)
    return found


def _collect(path: Path, value: Any, found: dict[Path, Any]) -> None:
    if path[0] == "metadata" and len(path) == 2 and path[1] in _UNOWNED_METADATA:
        return
    if isinstance(value, dict) and value:
        for key, inner in value.items():
            _collect((*path, key), inner, found)
    elif path in _SETS and isinstance(value, list):
        for entry in value:
            name = entry.get(_SETS[path], "") if isinstance(entry, dict) else entry
            found[(*path, str(name))] = entry
    elif value is not None and path != ("metadata",):
        found[path] = value


def _set(tree: Tree, path: Path, wanted: Tree) -> None:
    parent_path = path[:-1]
    target: Any = tree
    source: Any = wanted
    for key in parent_path:
        if parent_path in _SETS and key == parent_path[-1]:
            break
        existing = target.get(key)
        target[key] = target = existing if isinstance(existing, dict) else {}
        source = source[key]
    if parent_path not in _SETS:
        value = source[path[-1]]
        if value != {} or not isinstance(target.get(path[-1]), dict):
            target[path[-1]] = copied(value)
        return
    name, by = parent_path[-1], _SETS[parent_path]
    entry = next(one for one in source[name] if str(one.get(by) if by else one) == path[-1])
    entries = [one for one in target.get(name) or () if str(one.get(by) if by else one) != path[-1]]
    target[name] = [*entries, copied(entry)]


def _remove(tree: Tree, path: Path) -> None:
    target: Any = tree
    parent_path = path[:-1]
    for key in parent_path:
        target = target.get(key) if isinstance(target, dict) else target
    if isinstance(target, dict):
        if not (isinstance(target.get(path[-1]), dict) and target[path[-1]]):  # what is in it belongs to others
            target.pop(path[-1], None)
    elif isinstance(target, list):
        by = _SETS[parent_path]
        target[:] = [one for one in target if str(one.get(by) if by else one) != path[-1]]


def _entries(tree: Tree | None) -> dict[tuple[str, str, str], set[Path]]:
    managed = ((tree or {}).get("metadata") or {}).get("managedFields") or ()
    return {
        (entry["manager"], entry["operation"], entry.get("subresource", "")): set(_paths(entry.get("fieldsV1") or {}))
        for entry in managed
    }


def _paths(fields: Mapping[str, Any], prefix: Path = ()) -> Iterable[Path]:
    for key, inner in fields.items():
        path = (*prefix, key.partition(":")[2])
        if inner:
            yield from _paths(inner, path)
        else:
            yield path


def _write(
    tree: Tree,
    before: Tree | None,
    owned: Mapping[tuple[str, str, str], set[Path]],
    *,
    api_version: str,
    time: str,
    written: tuple[str, str, str] | None,
) -> None:
    managed = ((before or {}).get("metadata") or {}).get("managedFields") or ()
    times = {(e["manager"], e["operation"], e.get("subresource", "")): e["time"] for e in managed}
    entries = []
    for key, paths in owned.items():
        if not paths:
            continue
        manager, operation, subresource = key
        entries.append(
            {
                "manager": manager,
                "operation": operation,
                "apiVersion": api_version,
                "time": time if key == written else times.get(key, time),
                "fieldsType": "FieldsV1",
                "fieldsV1": _nested(paths),
                **({"subresource": subresource} if subresource else {}),
            }
        )
    tree.setdefault("metadata", {})["managedFields"] = entries


def _nested(paths: Iterable[Path]) -> Tree:
    root: Tree = {}
    for path in sorted(paths):
        level = root
        for depth, key in enumerate(path):
            mark = "v" if path[:depth] in _SETS else "f"
            level = level.setdefault(f"{mark}:{key}", {})
    return root
