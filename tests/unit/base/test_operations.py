"""An operation outlives its callers, is shared by equal calls, and never fails in silence."""

from __future__ import annotations

import asyncio
import contextvars
import gc
import io
import json
import logging
from collections.abc import Iterator

import pytest

from moorage.base.log import configure
from moorage.base.operations import (
    Busy,
    OperationInterrupted,
    Operations,
    Overloaded,
    RunningOperation,
    afterwards,
)
from moorage.base.scrubber import SecretScrubber
from moorage.testing.clock import VirtualClock

request_id = contextvars.ContextVar("request_id", default="none")


class Work:
    """A factory that counts its starts and ends when told to."""

    def __init__(self) -> None:
        self.started = 0
        self.result: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    async def __call__(self) -> str:
        self.started += 1
        return await asyncio.shield(self.result)


@pytest.fixture
def log_lines() -> Iterator[io.StringIO]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    stream = io.StringIO()
    configure("json", "debug", stream=stream)
    yield stream
    configure("console", "warning")
    root.handlers[:] = handlers
    root.setLevel(level)


def start(operations: Operations, work: Work, *, key: str = "v1", fingerprint: str = "f1") -> asyncio.Task[str]:
    return asyncio.create_task(operations.run(key, fingerprint, describe=f"create {key}", factory=work))


async def turn() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def test_equal_calls_share_one_run() -> None:
    operations, work = Operations(), Work()
    callers = [start(operations, work) for _ in range(3)]
    await turn()
    work.result.set_result("volume")
    assert await asyncio.gather(*callers) == ["volume"] * 3
    assert work.started == 1
    assert len(operations) == 0


async def test_all_callers_get_the_exception() -> None:
    operations, work = Operations(), Work()
    callers = [start(operations, work) for _ in range(2)]
    await turn()
    work.result.set_exception(LookupError("gone"))
    results = await asyncio.gather(*callers, return_exceptions=True)
    assert [type(result) for result in results] == [LookupError, LookupError]


async def test_result_is_not_kept() -> None:
    operations, work = Operations(), Work()
    work.result.set_result("volume")
    await start(operations, work)
    await start(operations, work)
    assert work.started == 2


async def test_caller_leaves_operation_goes_on_and_a_retry_joins() -> None:
    operations, work = Operations(), Work()
    first = start(operations, work)
    await turn()
    first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await first
    assert [(row.key, row.waiters) for row in operations.snapshot()] == [("v1", 0)]
    second = start(operations, work)
    await turn()
    work.result.set_result("volume")
    assert await second == "volume"
    assert work.started == 1


async def test_other_request_for_the_key_is_told_what_runs() -> None:
    clock = VirtualClock()
    operations, work = Operations(clock=clock), Work()
    first = start(operations, work)
    await turn()
    clock.shift(2.5)
    with pytest.raises(Busy, match=r"create v1 has been running for 2\.5 s; try again") as caught:
        await start(operations, work, fingerprint="f2")
    assert (caught.value.describe, caught.value.age_s) == ("create v1", 2.5)
    assert operations.snapshot() == [RunningOperation("v1", "create v1", 2.5, 1)]
    work.result.set_result("volume")
    await first


async def test_limit_refuses_the_new_but_lets_callers_join() -> None:
    operations, work = Operations(limit=1), Work()
    callers = [start(operations, work)]
    await turn()
    with pytest.raises(Overloaded, match="1 operations are running"):
        await start(operations, work, key="v2")
    callers.append(start(operations, work))
    await turn()
    work.result.set_result("volume")
    assert await asyncio.gather(*callers) == ["volume"] * 2


async def test_failure_without_callers_is_logged_not_lost(log_lines: io.StringIO) -> None:
    operations, work = Operations(), Work()
    caller = start(operations, work)
    await turn()
    caller.cancel()
    await asyncio.wait([caller])
    work.result.set_exception(LookupError("gone"))
    await turn()
    gc.collect()
    (record,) = [json.loads(line) for line in log_lines.getvalue().splitlines()]
    assert (record["event"], record["key"], record["error"]) == ("operation.failed_unattended", "v1", "gone")
    assert "LookupError" in record["exception"]


async def test_surroundings_last_until_a_failure_is_logged(log_lines: io.StringIO) -> None:
    operations, work, scrubber = Operations(), Work(), SecretScrubber()
    configure("json", "debug", stream=log_lines, scrubber=scrubber)
    hiding = scrubber.hiding(["hunter2secret"])
    caller = asyncio.create_task(operations.run("v1", "same", describe="d", factory=work, within=hiding))
    await turn()
    caller.cancel()
    await asyncio.wait([caller])
    work.result.set_exception(LookupError("login with hunter2secret failed"))
    await turn()
    assert "operation.failed_unattended" in log_lines.getvalue()
    assert "hunter2secret" not in log_lines.getvalue()
    assert scrubber("hunter2secret") == "hunter2secret"


async def test_failure_in_the_moment_of_the_callers_cancellation_is_logged(log_lines: io.StringIO) -> None:
    operations, work = Operations(), Work()
    caller = start(operations, work)
    await turn()
    work.result.set_exception(LookupError("gone"))
    while len(operations):
        await asyncio.sleep(0)
    caller.cancel()
    with pytest.raises((asyncio.CancelledError, LookupError)) as caught:
        await caller
    assert ("failed_unattended" in log_lines.getvalue()) == (caught.type is asyncio.CancelledError)


async def test_interrupted_operation_does_not_look_like_a_cancelled_caller() -> None:
    operations, work = Operations(), Work()
    caller = start(operations, work)
    await turn()
    (task,) = [task for task in asyncio.all_tasks() if task.get_name() == "operation v1"]
    task.cancel()
    with pytest.raises(OperationInterrupted, match="create v1 was interrupted"):
        await caller


async def test_drain_waits_then_reports_what_is_left() -> None:
    operations, quick, slow = Operations(), Work(), Work()
    callers = [start(operations, quick), start(operations, slow, key="v2")]
    await turn()
    drain = asyncio.create_task(operations.drain(0.05))
    quick.result.set_result("volume")
    assert [row.key for row in await drain] == ["v2"]
    slow.result.set_result("volume")
    assert await operations.drain(5) == []
    await asyncio.gather(*callers)


async def test_what_is_put_off_is_done_when_the_callers_have_their_answer() -> None:
    operations, scrubber, order = Operations(), SecretScrubber(), list[str]()
    request_id.set("r7")

    async def work() -> str:
        afterwards(lambda: order.append(f"put off by {request_id.get()}: {scrubber('hunter2secret')}"))
        return "answer"

    async def caller() -> None:
        hiding = scrubber.hiding(["hunter2secret"])
        order.append(await operations.run("v1", "same", describe="d", factory=work, within=hiding))

    await asyncio.gather(caller(), caller())
    await turn()
    assert order == ["answer", "answer", "put off by r7: ***stripped***"]
    assert scrubber("hunter2secret") == "hunter2secret"


async def test_what_is_put_off_is_done_without_callers_and_from_a_thread() -> None:
    operations, work, done = Operations(), Work(), list[str]()

    async def in_thread() -> None:
        await work()
        await asyncio.to_thread(afterwards, lambda: done.append("late"))

    caller = asyncio.create_task(operations.run("v1", "same", describe="d", factory=in_thread))
    await turn()
    caller.cancel()
    await asyncio.wait([caller])
    work.result.set_result("volume")
    assert await operations.drain(5) == []
    await turn()
    assert done == ["late"]


async def test_outside_of_operations_nothing_is_put_off() -> None:
    operations, done, left = Operations(), list[int](), list[asyncio.Task[None]]()
    gate = asyncio.Event()

    async def stray() -> None:
        await gate.wait()
        afterwards(lambda: done.append(2))

    async def work() -> None:
        left.append(asyncio.create_task(stray()))

    afterwards(lambda: done.append(1))
    assert done == [1]
    await operations.run("v1", "same", describe="d", factory=work)
    await turn()
    gate.set()
    await asyncio.gather(*left)
    assert done == [1, 2]


async def test_what_is_more_than_an_error_reaches_the_caller() -> None:
    class Killed(BaseException):
        """As a test's own crash."""

    async def work() -> None:
        raise Killed

    operations = Operations()
    with pytest.raises(Killed):
        await operations.run("v1", "same", describe="d", factory=work)
    assert len(operations) == 0
