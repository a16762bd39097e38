"""Our own drivers pass the whole suite, on every kind of pool."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from tests.support.pools import pool_on

from moorage.testing.restart import Restartable

pytestmark = [pytest.mark.root, pytest.mark.slow, pytest.mark.timeout(900)]

ATTACH = ("--attach", "--attach-node", "other", "--attach-limit", "8")
EXAMPLES = Path(__file__).parents[3] / "examples"


class Kind(msgspec.Struct, frozen=True):
    """A driver to examine. `serve` are its own arguments; `least` is how many rules must pass.

    The rules of area robustness, which take half of the time, are left to the kinds with `crashes`.
    """

    fs_type: str
    least: int
    driver: str = "local"
    serve: tuple[str, ...] = ATTACH
    verify: tuple[str, ...] = ("--size", "32Mi", "--rounds", "1")
    mutable: str = '{"readAheadKiB": "256"}'
    crashes: bool = False


READ_AHEAD, COMPRESSION = '{"readAheadKiB": "256"}', '{"compression": "zstd"}'
KINDS = {
    "images": Kind("", 250, verify=("--size", "32Mi"), crashes=True),
    "images-as-block": Kind("", 200, verify=("--size", "32Mi", "--rounds", "1", "--access", "block")),
    "reflinked-images": Kind("xfs", 250, verify=("--size", "320Mi", "--rounds", "1", "--fs-type", "xfs")),
    "subvolumes": Kind("btrfs", 230, mutable=COMPRESSION),
    "images-on-btrfs-as-block": Kind(
        "btrfs", 200, verify=("--size", "32Mi", "--rounds", "1", "--access", "block"), mutable=READ_AHEAD
    ),
    "directories": Kind("", 200, serve=(*ATTACH, "--backend", "directory"), mutable=""),
    "without-attach": Kind("", 200, serve=("--snapshot-topology",)),
    "toy": Kind("", 100, driver="toy_driver:ToyDriver", serve=(), mutable="", crashes=True),
}


@contextlib.contextmanager
def place(kind: Kind) -> Iterator[tuple[Path, Path]]:
    """A directory with a short name, for sockets, and the pool in it."""
    with tempfile.TemporaryDirectory(prefix="own-", dir="/tmp") as name, contextlib.ExitStack() as stack:
        directory = Path(name)
        if kind.fs_type:
            yield directory, stack.enter_context(pool_on(kind.fs_type, directory))
        else:
            (directory / "pool").mkdir()
            yield directory, directory / "pool"


@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
async def test_no_rule_fails(kind: Kind, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(EXAMPLES))
    with place(kind) as (directory, pool):
        endpoint = f"unix://{directory}/csi.sock"
        where = ("--pool", str(pool)) if kind.driver == "local" else ("--root", str(pool))
        common = ("--endpoint", endpoint, "--state-dir", str(directory / "state"))
        argv = (sys.executable, "-m", "moorage", "serve", kind.driver, *where, *kind.serve, *common)
        driver = Restartable(argv, directory=directory)
        driver.start()
        try:
            report = await verify(endpoint, driver, kind, directory)
        finally:
            driver.stop()
    failed = {rule["id"]: rule["detail"] for rule in report["rules"] if rule["verdict"] == "fail"}
    assert failed == {}
    assert sum(rule["verdict"] == "pass" for rule in report["rules"]) >= kind.least
    assert report["complete"]


async def verify(endpoint: str, driver: Restartable, kind: Kind, directory: Path) -> dict[str, list[dict[str, str]]]:
    """Run the command as its users do; its JSON."""
    options = [
        "--restart-command",
        driver.command,
        "--log-file",
        str(driver.log_path),
        "--work-dir",
        str(directory / "w"),
    ]
    if "--attach-node" in kind.serve:
        options += ["--other-node", "other"]
    secrets = directory / "secrets.json"
    secrets.write_text('{"token": "canary-of-the-suite"}')
    options += ["--secrets", str(secrets)]
    if not kind.crashes:
        options += ["--skip", "robustness.*"]
    if kind.mutable:
        (directory / "mutable.json").write_text(kind.mutable)
        options += ["--mutable-parameters", str(directory / "mutable.json")]
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "moorage", "verify", endpoint, *kind.verify, *options, "-o", "json"),
        stdout=asyncio.subprocess.PIPE,
        env=dict(os.environ),
    )
    printed, _ = await process.communicate()
    report: dict[str, list[dict[str, str]]] = json.loads(printed)
    return report
