"""`moorage new`: what it writes works before anything is changed."""

from __future__ import annotations

import ast
import os
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest


@pytest.mark.timeout(180)
def test_the_tests_of_a_new_project_pass(box: Any) -> None:
    made = box.moorage("new", "acme-nfs", "--driver-name", "nfs.acme.example")
    assert (made.returncode, made.stderr) == (0, "")
    project = box.path / "acme-nfs"
    environment = box.environment(PYTHONDONTWRITEBYTECODE="1")
    sanity = Path.home() / ".cache" / "moorage" / "csi-sanity-5.6.0"
    environment["PATH"] = os.pathsep.join([environment["PATH"], str(sanity)])
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:asyncio"],
        cwd=project, env=environment, capture_output=True, text=True, timeout=150, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert " passed" in done.stdout


def test_a_new_project_is_whole(box: Any) -> None:
    assert box.moorage("new", "acme-nfs", "--directory", "elsewhere/deep").returncode == 0
    project = box.path / "elsewhere" / "deep"
    settings = tomllib.loads((project / "pyproject.toml").read_text())
    assert settings["project"]["entry-points"]["moorage.drivers"] == {"acme-nfs": "acme_nfs_driver:AcmeNfsDriver"}
    driver = (project / "src" / "acme_nfs_driver" / "__init__.py").read_text()
    assert len(driver.splitlines()) <= 60
    for path in project.rglob("*"):
        if path.is_file():
            assert "$" not in path.read_text().replace("$$", ""), path
        if path.suffix == ".py":
            ast.parse(path.read_text())


@pytest.mark.parametrize(
    ("arguments", "code", "sentence"),
    [
        pytest.param(["Acme"], 2, "is no name for a project", id="capital"),
        pytest.param(["../x"], 2, "is no name for a project", id="path"),
        pytest.param(["a--b"], 2, "is no name for a project", id="hyphens"),
        pytest.param(["x", "--driver-name", "a_b"], 2, "a_b", id="driver-name"),
        pytest.param(["x", "--directory", "volumes"], 1, "is not an empty directory", id="taken"),
    ],
)
def test_what_cannot_be_written_is_one_sentence(box: Any, arguments: list[str], code: int, sentence: str) -> None:
    (box.path / "volumes" / "file").touch()
    done = box.moorage("new", *arguments)
    assert done.returncode == code
    assert sentence in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_a_project_named_driver_is_not_a_driver_driver(box: Any) -> None:
    assert box.moorage("new", "disk-driver").returncode == 0
    text = (box.path / "disk-driver" / "src" / "disk_driver" / "__init__.py").read_text()
    assert "class DiskDriver(csi.Driver)" in text
    shutil.rmtree(box.path / "disk-driver")
