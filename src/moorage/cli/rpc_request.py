"""Builds requests for `moorage rpc`: JSON first, then flags, then positional arguments on top.

This module makes no calls and reads no files.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from google.protobuf.message import Message

from moorage.cli.rpc_flags import Flag
from moorage.cli.rpc_json import BadRequest, fill_request
from moorage.cli.rpc_names import positional_fields
from moorage.spec.rules import Rpc


def build_requests(
    rpc: Rpc,
    *,
    values: Mapping[str, Any],
    flags: Sequence[tuple[Flag, Sequence[str]]],
    positional: Sequence[str],
    secrets: Mapping[str, str],
) -> list[Message]:
    """The requests to make: one, or one for each positional argument. Raises BadRequest."""
    base: Any = rpc.request_proto()
    fill_request(base, values, secret_fields=rpc.secret_fields)
    for flag, given in flags:
        flag.apply(base, given)
    if secrets:
        if not rpc.secret_fields:
            raise BadRequest(f"{rpc.name} takes no secrets; leave --secrets-file out")
        for name in rpc.secret_fields:
            getattr(base, name).update(secrets)
    requests = []
    for assignment in _assignments(rpc, positional):
        request = rpc.request_proto()
        request.CopyFrom(base)
        for name, text in assignment.items():
            setattr(request, name, text)
        requests.append(request)
    return requests


def _assignments(rpc: Rpc, positional: Sequence[str]) -> list[dict[str, str]]:
    fields = positional_fields(rpc)
    if not positional:
        return [{}]
    if not fields:
        raise BadRequest(f"{rpc.name} takes no positional arguments; {positional[0]!r} means nothing to it")
    if rpc.name in {"NodeGetVolumeStats", "NodeGetVolumeHealth"}:
        return [_id_and_paths(rpc, text) for text in positional]
    if len(fields) == 1:
        return [{fields[0]: text} for text in positional]
    if len(positional) > len(fields):
        shown = " ".join(name.upper() for name in fields)
        raise BadRequest(f"{rpc.name} takes {shown}; {positional[len(fields)]!r} is too much")
    return [dict(zip(fields, positional, strict=False))]


def _id_and_paths(rpc: Rpc, text: str) -> dict[str, str]:
    """csc's `ID:PATH[:STAGING]`; the paths begin with `/`, so that an id may hold colons."""
    path_field = "volume_path" if rpc.name == "NodeGetVolumeStats" else "volume_publish_path"
    volume_id, *paths = re.split(r":(?=/)", text)
    if len(paths) > 2:
        raise BadRequest(f"{text!r} is not of the form ID:PATH[:STAGING]; use the flags when a path holds ':/'")
    return {"volume_id": volume_id, **dict(zip((path_field, "staging_target_path"), paths, strict=False))}
