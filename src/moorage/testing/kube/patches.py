"""The verb patch: which patch a content type is, and what it does to an object that may not exist."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

import msgspec

from moorage.testing.kube.call import Call
from moorage.testing.kube.ownership import applied
from moorage.testing.kube.patching import json_patch, merge_patch, strategic_patch
from moorage.testing.kube.refusal import Refusal, bad_request, invalid_options, not_found
from moorage.testing.kube.store import Stored
from moorage.testing.kube.tree import Tree, decode
from moorage.testing.kube.writing import Writer, decoded_object

__all__ = ["patch"]

_PATCHES: Final[Mapping[str, Callable[[Tree, bytes], Tree]]] = {
    "application/merge-patch+json": merge_patch,
    "application/json-patch+json": json_patch,
    "application/strategic-merge-patch+json": strategic_patch,
}
_APPLY: Final = "application/apply-patch+yaml"
_STRATEGIC: Final = "application/strategic-merge-patch+json"


def patch(writer: Writer, call: Call) -> tuple[Stored, bool]:
    """Carry out a PATCH; whether it created the object, which only apply does. Raises Refusal."""
    before = writer.store.find(call.kind.resource, (call.namespace, call.name))
    if call.content_type == _APPLY:
        return _apply(writer, call, before)
    apply = _PATCHES.get(call.content_type)
    if apply is None or (call.kind.custom and call.content_type == _STRATEGIC):
        raise _unsupported(call)
    if before is None:
        raise not_found(call.kind.resource, call.name)
    return writer.update_tree(call, before, apply(before.tree, call.body)), False


def _apply(writer: Writer, call: Call, before: Stored | None) -> tuple[Stored, bool]:
    if not call.query.get("fieldManager"):
        text = "Required value: is required for apply patch"
        raise invalid_options("PatchOptions", "fieldManager", text, reason="FieldValueRequired")
    _require_kind(call)
    wanted = decoded_object(call)
    if (wanted.get("metadata") or {}).get("managedFields"):
        raise bad_request("metadata.managedFields must be nil")
    result = applied(
        before.tree if before else None,
        wanted,
        manager=call.manager,
        force=call.flag("force"),
        api_version=call.resource.api_version,
        subresource=call.subresource,
        time=writer.time(),
    )
    if before is None:
        if call.subresource:
            raise not_found(call.kind.resource, call.name)
        return writer.create_tree(call, result), True
    if revision := (wanted.get("metadata") or {}).get("resourceVersion"):
        result["metadata"]["resourceVersion"] = revision
    return writer.update_tree(call, before, result), False


def _require_kind(call: Call) -> None:
    """Apply needs apiVersion and kind in the body, for all kinds."""
    try:
        found = decode(call.body)
    except msgspec.DecodeError as error:
        raise bad_request(f"error decoding YAML: {error}; this server reads JSON only") from error
    if not isinstance(found, dict) or not found.get("kind") or not found.get("apiVersion"):
        raise bad_request("invalid object type: apply needs apiVersion and kind")


def _unsupported(call: Call) -> Refusal:
    if call.content_type not in _PATCHES:
        return Refusal(415, "UnsupportedMediaType", "415: Unsupported Media Type", details={})
    accepted = "application/json-patch+json, application/merge-patch+json, application/apply-patch+yaml"
    message = f"the body of the request was in an unknown format - accepted media types include: {accepted}"
    return Refusal(415, "UnsupportedMediaType", message)
