"""Reads a map of texts (parameters, secrets) from a JSON or YAML file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec

__all__ = ["MapFileError", "read_map"]


class MapFileError(ValueError):
    """The file cannot be read as a map of texts; the message never quotes it, as it may hold secrets."""


def read_map(path: str | None, *, nested: bool = False) -> dict[str, Any]:
    """The map in the file; empty without a path. With `nested`, values may be maps of texts too.

    Raises MapFileError.
    """
    if not path:
        return {}
    try:
        content = _decode(Path(path).read_bytes(), path)
    except OSError as error:
        raise MapFileError(f"{path} cannot be read: {error.strerror}") from None
    except (msgspec.MsgspecError, ImportError):
        raise MapFileError(
            f"{path} is not valid JSON (or YAML, which needs moorage[cli] and a name ending in .yaml)"
        ) from None
    if not _is_map(content, nested=nested):
        raise MapFileError(f"{path} must hold a map from texts to texts; quote numbers and booleans")
    found: dict[str, Any] = content
    return found


def _decode(data: bytes, path: str) -> Any:
    if Path(path).suffix in (".yaml", ".yml"):
        from msgspec.yaml import decode

        return decode(data)
    return msgspec.json.decode(data)


def _is_map(value: Any, *, nested: bool) -> bool:
    return isinstance(value, dict) and all(
        isinstance(key, str) and (isinstance(item, str) or (nested and _is_map(item, nested=False)))
        for key, item in value.items()
    )
