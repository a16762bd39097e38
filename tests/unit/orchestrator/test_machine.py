"""Directories of the orchestrator on a real file system, and the mount paths that users type."""

from __future__ import annotations

from pathlib import Path

import pytest

from moorage.orchestrator.machine import LocalMachine, target_path
from moorage.orchestrator.model import OrchestratorError


def test_a_staging_directory_is_private_and_disappears_with_its_parents(tmp_path: Path) -> None:
    machine = LocalMachine(str(tmp_path))
    path = tmp_path / "staging" / "default" / "data"
    machine.make_staging(str(path))
    machine.make_staging(str(path))
    assert path.stat().st_mode & 0o777 == 0o700
    assert machine.remove_staging(str(path)) == ""
    assert machine.remove_staging(str(path)) == ""
    assert list(tmp_path.iterdir()) == []


def test_a_staging_directory_with_files_is_never_deleted(tmp_path: Path) -> None:
    machine = LocalMachine(str(tmp_path))
    path = tmp_path / "staging" / "data"
    machine.make_staging(str(path))
    (path / "precious").write_text("data")
    assert "left in place" in machine.remove_staging(str(path))
    assert (path / "precious").read_text() == "data"


def test_the_parent_of_a_target_is_made_and_the_target_is_not(tmp_path: Path) -> None:
    LocalMachine(str(tmp_path)).make_parent(str(tmp_path / "deep" / "er" / "mnt"), block=False)
    assert (tmp_path / "deep" / "er").is_dir()
    assert not (tmp_path / "deep" / "er" / "mnt").exists()


@pytest.mark.parametrize(
    ("kind", "block", "says"),
    [
        pytest.param("full-directory", False, "is not empty", id="would-hide-files"),
        pytest.param("file", False, "is not a directory", id="file-for-file-system"),
        pytest.param("full-file", True, "is a file with content", id="would-hide-content"),
        pytest.param("empty-directory", True, "is a directory", id="directory-for-block"),
        pytest.param("link", False, "is a symbolic link", id="symlink"),
        pytest.param("empty-directory", False, "", id="empty-directory"),
        pytest.param("file", True, "", id="empty-file-for-block"),
        pytest.param("nothing", False, "", id="nothing"),
    ],
)
def test_mounting_hides_nothing_that_was_there(tmp_path: Path, kind: str, block: bool, says: str) -> None:
    path = tmp_path / "target"
    if "directory" in kind:
        path.mkdir()
    if kind == "full-directory":
        (path / "file").touch()
    if "file" in kind:
        path.write_text("content" if kind == "full-file" else "")
    if kind == "link":
        path.symlink_to(tmp_path / "elsewhere")
    machine = LocalMachine(str(tmp_path))
    if not says:
        machine.make_parent(str(path), block=block)
        return
    with pytest.raises(OrchestratorError, match=says):
        machine.make_parent(str(path), block=block)


def test_a_typed_path_becomes_absolute_and_its_parents_are_resolved(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    monkeypatch.chdir(tmp_path)
    assert target_path("link/../link/mnt/") == str(tmp_path / "real" / "mnt")


@pytest.mark.parametrize("text", ["/", "//", "", "a\0b", "/x/.."])
def test_senseless_paths_are_refused(text: str) -> None:
    with pytest.raises(OrchestratorError, match="mount path"):
        target_path(text)


def test_the_mount_table_tells_what_is_mounted(tmp_path: Path) -> None:
    machine = LocalMachine(str(tmp_path))
    assert machine.mounted({"/proc", str(tmp_path)}) == {"/proc"}
    assert machine.boot_id() == machine.boot_id() != ""
