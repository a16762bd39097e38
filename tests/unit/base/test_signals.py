"""A real process stops on SIGTERM and tells on SIGUSR1 what it does."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Iterator

import pytest

PROGRAM = """
import asyncio
from moorage.base.log import configure
from moorage.base.signals import Signals

async def waits_for_disk():
    await asyncio.sleep(3600)

async def main():
    configure("json", "info")
    signals = Signals()
    signals.on_dump("operation", lambda: [{"key": "v1", "age_s": 3}])
    signals.on_dump("broken", lambda: 1 / 0)
    task = asyncio.create_task(waits_for_disk(), name="disk-watch")
    with signals:
        print("ready", flush=True)
        await signals.stopping.wait()
    task.cancel()
    await asyncio.wait([task])

asyncio.run(main())
"""


@pytest.fixture
def process() -> Iterator[subprocess.Popen[str]]:
    with subprocess.Popen(
        [sys.executable, "-c", PROGRAM], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == "ready\n"
        yield child
        child.kill()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_stop_signals_end_it_cleanly(process: subprocess.Popen[str], number: signal.Signals) -> None:
    process.send_signal(number)
    _, errors = process.communicate(timeout=20)
    assert process.returncode == 0
    assert json.loads(errors)["event"] == "process.stopping"
    assert json.loads(errors)["signal"] == number.name


def test_dump_shows_tasks_threads_and_registered_rows(process: subprocess.Popen[str]) -> None:
    assert process.stderr is not None
    process.send_signal(signal.SIGUSR1)
    records: list[dict[str, object]] = []
    while not records or (records[-1].get("source_") is None and records[-1]["event"] != "dump.failed"):
        records.append(json.loads(process.stderr.readline()))
    task = next(record for record in records if record.get("task") == "disk-watch")
    assert "waits_for_disk(" in str(task["waits_at"])
    assert [record["key"] for record in records if record["event"] == "dump.operation"] == ["v1"]
    assert "MainThread" in [record.get("thread") for record in records]
    assert "ZeroDivisionError" in str(records[-1]["exception"])
    assert process.poll() is None
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=20)
    assert process.returncode == 0
