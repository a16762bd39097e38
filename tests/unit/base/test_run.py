"""Programs run without a shell, end at their deadline, and never show their arguments."""

from __future__ import annotations

import asyncio
import os
import time
from pathlib import Path

import pytest

from moorage.base.run import (
    CommandError,
    CommandNotFound,
    CommandOutputTooLarge,
    CommandTimeout,
    Completed,
    abandoned_children,
    run,
    run_sync,
)

SECRET = "s3cr3t-password"


def test_output_and_status_come_back() -> None:
    done = run_sync(["sh", "-c", "echo out; echo err >&2; exit 4"], check=False)
    assert done == Completed("out\n", "err\n", 4)


async def test_async_twin_gives_the_same() -> None:
    assert await run(["printf", "%s", "a b"]) == Completed("a b", "", 0)


def test_input_larger_than_a_pipe_arrives() -> None:
    data = os.urandom(100_000).hex().encode()
    assert run_sync(["cat"], input_bytes=data).stdout.encode() == data


def test_program_that_does_not_read_its_input_is_no_error() -> None:
    assert run_sync(["true"], input_bytes=b"x" * 1_000_000).returncode == 0


def test_without_input_stdin_is_empty() -> None:
    assert run_sync(["cat"]).stdout == ""


def test_no_shell_sees_the_arguments() -> None:
    assert run_sync(["echo", "$HOME; `id`"]).stdout == "$HOME; `id`\n"


def test_environment_is_minimal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOKEN", SECRET)
    names = {line.partition("=")[0] for line in run_sync(["env"], env={"EXTRA": "1"}).stdout.splitlines()}
    assert names - {"PWD", "SHLVL", "_"} == {"PATH", "LC_ALL", "EXTRA"}


def test_working_directory_pins_no_mount() -> None:
    assert run_sync(["pwd"]).stdout == "/\n"


def test_failure_names_program_and_last_line_but_never_the_arguments() -> None:
    with pytest.raises(CommandError) as caught:
        run_sync(["sh", "-c", f": {SECRET}; echo first >&2; echo 'disk is full' >&2; exit 32"])
    assert str(caught.value) == "sh failed with status 32: disk is full"
    assert (caught.value.program, caught.value.returncode) == ("sh", 32)
    assert SECRET not in repr(caught.value)


def test_death_by_signal_is_named() -> None:
    with pytest.raises(CommandError, match="sh was killed by SIGTERM: it wrote nothing"):
        run_sync(["sh", "-c", "kill -TERM $$"])


@pytest.mark.parametrize(
    ("program", "sentence"),
    [
        pytest.param("no-such-program", "install no-such-program", id="unknown"),
        pytest.param("/nowhere/mkfs.xfs", "install xfsprogs", id="known-package"),
    ],
)
def test_missing_program_says_what_to_install(program: str, sentence: str) -> None:
    with pytest.raises(CommandNotFound, match=sentence) as caught:
        run_sync([program, SECRET])
    assert SECRET not in str(caught.value)


def test_file_that_cannot_be_executed_is_a_command_error(tmp_path: Path) -> None:
    broken = tmp_path / "broken"
    broken.write_bytes(b"\x7fELF nonsense")
    broken.chmod(0o755)
    with pytest.raises(CommandError, match="broken failed with status 126: cannot start it"):
        run_sync([str(broken)])


@pytest.mark.parametrize("argv", [pytest.param([], id="empty"), pytest.param(["./here"], id="relative")])
def test_argv_that_cannot_work_is_refused(argv: list[str]) -> None:
    with pytest.raises(ValueError, match=r"argv must be|bare name or an absolute path"):
        run_sync(argv)


def test_deadline_kills_the_whole_group(tmp_path: Path) -> None:
    pid_file = tmp_path / "pid"
    began = time.monotonic()
    with pytest.raises(CommandTimeout, match=r"sh did not finish within 0\.3 s and was killed") as caught:
        run_sync(["sh", "-c", f"sleep 300 & echo $! > {pid_file}; echo started >&2; wait"], timeout_s=0.3)
    assert time.monotonic() - began < 5
    assert caught.value.stderr == "started\n"
    assert not caught.value.abandoned
    assert not is_alive(int(pid_file.read_text()))


def test_daemon_left_by_the_program_does_not_hold_the_call_and_lives_on(tmp_path: Path) -> None:
    pid_file = tmp_path / "pid"
    done = run_sync(["sh", "-c", f"sleep 300 & echo $! > {pid_file}; echo done"], timeout_s=20)
    daemon = int(pid_file.read_text())
    try:
        assert done.stdout == "done\n"
        assert is_alive(daemon)
    finally:
        os.kill(daemon, 9)


def test_endless_output_is_cut_and_refused() -> None:
    argv = ["sh", "-c", "head -c 300000 /dev/zero | tr '\\0' x"]
    with pytest.raises(CommandOutputTooLarge, match="sh wrote more than 1000 bytes"):
        run_sync(argv, max_output_bytes=1000)
    done = run_sync(argv, max_output_bytes=1000, check=False)
    assert (done.stdout, done.truncated) == ("x" * 1000, True)


def test_stderr_keeps_its_end() -> None:
    done = run_sync(["sh", "-c", "seq 1 9999 >&2"], max_output_bytes=100)
    assert done.stderr.endswith("9998\n9999\n")
    assert len(done.stderr) == 100


def test_bytes_that_are_no_utf8_stay_visible() -> None:
    assert run_sync(["printf", r"a\377b"]).stdout == "a\\xffb"


async def test_cancelled_task_leaves_no_child(tmp_path: Path) -> None:
    pid_file = tmp_path / "pid"
    os.mkfifo(pid_file)
    task = asyncio.create_task(run(["sh", "-c", f"echo $$ > {pid_file}; exec sleep 300"]))
    pid = int(await asyncio.to_thread(pid_file.read_text))
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert not is_alive(pid)


async def test_loop_stays_responsive_while_programs_run() -> None:
    sleepers = [asyncio.create_task(run(["sleep", "0.2"])) for _ in range(5)]
    began = time.monotonic()
    await asyncio.sleep(0)
    assert time.monotonic() - began < 0.15
    await asyncio.gather(*sleepers)


async def test_no_descriptor_leaks() -> None:
    await run(["true"])
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(10):
        await run(["echo", "x"], input_bytes=b"y")
        with pytest.raises(CommandTimeout):
            await run(["sleep", "9"], timeout_s=0.01)
        with pytest.raises(CommandNotFound):
            await run(["no-such-program"])
    assert len(os.listdir("/proc/self/fd")) == before
    assert abandoned_children() == 0


def is_alive(pid: int) -> bool:
    """Whether the process exists and is no zombie."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state not in "ZX"
