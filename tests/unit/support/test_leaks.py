from __future__ import annotations

from pathlib import Path

from tests.support.leaks import left_behind, loop_devices, mounts, settle

OWN = Path("/tmp/pytest-of-root/pytest-7")
MOUNTINFO = "36 25 0:32 / /mnt/with\\040space rw,noatime shared:1 - tmpfs none rw\n"


def test_a_mount_is_told_by_its_unescaped_path_and_source() -> None:
    assert mounts(MOUNTINFO) == {"mount on /mnt/with space of none (root /)"}


def test_a_loop_device_in_use_is_told_by_its_backing_file(tmp_path: Path) -> None:
    used = tmp_path / "loop3" / "loop"
    used.mkdir(parents=True)
    (used / "backing_file").write_text("/var/pool/a.img\n")
    (tmp_path / "loop4").mkdir()
    assert loop_devices(tmp_path) == {"loop device loop3 backed by /var/pool/a.img"}


def test_what_was_there_before_is_not_left_behind() -> None:
    assert left_behind({"mount on /a of x"}, {"mount on /a of x", "mount on /b of y"}, OWN) == ["mount on /b of y"]


def test_what_another_run_holds_is_not_left_behind_by_this_one() -> None:
    own = f"mount on {OWN}/test_x0/target of /dev/loop1 (root /)"
    foreign = "loop device loop2 backed by /tmp/pytest-of-root/pytest-77/test_y0/disk.img"
    assert left_behind(set(), {own, foreign}, OWN) == [own]


def test_a_detach_that_is_still_going_on_is_waited_for() -> None:
    states = iter([{"loop device loop1 backed by /a"}, set[str]()])
    assert settle(set(), OWN, held=lambda: next(states)) == []


def test_what_stays_is_told_after_the_timeout() -> None:
    assert settle(set(), OWN, timeout_s=0, held=lambda: {"mount on /b of y"}) == ["mount on /b of y"]
