"""JSON objects as trees of dicts and lists: copying, looking into, and the metadata that all objects have.

A tree that has been stored is never changed again; whoever wants to change one copies it first.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, TypeAlias

import msgspec

__all__ = ["Tree", "copied", "decode", "encode", "lookup", "metadata"]

Tree: TypeAlias = dict[str, Any]

_encoder: Final = msgspec.json.Encoder()
_decoder: Final = msgspec.json.Decoder()
_LEADING: Final = ("apiVersion", "kind")


def encode(value: object) -> bytes:
    """Compact JSON."""
    return _encoder.encode(value)


def decode(body: bytes) -> Any:
    """JSON to a tree. Raises msgspec.DecodeError."""
    return _decoder.decode(body)


def copied(value: Any) -> Any:
    """A copy that shares nothing that can be changed."""
    if isinstance(value, dict):
        return {key: copied(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [copied(inner) for inner in value]
    return value


def metadata(tree: Tree) -> Tree:
    """The metadata of an object; made when it is missing, so that it can be written to."""
    found = tree.get("metadata")
    if not isinstance(found, dict):
        found = tree["metadata"] = {}
    return found


def lookup(tree: Mapping[str, Any], path: str) -> Any:
    """The value at a dotted path, None when there is none."""
    found: Any = tree
    for part in path.split("."):
        if not isinstance(found, Mapping):
            return None
        found = found.get(part)
    return found


def finalizers(tree: Mapping[str, Any]) -> list[str]:
    """The finalizers of an object."""
    return list((tree.get("metadata") or {}).get("finalizers") or ())


def is_deleted(tree: Mapping[str, Any]) -> bool:
    """Whether the deletion of the object was asked for."""
    return bool((tree.get("metadata") or {}).get("deletionTimestamp"))


def prune_empty(tree: Tree) -> None:
    """Leave out what the server leaves out of metadata: empty labels, annotations, finalizers and owners."""
    found = metadata(tree)
    for key in ("labels", "annotations", "finalizers", "ownerReferences", "generateName", "namespace"):
        if key in found and not found[key]:
            del found[key]


def without_type(tree: Tree) -> Tree:
    """The object without apiVersion and kind, as the server's own kinds stand in lists."""
    return {key: value for key, value in tree.items() if key not in _LEADING}
