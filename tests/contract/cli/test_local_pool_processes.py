"""Two processes and one pool: `moorage serve local` and `moorage local` beside each other."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

WaitUntil = Callable[..., Awaitable[None]]


def arguments(box: Any, name: str) -> list[str]:
    return [
        *("serve", "local", "--pool", str(box.path / "pool"), "--backend", "directory"),
        *("--state-dir", str(box.path / name), "--endpoint", f"unix://{box.path}/{name}.sock"),
    ]


def is_ready(box: Any, pid: int) -> bool:
    rows = [json.loads(line) for line in box.log().splitlines() if line.startswith("{")]
    return Path(f"/proc/{pid}").exists() and sum(row.get("event") == "ready" for row in rows) > 0


async def test_a_pool_has_one_driver(box: Any, wait_until: WaitUntil) -> None:
    first = box.start(*arguments(box, "one"))
    await wait_until(lambda: is_ready(box, first.pid))
    second = box.moorage(*arguments(box, "two"))
    assert second.returncode == 1
    (told,) = [line for line in second.stderr.splitlines() if line.startswith("moorage: ")]
    assert f"pool 'default' at {box.path}/pool is in use by" in told
    assert f"(pid {first.pid})" in told

    check = box.moorage("local", "check", str(box.path / "pool"), "--state-dir", str(box.path / "one"))
    assert (check.returncode, check.stdout) == (0, "nothing is wrong\n")
    assert f"(pid {first.pid})" in check.stderr
    for refused in (["repair"], ["import", "--state-dir", str(box.path / "three")]):
        done = box.moorage("local", refused[0], str(box.path / "pool"), *refused[1:])
        assert done.returncode == 1
        assert f"(pid {first.pid}); stop that process first" in done.stderr

    first.kill()
    first.wait(timeout=10)
    (box.path / "log").unlink()
    third = box.start(*arguments(box, "two"))
    await wait_until(lambda: is_ready(box, third.pid))
    third.terminate()
    assert third.wait(timeout=20) == 0
