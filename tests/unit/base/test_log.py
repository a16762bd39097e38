"""Every event is one line in the chosen format, carries its context, and holds no secret."""

from __future__ import annotations

import io
import json
import logging
import os
import re
import subprocess
import sys
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moorage.base.log import Format, SecretScrubber, bind_context, configure, get_logger
from moorage.base.logformat import Entry, console_renderer, render_json, render_klog

log = get_logger("unit.log")
FORMATS: list[Format] = ["klog", "json", "console"]


@pytest.fixture(autouse=True)
def restored_logging() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    configure("console", "warning")
    root.handlers[:] = handlers
    root.setLevel(level)


def lines_of(fmt: Format, level: str = "debug", scrubber: SecretScrubber | None = None) -> io.StringIO:
    stream = io.StringIO()
    configure(fmt, level, stream=stream, scrubber=scrubber)
    return stream


def test_klog_line() -> None:
    stream = lines_of("klog")
    log.info("volume.published", volume='a"b', size_bytes=3, done=True, none=None, tags={"k": [1]})
    assert re.fullmatch(
        r"I\d{4} \d\d:\d\d:\d\d\.\d{6} +" + str(os.getpid()) + r" test_log\.py:\d+\] "
        r'"volume\.published" logger="unit\.log" volume="a\\"b" size_bytes=3 done=true none=null '
        r'tags=\{"k":\[1\]\}\n',
        stream.getvalue(),
    )


@pytest.mark.parametrize(
    ("method", "letter"), [("debug", "I"), ("info", "I"), ("warning", "W"), ("error", "E"), ("critical", "F")]
)
def test_klog_severity(method: str, letter: str) -> None:
    stream = lines_of("klog")
    getattr(log, method)("x.y")
    assert stream.getvalue()[0] == letter


def test_json_line() -> None:
    stream = lines_of("json")
    log.warning("volume.published", volume="v1", ts="mine", ratio=float("nan"))
    record = json.loads(stream.getvalue())
    assert record["level"] == "warning"
    assert record["event"] == "volume.published"
    assert record["logger"] == "unit.log"
    assert record["source"].startswith("test_log.py:")
    assert (record["volume"], record["ts_"], record["ratio"]) == ("v1", "mine", "nan")


def test_console_line() -> None:
    stream = lines_of("console")
    log.error("volume.lost", volume="v1", reason="two words")
    assert re.fullmatch(r'[\d:.]{12} error    volume\.lost volume=v1 reason="two words"\n', stream.getvalue())


def test_level_hides_what_is_below() -> None:
    stream = lines_of("json", "warning")
    log.info("hidden.event")
    log.warning("shown.event")
    assert [json.loads(line)["event"] for line in stream.getvalue().splitlines()] == ["shown.event"]


def test_context_is_in_every_line_of_the_block_and_gone_after_it() -> None:
    stream = lines_of("json")
    with bind_context(request_id="r1"):
        log.info("a.b")
        logging.getLogger("grpc").info("from %s", "grpc")
    log.info("c.d")
    first, second, third = (json.loads(line) for line in stream.getvalue().splitlines())
    assert first["request_id"] == second["request_id"] == "r1"
    assert (second["event"], second["logger"]) == ("from grpc", "grpc")
    assert "request_id" not in third


@pytest.mark.parametrize("fmt", FORMATS)
def test_exception_is_told(fmt: Format) -> None:
    stream = lines_of(fmt)
    try:
        raise LookupError("volume v9 is gone")
    except LookupError:
        log.exception("call.failed")
    assert "LookupError: volume v9 is gone" in stream.getvalue()
    if fmt != "console":
        assert stream.getvalue().count("\n") == 1


@pytest.mark.parametrize("fmt", FORMATS)
def test_secrets_never_appear(fmt: Format) -> None:
    scrubber = SecretScrubber()
    stream = lines_of(fmt, scrubber=scrubber)
    with scrubber.hiding(["hunter2!", "12345678"]):
        try:
            raise ValueError("bad password hunter2!")
        except ValueError as error:
            log.exception("login.failed hunter2!", error=error, deep={"hunter2!": [b"hunter2!", 12345678]})
        logging.getLogger("grpc").error("got hunter2!")
    assert "hunter2!" not in stream.getvalue()
    assert "12345678" not in stream.getvalue()
    assert stream.getvalue().count("***stripped***") >= 6


@pytest.mark.parametrize("fmt", FORMATS)
@given(text=st.text(max_size=20), key=st.text(max_size=10))
def test_no_value_starts_a_new_line(fmt: Format, text: str, key: str) -> None:
    render = {"klog": render_klog, "json": render_json, "console": console_renderer(colour=False)}[fmt]
    line = render(Entry(0.0, "info", text, text, {key: text, "deep": {key: [text]}}, "f.py", 1))
    assert len(line.splitlines()) == 1
    assert "\x1b" not in line


def test_broken_value_does_not_lose_the_event() -> None:
    class Broken:
        def __str__(self) -> str:
            raise RuntimeError

    stream = lines_of("json")
    log.info("x.y", value=Broken())
    assert json.loads(stream.getvalue())["value"] == "<unprintable Broken>"


def test_closed_stream_does_not_break_the_work() -> None:
    lines_of("json").close()
    log.error("x.y")


def test_wrong_settings_are_refused() -> None:
    with pytest.raises(ValueError, match="'loud' does not exist; use one of debug"):
        configure("json", "loud")
    with pytest.raises(ValueError, match="'xml' does not exist; use klog"):
        configure("xml")  # type: ignore[arg-type]  # that is the test


def test_fresh_process_keeps_stdout_clean_and_loads_no_heavy_library() -> None:
    code = (
        "import sys; from moorage.base.log import get_logger; log = get_logger('x'); log.info('a.b'); "
        "log.warning('c.d'); print([m for m in ('rich', 'pygments', 'msgspec', 'grpc') if sys.modules.get(m)])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
    assert "c.d" in done.stderr
    assert "a.b" not in done.stderr
