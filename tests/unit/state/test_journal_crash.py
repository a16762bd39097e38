"""kill -9 at a random moment loses nothing that was acknowledged and tears no transaction."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import time
from pathlib import Path

from moorage.state.journal import Journal

WRITER = """
import asyncio, os, sys
from moorage.state.journal import Delete, Journal, Put, Record

async def main():
    journal = Journal.open(sys.argv[1], owner="crash test")
    first = journal.count("left")
    async def writer(number):
        turn = 0
        while True:
            key = f"{first:06}-{number}-{turn}"
            await journal.write(
                Put(Record("left", key, b"x" * 300, name=key)), Put(Record("right", key, b"y" * 300))
            )
            os.write(1, f"{key}\\n".encode())
            turn += 1
    await asyncio.gather(*(writer(number) for number in range(8)))

asyncio.run(main())
"""


def test_every_acknowledged_write_survives_kill(tmp_path: Path) -> None:
    path, chance = tmp_path / "journal.db", random.Random()
    acknowledged: set[str] = set()
    for _ in range(8):
        with subprocess.Popen([sys.executable, "-c", WRITER, str(path)], stdout=subprocess.PIPE) as child:
            assert child.stdout is not None
            heard = child.stdout.readline()
            time.sleep(chance.uniform(0, 0.15))
            child.send_signal(signal.SIGKILL)
            heard += child.stdout.read()
            assert child.wait(20) == -signal.SIGKILL
        acknowledged.update(line for line in heard.decode().split("\n")[:-1])
        journal = Journal.open(path, owner="a test")
        left = {record.id for record in journal.page("left", limit=10**6)}
        right = {record.id for record in journal.page("right", limit=10**6)}
        journal.close_sync()
        assert acknowledged <= left
        assert left == right
    assert len(acknowledged) >= 8
