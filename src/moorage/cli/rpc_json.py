"""Between protobuf messages and the JSON that `moorage rpc` takes and prints.

Input is the JSON form of protobuf with the names of the proto or in lowerCamel. Output has the proto's
names, 64-bit integers as numbers, enums by name (by number when unknown), and every field that has no notion
of being unset, so that its shape does not depend on the values. This module makes no calls.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, Final

import msgspec
from google.protobuf import json_format
from google.protobuf.message import Message

from moorage.spec.condition import CARRIERS, condition_of
from moorage.spec.types import STRIPPED

TOKENS_KEY: Final = "csi.storage.k8s.io/serviceAccount.tokens"
"""The kubelet puts tokens of service accounts under this key of volume_context (spec says nothing of it)."""
_WRAPPERS: Final = "google.protobuf."


class BadRequest(ValueError):
    """A text is no request; the message says what is wrong, and quotes no value."""


def parse_json(text: str) -> dict[str, Any]:
    """The JSON object in `text`. Raises BadRequest with the place of the error."""
    try:
        values = msgspec.json.decode(text)
    except msgspec.DecodeError as error:
        raise BadRequest(f"the request is not valid JSON: {error}") from None
    if not isinstance(values, dict):
        raise BadRequest('the request must be a JSON object, such as {"volume_id": "vol-1"}')
    return values


def fill_request(message: Message, values: Mapping[str, Any], *, secret_fields: tuple[str, ...] = ()) -> None:
    """Set the fields of `message` from JSON values; `secret_fields` are maps whose values no error may quote.

    Raises BadRequest for a field or a value that the message does not take.
    """
    names = {name: field.name for field in message.DESCRIPTOR.fields for name in (field.name, field.json_name)}
    for key, value in values.items():
        if key not in names:
            known = ", ".join(field.name for field in message.DESCRIPTOR.fields) or "none"
            raise BadRequest(f"{message.DESCRIPTOR.name} has no field {key!r}; its fields are {known}")
        if names[key] in secret_fields and not _is_string_map(value):
            raise BadRequest(f"{key} must be an object whose values are strings")
    try:
        json_format.ParseDict(dict(values), message)
    except json_format.ParseError as error:
        path = re.findall(r"Failed to parse (\w+) field: ", str(error))
        reason = " ".join(re.sub(r"Failed to parse \w+ field: ", "", str(error)).split()).rstrip(".")
        raise BadRequest(f"{'.'.join(path) or 'the request'} has a wrong value: {reason}") from None


def _is_string_map(value: object) -> bool:
    return value is None or (isinstance(value, dict) and all(isinstance(item, str) for item in value.values()))


def to_json(message: Message, *, scrub: Callable[[str], str] = str) -> dict[str, Any]:
    """A response as JSON values; `scrub` gets every text and returns what may be shown."""
    values: dict[str, Any] = _scrubbed(_message(message), scrub)
    return values


def _message(message: Message) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for field in message.DESCRIPTOR.fields:
        if field.is_repeated:
            values[field.name] = _repeated(field, getattr(message, field.name))
        elif not field.has_presence or message.HasField(field.name):
            values[field.name] = _single(field, getattr(message, field.name))
    if message.DESCRIPTOR.full_name in CARRIERS and (condition := condition_of(message)) is not None:
        values["volume_condition"] = {"abnormal": condition.abnormal, "message": condition.message}
    return values


def _repeated(field: Any, value: Any) -> Any:
    kind = field.message_type
    if kind is not None and kind.GetOptions().map_entry:
        inner = kind.fields_by_name["value"]
        return {key: STRIPPED if key == TOKENS_KEY else _single(inner, value[key]) for key in sorted(value, key=str)}
    return [_single(field, item) for item in value]


def _single(field: Any, value: Any) -> Any:
    kind = field.message_type
    if kind is not None:
        if kind.full_name.startswith(_WRAPPERS):
            return value.ToJsonString() if kind.name == "Timestamp" else value.value
        return _message(value)
    if field.enum_type is not None:
        known = field.enum_type.values_by_number.get(value)
        return known.name if known is not None else value
    return value


def _scrubbed(value: Any, scrub: Callable[[str], str]) -> Any:
    match value:
        case str():
            return scrub(value)
        case dict():
            return {scrub(str(key)): _scrubbed(item, scrub) for key, item in value.items()}
        case list():
            return [_scrubbed(item, scrub) for item in value]
        case _:
            return value
