"""The limiter lets through what client-go's would, in order, and never more."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.support.kube_client import in_no_time

from moorage.kube.errors import Unreachable
from moorage.kube.limiter import Limiter, TokenBucket


def test_a_burst_passes_at_once_and_then_the_rate_holds() -> None:
    bucket = TokenBucket(10, 3)
    assert [bucket.take(0.0) for _ in range(5)] == pytest.approx([0, 0, 0, 0.1, 0.2])


def test_tokens_come_back_up_to_the_burst() -> None:
    bucket = TokenBucket(10, 2)
    for _ in range(2):
        bucket.take(0.0)
    assert [bucket.take(100.0) for _ in range(3)] == pytest.approx([0, 0, 0.1])


@given(
    st.floats(0.5, 1000),
    st.integers(1, 50),
    st.lists(st.floats(0, 0.3), min_size=1, max_size=200),
)
def test_never_more_than_the_rate_in_any_window(qps: float, burst: int, gaps_s: list[float]) -> None:
    bucket = TokenBucket(qps, burst)
    now_s = 0.0
    passes: list[float] = []
    for gap_s in gaps_s:
        now_s += gap_s
        passes.append(now_s + bucket.take(now_s))
    assert passes == sorted(passes)
    for first, start_s in enumerate(passes):
        for count, end_s in enumerate(passes[first:], 1):
            assert count <= burst + (end_s - start_s) * qps + 1e-6 * count + 1e-6


@pytest.mark.parametrize(("qps", "burst"), [(0, 1), (float("inf"), 1), (1, 0), (float("nan"), 1)])
def test_a_rate_that_lets_nothing_pass_is_refused(qps: float, burst: int) -> None:
    with pytest.raises(ValueError, match="lets nothing pass"):
        Limiter(qps, burst)


def test_waiting_takes_the_time_that_the_rate_demands() -> None:
    limiter = Limiter(5, 10)

    async def fifty() -> None:
        async with asyncio.TaskGroup() as tasks:
            for _ in range(50):
                tasks.create_task(limiter.acquire(timeout_s=60))

    _, took_s = in_no_time(fifty())
    assert took_s == pytest.approx(8.0)
    assert limiter.held == 40
    assert limiter.waited_s == pytest.approx(sum(count / 5 for count in range(1, 41)))


def test_a_turn_that_comes_too_late_is_refused_at_once_and_costs_nothing() -> None:
    limiter = Limiter(1, 1)

    async def work() -> float:
        await limiter.acquire(timeout_s=1)
        with pytest.raises(Unreachable, match=r"would wait 1\.0 s") as caught:
            await limiter.acquire(timeout_s=0.5)
        assert caught.value.kind == "throttled"
        assert not caught.value.sent
        return await limiter.acquire(timeout_s=1)

    waited_s, took_s = in_no_time(work())
    assert (waited_s, took_s) == pytest.approx((1.0, 1.0))


def test_a_caller_that_gives_up_frees_its_turn() -> None:
    limiter = Limiter(1, 1)

    async def work() -> float:
        await limiter.acquire(timeout_s=60)
        quitter = asyncio.create_task(limiter.acquire(timeout_s=60))
        await asyncio.sleep(0.5)
        quitter.cancel()
        await asyncio.wait([quitter])
        return await limiter.acquire(timeout_s=60)

    waited_s, _ = in_no_time(work())
    assert waited_s == pytest.approx(0.5)


@pytest.mark.parametrize(
    ("qps", "burst", "expected_s"),
    [
        pytest.param(-1, 0, 0.0, id="negative-is-unlimited"),
        pytest.param(0, 0, 18.0, id="zero-is-client-go's-5-and-10"),
        pytest.param(50, 100, 0.0, id="as-given"),
    ],
)
def test_flags_mean_what_they_mean_upstream(qps: float, burst: int, expected_s: float) -> None:
    limiter = Limiter.from_flags(qps, burst)

    async def hundred() -> None:
        for _ in range(100):
            await limiter.acquire(timeout_s=60)

    _, took_s = in_no_time(hundred())
    assert took_s == pytest.approx(expected_s)
