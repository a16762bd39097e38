"""Structured log events: a name and values, one line each, from our code and from stdlib loggers alike.

    log = get_logger(__name__)
    log.info("volume.published", volume="v1", target="/mnt")

Values bound with `bind_context` (a request id) appear in every line written inside the block, also in tasks
started there. Until `configure` is called, warnings and errors go to stderr in the console format; stdout
belongs to the data that a command prints. This module knows nothing of what the events mean.
"""

from __future__ import annotations

import contextlib
import logging
import sys
import threading
import time
import traceback
from collections.abc import MutableMapping
from dataclasses import dataclass, field
from types import FrameType, TracebackType
from typing import Any, Final, TextIO, cast

from moorage.base.logformat import (
    Entry,
    Format,
    Render,
    Scrub,
    console_renderer,
    plain,
    render_json,
    render_klog,
)
from moorage.base.scrubber import SecretScrubber


@contextlib.contextmanager
def _without_rich() -> Any:
    """structlog imports rich, pygments and 80 more modules when they are installed; we need none of them."""
    hidden = [name for name in ("rich", "better_exceptions") if name not in sys.modules]
    for name in hidden:
        cast("dict[str, Any]", sys.modules)[name] = None
    try:
        yield
    finally:
        for name in hidden:
            del sys.modules[name]


with _without_rich():
    import structlog
    from structlog.contextvars import bound_contextvars, get_contextvars
    from structlog.typing import FilteringBoundLogger

__all__ = [
    "FilteringBoundLogger",
    "Format",
    "SecretScrubber",
    "bind_context",
    "configure",
    "get_logger",
]

LEVELS: Final = {"debug": 10, "info": 20, "warning": 30, "error": 40, "critical": 50}
bind_context = bound_contextvars


def configure(
    fmt: Format,
    level: str = "info",
    *,
    stream: TextIO | None = None,
    scrubber: Scrub | None = None,
    colour: bool = False,
) -> None:
    """Choose format, lowest level and stream (stderr unless given) for this process; may be called again.

    `scrubber` gets every text of every event before it is rendered and returns what may be shown. Raises
    ValueError for an unknown level or format.
    """
    number = LEVELS.get(level)
    if number is None:
        raise ValueError(f"log level {level!r} does not exist; use one of {', '.join(LEVELS)}")
    match fmt:
        case "klog":
            _output.render = render_klog
        case "json":
            _output.render = render_json
        case "console":
            _output.render = console_renderer(colour=colour)
        case _:
            raise ValueError(f"log format {fmt!r} does not exist; use klog, json or console")
    _output.level = number
    _output.stream = stream
    _output.scrub = scrubber or _as_it_is
    root = logging.getLogger()
    for handler in [handler for handler in root.handlers if isinstance(handler, _StdlibHandler)]:
        root.removeHandler(handler)
    root.addHandler(_StdlibHandler())
    root.setLevel(number)


def get_logger(name: str) -> FilteringBoundLogger:
    """A logger whose lines carry `name`; cheap, and safe to make at import time."""
    logger = structlog.wrap_logger(
        _Named(name),
        processors=[_drop_below_level, _emit],
        wrapper_class=structlog.make_filtering_bound_logger(logging.DEBUG),
        cache_logger_on_first_use=True,
    )
    return cast("FilteringBoundLogger", logger)


def _as_it_is(text: str) -> str:
    return text


@dataclass(slots=True)
class _Output:
    render: Render
    level: int
    stream: TextIO | None
    scrub: Scrub
    lock: threading.Lock = field(default_factory=threading.Lock)

    def write(self, entry: Entry) -> None:
        """Write one line in one call; a log that cannot be written must never break the work it tells of."""
        stream = self.stream or sys.stderr
        line = self.render(entry).encode("utf-8", "backslashreplace").decode("utf-8")
        with self.lock, contextlib.suppress(OSError, ValueError):
            stream.write(f"{line}\n")
            stream.flush()


_output = _Output(console_renderer(colour=False), logging.WARNING, None, _as_it_is)


@dataclass(frozen=True, slots=True)
class _Named:
    """The logger that structlog wraps: a name; the last processor does the writing."""

    name: str


def _drop_below_level(logger: _Named, method: str, event_dict: MutableMapping[str, Any]) -> Any:
    if LEVELS.get(_level_of(method), logging.INFO) < _output.level:
        raise structlog.DropEvent
    return event_dict


def _emit(logger: _Named, method: str, event_dict: MutableMapping[str, Any]) -> Any:
    values = {**get_contextvars(), **event_dict}
    event = values.pop("event", "")
    error = values.pop("exc_info", None)
    if method == "exception" and error is None:
        error = True
    frame = _caller(sys._getframe(1))
    _submit(
        _level_of(method),
        logger.name,
        event=event,
        values=values,
        path=frame.f_code.co_filename,
        line=frame.f_lineno,
        exception=_exception_text(error),
    )
    raise structlog.DropEvent


def _submit(
    level: str, logger: str, *, event: object, values: dict[str, Any], path: str, line: int, exception: str
) -> None:
    scrub = _output.scrub
    fields = {str(key): plain(value, scrub) for key, value in values.items()}
    file = path.rpartition("/")[2]
    text = str(plain(str(event), scrub))
    _output.write(Entry(time.time(), level, logger, text, fields, file, line, scrub(exception)))


def _level_of(method: str) -> str:
    return {"warn": "warning", "exception": "error", "err": "error", "fatal": "critical"}.get(method, method)


def _caller(frame: FrameType) -> FrameType:
    """The frame that called the logger."""
    current = frame
    while current.f_back is not None and current.f_globals.get("__name__", "").startswith("structlog"):
        current = current.f_back
    return current


_ExcInfo = tuple[type[BaseException], BaseException, TracebackType | None]


def _exception_text(error: object) -> str:
    if isinstance(error, BaseException):
        return "".join(traceback.format_exception(error)).rstrip()
    info = error if isinstance(error, tuple) else sys.exc_info() if error else None
    if info is None or info[1] is None:
        return ""
    return "".join(traceback.format_exception(info[1])).rstrip()


class _StdlibHandler(logging.Handler):
    """Sends the records of stdlib loggers (grpc, asyncio, libraries of a driver) the same way."""

    def emit(self, record: logging.LogRecord) -> None:
        try:
            level = record.levelname.lower() if record.levelname.lower() in LEVELS else "info"
            _submit(
                level,
                record.name,
                event=record.getMessage(),
                values=dict(get_contextvars()),
                path=record.pathname,
                line=record.lineno,
                exception=_exception_text(record.exc_info),
            )
        except Exception:
            self.handleError(record)
