from __future__ import annotations

from pathlib import Path

from moorage.base.faults import load_plan
from moorage.verify.crashes import KillPoint, read_trace


def test_points_are_numbered_by_how_often_they_were_passed(tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    trace.write_text("before:a\nafter:a\nbefore:a\n")
    assert read_trace(trace) == [KillPoint("before:a", 0), KillPoint("after:a", 0), KillPoint("before:a", 1)]


def test_a_driver_without_the_injector_leaves_no_trace(tmp_path: Path) -> None:
    assert read_trace(tmp_path / "trace") == []


def test_the_trace_of_our_injector_is_understood(tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    plan = load_plan(f'{{"rules": [], "trace": "{trace}"}}')
    for point in ("before:x", "after:x", "before:x"):
        plan.hit(point)
    assert [str(point) for point in read_trace(trace)] == [
        "before:x, time 1",
        "after:x, time 1",
        "before:x, time 2",
    ]
