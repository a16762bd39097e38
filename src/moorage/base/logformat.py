"""One log event as one line of text: the klog format of Kubernetes, JSON, or a form for a terminal.

Pure functions from an `Entry` to a string. Whatever a value holds, it cannot start a new line, forge a field
or send control sequences to a terminal: everything unprintable is escaped.
"""

from __future__ import annotations

import json
import math
import os
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, Final, Literal

Format = Literal["klog", "json", "console"]
Render = Callable[["Entry"], str]
Scrub = Callable[[str], str]

_LEVEL_LETTER: Final = {"debug": "I", "info": "I", "warning": "W", "error": "E", "critical": "F"}
_LEVEL_COLOUR: Final = {"debug": "2", "info": "32", "warning": "33", "error": "31", "critical": "1;31"}
_BARE: Final = re.compile(r"[\w./:@%+,-]+", re.ASCII)
_KEY_REFUSED: Final = re.compile(r"[^\w./:-]", re.ASCII)
_MAX_DEPTH: Final = 6
_ENCODER: Final = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"))
_JSON_LINE_BREAKS: Final = re.compile("[\x7f-\x9f\u2028\u2029]")


@dataclass(slots=True)
class Entry:
    """One event, ready to be rendered: all values are plain JSON types and free of secrets."""

    time_s: float
    level: str
    logger: str
    event: str
    fields: Mapping[str, Any]
    file: str
    line: int
    exception: str = ""


def plain(value: object, scrub: Scrub, *, depth: int = 0) -> Any:
    """`value` reduced to JSON types, every text in it passed through `scrub`."""
    if type(value) is str:
        return scrub(value)
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, int | float):
        text = str(value)
        clean = scrub(text)
        return value if clean == text and (isinstance(value, int) or math.isfinite(value)) else clean
    if depth < _MAX_DEPTH:
        if isinstance(value, Mapping):
            return {scrub(_text(key)): plain(item, scrub, depth=depth + 1) for key, item in value.items()}
        if isinstance(value, list | tuple):
            return [plain(item, scrub, depth=depth + 1) for item in value]
        if isinstance(value, set | frozenset):
            return [plain(item, scrub, depth=depth + 1) for item in sorted(value, key=_text)]
    return scrub(_text(value))


def render_json(entry: Entry) -> str:
    """One JSON object; fields of the event beside `ts`, `level`, `logger`, `event`, `source`."""
    moment = datetime.fromtimestamp(entry.time_s, UTC).isoformat(timespec="microseconds")
    record: dict[str, Any] = {
        "ts": moment.replace("+00:00", "Z"),
        "level": entry.level,
        "logger": entry.logger,
        "event": entry.event,
        "source": f"{entry.file}:{entry.line}",
    }
    for key, value in entry.fields.items():
        record[f"{key}_" if key in record else key] = value
    if entry.exception:
        record["exception"] = entry.exception
    return _compact(record)


def render_klog(entry: Entry) -> str:
    """`I0828 22:59:33.540224   12345 file.py:10] "event" key="value"`, in local time as klog writes it."""
    micros = int(entry.time_s % 1 * 1_000_000)
    moment = f"{_local_time('%m%d %H:%M:%S', int(entry.time_s))}.{micros:06d}"
    letter = _LEVEL_LETTER.get(entry.level, "I")
    parts = [f"{letter}{moment} {os.getpid():7d} {entry.file}:{entry.line}] {quoted(entry.event)}"]
    if entry.logger:
        parts.append(f"logger={quoted(entry.logger)}")
    parts.extend(f"{_key(key)}={_klog_value(value)}" for key, value in entry.fields.items())
    if entry.exception:
        parts.append(f"exception={quoted(entry.exception)}")
    return " ".join(parts)


def console_renderer(*, colour: bool) -> Render:
    """A renderer for a terminal: `22:59:33.540 info     volume.published  volume=v1`."""

    def paint(code: str, text: str) -> str:
        return f"\x1b[{code}m{text}\x1b[0m" if colour else text

    def render(entry: Entry) -> str:
        moment = f"{_local_time('%H:%M:%S', int(entry.time_s))}.{int(entry.time_s % 1 * 1000):03d}"
        level = paint(_LEVEL_COLOUR.get(entry.level, "0"), f"{entry.level:<8}")
        parts = [f"{moment} {level} {paint('1', escaped(entry.event))}"]
        for key, value in entry.fields.items():
            text = value if isinstance(value, str) else _compact(value)
            shown = text if _BARE.fullmatch(text) else quoted(text) if isinstance(value, str) else escaped(text)
            parts.append(f"{paint('36', _key(key))}={shown}")
        line = " ".join(parts)
        trace = "".join(f"\n    {escaped(row)}" for row in entry.exception.splitlines())
        return line + trace

    return render


@lru_cache(maxsize=8)
def _local_time(form: str, time_s: int) -> str:
    return time.strftime(form, time.localtime(time_s))


def escaped(text: str) -> str:
    """`text` with everything unprintable written as an escape, so that it stays on its line."""
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else _escape(char) for char in text)


def quoted(text: str) -> str:
    """`text` in double quotes as Go's %q writes it."""
    return '"' + escaped(text.replace("\\", "\\\\").replace('"', '\\"')) + '"'


def _escape(char: str) -> str:
    simple = {"\n": "\\n", "\r": "\\r", "\t": "\\t"}.get(char)
    if simple is not None:
        return simple
    code = ord(char)
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def _klog_value(value: Any) -> str:
    return quoted(value) if isinstance(value, str) else escaped(_compact(value))


def _compact(value: Any) -> str:
    if type(value) is int or type(value) is float:  # finite, for it is plain
        return repr(value)
    return _JSON_LINE_BREAKS.sub(lambda found: f"\\u{ord(found[0]):04x}", _ENCODER.encode(value))


@lru_cache(maxsize=256)
def _key(key: str) -> str:
    return _KEY_REFUSED.sub("_", key)


def _text(value: object) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, bytes | bytearray):
        return bytes(value).decode("utf-8", "backslashreplace")
    try:
        return str(value)
    except Exception:  # a broken __str__ must not lose the event
        return f"<unprintable {type(value).__name__}>"
