"""The health paths say what is wrong, each on its own path and together."""

from __future__ import annotations

import pytest

from moorage.base.http import Response
from moorage.base.metrics import CONTENT_TYPE
from moorage.kube.server import LEADER_ELECTION, Check, routes


def saying(text: str) -> Check:
    async def check() -> str:
        return text

    return check


async def failing() -> str:
    raise RuntimeError("boom")


async def ask(path: str, *, live: dict[str, Check] | None = None, ready: dict[str, Check] | None = None) -> Response:
    return await routes(live=live or {}, ready=ready or {}, metrics=lambda: b"up 1\n")[path]()


async def test_all_is_well() -> None:
    live = {LEADER_ELECTION: saying("")}
    for path in ("/healthz", "/healthz/leader-election", "/readyz"):
        status, _, body = await ask(path, live=live)
        assert (status, body) == (200, b"ok")


async def test_a_lost_lease_shows_on_its_path_and_on_the_whole() -> None:
    live = {"loop": saying(""), LEADER_ELECTION: saying("not renewed\nfor 40 s")}
    assert (await ask("/healthz/loop", live=live))[0] == 200
    assert (await ask("/healthz/leader-election", live=live))[0] == 500
    status, _, body = await ask("/healthz", live=live)
    assert status == 500
    assert body == (b"[+]loop ok\n[-]leader-election failed: not renewed for 40 s\nhealthz check failed\n")
    assert (await ask("/readyz", live=live))[0] == 200


async def test_each_controller_has_a_readiness_of_its_own() -> None:
    ready = {"provisioner": saying(""), "attacher": saying("its caches are not filled yet")}
    assert (await ask("/readyz/provisioner", ready=ready))[0] == 200
    status, _, body = await ask("/readyz/attacher", ready=ready)
    assert status == 500
    assert b"its caches are not filled yet" in body


async def test_a_check_that_fails_is_a_problem() -> None:
    status, _, body = await ask("/readyz", ready={"x": failing})
    assert status == 500
    assert b"RuntimeError" in body
    assert b"boom" not in body


async def test_metrics_where_they_are_wanted() -> None:
    found = routes(live={}, ready={}, metrics=lambda: b"up 1\n", metrics_path="/m")
    assert await found["/m"]() == (200, CONTENT_TYPE, b"up 1\n")
    assert "/metrics" not in found
    assert "/metrics" not in routes(live={}, ready={})


@pytest.mark.parametrize("path", ["/healthz", "metrics", ""])
def test_a_metrics_path_that_cannot_be(path: str) -> None:
    with pytest.raises(ValueError, match="use /metrics"):
        routes(live={}, ready={}, metrics=lambda: b"", metrics_path=path)
