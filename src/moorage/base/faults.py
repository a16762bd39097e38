"""Durable steps by name, and faults injected at them.

Code that makes something durable (a file, a mount, a journal record) does it inside a declared step:

    CREATE_IMAGE = declare_step("local.create.image", "the image file of the volume")
    with CREATE_IMAGE:
        os.replace(temporary, image)

A test installs a plan that kills the process, raises an OSError or waits right before or after a step, and so
proves that a crash at any of them heals. Without a plan a step costs one test of a variable. Rules for
RPCs are kept here and carried out by the layer that serves them. Plans arrive as JSON text; this module
reads no environment.
"""

from __future__ import annotations

import errno
import json
import os
import signal
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Final

_POINT_KINDS: Final = ("kill", "errno", "delay")
_RPC_KINDS: Final = ("kill", "status", "delay", "drop-reply", "hang")
_BARE_KINDS: Final = ("kill", "drop-reply", "hang")


class FaultPlanError(ValueError):
    """A fault plan cannot be used; the message names the rule and shows a good one."""


@dataclass(frozen=True, slots=True)
class Action:
    """What a rule does: `kill`, `errno`, `delay`, `status`, `drop-reply` or `hang`, with its argument."""

    kind: str
    argument: str = ""

    @property
    def delay_s(self) -> float:
        """Seconds to wait, for the kind `delay`."""
        return float(self.argument)


class FaultPlan:
    """Rules in the order of the plan; each counts its own hits. Safe to use from several threads."""

    def __init__(
        self, points: Mapping[str, list[_Rule]], rpcs: Mapping[str, list[_Rule]], *, trace_path: str | None
    ) -> None:
        self._points = points
        self._rpcs = rpcs
        self._trace_path = trace_path
        self._lock = threading.Lock()

    def hit(self, point: str) -> None:
        """Pass `point` (`before:NAME` or `after:NAME`): note it in the trace, then do what the rules say."""
        if self._trace_path is not None:
            self._trace(point, self._trace_path)
        action = self._due(self._points.get(point))
        if action is None:
            return
        if action.kind == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        elif action.kind == "delay":
            time.sleep(action.delay_s)
        else:
            number = getattr(errno, action.argument)
            raise OSError(number, os.strerror(number), f"injected at {point}")

    def rpc_rule(self, method: str) -> Action | None:
        """The action due for this call of RPC `method`, counted as used; None for a call left in peace."""
        return self._due(self._rpcs.get(method))

    def unknown_points(self) -> list[str]:
        """Points of the plan that no step declared so far has; a typing error, or code not yet imported."""
        return sorted(point for point in self._points if point.partition(":")[2] not in _steps)

    def _due(self, rules: list[_Rule] | None) -> Action | None:
        if not rules:
            return None
        with self._lock:
            for rule in rules:
                if rule.skip > 0:
                    rule.skip -= 1
                elif rule.times is None or rule.times > 0:
                    rule.times = None if rule.times is None else rule.times - 1
                    return rule.action
        return None

    def _trace(self, point: str, path: str) -> None:
        fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            os.write(fd, f"{point}\n".encode())
        finally:
            os.close(fd)


@dataclass(slots=True)
class _Rule:
    action: Action
    times: int | None
    skip: int


class Step:
    """A named moment at which something becomes durable; use it as `with STEP:` around the side effect."""

    __slots__ = ("_after", "_before", "doc", "name")

    def __init__(self, name: str, doc: str) -> None:
        self.name = name
        self.doc = doc
        self._before = f"before:{name}"
        self._after = f"after:{name}"

    def __enter__(self) -> None:
        if _plan is not None:
            _plan.hit(self._before)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if _plan is not None and kind is None:
            _plan.hit(self._after)


_plan: FaultPlan | None = None
_steps: dict[str, Step] = {}


def declare_step(name: str, doc: str) -> Step:
    """Declare a step at import; `doc` says what becomes durable. ValueError if the name is taken."""
    known = _steps.setdefault(name, Step(name, doc))
    if known.doc != doc:
        raise ValueError(f"step {name} is already declared as {known.doc!r}; choose another name")
    return known


def declared_steps() -> list[tuple[str, str]]:
    """Name and description of every step declared so far, by name."""
    return [(step.name, step.doc) for _, step in sorted(_steps.items())]


def install(plan: FaultPlan | None) -> None:
    """Put `plan` in force for this process; None removes the one in force."""
    global _plan  # noqa: PLW0603 one test of a module variable is the whole cost of a step without a plan
    _plan = plan


def installed() -> FaultPlan | None:
    """The plan in force, or None."""
    return _plan


def load_plan(text: str) -> FaultPlan:
    """Parse a plan: a JSON list of rules, or an object with `rules` and `trace` (a file for passed points).

    A rule is `{"point": "before:NAME", "action": "kill"}` or `{"rpc": "CreateVolume", "action":
    "status:ABORTED"}` with optional `times` (default 1, null: always) and `skip` (hits to let pass first).
    Raises FaultPlanError.
    """
    try:
        document = json.loads(text)
    except ValueError as error:
        raise FaultPlanError(f"the fault plan is not JSON ({error}); write a list of rules") from None
    if isinstance(document, list):
        document = {"rules": document}
    if not isinstance(document, dict) or set(document) - {"rules", "trace"}:
        raise FaultPlanError('a fault plan is a list of rules or {"rules": [...], "trace": "/path"}')
    points: dict[str, list[_Rule]] = {}
    rpcs: dict[str, list[_Rule]] = {}
    for rule in document.get("rules", []):
        is_point = isinstance(rule, dict) and "point" in rule
        target = _require_target(rule, "point" if is_point else "rpc")
        table, kinds = (points, _POINT_KINDS) if is_point else (rpcs, _RPC_KINDS)
        table.setdefault(target, []).append(_parse_rule(rule, kinds))
    return FaultPlan(points, rpcs, trace_path=document.get("trace"))


def _require_target(rule: Any, field: str) -> str:
    allowed = {field, "action", "times", "skip"}
    if not isinstance(rule, dict) or not isinstance(rule.get(field), str) or set(rule) - allowed:
        raise FaultPlanError(
            f'fault rule {rule} needs "point" or "rpc", and "action"; only "times" and "skip" may join them'
        )
    target: str = rule[field]
    if field == "point" and target.partition(":")[0] not in ("before", "after"):
        raise FaultPlanError(f"fault point {target} must begin with before: or after:")
    return target


def _parse_rule(rule: dict[str, Any], kinds: tuple[str, ...]) -> _Rule:
    text = rule.get("action")
    kind, colon, argument = text.partition(":") if isinstance(text, str) else ("", "", "")
    if kind not in kinds or bool(argument) == (kind in _BARE_KINDS) or (colon and not argument):
        raise FaultPlanError(f"fault action {text!r} must be one of {', '.join(kinds)}, for example delay:1.5")
    if kind == "errno" and not isinstance(getattr(errno, argument, None), int):
        raise FaultPlanError(f"fault action {text} names no error number, write for example errno:ENOSPC")
    if kind == "delay" and not _is_duration(argument):
        raise FaultPlanError(f"fault action {text} needs seconds, write for example delay:1.5")
    times, skip = rule.get("times", 1), rule.get("skip", 0)
    if not (times is None or (isinstance(times, int) and times > 0)) or not (isinstance(skip, int) and skip >= 0):
        raise FaultPlanError(f"fault rule {rule} needs times of 1 or more (null: always) and skip of 0 or more")
    return _Rule(Action(kind, argument), times, skip)


def _is_duration(argument: str) -> bool:
    try:
        return 0 <= float(argument) < 86400
    except ValueError:
        return False
