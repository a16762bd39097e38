"""`moorage volume` with a state directory that is none, read-only or full."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from moorage.cli.app import run

pytestmark = pytest.mark.root

COMMANDS = [
    pytest.param(["list"], id="list"),
    pytest.param(["create", "data", "--driver", "/nowhere/csi.sock"], id="create"),
    pytest.param(["forget", "data"], id="forget"),
    pytest.param(["drivers", "list"], id="drivers"),
]


@pytest.fixture(params=["file", "below-a-file", "read-only", "read-only-later", "full"])
def unusable(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Path]:
    place = tmp_path / "state"
    if "file" in request.param:
        place.write_text("")
        yield place / "sub" if request.param == "below-a-file" else place
        return
    place.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "none", place], check=True)
    try:
        if request.param == "read-only-later":
            assert run(["volume", "list", "--state-dir", str(place)]) == 0
        if request.param == "full":
            subprocess.run(["dd", "if=/dev/zero", f"of={place}/ballast", "bs=4k"], check=False, capture_output=True)
        else:
            subprocess.run(["mount", "-o", "remount,ro", place], check=True)
        yield place
    finally:
        subprocess.run(["umount", place], check=True)


@pytest.mark.parametrize("command", COMMANDS)
def test_it_is_told_in_a_sentence(unusable: Path, command: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    capsys.readouterr()
    assert run(["volume", *command, "--state-dir", str(unusable)]) == 1
    told = capsys.readouterr()
    assert told.out == ""
    (line,) = told.err.splitlines()
    assert str(unusable) in line
    assert "unforeseen" not in line
    assert any(hint in line for hint in ("give another --state-dir", "free space"))
