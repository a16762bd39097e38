"""Reads the configuration file of a driver: JSON and TOML always, YAML when PyYAML is installed.

The format is told by the file's name. What the values mean is for `moorage.framework.config` to say.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from moorage.framework.config import ConfigError


def read_config_file(path: Path) -> Mapping[str, object]:
    """The top-level mapping of a `.json`, `.toml`, `.yaml` or `.yml` file.

    Raises ConfigError with a sentence when the file cannot be read, parsed, or is not a mapping.
    """
    parse = _PARSERS.get(path.suffix.lower())
    if parse is None:
        raise ConfigError(f"configuration file {str(path)!r} must be named .json, .yaml, .yml or .toml")
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ConfigError(
            f"configuration file {str(path)!r} cannot be read ({error.strerror}); check --config"
        ) from error
    try:
        values = parse(content)
    except ValueError as error:
        reason = " ".join(str(error).split())
        raise ConfigError(
            f"configuration file {str(path)!r} is not valid {path.suffix[1:].upper()}: {reason}"
        ) from error
    if not isinstance(values, Mapping):
        raise ConfigError(f"configuration file {str(path)!r} holds no mapping of settings to values")
    return values


def _json(content: bytes) -> Any:
    import msgspec.json

    return msgspec.json.decode(content)


def _toml(content: bytes) -> Any:
    import tomllib

    return tomllib.loads(content.decode())


def _yaml(content: bytes) -> Any:
    try:
        import yaml
    except ImportError as error:
        raise ConfigError(
            "YAML needs PyYAML, which is not installed; install moorage[cli] or write JSON or TOML"
        ) from error
    try:
        values = yaml.safe_load(content)
    except yaml.YAMLError as error:
        # Its text shows the line, which may hold a secret.
        mark = getattr(error, "problem_mark", None)
        place = f"line {mark.line + 1}, column {mark.column + 1}" if mark is not None else "an unknown place"
        raise ValueError(f"it cannot be read at {place}") from None
    return {} if values is None else values


_PARSERS: dict[str, Callable[[bytes], Any]] = {".json": _json, ".toml": _toml, ".yaml": _yaml, ".yml": _yaml}
