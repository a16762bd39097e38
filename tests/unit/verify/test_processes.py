from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator

import pytest

from moorage.verify import processes
from moorage.verify.processes import CommandLines, descriptors_of, family_of, mounts_of

CHILD = "import subprocess, sys; p = subprocess.Popen(['cat']); print(p.pid, flush=True); sys.stdin.read(); p.kill()"


@pytest.fixture
def grandchild() -> Iterator[tuple[int, int]]:
    """The process ids of a child and of its child, both alive."""
    child = subprocess.Popen([sys.executable, "-c", CHILD], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert child.stdout
    pid = int(child.stdout.readline())
    yield child.pid, pid
    child.communicate()


def test_the_family_has_children_and_their_children(grandchild: tuple[int, int]) -> None:
    assert {os.getpid(), *grandchild} <= family_of([os.getpid()])


def test_both_ways_to_find_children_agree(grandchild: tuple[int, int]) -> None:
    child, below = grandchild
    assert processes._searched_children()(child) == [below]
    if os.path.exists("/proc/thread-self/children"):
        assert processes._listed_children(child) == [below]


def test_a_zombie_belongs_to_the_family() -> None:
    child = subprocess.Popen(["true"])
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    assert child.pid in family_of([os.getpid()])
    child.wait()
    assert child.pid not in family_of([os.getpid()])


def test_what_is_gone_has_no_family_and_no_descriptors() -> None:
    child = subprocess.Popen(["true"])
    child.wait()
    assert family_of([child.pid]) == frozenset()
    assert descriptors_of([child.pid]) == 0


def test_an_open_file_is_counted() -> None:
    before = descriptors_of([os.getpid()])
    with open(os.devnull, encoding="ascii"):
        assert descriptors_of([os.getpid()]) == before + 1
    assert descriptors_of([os.getpid()]) == before


def test_one_mount_namespace_is_counted_once() -> None:
    assert mounts_of([os.getpid(), os.getpid()]) == mounts_of([]) > 0


def test_an_argument_of_a_short_lived_program_is_seen() -> None:
    with CommandLines([os.getpid()], ["needle-in-here"]) as watch:
        subprocess.run(["sh", "-c", "sleep 0.1", "tool", "--password=needle-in-here"], check=True)
    assert watch.found == ["sh -c sleep 0.1 tool --password=needle-in-here"]
    assert watch.seen


def test_nothing_is_found_where_nothing_is() -> None:
    with CommandLines([os.getpid()], ["needle-in-here"]) as watch:
        subprocess.run(["sleep", "0.02"], check=True)
    assert watch.found == []
