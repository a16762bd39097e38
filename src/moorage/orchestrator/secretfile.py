"""Reads secrets from the file that a volume names; they live in memory for the duration of one call.

The file is JSON, or YAML where PyYAML is installed. It holds either one map of secrets for every RPC, or a map
from RPC names to maps: `{"CreateVolume": {"token": "..."}, "NodeStageVolume": {...}}`.
"""

from __future__ import annotations

import os
from typing import Any

import msgspec

from moorage.orchestrator.model import OrchestratorError
from moorage.spec.rules import RPCS
from moorage.spec.types import Secrets


def secrets_for(path: str, rpc: str) -> Secrets:
    """The secrets that the file at `path` holds for this RPC; none for an empty path or an RPC without secrets.

    Raises OrchestratorError, which never quotes the file's content.
    """
    if not path or not RPCS[rpc].secret_fields:
        return Secrets()
    content = _content(path)
    per_rpc = content.get(rpc, {}) if set(content) <= set(RPCS) else content
    if not all(isinstance(key, str) and isinstance(value, str) for key, value in _items(per_rpc)):
        raise OrchestratorError(
            f"secrets file {path} must hold a map of texts, or a map from RPC names to maps of texts"
        )
    return Secrets(per_rpc)


def _items(value: Any) -> list[tuple[Any, Any]]:
    return list(value.items()) if isinstance(value, dict) else [(None, None)]


def _content(path: str) -> dict[str, Any]:
    try:
        with open(path, "rb") as file:
            data = file.read()
    except OSError as error:
        raise OrchestratorError(
            f"secrets file {path} cannot be read ({error.strerror}); restore it, it is needed for every call"
        ) from error
    try:
        content = _decode(data, yaml=os.path.splitext(path)[1] in (".yaml", ".yml"))
    except (msgspec.DecodeError, ImportError):
        raise OrchestratorError(
            f"secrets file {path} is not valid JSON (or YAML, which needs `pip install moorage[cli]` and a name "
            "ending in .yaml)"
        ) from None
    if not isinstance(content, dict):
        raise OrchestratorError(f"secrets file {path} must hold a map")
    return content


def _decode(data: bytes, *, yaml: bool) -> Any:
    if yaml:
        from msgspec.yaml import decode

        return decode(data)
    return msgspec.json.decode(data)
