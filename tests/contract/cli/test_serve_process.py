"""`moorage serve` as a process, seen through its socket, its HTTP port, its log and its exit code."""

from __future__ import annotations

import asyncio
import json
import re
import signal
import stat
import time
import urllib.error
import urllib.request
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import grpc.aio
import pytest

from moorage.rpc.client import Client
from moorage.spec.errors import CsiError
from moorage.spec.messages import CreateVolumeRequest
from moorage.spec.types import AccessMode, VolumeCapability

WaitUntil = Callable[..., Awaitable[None]]
TINY = "tiny:Tiny"


SHORT_GRACE = """
import asyncio, os
from pathlib import Path
from moorage.base import log
from moorage.framework.serving import serve
from tiny import Tiny, TinyConfig

log.configure("json")
config = TinyConfig(root=Path("volumes"), create_takes=600.0)
served = serve(Tiny, config, endpoint="unix://{socket}", state_dir=Path("state"), grace_s=6.0)
os._exit(asyncio.run(served))
"""


def arguments(box: Any, *extra: str) -> list[str]:
    return [
        "serve", TINY, "--root", str(box.path / "volumes"), "--state-dir", str(box.path / "state"),
        "--endpoint", f"unix://{box.socket}", *extra,
    ]  # fmt: skip


def events(box: Any, name: str) -> list[dict[str, Any]]:
    rows = [json.loads(line) for line in box.log().splitlines() if line.startswith("{")]
    return [row for row in rows if name in row.values()]


def request(name: str) -> CreateVolumeRequest:
    return CreateVolumeRequest(name=name, volume_capabilities=(VolumeCapability(AccessMode.SINGLE_NODE_WRITER),))


async def test_a_driver_serves_until_sigterm(box: Any, wait_until: WaitUntil) -> None:
    process = box.start(*arguments(box))
    await wait_until(lambda: bool(events(box, "ready")))
    (ready,) = events(box, "ready")
    assert ready["endpoint"] == f"unix://{box.socket}"
    assert stat.S_IMODE(Path(box.socket).stat().st_mode) == 0o600
    async with Client(box.socket) as client:
        assert (await client.get_plugin_info()).name == "tiny.example.com"
        created = await client.create_volume(request("one"))
    assert [file.name for file in (box.path / "volumes").iterdir()] == [created.volume.volume_id]
    assert (box.path / "state" / "tiny.example.com" / "journal.sqlite").exists()
    process.terminate()
    assert process.wait(timeout=10) == 0
    assert not Path(box.socket).exists()
    assert events(box, "stopped")


async def test_sigint_stops_it_cleanly_too(box: Any, wait_until: WaitUntil) -> None:
    process = box.start(*arguments(box))
    await wait_until(lambda: bool(events(box, "ready")))
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=10) == 0
    assert "Traceback" not in box.log()


async def test_settings_come_from_flag_environment_and_file(box: Any, wait_until: WaitUntil) -> None:
    (box.path / "tiny.yaml").write_text(f"root: {box.path / 'volumes'}\ncreate_takes: 30s\n")
    box.start(
        "serve", TINY, "--config", "tiny.yaml", "--state-dir", "state",
        CSI_ENDPOINT=f"unix://{box.socket}", MOORAGE_CREATE_TAKES="0s",
    )  # fmt: skip
    await wait_until(lambda: bool(events(box, "ready")))
    async with Client(box.socket) as client:
        began_s = time.monotonic()
        await client.create_volume(request("one"))
    assert time.monotonic() - began_s < 10


async def test_metrics_health_and_operations_over_http(box: Any, wait_until: WaitUntil) -> None:
    box.start(*arguments(box, "--metrics-address", "127.0.0.1:0", "--create-takes", "1s"))
    await wait_until(lambda: bool(events(box, "ready")))
    base = f"http://{events(box, 'ready')[0]['metrics']}"

    def get(path: str) -> tuple[int, str]:
        try:
            with urllib.request.urlopen(base + path, timeout=5) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read().decode()

    async with Client(box.socket) as client:
        running = asyncio.create_task(client.create_volume(request("one")))
        seen: dict[str, Any] = {}
        while not seen.get("operations"):
            seen = json.loads((await asyncio.to_thread(get, "/operations"))[1])
            await asyncio.sleep(0.02)
        assert [call["rpc"] for call in seen["calls"]] == ["CreateVolume"]
        await running
    assert (await asyncio.to_thread(get, "/healthz")) == (200, "ok\n")
    assert (await asyncio.to_thread(get, "/readyz")) == (200, "ok\n")
    metrics = (await asyncio.to_thread(get, "/metrics"))[1]
    assert 'method_name="/csi.v1.Controller/CreateVolume"' in metrics
    assert 'driver_name="tiny.example.com"' in metrics
    assert re.search(r"^moorage_operations_running 0\.0$", metrics, re.MULTILINE)
    assert (await asyncio.to_thread(get, "/nothing"))[0] == 404


async def test_a_second_process_is_refused_in_one_sentence(box: Any, wait_until: WaitUntil) -> None:
    first = box.start(*arguments(box))
    await wait_until(lambda: bool(events(box, "ready")))
    state = await asyncio.to_thread(box.moorage, *arguments(box))
    assert state.returncode == 1
    assert "is in use by" in state.stderr.splitlines()[-1]
    socket = await asyncio.to_thread(box.moorage, *arguments(box, "--state-dir", str(box.path / "other")))
    assert socket.returncode == 1
    assert "another process already serves" in socket.stderr.splitlines()[-1]
    assert "Traceback" not in state.stderr + socket.stderr
    async with Client(box.socket) as client:
        await client.probe()
    assert first.poll() is None


async def test_a_hanging_vendor_call_does_not_hold_up_the_stop(box: Any, wait_until: WaitUntil) -> None:
    (box.path / "short.py").write_text(SHORT_GRACE.format(socket=box.socket))
    process = box.start_script("short.py")
    await wait_until(lambda: bool(events(box, "ready")))
    async with Client(box.socket) as client:
        hanging = asyncio.create_task(client.create_volume(request("one"), timeout_s=60))
        await wait_until(lambda: any((box.path / "volumes").iterdir()))
        began_s = time.monotonic()
        process.terminate()
        with pytest.raises(CsiError) as raised:
            await hanging
        assert not raised.value.final
        await wait_until(lambda: process.poll() is not None)
    assert process.returncode == 1
    assert time.monotonic() - began_s < 9
    assert events(box, "operation.left_running") or events(box, "process.forced_exit")


async def test_sigusr1_tells_what_is_running(box: Any, wait_until: WaitUntil) -> None:
    process = box.start(*arguments(box, "--create-takes", "2s"))
    await wait_until(lambda: bool(events(box, "ready")))
    async with Client(box.socket) as client:
        running = asyncio.create_task(client.create_volume(request("one")))
        await wait_until(lambda: any((box.path / "volumes").iterdir()))
        process.send_signal(signal.SIGUSR1)
        await wait_until(lambda: bool(events(box, "dump.operation")))
        await running
    assert events(box, "dump.call")[0]["rpc"] == "CreateVolume"
    assert events(box, "dump.task")


async def test_a_fault_plan_is_carried_out(box: Any, wait_until: WaitUntil) -> None:
    (box.path / "plan.json").write_text('[{"rpc": "CreateVolume", "action": "status:RESOURCE_EXHAUSTED"}]')
    box.start(*arguments(box, "--faults", "plan.json"))
    await wait_until(lambda: bool(events(box, "ready")))
    async with Client(box.socket) as client:
        with pytest.raises(CsiError) as raised:
            await client.create_volume(request("one"))
        assert raised.value.code.name == "RESOURCE_EXHAUSTED", raised.value.message
        await client.create_volume(request("one"))


async def test_health_is_served_when_asked_for(box: Any, wait_until: WaitUntil) -> None:
    box.start(*arguments(box, "--grpc-health", "--grpc-reflection", "--socket-mode", "0660"))
    await wait_until(lambda: bool(events(box, "ready")))
    assert stat.S_IMODE(Path(box.socket).stat().st_mode) == 0o660
    options = [("grpc.default_authority", "localhost")]
    async with grpc.aio.insecure_channel(f"unix:{box.socket}", options=options) as channel:
        check: Any = channel.unary_unary("/grpc.health.v1.Health/Check")
        assert await check(b"", timeout=5) == bytes([8, 1])  # status: SERVING


@pytest.mark.parametrize(
    ("extra", "code", "sentence"),
    [
        pytest.param(["--create-takes", "soon"], 2, "create_takes from --create-takes is 'soon'", id="bad-value"),
        pytest.param(["--config", "missing.json"], 2, "cannot be read (No such file or directory)", id="no-file"),
        pytest.param(["--faults", "missing.json"], 2, "fault plan 'missing.json' cannot be read", id="no-plan"),
        pytest.param(["--socket-mode", "999"], 2, "is not an octal mode", id="octal"),
        pytest.param(["--mode", "both"], 2, "'both' is not one of", id="mode"),
        pytest.param(["--no-such-flag"], 2, "no such option", id="flag"),
        pytest.param(["--mode", "node"], 1, "has nothing to serve in mode node", id="nothing-to-serve"),
        pytest.param(["--endpoint", "tcp://127.0.0.1:1"], 2, "use a unix socket", id="tcp"),
        pytest.param(["--metrics-address", "nowhere"], 2, "is not HOST:PORT", id="metrics"),
        pytest.param(["--start-fails", "disk on fire"], 1, "RuntimeError (disk on fire", id="start-fails"),
    ],
)
def test_what_cannot_be_served_fails_fast_with_one_sentence(
    box: Any, extra: list[str], code: int, sentence: str
) -> None:
    done = box.moorage(*arguments(box, *extra), MOORAGE_PASSWORD="hunter22")
    assert done.returncode == code
    assert sentence in done.stderr.splitlines()[-1]
    assert "hunter22" not in done.stderr
    assert not Path(box.socket).exists()


def test_a_missing_setting_and_a_missing_endpoint_are_told(box: Any) -> None:
    done = box.moorage("serve", TINY)
    assert (done.returncode, done.stdout) == (2, "")
    assert "root is not given; use --root DIR, set MOORAGE_ROOT" in done.stderr
    done = box.moorage("serve", TINY, "--root", "volumes")
    assert done.returncode == 2
    assert "set CSI_ENDPOINT" in done.stderr


def test_a_journal_is_refused_in_a_deployment(box: Any) -> None:
    pod = {"KUBERNETES_SERVICE_HOST": "10.0.0.1", "HOSTNAME": "tiny-controller-6d4b75cb6d-x7k2q"}
    done = box.moorage(*arguments(box, "--mode", "controller"), **pod)
    assert done.returncode == 1
    assert "run the controller in a StatefulSet or a DaemonSet" in done.stderr


def test_help_shows_the_settings_of_the_driver(box: Any) -> None:
    done = box.moorage("serve", TINY, "--help")
    assert done.returncode == 0
    assert "Volumes are empty files." in done.stdout
    assert "--create-takes DURATION" in done.stdout
    assert "environment: MOORAGE_CREATE_TAKES" in " ".join(done.stdout.split())
    assert "password (MOORAGE_PASSWORD)" in " ".join(done.stdout.split())
    assert "--password" not in done.stdout


def test_serve_alone_lists_the_drivers(box: Any) -> None:
    done = box.moorage("serve")
    assert done.returncode == 0
    assert "local" in done.stdout


def test_a_setting_may_not_take_a_flag_of_serve(box: Any) -> None:
    done = box.moorage("serve", "tiny:Clashing")
    assert done.returncode == 2
    assert "rename the setting" in done.stderr
