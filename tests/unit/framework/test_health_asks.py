"""Health of many volumes at once: one that is broken, slow or gone spoils nothing for the others."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
import pytest_asyncio
from tests.support.controller import Controller, create

import moorage.framework as csi
from moorage.framework import health_asks
from moorage.spec import messages as m
from moorage.spec.errors import CsiError, Unavailable
from moorage.spec.types import HealthEntry, VolumeHealthStatus
from moorage.testing.memory import MemoryDriver

LOST = (HealthEntry(VolumeHealthStatus.DEGRADED, "MirrorLost", "one of two copies is left"),)


class Patient(MemoryDriver):
    """Answers for each volume as told; every other one is healthy."""

    answers: dict[str, Callable[[], object]]
    asked: list[str]

    def volume_health(self, volume: csi.VolumeRecord) -> tuple[HealthEntry, ...]:
        self.asked.append(volume.name)
        return self.answers.get(volume.name, tuple)()  # type: ignore[return-value]  # tests answer nonsense too


class Ward:
    """A running plugin with volumes pvc-0, pvc-1, ... and their ids."""

    def __init__(self, controller: Controller) -> None:
        self.controller = controller
        driver = controller.plugin.driver
        assert isinstance(driver, Patient)
        self.driver = driver
        self.driver.answers, self.driver.asked = {}, []
        self.ids: list[str] = []

    async def fill(self, count: int) -> None:
        for number in range(len(self.ids), len(self.ids) + count):
            made = (await self.controller.call(create(f"pvc-{number}"))).volume
            self.ids.append(made.volume_id)

    async def conditions(self) -> dict[str, bool | None]:
        """Whether each volume is listed as abnormal; None where its condition is not told."""
        listed = await self.controller.call(m.ListVolumesRequest())
        told = {f"pvc-{self.ids.index(e.volume.volume_id)}": e.status.volume_condition for e in listed.entries}
        return {name: None if condition is None else condition.abnormal for name, condition in told.items()}

    async def unhealthy(self) -> dict[str, tuple[HealthEntry, ...]]:
        listed = await self.controller.call(m.ControllerListVolumeHealthRequest())
        return {f"pvc-{self.ids.index(entry.volume_id)}": entry.health_statuses for entry in listed.entries}


def refuse() -> object:
    raise Unavailable("the array does not answer")


def fail() -> object:
    raise RuntimeError("password is hunter2")


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        pytest.param(refuse, "the array does not answer", id="refused"),
        pytest.param(fail, "log", id="defect"),
        pytest.param(lambda: None, "log", id="no-tuple"),
        pytest.param(lambda: LOST * 2, "specification", id="against-the-specification"),
    ],
)
async def test_one_broken_volume_is_listed_as_inaccessible(
    tmp_path: Path, answer: Callable[[], object], told: str
) -> None:
    async with Controller(tmp_path / "state", driver=Patient) as running:
        ward = Ward(running)
        await ward.fill(3)
        ward.driver.answers = {"pvc-1": answer, "pvc-2": lambda: LOST}
        found = await ward.unhealthy()
        assert found["pvc-2"] == LOST
        assert sorted(found) == ["pvc-1", "pvc-2"]
        (entry,) = found["pvc-1"]
        assert entry.status is VolumeHealthStatus.INACCESSIBLE
        assert told in entry.message
        assert "hunter2" not in entry.message
        assert await ward.conditions() == {"pvc-0": False, "pvc-1": True, "pvc-2": True}


async def test_one_volume_alone_still_fails_as_it_fails(tmp_path: Path) -> None:
    async with Controller(tmp_path / "state", driver=Patient) as running:
        ward = Ward(running)
        await ward.fill(1)
        ward.driver.answers = {"pvc-0": refuse}
        with pytest.raises(Unavailable):
            await running.call(m.ControllerGetVolumeHealthRequest(ward.ids[0]))
        status = (await running.call(m.ControllerGetVolumeRequest(ward.ids[0]))).status
        assert status.volume_condition.abnormal


async def test_hanging_volume_is_told_and_asked_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(health_asks, "ASK_S", 0.1)
    release = threading.Event()
    async with Controller(tmp_path / "state", driver=Patient) as running:
        ward = Ward(running)
        await ward.fill(3)
        ward.driver.answers = {"pvc-1": release.wait}
        for _ in range(3):
            assert await ward.conditions() == {"pvc-0": False, "pvc-1": True, "pvc-2": False}
        assert ward.driver.asked.count("pvc-1") == 1
        (entry,) = (await ward.unhealthy())["pvc-1"]
        assert "0.1 s" in entry.message
        ward.driver.answers = {}
        release.set()
        async with asyncio.timeout(5):
            while (await ward.conditions())["pvc-1"]:
                await asyncio.sleep(0)


async def test_storage_that_hangs_takes_a_bounded_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(health_asks, "ASK_S", 0.1)
    release = threading.Event()
    async with Controller(tmp_path / "state", driver=Patient) as running:
        ward = Ward(running)
        await ward.fill(5 * health_asks.AT_ONCE)
        ward.driver.answers = {f"pvc-{number}": release.wait for number in range(5 * health_asks.AT_ONCE)}
        async with asyncio.timeout(10):
            told = await ward.conditions()
        assert len(ward.driver.asked) <= health_asks.AT_ONCE
        assert told == {f"pvc-{n}": True if f"pvc-{n}" in ward.driver.asked else None for n in range(len(ward.ids))}
        release.set()


@pytest_asyncio.fixture
async def blocked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Ward]:
    """As many hanging volumes as are asked at once, pvc-0 and on, and three that no question gets through to.

    Of those the first two were asked before, and the second was degraded then.
    """
    monkeypatch.setattr(health_asks, "ASK_S", 0.1)
    release = threading.Event()
    full = health_asks.AT_ONCE
    async with Controller(tmp_path / "state", driver=Patient) as running:
        ward = Ward(running)
        await ward.fill(full + 2)
        ward.driver.answers = {f"pvc-{full + 1}": lambda: LOST}
        await ward.conditions()
        ward.driver.answers |= {f"pvc-{number}": release.wait for number in range(full)}
        told = await ward.conditions()
        assert [told[f"pvc-{number}"] for number in range(full)] == [True] * full
        await ward.fill(1)
        ward.driver.asked.clear()
        yield ward
        release.set()


async def test_volume_that_is_not_asked_is_listed_as_it_last_answered(blocked: Ward) -> None:
    full = health_asks.AT_ONCE
    hanging = {f"pvc-{number}": True for number in range(full)}
    others: dict[str, bool | None] = {f"pvc-{full}": False, f"pvc-{full + 1}": True, f"pvc-{full + 2}": None}
    assert await blocked.conditions() == hanging | others
    unhealthy = await blocked.unhealthy()
    assert sorted(unhealthy) == sorted([*hanging, f"pvc-{full + 1}"])
    assert unhealthy[f"pvc-{full + 1}"] == LOST
    assert blocked.driver.asked == []


async def test_volume_that_cannot_be_asked_is_found_all_the_same(blocked: Ward) -> None:
    answer = await blocked.controller.call(m.ControllerGetVolumeRequest(blocked.ids[-1]))
    assert answer.volume.volume_id == blocked.ids[-1]
    assert answer.status.volume_condition is None


async def test_question_for_one_volume_that_cannot_be_asked_is_refused(blocked: Ward) -> None:
    """Nor does it take the threads that are left for other questions."""
    for _ in range(3):
        with pytest.raises(Unavailable, match="have not answered"):
            await blocked.controller.call(m.ControllerGetVolumeHealthRequest(blocked.ids[-1]))
    assert blocked.driver.asked == []


async def test_slow_storage_is_waited_for_as_long_as_it_answers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(health_asks, "ASK_S", 2.0)

    def slowly() -> object:
        time.sleep(0.5)
        return ()

    async with Controller(tmp_path / "state", driver=Patient) as running:
        ward = Ward(running)
        count = 5 * health_asks.AT_ONCE  # all of it takes longer than one may
        await ward.fill(count)
        ward.driver.answers = {f"pvc-{number}": slowly for number in range(count)}
        assert set((await ward.conditions()).values()) == {False}


async def test_volumes_are_asked_side_by_side_but_not_all_at_once(tmp_path: Path) -> None:
    gate = threading.Barrier(health_asks.AT_ONCE)
    most, now, lock = 0, 0, threading.Lock()

    def meet() -> object:
        nonlocal most, now
        with lock:
            now += 1
            most = max(most, now)
        gate.wait(timeout=5)
        with lock:
            now -= 1
        return ()

    async with Controller(tmp_path / "state", driver=Patient) as running:
        ward = Ward(running)
        await ward.fill(3 * health_asks.AT_ONCE)
        ward.driver.answers = {f"pvc-{number}": meet for number in range(3 * health_asks.AT_ONCE)}
        assert set((await ward.conditions()).values()) == {False}
        assert most == health_asks.AT_ONCE


async def test_page_asks_no_more_volumes_than_it_needs(tmp_path: Path) -> None:
    count = 6 * health_asks.AT_ONCE
    async with Controller(tmp_path / "state", driver=Patient) as running:
        ward = Ward(running)
        await ward.fill(count)
        ward.driver.answers = {f"pvc-{number}": lambda: LOST for number in range(count)}
        seen: list[str] = []
        token = ""
        while True:
            ward.driver.asked.clear()
            page = await running.call(m.ControllerListVolumeHealthRequest(health_asks.AT_ONCE - 1, token))
            assert len(ward.driver.asked) <= 2 * health_asks.AT_ONCE
            seen += [entry.volume_id for entry in page.entries]
            token = page.next_token
            if not token:
                break
        assert sorted(seen) == sorted(ward.ids)


async def test_volume_that_is_deleted_meanwhile_is_left_out(tmp_path: Path) -> None:
    async with Controller(tmp_path / "state", driver=Patient) as running:
        ward = Ward(running)
        await ward.fill(2)
        loop = asyncio.get_running_loop()

        def vanish() -> object:
            asyncio.run_coroutine_threadsafe(running.call(m.DeleteVolumeRequest(ward.ids[1])), loop).result(5)
            raise csi.VolumeNotFound(ward.ids[1])

        ward.driver.answers = {"pvc-1": vanish}
        assert await ward.unhealthy() == {}


async def test_caller_that_goes_away_leaves_nothing_behind(tmp_path: Path) -> None:
    release = threading.Event()
    async with Controller(tmp_path / "state", driver=Patient) as running:
        ward = Ward(running)
        await ward.fill(1)
        ward.driver.answers = {"pvc-0": release.wait}
        call = await running.leave(m.ListVolumesRequest())
        while not ward.driver.asked:
            await asyncio.sleep(0.001)
        call.cancel()
        with pytest.raises((asyncio.CancelledError, CsiError)):
            await call
        release.set()
        ward.driver.answers = {}
        async with asyncio.timeout(5):
            while (await ward.conditions())["pvc-0"]:
                await asyncio.sleep(0)
