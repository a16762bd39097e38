from __future__ import annotations

from pathlib import Path

import pytest

from moorage.framework import BackendTags, Driver
from moorage.framework.inference import Mode
from moorage.framework.serving import placement_problem, state_directory

DEPLOYMENT_POD = {"KUBERNETES_SERVICE_HOST": "10.0.0.1", "HOSTNAME": "driver-6d4b75cb6d-x7k2q"}


class Journalled(Driver):
    name = "journalled.example.com"


class Tagged(Driver):
    name = "tagged.example.com"
    state = BackendTags()


@pytest.mark.parametrize(
    ("root", "environment", "is_root", "expected"),
    [
        pytest.param(None, {"HOME": "/root"}, True, "/var/lib/moorage/d", id="superuser"),
        pytest.param(None, {"HOME": "/home/u"}, False, "/home/u/.local/state/moorage/d", id="user"),
        pytest.param(None, {"HOME": "/h", "XDG_STATE_HOME": "/x"}, False, "/x/moorage/d", id="xdg"),
        pytest.param(
            None, {"HOME": "/h", "XDG_STATE_HOME": "x"}, False, "/h/.local/state/moorage/d", id="xdg-relative"
        ),
        pytest.param("/given", {"XDG_STATE_HOME": "/x"}, True, "/given/d", id="given"),
    ],
)
def test_each_driver_has_a_directory_of_its_own(
    root: str | None, environment: dict[str, str], is_root: bool, expected: str
) -> None:
    given = Path(root) if root else None
    assert state_directory(given, "d", environment=environment, is_root=is_root) == Path(expected)


@pytest.mark.parametrize(
    ("driver", "mode", "environment", "refused"),
    [
        pytest.param(Journalled, "controller", DEPLOYMENT_POD, True, id="deployment"),
        pytest.param(Journalled, "all", DEPLOYMENT_POD, True, id="deployment-all"),
        pytest.param(Journalled, "node", DEPLOYMENT_POD, False, id="node"),
        pytest.param(Tagged, "controller", DEPLOYMENT_POD, False, id="tags-may-move"),
        pytest.param(Journalled, "controller", {**DEPLOYMENT_POD, "HOSTNAME": "driver-0"}, False, id="stateful-set"),
        pytest.param(Journalled, "controller", {**DEPLOYMENT_POD, "HOSTNAME": "driver-x7k2q"}, False, id="daemon-set"),
        pytest.param(Journalled, "controller", {"HOSTNAME": DEPLOYMENT_POD["HOSTNAME"]}, False, id="no-cluster"),
        pytest.param(Journalled, "all", {}, False, id="a-machine"),
    ],
)
def test_a_journal_stays_out_of_deployments(
    driver: type[Driver], mode: Mode, environment: dict[str, str], refused: bool
) -> None:
    assert bool(placement_problem(driver, mode, environment=environment)) is refused
