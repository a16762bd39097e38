"""What a serving process does on signals: SIGTERM and SIGINT ask it to stop, SIGUSR1 to say what it is doing.

The dump goes to the log: every asyncio task with the place where it waits, every thread, and whatever the
layers above registered (running operations, held locks, pools). It changes nothing, so it is safe on a
live system.
"""

from __future__ import annotations

import asyncio
import signal
import sys
import threading
from collections.abc import Callable, Iterable, Mapping
from types import CoroutineType, FrameType, TracebackType
from typing import Any, Final, Self

from moorage.base.log import get_logger

DumpRows = Callable[[], Iterable[Mapping[str, Any]]]

_STOP_SIGNALS: Final = (signal.SIGTERM, signal.SIGINT)

_log = get_logger(__name__)


class Signals:
    """Signal handling of one process; install it inside the running event loop of the main thread."""

    def __init__(self) -> None:
        self.stopping = asyncio.Event()
        self._dumps: dict[str, DumpRows] = {}
        self._loop: asyncio.AbstractEventLoop | None = None

    def on_dump(self, name: str, rows: DumpRows) -> None:
        """On SIGUSR1, log one event `dump.NAME` for every mapping that `rows()` returns."""
        self._dumps[name] = rows

    def install(self) -> None:
        """Handle SIGTERM, SIGINT and SIGUSR1 from now on."""
        self._loop = asyncio.get_running_loop()
        for number in _STOP_SIGNALS:
            self._loop.add_signal_handler(number, self._stop, number)
        self._loop.add_signal_handler(signal.SIGUSR1, self.dump)

    def remove(self) -> None:
        """Give the signals their former meaning back."""
        if self._loop is not None:
            for number in (*_STOP_SIGNALS, signal.SIGUSR1):
                self._loop.remove_signal_handler(number)
            self._loop = None

    def __enter__(self) -> Self:
        self.install()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.remove()

    def dump(self) -> None:
        """Write the dump to the log now."""
        _dump_rows("task", _task_rows)
        _dump_rows("thread", _thread_rows)
        for name, rows in self._dumps.items():
            _dump_rows(name, rows)

    def _stop(self, number: signal.Signals) -> None:
        _log.info("process.stopping", signal=signal.Signals(number).name)
        self.stopping.set()


def _dump_rows(name: str, rows: DumpRows) -> None:
    try:
        for row in rows():
            _log.warning(f"dump.{name}", **{f"{key}_" if key == "event" else key: row[key] for key in row})
    except Exception:  # one broken source must not hide the others
        _log.exception("dump.failed", source=name)


def _task_rows() -> Iterable[Mapping[str, Any]]:
    for task in sorted(asyncio.all_tasks(), key=lambda task: task.get_name()):
        yield {"task": task.get_name(), "waits_at": " < ".join(reversed(_await_chain(task.get_coro())))}


def _await_chain(awaited: object) -> list[str]:
    """The places in a chain of coroutines, outermost first."""
    places = []
    while isinstance(awaited, CoroutineType):
        if awaited.cr_frame is not None:
            places.append(_place(awaited.cr_frame))
        awaited = awaited.cr_await
    return places


def _thread_rows() -> Iterable[Mapping[str, Any]]:
    frames = sys._current_frames()
    for thread in threading.enumerate():
        frame = frames.get(thread.ident or 0)
        yield {
            "thread": thread.name,
            "daemon": thread.daemon,
            "runs_at": _place(frame) if frame is not None else "",
        }


def _place(frame: FrameType) -> str:
    code = frame.f_code
    return f"{code.co_qualname}({code.co_filename.rpartition('/')[2]}:{frame.f_lineno})"
