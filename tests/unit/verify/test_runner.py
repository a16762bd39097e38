"""The runner against drivers that hang, die, leave things behind, and against rules that break."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest
from tests.support.scripted_driver import ScriptedDriver

from moorage.spec import messages as m
from moorage.spec.errors import Aborted, FailedPrecondition, Unavailable
from moorage.spec.types import ControllerCapability
from moorage.verify import (
    ALL_RULES,
    Peer,
    PeerError,
    Report,
    Rule,
    Settings,
    Skipped,
    Verdict,
    rule,
    run_rules,
    runner,
    select,
)
from moorage.verify.lab import Lab

CREATE = ControllerCapability.CREATE_DELETE_VOLUME


def a_rule(examine: Callable[[Lab], Awaitable[None]], *, name: str = "create.probe", **fields: Any) -> Rule:
    return rule(name, section="s", title="t", sends="x", demands="y", **fields)(examine)


@asynccontextmanager
async def peer_of(driver: ScriptedDriver, **fields: Any) -> AsyncIterator[Peer]:
    async with driver:
        peer = Peer(driver.endpoint, **fields)
        try:
            await peer.learn()
            yield peer
        finally:
            await peer.close()


def settings(tmp_path: Path, **fields: Any) -> Settings:
    return Settings(**{"work_dir": tmp_path / "work", "call_timeout_s": 0.3, "rule_timeout_s": 1.0, **fields})


async def verdicts(report: Report) -> list[tuple[Verdict, str]]:
    return [(result.verdict, result.detail) for result in report.rules]


async def test_a_driver_that_hangs_fails_the_rule_and_not_the_suite(tmp_path: Path) -> None:
    async def hang(request: Any) -> Any:
        await asyncio.sleep(60)

    driver = ScriptedDriver(tmp_path, ListVolumes=hang)

    async def lists(lab: Lab) -> None:
        (await lab.call(m.ListVolumesRequest())).response(m.ListVolumesResponse)

    async def creates(lab: Lab) -> None:
        await lab.create()

    async with peer_of(driver) as peer:
        report = await run_rules([a_rule(lists), a_rule(creates, name="create.after")], peer, settings(tmp_path))
    hung, after = report.rules
    assert hung.verdict is Verdict.FAIL
    assert "answered nothing within 0.3 s" in hung.detail
    assert hung.evidence is not None
    assert after.verdict is Verdict.PASS


async def test_a_rule_that_takes_too_long_is_ended_and_cleaned_up(tmp_path: Path) -> None:
    driver = ScriptedDriver(tmp_path)

    async def dawdles(lab: Lab) -> None:
        await lab.create()
        await asyncio.sleep(60)

    async with peer_of(driver) as peer:
        report = await run_rules([a_rule(dawdles)], peer, settings(tmp_path, rule_timeout_s=0.2))
    assert await verdicts(report) == [(Verdict.FAIL, "the rule was not done within 0 s")]
    assert driver.volumes == {}


async def test_a_driver_that_is_gone_fails_the_rest_quickly(tmp_path: Path) -> None:
    driver = ScriptedDriver(tmp_path)

    async def never(lab: Lab) -> None:
        raise AssertionError("a rule ran without a driver")

    async with peer_of(driver) as peer:
        run_settings = settings(tmp_path)
        async with asyncio.timeout(20):
            from moorage.verify import Run

            async with Run(peer, run_settings) as run:
                await driver.__aexit__(None, None, None)
                result = await run.one(a_rule(never))
    assert result.verdict is Verdict.FAIL
    assert "does not answer Probe any more" in result.detail


async def test_what_cannot_be_deleted_fails_a_rule_that_passed(tmp_path: Path) -> None:
    def refuse(request: Any) -> Any:
        raise FailedPrecondition("still in use, says the driver")

    driver = ScriptedDriver(tmp_path)

    async def creates(lab: Lab) -> None:
        await lab.create()
        driver.script["DeleteVolume"] = refuse

    async with peer_of(driver) as peer:
        report = await run_rules([a_rule(creates)], peer, settings(tmp_path))
    ((verdict, detail),) = await verdicts(report)
    assert verdict is Verdict.FAIL
    assert detail == (
        "cleaning up after the rule, DeleteVolume answered FAILED_PRECONDITION (still in use, says the driver)"
    )


@pytest.mark.parametrize(
    ("error", "verdict", "detail"),
    [
        pytest.param(Skipped("no such thing here"), Verdict.SKIP, "no such thing here", id="skipped"),
        pytest.param(KeyError("x"), Verdict.FAIL, "the rule itself broke with KeyError: 'x'; report this", id="defect"),
        pytest.param(
            OSError(5, "Input/output error", "/t"),
            Verdict.FAIL,
            "a file operation on the volume failed: Input/output error (/t)",
            id="io-error",
        ),
    ],
)
async def test_how_a_rule_ends_is_its_verdict(tmp_path: Path, error: Exception, verdict: Verdict, detail: str) -> None:
    async def ends(lab: Lab) -> None:
        raise error

    async with peer_of(ScriptedDriver(tmp_path)) as peer:
        report = await run_rules([a_rule(ends)], peer, settings(tmp_path))
    assert await verdicts(report) == [(verdict, detail)]


async def test_a_cleanup_that_hangs_is_told_with_what_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def hang(request: Any) -> Any:
        await asyncio.sleep(60)

    driver = ScriptedDriver(tmp_path)
    monkeypatch.setattr(runner, "_CLEANUP_S", 0.5)

    async def creates(lab: Lab) -> None:
        await lab.create()
        driver.script["DeleteVolume"] = hang

    async with peer_of(driver) as peer:
        report = await run_rules([a_rule(creates)], peer, settings(tmp_path))
    ((verdict, detail),) = await verdicts(report)
    assert verdict is Verdict.FAIL
    assert "was not done within 0.5 s; left are volume id-verify-" in detail


async def test_secrets_that_a_driver_quotes_are_in_no_report(tmp_path: Path) -> None:
    def leak(request: Any) -> Any:
        raise FailedPrecondition("login with password hunter2-real failed")

    driver = ScriptedDriver(tmp_path)

    async def creates(lab: Lab) -> None:
        driver.script["CreateVolume"] = leak
        await lab.create()

    async with peer_of(driver) as peer:
        given = settings(tmp_path, secrets={"password": "hunter2-real"})
        report = await run_rules([a_rule(creates)], peer, given)
    assert "hunter2" not in msgspec.json.encode(report).decode()


async def test_a_call_is_repeated_until_its_outcome_is_final(tmp_path: Path) -> None:
    answers: list[Any] = [Aborted("pending"), Unavailable("soon")]

    def create(request: m.CreateVolumeRequest) -> Any:
        if answers:
            raise answers.pop(0)
        return driver._create(request)

    driver = ScriptedDriver(tmp_path)

    async def creates(lab: Lab) -> None:
        driver.script["CreateVolume"] = create
        await lab.create()

    async with peer_of(driver) as peer:
        report = await run_rules([a_rule(creates)], peer, settings(tmp_path))
    assert await verdicts(report) == [(Verdict.PASS, "")]
    assert driver.volumes == {}


async def test_when_time_is_up_the_report_is_not_complete(tmp_path: Path) -> None:
    async def nothing(lab: Lab) -> None:
        """Holds."""

    async with peer_of(ScriptedDriver(tmp_path)) as peer:
        report = await run_rules([a_rule(nothing)], peer, settings(tmp_path, run_timeout_s=0.0))
    assert report.rules == ()
    assert not report.complete


async def test_the_run_leaves_its_directory_empty(tmp_path: Path) -> None:
    async def writes(lab: Lab) -> None:
        (lab.directory / "file").write_text("x")

    async with peer_of(ScriptedDriver(tmp_path)) as peer:
        await run_rules([a_rule(writes)], peer, settings(tmp_path))
    assert os.listdir(tmp_path / "work") == []


async def test_read_only_makes_no_volume(tmp_path: Path) -> None:
    driver = ScriptedDriver(tmp_path)
    async with peer_of(driver) as peer:
        await run_rules(select(ALL_RULES), peer, settings(tmp_path, call_timeout_s=5.0), read_only=True)
    assert "CreateVolume" not in driver.calls


async def test_what_is_no_driver_is_named(tmp_path: Path) -> None:
    driver = ScriptedDriver(tmp_path)
    for name in ("GetPluginInfo", "Probe"):
        del driver.script[name]
    with pytest.raises(PeerError, match=r"does not serve csi\.v1\.Identity"):
        async with peer_of(driver):
            pass
