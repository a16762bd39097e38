"""The verbs get and list: moments in time, selectors and pages."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterable, Iterator

import msgspec
from msgspec import Struct

from moorage.testing.kube.call import Call
from moorage.testing.kube.refusal import (
    Refusal,
    bad_request,
    expired,
    expired_page,
    invalid_options,
    not_found,
    too_large_resource_version,
)
from moorage.testing.kube.selectors import Condition, both, field_condition, label_condition
from moorage.testing.kube.store import Key, Store, Stored
from moorage.testing.kube.tree import encode

__all__ = ["condition_of", "get", "listed", "rendered", "requested_revision"]


class _Token(Struct, frozen=True):
    """Where the next page begins: after `after`, as of `revision`, -1 for now."""

    revision: int
    after: tuple[str, str]


def get(store: Store, call: Call) -> Stored:
    """One object. Raises Refusal."""
    revision = requested_revision(call)
    if revision > store.revision:
        raise too_large_resource_version(revision, store.revision)
    found = store.find(call.kind.resource, (call.namespace, call.name))
    if found is None:
        raise not_found(call.kind.resource, call.name)
    return found


def rendered(call: Call, stored: Stored) -> bytes:
    """An object as GET gives it, in the version that was asked for."""
    if call.version == call.kind.resource.version:
        return stored.body
    return encode({**stored.tree, "apiVersion": call.resource.api_version})


def condition_of(call: Call) -> Condition | None:
    """What objects must fulfil to be seen, None when all are. Raises Refusal."""
    selectors = [
        label_condition(call.query.get("labelSelector", "")),
        field_condition(call.query.get("fieldSelector", ""), call.kind),
    ]
    if call.name:
        name = call.name
        selectors.append(lambda tree: bool(tree["metadata"]["name"] == name))
    return both(selectors)


def requested_revision(call: Call) -> int:
    """The resourceVersion of the query, 0 when there is none. Raises Refusal."""
    text = call.query.get("resourceVersion", "")
    if text and not text.isdigit():
        where = f'resourceVersion: Invalid value: "{text}": strconv.ParseUint: parsing "{text}": invalid syntax'
        if call.verb == "watch":
            raise Refusal(500, "", where)
        raise bad_request(f"invalid resource version: {where}")
    return int(text or 0)


def listed(store: Store, call: Call) -> bytes:
    """A list, or one page of it. Raises Refusal."""
    condition = condition_of(call)
    limit = call.number("limit")
    moment, after = _moment(store, call)
    if call.query.get("resourceVersion") == "0" and not after:
        limit = 0
    pairs = _selected(_pairs(store, call, moment), condition)
    if after is not None:
        pairs = ((key, stored) for key, stored in pairs if key > after)
    items, last, rest = _page(pairs, limit)
    metadata: dict[str, object] = {"resourceVersion": str(moment)}
    if last is not None:
        metadata["continue"] = _token(_Token(moment, last))
        if condition is None:
            metadata["remainingItemCount"] = rest
    return _list_body(call, metadata, items)


def _moment(store: Store, call: Call) -> tuple[int, Key | None]:
    """The revision that the list is of, and after which key it begins. Raises Refusal."""
    revision = requested_revision(call)
    match_ = call.query.get("resourceVersionMatch", "")
    resource = call.kind.resource
    if token := call.query.get("continue"):
        if revision or match_:
            raise bad_request("specifying resource version is not allowed when using continue")
        found = _decoded_token(token)
        if found.revision < 0:
            return store.revision, found.after
        if found.revision < store.oldest(resource):
            raise expired_page(_token(_Token(-1, found.after)))
        return found.revision, found.after
    if match_:
        _check_match(call, match_)
    if revision > store.revision:
        raise too_large_resource_version(revision, store.revision)
    if match_ == "Exact":
        if revision < store.oldest(resource):
            raise expired("The resourceVersion for the provided list is too old.")
        return revision, None
    return store.revision, None


def _check_match(call: Call, match_: str) -> None:
    revision = call.query.get("resourceVersion", "")
    field = "resourceVersionMatch"
    if not revision:
        text = "Forbidden: resourceVersionMatch is forbidden unless resourceVersion is provided"
        raise invalid_options("ListOptions", field, text)
    if match_ not in {"Exact", "NotOlderThan"}:
        text = f'Unsupported value: "{match_}": supported values: "Exact", "NotOlderThan"'
        raise invalid_options("ListOptions", field, text, reason="FieldValueNotSupported")
    if match_ == "Exact" and revision == "0":
        text = 'Forbidden: resourceVersionMatch "exact" is forbidden for resourceVersion "0"'
        raise invalid_options("ListOptions", field, text)


def _pairs(store: Store, call: Call, revision: int) -> Iterator[tuple[Key, Stored]]:
    return store.objects_at(call.kind.resource, revision, call.namespace)


def _selected(pairs: Iterable[tuple[Key, Stored]], condition: Condition | None) -> Iterable[tuple[Key, Stored]]:
    return pairs if condition is None else ((key, stored) for key, stored in pairs if condition(stored.tree))


def _page(pairs: Iterable[tuple[Key, Stored]], limit: int) -> tuple[list[Stored], Key | None, int]:
    """The objects of one page, the key of the last one when more follow, and how many those are."""
    found = list(pairs)
    if not limit or len(found) <= limit:
        return [stored for _, stored in found], None, 0
    return [stored for _, stored in found[:limit]], found[limit - 1][0], len(found) - limit


def _list_body(call: Call, metadata: dict[str, object], items: list[Stored]) -> bytes:
    resource = call.resource
    version, kind = encode(resource.api_version), encode(f"{resource.kind}List")
    if call.kind.custom:
        body = b",".join([rendered(call, stored) for stored in items])
        metadata = {"continue": "", **metadata}
        return b'{"apiVersion":%b,"items":[%b],"kind":%b,"metadata":%b}' % (version, body, kind, encode(metadata))
    body = b",".join([stored.item for stored in items])
    return b'{"kind":%b,"apiVersion":%b,"metadata":%b,"items":[%b]}' % (kind, version, encode(metadata), body)


def _token(token: _Token) -> str:
    return base64.urlsafe_b64encode(encode(token)).decode().rstrip("=")


def _decoded_token(text: str) -> _Token:
    try:
        raw = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
        return msgspec.json.decode(raw, type=_Token)
    except (binascii.Error, ValueError, msgspec.DecodeError) as error:
        raise bad_request(f"invalid continue token: continue key is not valid: {error}") from error
