"""A plan hits exactly the points that it names, as often as it says."""

from __future__ import annotations

import errno
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from moorage.base import faults
from moorage.base.faults import Action, FaultPlanError

STEP = faults.declare_step("unit.write", "a file of this test")


@pytest.fixture(autouse=True)
def no_plan_left() -> Iterator[None]:
    yield
    faults.install(None)


def install(*rules: dict[str, Any], trace: Path | None = None) -> faults.FaultPlan:
    document = {"rules": rules} | ({"trace": str(trace)} if trace else {})
    plan = faults.load_plan(json.dumps(document))
    faults.install(plan)
    return plan


def test_without_a_plan_a_step_does_nothing() -> None:
    with STEP:
        pass
    assert faults.installed() is None


def test_steps_are_declared_once_and_listed() -> None:
    assert faults.declare_step("unit.write", "a file of this test") is STEP
    assert ("unit.write", "a file of this test") in faults.declared_steps()
    with pytest.raises(ValueError, match=r"unit\.write is already declared as 'a file of this test'"):
        faults.declare_step("unit.write", "something else")


@pytest.mark.parametrize(("point", "done"), [("before:unit.write", False), ("after:unit.write", True)])
def test_errno_is_raised_at_its_side_of_the_effect(point: str, *, done: bool) -> None:
    install({"point": point, "action": "errno:ENOSPC"})
    effects = []
    with pytest.raises(OSError, match=f"injected at {point}") as caught, STEP:
        effects.append("written")
    assert caught.value.errno == errno.ENOSPC
    assert bool(effects) is done
    with STEP:
        pass


def test_skip_and_times_count_hits() -> None:
    install({"point": "before:unit.write", "action": "errno:EIO", "skip": 1, "times": 2})
    outcomes = []
    for _ in range(4):
        try:
            with STEP:
                outcomes.append("ok")
        except OSError:
            outcomes.append("EIO")
    assert outcomes == ["ok", "EIO", "EIO", "ok"]


def test_failed_body_does_not_pass_the_point_after_it() -> None:
    install({"point": "after:unit.write", "action": "errno:EIO", "times": None})
    with pytest.raises(LookupError), STEP:
        raise LookupError


def test_delay_waits() -> None:
    install({"point": "before:unit.write", "action": "delay:0.05"})
    began = time.monotonic()
    with STEP:
        assert time.monotonic() - began >= 0.05


def test_trace_proves_which_steps_ran(tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    install(trace=trace)
    with STEP:
        assert trace.read_text() == "before:unit.write\n"
    assert trace.read_text() == "before:unit.write\nafter:unit.write\n"


@pytest.mark.parametrize(("side", "lines"), [("before", []), ("after", ["effect"])])
def test_kill_ends_the_process_at_the_point(tmp_path: Path, side: str, lines: list[str]) -> None:
    effect = tmp_path / "effect"
    plan = json.dumps([{"point": f"{side}:child.write", "action": "kill"}])
    code = (
        "import sys; from moorage.base import faults; "
        "step = faults.declare_step('child.write', 'a file'); faults.install(faults.load_plan(sys.argv[1]))\n"
        "with step:\n open(sys.argv[2], 'w').write('effect')\nprint('survived')"
    )
    done = subprocess.run([sys.executable, "-c", code, plan, str(effect)], capture_output=True, check=False)
    assert done.returncode == -9
    assert done.stdout == b""
    assert (effect.read_text().split() if effect.exists() else []) == lines


def test_rpc_rules_are_consumed_by_method() -> None:
    plan = install(
        {"rpc": "CreateVolume", "action": "status:UNAVAILABLE", "times": 2},
        {"rpc": "CreateVolume", "action": "drop-reply"},
    )
    found = [plan.rpc_rule("CreateVolume") for _ in range(4)]
    assert found == [Action("status", "UNAVAILABLE")] * 2 + [Action("drop-reply"), None]
    assert plan.rpc_rule("DeleteVolume") is None


def test_points_that_no_step_has_are_found() -> None:
    plan = install({"point": "before:unit.wriet", "action": "kill"}, {"point": "after:unit.write", "action": "kill"})
    assert plan.unknown_points() == ["before:unit.wriet"]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{", "not JSON"),
        ('"x"', "a list of rules"),
        ('{"rule": []}', "a list of rules"),
        ("[1]", 'needs "point" or "rpc"'),
        ('[{"point": "x", "action": "kill"}]', "must begin with before: or after:"),
        ('[{"point": "before:x", "action": "explode"}]', "one of kill, errno, delay"),
        ('[{"point": "before:x", "action": "kill:now"}]', "one of kill"),
        ('[{"point": "before:x", "action": "errno:"}]', "one of kill"),
        ('[{"point": "before:x", "action": "errno:ENONSENSE"}]', "for example errno:ENOSPC"),
        ('[{"point": "before:x", "action": "delay:soon"}]', "for example delay:1.5"),
        ('[{"point": "before:x", "action": "kill", "times": 0}]', "times of 1 or more"),
        ('[{"point": "before:x", "action": "kill", "tims": 1}]', "may join them"),
        ('[{"rpc": "X", "action": "errno:EIO"}]', "one of kill, status"),
    ],
)
def test_bad_plan_is_refused_with_a_good_example(text: str, words: str) -> None:
    with pytest.raises(FaultPlanError, match=words):
        faults.load_plan(text)
