"""The paths that a controller process serves over HTTP: metrics, liveness, readiness.

They are upstream's: `/metrics`, `/healthz`, `/healthz/leader-election`, and `/readyz` with one path for each
check below it, so that a probe can look at one controller. The server itself is `moorage.base.http`; what is
healthy is said by the checks.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Final, TypeAlias

from moorage.base.http import Response, Route
from moorage.base.metrics import CONTENT_TYPE

__all__ = ["LEADER_ELECTION", "Check", "routes"]

Check: TypeAlias = Callable[[], Awaitable[str]]
"""What is wrong now, in a sentence, or an empty text when nothing is. Raising counts as a problem."""

LEADER_ELECTION: Final = "leader-election"
_TEXT: Final = "text/plain; charset=utf-8"


def routes(
    *,
    live: Mapping[str, Check],
    ready: Mapping[str, Check],
    metrics: Callable[[], bytes] | None = None,
    metrics_path: str = "/metrics",
) -> Mapping[str, Route]:
    """The paths for `moorage.base.http.HttpServer`.

    `live` are the checks behind `/healthz` (that of the leases is named `leader-election`), `ready` those
    behind `/readyz`; each has a path of its own below. A path answers 200 `ok`, or 500 and which check failed
    why. Without `metrics` there is no metrics path. Raises ValueError when `metrics_path` is one of the others
    or not absolute.
    """
    found: dict[str, Route] = {}
    for root, checks in (("/healthz", dict(live)), ("/readyz", dict(ready))):
        found[root] = _route(root[1:], checks)
        for name, check in checks.items():
            found[f"{root}/{name}"] = _route(name, {name: check})
    if metrics is not None:
        if metrics_path in found or not metrics_path.startswith("/"):
            raise ValueError(f"metrics path {metrics_path!r} is taken or does not start with '/'; use /metrics")
        found[metrics_path] = _metrics_route(metrics)
    return found


def _route(name: str, checks: Mapping[str, Check]) -> Route:
    async def answer() -> Response:
        problems = {check_name: await _problem(check) for check_name, check in checks.items()}
        if not any(problems.values()):
            return 200, _TEXT, b"ok"
        lines = [f"[-]{key} failed: {text}" if text else f"[+]{key} ok" for key, text in problems.items()]
        return 500, _TEXT, "\n".join([*lines, f"{name} check failed\n"]).encode()

    return answer


async def _problem(check: Check) -> str:
    try:
        return " ".join((await check()).split())
    except Exception as error:
        return f"the check itself failed with {type(error).__name__}"


def _metrics_route(render: Callable[[], bytes]) -> Route:
    async def answer() -> Response:
        return 200, CONTENT_TYPE, render()

    return answer
