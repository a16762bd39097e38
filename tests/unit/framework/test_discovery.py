from __future__ import annotations

import importlib.metadata
import sys
from pathlib import Path

import pytest

from moorage.framework import discovery
from moorage.framework.driver import Driver

SOURCE = """
from moorage.framework import Driver


class Found(Driver):
    name = "found.example.org"


not_a_driver = 3
"""


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    (tmp_path / "found_driver.py").write_text(SOURCE)
    (tmp_path / "broken_driver.py").write_text("import no_such_package_at_all\n")
    (tmp_path / "raising_driver.py").write_text("{}['x']\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.delitem(sys.modules, "found_driver", raising=False)
    return "found_driver"


def with_entry_points(monkeypatch: pytest.MonkeyPatch, **points: str) -> None:
    installed = importlib.metadata.EntryPoints(
        importlib.metadata.EntryPoint(name=name.rstrip("_"), value=value, group=discovery.GROUP)
        for name, value in points.items()
    )
    monkeypatch.setattr(importlib.metadata, "entry_points", installed.select)


def test_a_class_in_the_current_directory_is_found_by_its_path(package: str) -> None:
    found = discovery.find_driver(f"{package}:Found")
    assert issubclass(found, Driver)
    assert found.name == "found.example.org"


def test_a_driver_is_found_by_the_name_of_its_entry_point(package: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(Path.cwd()))
    with_entry_points(monkeypatch, found=f"{package}:Found", other="nowhere:Other")
    assert discovery.find_driver("found").name == "found.example.org"
    assert discovery.known_drivers() == {"found": "found_driver:Found", "other": "nowhere:Other"}


def test_the_drivers_of_this_distribution_are_those_of_its_entry_points() -> None:
    own = importlib.metadata.distribution("moorage").entry_points.select(group=discovery.GROUP)
    assert {point.name: point.value for point in own} == discovery.OWN


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        pytest.param("loca", "did you mean 'local'?", id="typo"),
        pytest.param("zzz", "the drivers are", id="unknown"),
        pytest.param("found_driver:Fund", "has no 'Fund'; its drivers are Found", id="no-such-class"),
        pytest.param("found_driver:not_a_driver", "is not a subclass of moorage.framework.Driver", id="no-driver"),
        pytest.param("found_driver:Driver", "is not a subclass", id="the-base-class"),
        pytest.param("found_driver:", "write package.module:Class", id="no-class"),
        pytest.param("found_driver:a.b", "write package.module:Class", id="nested"),
        pytest.param("broken_driver:X", "cannot be imported (No module named", id="import-error"),
        pytest.param("raising_driver:X", "fails when it is imported (KeyError: 'x')", id="defect"),
        pytest.param("no_such_module_here:X", "cannot be imported", id="no-module"),
    ],
)
def test_what_cannot_be_found_is_told_in_one_sentence(package: str, name: str, sentence: str) -> None:
    with pytest.raises(discovery.DiscoveryError) as raised:
        discovery.find_driver(name)
    assert sentence in str(raised.value)
    assert "\n" not in str(raised.value)


def test_two_packages_with_one_name_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with_entry_points(monkeypatch, twice="one:A", twice_="two:B")
    with pytest.raises(discovery.DiscoveryError, match="one:A and two:B"):
        discovery.find_driver("twice")
