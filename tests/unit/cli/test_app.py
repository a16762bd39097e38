from __future__ import annotations

import os
import sys
from pathlib import Path

import click
import pytest

from moorage.cli import app
from moorage.cli.app import COMMANDS, Lazy, run
from moorage.spec.errors import VolumeNotFound


@pytest.fixture(autouse=True)
def _quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("moorage.cli.logs.LogSettings.apply", lambda *_, **__: None)


def failing(error: BaseException) -> click.Command:
    @click.command()
    def command() -> None:
        raise error

    return command


@pytest.fixture
def with_command(monkeypatch: pytest.MonkeyPatch) -> object:
    def install(command: click.Command) -> None:
        monkeypatch.setattr("tests_command_holder.command", command, raising=False)

    module = type(sys)("tests_command_holder")
    module.__spec__ = click.__spec__
    monkeypatch.setitem(sys.modules, "tests_command_holder", module)
    monkeypatch.setitem(COMMANDS, "probe", Lazy("tests_command_holder:command", "Try it", "Fails."))
    return install


def test_help_groups_what_is_installed_and_imports_none_of_it(capsys: pytest.CaptureFixture[str]) -> None:
    before = {name for name in sys.modules if name.startswith("moorage.cli.")}
    assert run(["--help"]) == 0
    text = capsys.readouterr().out
    assert text.index("Drivers:") < text.index("serve") < text.index("Debugging:") < text.index("rpc")
    assert {name for name in sys.modules if name.startswith("moorage.cli.")} == before


def test_a_command_whose_module_is_missing_does_not_appear(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(COMMANDS, "ghost", Lazy("moorage.cli.ghost:command", "Try it", "Is not there."))
    assert run([]) == 0
    assert "ghost" not in capsys.readouterr().out
    assert run(["ghost"]) == 2
    assert "no such command 'ghost'" in capsys.readouterr().err


def test_the_version_names_the_specification(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["--version"]) == 0
    assert capsys.readouterr().out.endswith("(CSI 1.13)\n")


@pytest.mark.parametrize(
    ("error", "code", "told"),
    [
        pytest.param(VolumeNotFound("v"), 1, "NOT_FOUND: volume 'v' does not exist", id="csi"),
        pytest.param(click.ClickException("it is broken"), 1, "moorage: it is broken", id="failure"),
        pytest.param(KeyboardInterrupt(), 130, "moorage: interrupted", id="interrupt"),
        pytest.param(FileNotFoundError(2, "No such file", "/x"), 1, "moorage: No such file (/x)", id="os"),
        pytest.param(ValueError("odd"), 1, "moorage: unforeseen ValueError: odd; `moorage --log", id="defect"),
        pytest.param(click.UsageError("bad"), 2, "moorage probe: bad; see `moorage probe --help`", id="usage"),
    ],
)
def test_every_failure_is_one_line_and_a_code(
    with_command: object, capsys: pytest.CaptureFixture[str], error: BaseException, code: int, told: str
) -> None:
    assert callable(with_command)
    with_command(failing(error))
    assert run(["probe"]) == code
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.strip().startswith(told)
    assert len(captured.err.strip().splitlines()) == 1


def test_a_command_decides_its_own_exit_code(with_command: object) -> None:
    assert callable(with_command)

    @click.command()
    def found_a_problem() -> int:
        return 1

    with_command(found_a_problem)
    assert run(["probe"]) == 1


@pytest.mark.parametrize(
    ("words", "expected"), [("moorage se", "serve"), ("moorage serve lo", "local"), ("moorage rpc cont", "controller")]
)
def test_the_shell_completes_commands_drivers_and_services(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], words: str, expected: str
) -> None:
    monkeypatch.setenv("_MOORAGE_COMPLETE", "bash_complete")
    monkeypatch.setenv("COMP_WORDS", words)
    monkeypatch.setenv("COMP_CWORD", str(len(words.split()) - 1))
    with pytest.raises(SystemExit) as left:
        app.main([])
    assert left.value.code in {0, None}
    assert f"plain,{expected}" in capsys.readouterr().out.split()


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_prints_a_script(capsys: pytest.CaptureFixture[str], shell: str) -> None:
    assert run(["completion", shell]) == 0
    assert "_MOORAGE_COMPLETE" in capsys.readouterr().out


def test_a_reader_that_leaves_early_is_no_traceback(tmp_path: Path) -> None:
    command = f"{sys.executable} -m moorage.cli.app rpc | true"
    assert os.system(f"{command} 2>{tmp_path / 'err'}") == 0
    assert (tmp_path / "err").read_text() == ""
