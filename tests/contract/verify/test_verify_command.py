"""`moorage verify` as its users run it."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest

from moorage.host.mountinfo import read_mounts
from moorage.testing.mutants.farm import Backend, mutated

pytestmark = [pytest.mark.root, pytest.mark.timeout(180)]

QUICK = ("--size", "32Mi", "--rounds", "1")


async def verify(*arguments: str) -> tuple[int, str, str]:
    """Run the command; exit code, stdout, stderr."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "moorage", "verify", *arguments),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await process.communicate()
    assert process.returncode is not None
    return process.returncode, out.decode(), err.decode()


async def test_a_correct_driver_passes(local_driver: Backend) -> None:
    code, out, err = await verify(local_driver.endpoint, *QUICK, "--area", "create")
    assert (code, err) == (0, "")
    assert "pass  replay-same-answer" in out
    assert "For the README" not in out  # a badge is for whole runs


async def test_a_failure_shows_request_answer_demand_and_how_to_repeat_it(local_driver: Backend) -> None:
    async with mutated("forgets-the-size", local_driver) as endpoint:
        code, out, _ = await verify(endpoint, *QUICK, "--rule", "create.replay-same-answer")
    assert code == 1
    assert "FAILED create.replay-same-answer (MUST, CreateVolume)" in out
    for part in (
        "Wrong:    ",
        "Demands:  ",
        "Request:  CreateVolume {",
        "Answer:   {",
        "Repeat:   moorage rpc --endpoint",
    ):
        assert part in out
    assert "For the README" not in out


async def test_the_command_to_repeat_a_call_makes_that_call(local_driver: Backend) -> None:
    async with mutated("forgets-the-size", local_driver) as endpoint:
        _, out, _ = await verify(endpoint, *QUICK, "--rule", "create.replay-same-answer")
        command = next(line for line in out.splitlines() if "Repeat:" in line).partition("Repeat:")[2].strip()
        command = command.replace("moorage ", f"{sys.executable} -m moorage ", 1)
        process = await asyncio.create_subprocess_shell(command, stdout=asyncio.subprocess.PIPE)
        answer = json.loads((await process.communicate())[0])
        assert process.returncode == 0
        volume_id = answer["volume"]["volume_id"]
        gone = ("rpc", "--endpoint", local_driver.endpoint, "Controller", "DeleteVolume", volume_id)
        deleted = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "moorage", *gone, stdout=subprocess.DEVNULL
        )
        assert await deleted.wait() == 0


async def test_json_and_report_files_agree(local_driver: Backend, tmp_path: Path) -> None:
    reports = [str(tmp_path / name) for name in ("r.json", "r.xml", "r.html")]
    options = [word for path in reports for word in ("--report", path)]
    code, out, _ = await verify(
        local_driver.endpoint, *QUICK, "--rule", "create.replay-same-answer", *options, "-o", "json"
    )
    assert code == 0
    document = json.loads(out)
    (row,) = document["rules"]
    assert (row["id"], row["verdict"]) == ("create.replay-same-answer", "pass")
    assert json.loads(Path(reports[0]).read_text())["rules"] == document["rules"]
    assert ElementTree.parse(reports[1]).getroot().get("tests") == "1"
    assert "create.replay-same-answer" in Path(reports[2]).read_text()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        pytest.param(("tcp:nonsense",), "tcp:nonsense", id="endpoint"),
        pytest.param(("/x.sock", "--rule", "create.typo"), "no rule matches 'create.typo'", id="rule"),
        pytest.param(("/x.sock", "--area", "typo"), "there is no area 'typo'", id="area"),
        pytest.param(("/x.sock", "--parameters", "/none.json"), "--parameters /none.json cannot be read", id="file"),
        pytest.param(("/x.sock", "--report", "r.txt"), "the name must end in .json, .xml, .html", id="report"),
        pytest.param((), "no ENDPOINT was given", id="no-endpoint"),
        pytest.param(("/x.sock", "--area", "node", "--rule", "create.*"), "no rule is left", id="nothing-chosen"),
    ],
)
async def test_wrong_usage_exits_2_with_one_sentence(arguments: tuple[str, ...], message: str) -> None:
    code, out, err = await verify(*arguments)
    assert (code, out) == (2, "")
    assert message in err
    assert len(err.splitlines()) == 1


async def test_an_interrupted_run_takes_back_what_it_made(local_driver: Backend, tmp_path: Path) -> None:
    work = tmp_path / "w"
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "moorage", "verify", local_driver.endpoint, *QUICK),
        *("--area", "node", "--work-dir", str(work), "--report", str(tmp_path / "r.json")),
        stdout=subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
    )

    def mounted() -> bool:
        return any(entry.mount_point.startswith(str(work)) for entry in read_mounts())

    async with asyncio.timeout(60):
        while not mounted():
            await asyncio.sleep(0.01)
        process.send_signal(signal.SIGINT)
        _, err = await process.communicate()
    assert process.returncode == 130
    assert err == b"moorage: ended by SIGINT\n"
    assert json.loads((tmp_path / "r.json").read_text())["complete"] is False
    assert not mounted()
    assert not work.exists()
    listing = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "moorage", "rpc", "--endpoint", local_driver.endpoint, "Controller", "ListVolumes"),
        stdout=asyncio.subprocess.PIPE,
    )
    assert json.loads((await listing.communicate())[0]).get("entries", []) == []


@pytest.mark.browser
async def test_the_page_shows_in_a_browser(local_driver: Backend, tmp_path: Path) -> None:
    page = tmp_path / "r.html"
    async with mutated("forgets-the-size", local_driver) as endpoint:
        await verify(endpoint, *QUICK, "--area", "create", "--report", str(page))
    chromium = shutil.which("chromium")
    assert chromium is not None
    flags = ("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync")
    process = await asyncio.create_subprocess_exec(
        *(chromium, *flags, "--disable-background-networking", "--disable-component-update"),
        *(f"--user-data-dir={tmp_path / 'profile'}", "--enable-logging=stderr", "--dump-dom", f"file://{page}"),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={**os.environ, "HOME": str(tmp_path)},
    )
    dom, log = (part.decode(errors="replace") for part in await process.communicate())
    assert process.returncode == 0
    assert "CONSOLE" not in log
    assert '<details class="fail" open="">' in dom
    assert '<h2 id="failures">What is wrong</h2>' in dom
